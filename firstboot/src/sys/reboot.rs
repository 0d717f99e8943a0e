//! The end of a run: everything written, everything unmounted, then the system call. Mirrors linux/reboot.h.

use super::mount;
use crate::console;
use rustix::system::RebootCommand;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Reboot,
    PowerOff,
}

/// Kernel file systems: nothing of theirs has to reach a disk.
const NO_DISK: [&str; 10] =
    ["rootfs", "ramfs", "proc", "sysfs", "devtmpfs", "devpts", "cgroup2", "bpf", "securityfs", "tmpfs"];

/// Ends the run cleanly. To be called by PID 1 when every other process has ended. Does not return; when the kernel
/// refuses, says so and waits for the hardware watchdog, which nobody feeds any more.
pub fn finish(action: Action) -> ! {
    rustix::fs::sync();
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    for point in to_unmount(&mounts) {
        if mount::unmount(&point).is_err() && mount::remount_read_only(&point).is_err() {
            console::say(format_args!("{} could not be unmounted: something still uses it", point.display()));
        }
    }
    rustix::fs::sync();
    now(action)
}

/// Ends the run at once: no sync, no unmounting.
pub fn now(action: Action) -> ! {
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

    #[test]
    fn disks_are_unmounted_in_reverse_and_the_root_is_not() {
        let mounts = "/dev/dm-0 / ext4 ro 0 0\nproc /proc proc rw 0 0\n/dev/nvme0n1p6 /state ext4 rw 0 0\n\
                      none /usr/lib/microdc/firstboot rootfs ro 0 0\n\
                      /dev/nvme0n1p6 /var/lib/with\\040space ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\nshort\n";
        assert_eq!(to_unmount(mounts), [PathBuf::from("/var/lib/with space"), PathBuf::from("/state")]);
    }
}
