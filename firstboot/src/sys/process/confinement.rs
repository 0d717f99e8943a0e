//! What keeps a program from the rest of the node, made before the fork and put on between fork and execve: what it sees
//! ([`Change`]), which system calls it may make, and whom it may reach. Mirrors linux/seccomp.h, linux/landlock.h and
//! linux/keyctl.h.

use super::namespace::Change;
use seccompiler::BpfProgram;

/// Prepared by whoever knows what a service needs. The default confines nothing.
#[derive(Debug, Default)]
pub struct Confinement {
    /// In this order, in a mount namespace of its own. At most 255 of them.
    pub changes: Vec<Change>,
    /// Seccomp filters, the strictest answer of which holds.
    pub filters: Vec<BpfProgram>,
    /// It cannot signal or trace processes other than its own children, nor connect to their abstract sockets, where the
    /// kernel knows how (Landlock 6, Linux 6.12).
    pub scoped: bool,
    /// It has a session keyring of its own.
    pub keyring: bool,
    /// It is PID 1 of its own processes, sees its own cgroup as the top of them, and shares what it mounts with those that
    /// it starts.
    pub containers: bool,
}

/// `struct landlock_ruleset_attr`, as of version 6.
#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scoped: u64,
}

/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL`
const SCOPES: u64 = 0b11;
const RULESET_VERSION: u32 = 1;
/// The first version that knows scopes.
const SCOPES_SINCE: libc::c_long = 6;
/// The same on all machines.
const SYS_LANDLOCK_CREATE_RULESET: libc::c_long = 444;
const SYS_LANDLOCK_RESTRICT_SELF: libc::c_long = 446;
const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;

/// A session keyring of its own; a kernel without keyrings has nothing to share.
///
/// # Safety
/// To be called in the child after fork.
pub(super) unsafe fn own_keyring() {
    // SAFETY: a plain system call; no name is given.
    unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, std::ptr::null::<libc::c_char>()) };
}

/// Leaves the reach of other processes, where the kernel knows how.
///
/// # Safety
/// To be called in the child after fork; it needs no new privileges or CAP_SYS_ADMIN.
pub(super) unsafe fn leave_reach() -> Result<(), ()> {
    // SAFETY: the kernel reads one ruleset of the size given.
    unsafe {
        let none = std::ptr::null::<Ruleset>();
        if libc::syscall(SYS_LANDLOCK_CREATE_RULESET, none, 0_usize, RULESET_VERSION) < SCOPES_SINCE {
            return Ok(());
        }
        let ruleset = Ruleset { files: 0, network: 0, scoped: SCOPES };
        let file = libc::syscall(SYS_LANDLOCK_CREATE_RULESET, &raw const ruleset, size_of::<Ruleset>(), 0_u32);
        if file < 0 || libc::syscall(SYS_LANDLOCK_RESTRICT_SELF, file, 0_u32) < 0 {
            return Err(());
        }
        libc::close(file as libc::c_int);
    }
    Ok(())
}

/// Puts a filter on.
///
/// # Safety
/// To be called in the child after fork; it needs no new privileges or CAP_SYS_ADMIN. The filter's system calls must
/// include what the child still does.
pub(super) unsafe fn filter(program: &libc::sock_fprog) -> Result<(), ()> {
    // SAFETY: the kernel copies the program, whose pointer and length belong together.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0_u32, program) };
    if result < 0 { Err(()) } else { Ok(()) }
}

/// The programs as the kernel takes them. They point into `filters`.
pub(super) fn programs(filters: &[BpfProgram]) -> Vec<libc::sock_fprog> {
    let one = |filter: &BpfProgram| libc::sock_fprog {
        // Longer ones than the kernel takes (4,096) are refused by it.
        len: u16::try_from(filter.len()).unwrap_or(u16::MAX),
        // `struct sock_filter` has the same layout in both crates; the kernel does not write to it.
        filter: filter.as_ptr().cast_mut().cast(),
    };
    filters.iter().map(one).collect()
}
