//! The last writes of a run: every file system flushed, then unmounted.
//!
//! Each is flushed on a thread of its own, so that a disk that never answers keeps no other from being written: the call of
//! such a thread never returns. It is waited for as long as anything is still written somewhere, and a while longer; then
//! the run ends without it.

use super::mount::{self, unescaped};
use crate::console;
use std::collections::BTreeMap;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Kernel file systems: nothing of theirs has to reach a disk.
const NO_DISK: [&str; 17] = [
    "rootfs",
    "ramfs",
    "proc",
    "sysfs",
    "devtmpfs",
    "devpts",
    "cgroup2",
    "bpf",
    "securityfs",
    "tmpfs",
    "mqueue",
    "debugfs",
    "tracefs",
    "configfs",
    "fusectl",
    "nsfs",
    "hugetlbfs",
];

/// How long is waited.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// While nothing is written and nothing is done: a disk that takes longer is taken for one that never answers.
    quiet: Duration,
    /// In all, however much is still being written.
    longest: Duration,
    /// Between two feedings of the watchdog: well below its time.
    turn: Duration,
}

const PATIENCE: Patience =
    Patience { quiet: Duration::from_secs(45), longest: Duration::from_secs(900), turn: Duration::from_secs(2) };

/// Something to be done, and what it is done to.
struct Job {
    name: String,
    work: Arc<dyn Fn() + Send + Sync>,
}

/// A mounted file system on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mounted {
    /// `major:minor`: the same for all mounts of one file system.
    device: String,
    point: PathBuf,
}

