//! What a process sees otherwise than the rest of the node: a mount namespace of its own, changed before the program
//! runs. Mirrors linux/mount.h.

use super::SpawnError;
use contract::role::{Identity, Mount};
use std::ffi::{CStr, CString};

/// Most changes for one program: their number travels in a byte.
const MOST: usize = 200;

/// One change, with everything allocated that its system calls need.
#[derive(Debug)]
pub(super) struct Change {
    kind: Kind,
    /// Where.
    at: CString,
}

#[derive(Debug)]
enum Kind {
    Temporary {
        options: CString,
    },
    Bind {
        from: CString,
        read_only: bool,
    },
    /// An empty folder that nobody can write to.
    HiddenFolder,
    HiddenFile,
}

/// `struct mount_attr`
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

const MOUNT_ATTR_RDONLY: u64 = 1;

/// Prepares the changes.
///
/// # Errors
/// A zero byte in a path, or too many of them.
pub(super) fn changes(mounts: &[Mount], identity: &Identity) -> Result<Vec<Change>, SpawnError> {
    let mut changes = Vec::new();
    for mount in mounts.iter().take(MOST) {
        let (at, kind) = match mount {
            Mount::Temporary { path, size_bytes } => {
                let (uid, gid) = (identity.uid, identity.gid);
                let options = CString::new(format!("mode=0700,uid={uid},gid={gid},size={size_bytes}"))?;
                (path, Kind::Temporary { options })
            }
            Mount::Bind { from, to, read_only } => {
                (to, Kind::Bind { from: CString::new(from.as_str())?, read_only: *read_only })
            }
            Mount::ReadOnly(path) => (path, Kind::Bind { from: CString::new(path.as_str())?, read_only: true }),
            Mount::Hidden(path) => match std::fs::metadata(path) {
                Ok(found) if found.is_dir() => (path, Kind::HiddenFolder),
                Ok(_) => (path, Kind::HiddenFile),
                // What is not there needs no hiding.
                Err(_) => continue,
            },
        };
        changes.push(Change { kind, at: CString::new(at.as_str())? });
    }
    Ok(changes)
}

impl Change {
    /// What it does, for the error.
    pub(super) fn words(&self) -> String {
        let at = self.at.to_string_lossy();
        match &self.kind {
            Kind::Temporary { .. } => format!("mount memory on {at}"),
            Kind::Bind { from, .. } if *from == self.at => format!("make {at} read-only"),
            Kind::Bind { from, .. } => format!("show {} at {at}", from.to_string_lossy()),
            Kind::HiddenFolder | Kind::HiddenFile => format!("hide {at}"),
        }
    }

    /// Makes it. The error is in errno.
    ///
    /// # Safety
    /// To be called in the child after fork, in a mount namespace of its own.
    pub(super) unsafe fn make(&self) -> Result<(), ()> {
        // SAFETY: every pointer is a C string of this value or a static one.
        unsafe {
            match &self.kind {
                Kind::Temporary { options } => {
                    mount(c"tmpfs", &self.at, Some(c"tmpfs"), libc::MS_NOSUID | libc::MS_NODEV, Some(options))
                }
                Kind::HiddenFolder => {
                    let flags = libc::MS_RDONLY | libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
                    mount(c"tmpfs", &self.at, Some(c"tmpfs"), flags, Some(c"mode=0555,size=4096"))
                }
                Kind::HiddenFile => mount(c"/dev/null", &self.at, None, libc::MS_BIND, None),
                Kind::Bind { from, read_only } => {
                    mount(from, &self.at, None, libc::MS_BIND | libc::MS_REC, None)?;
                    if *read_only { read_only_below(&self.at) } else { Ok(()) }
                }
            }
        }
    }
}

/// Leaves the mounts of everybody: changes from there still come in, none go out.
///
/// # Safety
/// To be called in the child after fork.
pub(super) unsafe fn enter() -> Result<(), ()> {
    // SAFETY: plain system calls on static strings.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNS) < 0 {
            return Err(());
        }
        mount(c"none", c"/", None, libc::MS_SLAVE | libc::MS_REC, None)
    }
}

unsafe fn mount(
    source: &CStr,
    at: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
    options: Option<&CStr>,
) -> Result<(), ()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: C strings that outlive the call; null where there is none.
    let result = unsafe { libc::mount(source.as_ptr(), at.as_ptr(), pointer(kind), flags, pointer(options).cast()) };
    if result < 0 { Err(()) } else { Ok(()) }
}

/// Nothing at or below this mount can be written (mount_setattr(2), Linux 5.12).
unsafe fn read_only_below(at: &CStr) -> Result<(), ()> {
    let wanted = MountAttributes { set: MOUNT_ATTR_RDONLY, clear: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the kernel reads one mount_attr of the size given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            at.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const wanted,
            size_of::<MountAttributes>(),
        )
    };
    if result < 0 { Err(()) } else { Ok(()) }
}
