//! Changes to what a process sees: made in a mount namespace of its own, before its program runs. Mirrors linux/mount.h.

use std::ffi::{CStr, CString, NulError};

/// What a mount may not be used for, or may be used for again (`MOUNT_ATTR_*`).
pub mod attribute {
    pub const READ_ONLY: u64 = 0x1;
    pub const NO_SETUID: u64 = 0x2;
    pub const NO_DEVICES: u64 = 0x4;
    pub const NO_PROGRAMS: u64 = 0x8;
}

/// One change, with everything allocated that its system calls need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    kind: Kind,
    /// Where.
    at: CString,
    /// Whether the program starts also when it cannot be made.
    optional: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Mount { kind: CString, flags: u64, options: CString },
    Bind { from: CString },
    Attributes { below: bool, set: u64, clear: u64 },
    Detach,
    Node { mode: u32, device: u64, owner: (u32, u32) },
    Link { to: CString },
    Folder,
}

/// `struct mount_attr`
#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

impl Change {
    fn new(at: &str, kind: Kind) -> Result<Change, NulError> {
        Ok(Change { kind, at: CString::new(at)?, optional: false })
    }

    /// Mounts a file system that has no device. `options` are its own; `flags` are [`attribute`]s.
    ///
    /// # Errors
    /// A zero byte in a text; as all of these.
    pub fn mount(kind: &str, at: &str, flags: u64, options: &str) -> Result<Change, NulError> {
        Change::new(at, Kind::Mount { kind: CString::new(kind)?, flags, options: CString::new(options)? })
    }

    /// What is at `from`, with what is mounted below it, is seen at `at` too.
    pub fn bind(from: &str, at: &str) -> Result<Change, NulError> {
        Change::new(at, Kind::Bind { from: CString::new(from)? })
    }

    /// Sets and clears [`attribute`]s of the mount at `at`, and of all below it.
    pub fn attributes(at: &str, below: bool, set: u64, clear: u64) -> Result<Change, NulError> {
        Change::new(at, Kind::Attributes { below, set, clear })
    }

    /// Takes the mount at `at` away, with what is mounted below it.
    pub fn detach(at: &str) -> Result<Change, NulError> {
        Change::new(at, Kind::Detach)
    }

    /// Makes a device node. `mode` says the kind and the permissions, `device` the number.
    pub fn node(at: &str, mode: u32, device: u64, owner: (u32, u32)) -> Result<Change, NulError> {
        Change::new(at, Kind::Node { mode, device, owner })
    }

    /// Makes a symbolic link.
    pub fn link(at: &str, to: &str) -> Result<Change, NulError> {
        Change::new(at, Kind::Link { to: CString::new(to)? })
    }

    /// Makes an empty file (0644), as something to show another file at.
    pub fn file(at: &str) -> Result<Change, NulError> {
        Change::new(at, Kind::Node { mode: libc::S_IFREG | 0o644, device: 0, owner: (0, 0) })
    }

    /// Makes a folder (0755).
    pub fn folder(at: &str) -> Result<Change, NulError> {
        Change::new(at, Kind::Folder)
    }

    /// The same change, without which the program starts too.
    #[must_use]
    pub fn or_not(self) -> Change {
        Change { optional: true, ..self }
    }

    /// What it does, for the error.
    pub fn words(&self) -> String {
        let at = self.at.to_string_lossy();
        match &self.kind {
            Kind::Mount { kind, .. } => format!("mount {} on {at}", kind.to_string_lossy()),
            Kind::Bind { from } => format!("mount {} at {at}", from.to_string_lossy()),
            Kind::Attributes { .. } => format!("set the mount options of {at}"),
            Kind::Detach => format!("remove {at}"),
            Kind::Node { .. } | Kind::Link { .. } | Kind::Folder => format!("make {at}"),
        }
    }

    /// Makes it. The error is in errno.
    ///
    /// # Safety
    /// To be called in the child after fork, in a mount namespace of its own.
    pub(super) unsafe fn make(&self) -> Result<(), ()> {
        let at = self.at.as_ptr();
        // SAFETY: every pointer is a C string of this value or a static one; the kernel reads no more than it is told.
        let result = unsafe {
            match &self.kind {
                Kind::Mount { kind, flags, options } => {
                    libc::mount(kind.as_ptr(), at, kind.as_ptr(), mount_flags(*flags), options.as_ptr().cast()).into()
                }
                Kind::Bind { from } => {
                    let flags = libc::MS_BIND | libc::MS_REC;
                    libc::mount(from.as_ptr(), at, std::ptr::null(), flags, std::ptr::null()).into()
                }
                Kind::Attributes { below, set, clear } => {
                    let wanted = MountAttributes { set: *set, clear: *clear, propagation: 0, userns_fd: 0 };
                    let flags = if *below { libc::AT_RECURSIVE } else { 0 };
                    let size = size_of::<MountAttributes>();
                    libc::syscall(libc::SYS_mount_setattr, libc::AT_FDCWD, at, flags, &raw const wanted, size)
                }
                Kind::Detach => libc::umount2(at, libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW).into(),
                Kind::Node { mode, device, owner } => {
                    let made = libc::mknod(at, *mode as libc::mode_t, *device as libc::dev_t);
                    // Whatever the umask is.
                    let made = if made == 0 { libc::chmod(at, (mode & 0o7777) as libc::mode_t) } else { made };
                    libc::c_long::from(if made == 0 { libc::chown(at, owner.0, owner.1) } else { made })
                }
                Kind::Link { to } => libc::symlink(to.as_ptr(), at).into(),
                Kind::Folder => libc::mkdir(at, 0o755).into(),
            }
        };
        if result < 0 && !self.optional { Err(()) } else { Ok(()) }
    }
}

/// The flags of mount(2) for [`attribute`]s, whose first four have the same numbers.
fn mount_flags(attributes: u64) -> libc::c_ulong {
    const SAME: u64 = attribute::READ_ONLY | attribute::NO_SETUID | attribute::NO_DEVICES | attribute::NO_PROGRAMS;
    (attributes & SAME) as libc::c_ulong
}

/// Leaves the mounts of everyone: nothing comes in from there any more, nothing goes out.
///
/// # Safety
/// To be called in the child after fork.
pub(super) unsafe fn enter() -> Result<(), ()> {
    // SAFETY: plain system calls on static strings.
    unsafe {
        let left = libc::unshare(libc::CLONE_NEWNS) >= 0 && propagation(c"/", libc::MS_PRIVATE) >= 0;
        if left { Ok(()) } else { Err(()) }
    }
}

/// From here on what is mounted is seen in namespaces that begin as copies of this one.
///
/// # Safety
/// To be called in the child after fork, in a mount namespace of its own.
pub(super) unsafe fn share() -> Result<(), ()> {
    // SAFETY: a plain system call on static strings.
    if unsafe { propagation(c"/", libc::MS_SHARED) } < 0 { Err(()) } else { Ok(()) }
}

unsafe fn propagation(at: &CStr, kind: libc::c_ulong) -> libc::c_long {
    let flags = kind | libc::MS_REC;
    // SAFETY: C strings that outlive the call; null where there is none.
    unsafe { libc::mount(c"none".as_ptr(), at.as_ptr(), std::ptr::null(), flags, std::ptr::null()).into() }
}