/// Flushes and unmounts everything. Says on the console what could not be; calls `feed` all the while.
pub fn everything(feed: impl Fn()) {
    let mounts = mounted(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
    let mut first = BTreeMap::new();
    for mount in &mounts {
        first.entry(mount.device.clone()).or_insert_with(|| mount.point.clone());
    }
    let mut jobs: Vec<Job> = first.into_iter().map(|(device, point)| flush(device, point)).collect();
    // What is written without a file system, such as logical volumes and raw partitions. It waits for all file systems too.
    let whole = "everything else";
    jobs.push(Job { name: whole.to_owned(), work: Arc::new(rustix::fs::sync) });
    let late = carry_out(&jobs, PATIENCE, &feed, written);
    for mount in mounts.iter().filter(|mount| late.contains(&mount.device)) {
        console::say(format_args!(
            "{} was not written within {} s: its disk does not answer, and the node ends without it",
            mount.point.display(),
            PATIENCE.quiet.as_secs()
        ));
    }
    if late == [whole] {
        console::say("a disk does not answer; the node ends without it");
    }
    let answering: Vec<PathBuf> =
        mounts.into_iter().filter(|mount| !late.contains(&mount.device)).map(|mount| mount.point).collect();
    let all_answer = late.is_empty();
    let unmount = move || {
        for point in &answering {
            if mount::unmount(point).is_err() && mount::remount_read_only(point).is_err() {
                console::say(format_args!("{} could not be unmounted: something still uses it", point.display()));
            }
        }
        if all_answer {
            rustix::fs::sync();
        }
    };
    let job = Job { name: "unmounting".to_owned(), work: Arc::new(unmount) };
    if !carry_out(&[job], PATIENCE, &feed, written).is_empty() {
        console::say("a disk does not answer while it is unmounted; the node ends without it");
    }
}

fn flush(device: String, point: PathBuf) -> Job {
    let work = move || {
        // A FIFO may be mounted somewhere: it must not wait for a writer.
        let options = libc::O_NONBLOCK | libc::O_CLOEXEC;
        if let Ok(file) = std::fs::File::options().read(true).custom_flags(options).open(&point) {
            let _ = rustix::fs::syncfs(file);
        }
    };
    Job { name: device, work: Arc::new(work) }
}

/// Does all at the same time. Gives the names of those that were not done in time. `written` is a figure that grows as
/// long as disks are written.
fn carry_out(jobs: &[Job], patience: Patience, feed: &dyn Fn(), written: fn() -> u64) -> Vec<String> {
    let (done, finished) = mpsc::channel();
    let mut open: Vec<&str> = Vec::new();
    for job in jobs {
        let (name, work, done) = (job.name.clone(), Arc::clone(&job.work), done.clone());
        let run = move || {
            work();
            let _ = done.send(name);
        };
        match std::thread::Builder::new().name("flush".to_owned()).spawn(run) {
            Ok(_) => open.push(&job.name),
            // Without a thread the watchdog's time is all there is.
            Err(_) => (job.work)(),
        }
    }
    let begin = Instant::now();
    let (mut moved, mut before) = (begin, written());
    while !open.is_empty() {
        feed();
        if let Ok(name) = finished.recv_timeout(patience.turn) {
            open.retain(|other| *other != name);
            moved = Instant::now();
        }
        let now = written();
        if now != before {
            (moved, before) = (Instant::now(), now);
        }
        if moved.elapsed() >= patience.quiet || begin.elapsed() >= patience.longest {
            break;
        }
    }
    open.into_iter().map(str::to_owned).collect()
}

/// Pages written to disks since power-on (proc_vmstat(5)).
fn written() -> u64 {
    let counters = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let line = counters.lines().find_map(|line| line.strip_prefix("nr_written "));
    line.and_then(|figure| figure.trim().parse().ok()).unwrap_or(0)
}

/// File systems on disks by the text of /proc/self/mountinfo (proc_pid_mountinfo(5)), the last mounted first, without `/`.
fn mounted(mountinfo: &str) -> Vec<Mounted> {
    let mut mounts: Vec<Mounted> = mountinfo
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut fields = before.split(' ').skip(2);
            let (device, _root, point) = (fields.next()?, fields.next()?, unescaped(fields.next()?));
            let kind = after.split(' ').next()?;
            let is_meant = point != "/" && !NO_DISK.contains(&kind);
            is_meant.then(|| Mounted { device: device.to_owned(), point: Path::new(&point).to_owned() })
        })
        .collect();
    mounts.reverse();
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    const SHORT: Patience = Patience {
        quiet: Duration::from_millis(200),
        longest: Duration::from_secs(60),
        turn: Duration::from_millis(5),
    };

    fn job(name: &str, work: impl Fn() + Send + Sync + 'static) -> Job {
        Job { name: name.to_owned(), work: Arc::new(work) }
    }

    fn never_answers() {
        std::thread::sleep(Duration::from_secs(3600));
    }

    #[test]
    fn a_disk_that_never_answers_is_named_and_keeps_no_other_from_being_written() {
        let (fed, wrote) = (AtomicU32::new(0), Arc::new(AtomicU32::new(0)));
        let writes = Arc::clone(&wrote);
        let good = move || {
            writes.fetch_add(1, Ordering::SeqCst);
        };
        let jobs = [job("hung", never_answers), job("good", good.clone()), job("too", good)];
        let feed = || {
            fed.fetch_add(1, Ordering::SeqCst);
        };
        let begin = Instant::now();
        assert_eq!(carry_out(&jobs, SHORT, &feed, || 7), ["hung"]);
        assert_eq!(wrote.load(Ordering::SeqCst), 2);
        assert!(fed.load(Ordering::SeqCst) > 10 && begin.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_disk_that_is_slow_is_waited_for_as_long_as_something_is_written_but_not_for_ever() {
        static PAGES: AtomicU64 = AtomicU64::new(0);
        let written = || PAGES.fetch_add(1, Ordering::SeqCst);
        let slow = || std::thread::sleep(2 * SHORT.quiet);
        assert!(carry_out(&[job("slow", slow)], SHORT, &|| {}, written).is_empty());
        let little = Patience { longest: Duration::from_millis(300), ..SHORT };
        assert_eq!(carry_out(&[job("endless", never_answers)], little, &|| {}, written), ["endless"]);
    }

    #[test]
    fn nothing_to_do_takes_no_time() {
        let begin = Instant::now();
        assert!(carry_out(&[], PATIENCE, &|| {}, written).is_empty());
        assert!(begin.elapsed() < PATIENCE.turn);
    }

    #[test]
    fn what_is_written_is_counted() {
        assert!(written() > 0);
    }

    #[test]
    fn disks_are_unmounted_in_reverse_and_the_root_is_not() {
        let mountinfo = "22 1 253:0 / / ro - ext4 /dev/dm-0 ro\n23 22 0:21 / /proc rw - proc proc rw\n\
                         30 22 259:6 / /state rw,noatime shared:5 - ext4 /dev/nvme0n1p6 rw\n\
                         31 22 0:2 /init /usr/lib/microdc/firstboot ro - rootfs none ro\n\
                         32 22 259:6 /with /var/lib/with\\040space rw - ext4 /dev/nvme0n1p6 rw\n\
                         33 22 0:25 / /run rw - tmpfs tmpfs rw\nshort\n";
        let mounted = mounted(mountinfo);
        let points: Vec<&Path> = mounted.iter().map(|mount| mount.point.as_path()).collect();
        assert_eq!(points, [Path::new("/var/lib/with space"), Path::new("/state")]);
        assert!(mounted.iter().all(|mount| mount.device == "259:6"));
    }
}
