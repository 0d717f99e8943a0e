//! Programs that the kernel runs when processes of a cgroup do something (bpf(2), linux/bpf.h).

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

/// `BPF_PROG_LOAD`
const LOAD: libc::c_int = 5;
/// `BPF_PROG_ATTACH`
const ATTACH: libc::c_int = 8;
/// `BPF_F_ALLOW_MULTI`: programs of cgroups below it run as well, and all must agree.
const ALLOW_MULTI: u32 = 1 << 1;

/// When a program runs, as `enum bpf_prog_type` and `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A device node is made or opened: `BPF_PROG_TYPE_CGROUP_DEVICE`, `BPF_CGROUP_DEVICE`.
    Device,
    /// A file below `/proc/sys` is read or written: `BPF_PROG_TYPE_CGROUP_SYSCTL`, `BPF_CGROUP_SYSCTL`.
    Sysctl,
}

impl Hook {
    fn numbers(self) -> (u32, u32) {
        match self {
            Hook::Device => (15, 6),
            Hook::Sysctl => (23, 18),
        }
    }
}

/// The part of `union bpf_attr` that loads a program.
#[repr(C)]
#[derive(Default)]
struct LoadAttributes {
    kind: u32,
    instructions: u32,
    program: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that attaches a program.
#[repr(C)]
#[derive(Default)]
struct AttachAttributes {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Loads a program and attaches it to the cgroup whose folder is open: it holds for every process in it and below, until
/// the cgroup is removed.
///
/// # Errors
/// What the kernel says: EINVAL or EACCES for a program that it does not accept, EPERM without CAP_SYS_ADMIN.
pub fn attach(cgroup: BorrowedFd<'_>, hook: Hook, program: &[u64]) -> io::Result<()> {
    let (kind, attach) = hook.numbers();
    let mut load = LoadAttributes {
        kind,
        instructions: u32::try_from(program.len()).unwrap_or(u32::MAX),
        program: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        ..LoadAttributes::default()
    };
    // SAFETY: the attributes point to the program and to a static string, which the kernel copies.
    let loaded = unsafe { call(LOAD, &mut load)? };
    // SAFETY: a fresh descriptor.
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded) };
    let number = |file: RawFd| file.cast_unsigned();
    let mut attributes = AttachAttributes {
        target: number(cgroup.as_raw_fd()),
        program: number(loaded.as_raw_fd()),
        kind: attach,
        flags: ALLOW_MULTI,
    };
    // SAFETY: plain numbers.
    unsafe { call(ATTACH, &mut attributes).map(drop) }
}

/// # Safety
/// The attributes must be those of the command, and what they point to must be valid.
unsafe fn call<T>(command: libc::c_int, attributes: &mut T) -> io::Result<RawFd> {
    // SAFETY: the caller vouches for the attributes; the kernel takes those that are missing behind them as zero.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}
