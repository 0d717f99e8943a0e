//! Shutdown: everything written, everything unmounted, then the system call. Mirrors linux/reboot.h.
//!
//! None of it may hang for ever: the hardware watchdog is fed while disks are written for so long and no longer, and it
//! counts on while the kernel shuts down (`watchdog.stop_on_reboot=0`).

use super::{firmware, mount, watchdog};
use crate::console;
use rustix::system::RebootCommand;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Reboot,
    PowerOff,
}

/// Kernel file systems: nothing of theirs has to reach a disk.
const NO_DISK: [&str; 10] =
    ["rootfs", "ramfs", "proc", "sysfs", "devtmpfs", "devpts", "cgroup2", "bpf", "securityfs", "tmpfs"];

/// Time in which everything must be written and unmounted, while the watchdog is fed. A disk that takes longer is taken for
/// one that never answers.
const WRITING_TIME: Duration = Duration::from_secs(45);
/// Time between two feedings: well below the shortest time-out.
const INTERVAL: Duration = Duration::from_secs(2);

/// Ends the run cleanly. To be called by PID 1 when every other process has ended, with the descriptor of its watchdog. Does
/// not return; when the kernel refuses, says so and waits for the hardware watchdog, which no one feeds any more.
pub fn finish(action: Action, watchdog: Option<RawFd>) -> ! {
    let feeder = watchdog.map(|fd| Feeder::start(WRITING_TIME, INTERVAL, move || watchdog::feed_number(fd)));
    rustix::fs::sync();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for point in to_unmount(&mounts) {
        if mount::unmount(&point).is_err() && mount::remount_read_only(&point).is_err() {
            console::say(format_args!("{} could not be unmounted: something still uses it", point.display()));
        }
    }
    rustix::fs::sync();
    // From here on the kernel has the watchdog's time.
    drop(feeder);
    now(action)
}

/// A thread that feeds the watchdog until it is dropped, or for its longest time.
struct Feeder(Arc<AtomicBool>);

impl Feeder {
    fn start(
        longest: Duration,
        interval: Duration,
        feed: impl Fn() -> std::io::Result<()> + Send + 'static,
    ) -> Feeder {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let until = Instant::now() + longest;
        let run = move || {
            while !ended.load(Ordering::SeqCst) && Instant::now() < until {
                let _ = feed();
                std::thread::sleep(interval);
            }
            if !ended.load(Ordering::SeqCst) {
                let seconds = longest.as_secs();
                console::say(format_args!(
                    "the disks were not flushed within {seconds} s: the watchdog will reset the node"
                ));
            }
        };
        // Without a thread the watchdog's time is all there is.
        let _ = std::thread::Builder::new().name("feeder".to_owned()).spawn(run);
        Feeder(over)
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Ends the run at once: no sync, no unmounting.
pub fn now(action: Action) -> ! {
    // For a power-off the kernel leaves its own order in the same place.
    if action == Action::Reboot
        && let Err(error) = firmware::forget_partition()
    {
        console::say(format_args!("the partition of the next boot is not cleared in PM_RSTS: {error}"));
    }
    let command = match action {
        Action::Reboot => RebootCommand::Restart,
        Action::PowerOff => RebootCommand::PowerOff,
    };
    let error = rustix::system::reboot(command);
    console::say(format_args!("the kernel refused to {action:?}: {error:?}; waiting for the hardware watchdog"));
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

/// Mount points of file systems on disks, the last mounted first, without `/`.
fn to_unmount(mounts: &str) -> Vec<PathBuf> {
    let mut points: Vec<PathBuf> = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (_, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
            (point != "/" && !NO_DISK.contains(&kind)).then(|| unescape(point))
        })
        .collect();
    points.reverse();
    points
}

/// Undoes the octal escapes of /proc/self/mounts (`\040` for a space).
fn unescape(point: &str) -> PathBuf {
    let mut text = point.to_owned();
    for (escaped, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        text = text.replace(escaped, plain);
    }
    Path::new(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(longest_ms: u64) -> (Feeder, Arc<std::sync::atomic::AtomicU32>) {
        let count = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counter = Arc::clone(&count);
        let feed = move || {
            counter.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        (Feeder::start(Duration::from_millis(longest_ms), Duration::from_millis(5), feed), count)
    }

    #[test]
    fn a_disk_that_never_answers_is_not_waited_for_for_ever() {
        let (feeder, count) = fed(100);
        std::thread::sleep(Duration::from_millis(300));
        let then = count.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(100));
        assert!(then > 1 && count.load(Ordering::SeqCst) == then, "fed {then} times, and then again");
        drop(feeder);
    }

    #[test]
    fn the_kernel_gets_no_more_than_the_watchdogs_time() {
        let (feeder, count) = fed(60_000);
        std::thread::sleep(Duration::from_millis(100));
        drop(feeder);
        std::thread::sleep(Duration::from_millis(50));
        let then = count.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(100));
        assert!(then > 1 && count.load(Ordering::SeqCst) == then, "fed {then} times, and then again");
    }

    #[test]
    fn disks_are_unmounted_in_reverse_and_the_root_is_not() {
        let mounts = "/dev/dm-0 / ext4 ro 0 0\nproc /proc proc rw 0 0\n/dev/nvme0n1p6 /state ext4 rw 0 0\n\
                      none /usr/lib/microdc/firstboot rootfs ro 0 0\n\
                      /dev/nvme0n1p6 /var/lib/with\\040space ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\nshort\n";
        assert_eq!(to_unmount(mounts), [PathBuf::from("/var/lib/with space"), PathBuf::from("/state")]);
    }
}
