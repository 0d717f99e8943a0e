//! Mounts, and the way from the initramfs to the real root. Safe wrappers come from rustix.

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use std::ffi::CStr;
use std::io;
use std::path::Path;

pub use rustix::mount::MountFlags as Flags;

/// Flags for every mount that holds data and no programs.
pub const DATA_ONLY: MountFlags = MountFlags::NODEV.union(MountFlags::NOSUID).union(MountFlags::NOEXEC);

/// Mounts a file system; the mount point is made when it is missing.
///
/// # Errors
/// What the kernel says, or that the mount point cannot be made.
pub fn mount(source: &Path, target: &Path, kind: &str, flags: MountFlags, options: Option<&CStr>) -> io::Result<()> {
    if !target.is_dir() {
        std::fs::create_dir_all(target)?;
    }
    Ok(rustix::mount::mount(source, target, kind, flags, options)?)
}

/// Unmounts.
///
/// # Errors
/// `EBUSY` while something below is in use.
pub fn unmount(target: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(target, UnmountFlags::NOFOLLOW)?)
}

/// Takes a mount out of the tree now; it ends when nothing uses it any more.
///
/// # Errors
/// `EINVAL` when nothing is mounted there.
pub fn detach(target: &Path) -> io::Result<()> {
    Ok(rustix::mount::unmount(target, UnmountFlags::NOFOLLOW | UnmountFlags::DETACH)?)
}

/// Makes a mounted file system read-only.
///
/// # Errors
/// `EBUSY` while a file is open for writing.
pub fn remount_read_only(target: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_remount(target, MountFlags::RDONLY, c"")?)
}

/// Shows a file at another place too, where a file must stand; nothing can be written to it there.
///
/// # Errors
/// What the kernel says.
pub fn show_read_only(file: &Path, at: &Path) -> io::Result<()> {
    rustix::mount::mount_bind(file, at)?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID;
    Ok(rustix::mount::mount_remount(at, flags, c"")?)
}

/// Moves a mount to another place.
///
/// # Errors
/// What the kernel says.
pub fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_move(from, to)?)
}

/// Lets later mounts below `/` be seen in the mount namespaces made from this one (container engines ask for it).
///
/// # Errors
/// What the kernel says.
pub fn share_root() -> io::Result<()> {
    Ok(rustix::mount::mount_change("/", MountPropagationFlags::SHARED | MountPropagationFlags::REC)?)
}

/// Makes the mount at `new_root` the root of this process: what was `/` is left behind under it, out of sight.
///
/// # Errors
/// What the kernel says. After an error the process may stand anywhere: reboot.
pub fn switch_root(new_root: &Path) -> io::Result<()> {
    rustix::process::chdir(new_root)?;
    rustix::mount::mount_move(".", "/")?;
    rustix::process::chroot(".")?;
    Ok(rustix::process::chdir("/")?)
}

/// Text of /proc/self/mounts or mountinfo, where a space, tab, line end or backslash stands as `\040` and so on.
pub fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let number = after.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match (first, number) {
            (b'\\', Some(byte)) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
