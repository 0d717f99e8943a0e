//! Between fork and execve: raw system calls on memory that was prepared before, and nothing else. Mirrors
//! linux/capability.h, linux/prctl.h, linux/securebits.h.

use super::confinement;
use super::namespace::{self, Change};

/// What the child does, in order; the number travels through the pipe when one of them fails.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Step {
    Session,
    Cgroup,
    Signals,
    Files,
    Limits,
    Mounts,
    Folder,
    Groups,
    Bounding,
    User,
    Capabilities,
    Ambient,
    NoNewPrivileges,
    Reach,
    Filter,
    Execute,
    Beside,
}

/// In place of a [`Step`]: the number of the child that becomes the program.
pub(super) const BESIDE: u8 = u8::MAX;

impl Step {
    pub(super) fn words(number: u8) -> &'static str {
        const WORDS: [&str; 17] = [
            "open a session",
            "join the cgroup",
            "reset the signals",
            "set up standard input and output",
            "set the limits",
            "set up its mounts",
            "enter its working folder",
            "set the groups",
            "drop capabilities from the bounding set",
            "become the user",
            "set the capabilities",
            "keep the capabilities across exec",
            "forbid new privileges",
            "restrict its reach to its own processes",
            "filter its system calls",
            "execute",
            "enter the namespaces of its containers",
        ];
        WORDS.get(usize::from(number)).copied().unwrap_or("start")
    }
}

/// Everything the child needs, allocated beforehand.
pub(super) struct Prepared<'p> {
    pub(super) path: *const libc::c_char,
    pub(super) argv: Vec<*const libc::c_char>,
    pub(super) envp: Vec<*const libc::c_char>,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) mask: u64,
    pub(super) cgroup: i32,
    pub(super) input: i32,
    pub(super) output: i32,
    pub(super) report: i32,
    pub(super) folder: *const libc::c_char,
    pub(super) open_files: u64,
    pub(super) new_privileges: bool,
    pub(super) changes: &'p [Change],
    pub(super) filters: Vec<libc::sock_fprog>,
    pub(super) scoped: bool,
    pub(super) keyring: bool,
    pub(super) containers: bool,
    /// The number that it shall have, and the file.
    pub(super) files: &'p [(i32, i32)],
}

/// The child between fork and execve. No allocation, no lock, no panic.
pub(super) fn run(prepared: &Prepared<'_>) -> ! {
    let mut change = 0;
    let step = match become_program(prepared, &mut change) {
        Ok(never) => match never {},
        Err(step) => step,
    };
    failed(prepared, step, change)
}

fn failed(prepared: &Prepared<'_>, step: Step, change: u8) -> ! {
    // SAFETY: errno of this thread; _exit does not return.
    unsafe {
        report(prepared, step as u8, change, *libc::__errno_location());
        libc::_exit(127)
    }
}

fn report(prepared: &Prepared<'_>, step: u8, change: u8, value: i32) {
    let value = value.to_ne_bytes();
    let bytes = [step, change, value[0], value[1], value[2], value[3]];
    // SAFETY: a raw system call on a local buffer and an open descriptor.
    unsafe { libc::write(prepared.report, bytes.as_ptr().cast(), bytes.len()) };
}

/// As [`run`], in the namespaces of another process. A process enters a PID namespace with its children only (setns(2)): one
/// more is made, as a child of whoever forked this one (`CLONE_PARENT` of clone(2)), and this one ends.
pub(super) fn run_beside(prepared: &Prepared<'_>, process: i32) -> ! {
    // SAFETY: raw system calls on open descriptors; the child goes on with a copy of this stack, as after fork.
    unsafe {
        // As long as the descriptors of PID 1 are all there; what follows is not in the way of the cgroup's own limits.
        let joined = prepared.cgroup < 0 || libc::write(prepared.cgroup, c"0".as_ptr().cast(), 1) > 0;
        if !joined {
            failed(prepared, Step::Cgroup, 0);
        }
        let spaces = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP;
        if libc::syscall(libc::SYS_setns, process, spaces) < 0 {
            failed(prepared, Step::Beside, 0);
        }
        let flags = libc::c_long::from(libc::CLONE_PARENT | libc::SIGCHLD);
        match libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) {
            0 => run(prepared),
            pid if pid > 0 => {
                report(prepared, BESIDE, 0, pid as i32);
                libc::_exit(0)
            }
            _ => failed(prepared, Step::Beside, 0),
        }
    }
}

fn become_program(prepared: &Prepared<'_>, change: &mut u8) -> Result<std::convert::Infallible, Step> {
    let done = |result: libc::c_long, step| if result < 0 { Err(step) } else { Ok(()) };
    // SAFETY: every pointer comes from `prepared` or this stack and outlives its call. The identity calls go to the
    // kernel directly, as libc's own would signal other threads, which do not exist here.
    unsafe {
        done(libc::setsid().into(), Step::Session)?;
        if prepared.cgroup >= 0 {
            done(libc::write(prepared.cgroup, c"0".as_ptr().cast(), 1) as libc::c_long, Step::Cgroup)?;
        }
        if prepared.containers {
            done(libc::unshare(libc::CLONE_NEWCGROUP).into(), Step::Cgroup)?;
        }
        reset_signals()?;
        done(libc::dup2(prepared.input, 0).into(), Step::Files)?;
        done(libc::dup2(prepared.output, 1).into(), Step::Files)?;
        done(libc::dup2(prepared.output, 2).into(), Step::Files)?;
        // Whatever PID 1 holds open, the watchdog first of all, stays with PID 1.
        let closed = libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        done(closed, Step::Files)?;
        // The numbers wanted are below those of the files, so none is overwritten.
        for (number, file) in prepared.files {
            done(libc::dup2(*file, *number).into(), Step::Files)?;
        }
        libc::umask(0o022);
        limits(prepared.open_files)?;
        if !prepared.changes.is_empty() {
            namespace::enter().map_err(|()| Step::Mounts)?;
            for (number, wanted) in prepared.changes.iter().enumerate() {
                *change = number as u8;
                wanted.make().map_err(|()| Step::Mounts)?;
            }
            if prepared.containers {
                namespace::share().map_err(|()| Step::Mounts)?;
            }
        }
        if prepared.keyring {
            confinement::own_keyring();
        }
        become_user(prepared)?;
        // As its own user: a folder that is not for it is none for it here either.
        done(libc::chdir(prepared.folder).into(), Step::Folder)?;
        if !prepared.new_privileges {
            done(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into(), Step::NoNewPrivileges)?;
        }
        if prepared.scoped {
            confinement::leave_reach().map_err(|()| Step::Reach)?;
        }
        for filter in &prepared.filters {
            confinement::filter(filter).map_err(|()| Step::Filter)?;
        }
        libc::execve(prepared.path, prepared.argv.as_ptr(), prepared.envp.as_ptr());
    }
    Err(Step::Execute)
}

/// Default action for every signal, none blocked.
///
/// # Safety
/// To be called in the child after fork.
unsafe fn reset_signals() -> Result<(), Step> {
    // SAFETY: plain calls with local values; signals that cannot be changed are skipped.
    unsafe {
        for signal in 1..=64 {
            if signal != libc::SIGKILL && signal != libc::SIGSTOP {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        if libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()) < 0 {
            return Err(Step::Signals);
        }
    }
    Ok(())
}

/// Open files, no core dumps, and an ordinary place in the order of the out-of-memory killer.
///
/// # Safety
/// To be called in the child after fork.
unsafe fn limits(open_files: u64) -> Result<(), Step> {
    // SAFETY: plain calls with local values.
    unsafe {
        let mut files = libc::rlimit { rlim_cur: open_files, rlim_max: open_files };
        // Where the limit cannot be raised, all that is allowed.
        if libc::setrlimit(libc::RLIMIT_NOFILE, &files) < 0 {
            if libc::getrlimit(libc::RLIMIT_NOFILE, &mut files) < 0 {
                return Err(Step::Limits);
            }
            files.rlim_cur = files.rlim_max.min(open_files);
            if libc::setrlimit(libc::RLIMIT_NOFILE, &files) < 0 {
                return Err(Step::Limits);
            }
        }
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        let score = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if score >= 0 {
            libc::write(score, c"0".as_ptr().cast(), 1);
            libc::close(score);
        }
    }
    Ok(())
}

/// linux/capability.h
const CAP_SYS_ADMIN: u32 = 21;
/// linux/capability.h, `_LINUX_CAPABILITY_VERSION_3`.
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// User, groups, and no capability but the given ones.
///
/// # Safety
/// To be called in the child after fork.
unsafe fn become_user(prepared: &Prepared<'_>) -> Result<(), Step> {
    let done = |result: libc::c_long, step| if result < 0 { Err(step) } else { Ok(()) };
    let mask = prepared.mask;
    let has = |capability: u32| mask & (1 << capability) != 0;
    // SAFETY: pointers to prepared or local memory with the lengths given.
    unsafe {
        let groups = &prepared.groups;
        done(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()), Step::Groups)?;
        done(libc::syscall(libc::SYS_setresgid, prepared.gid, prepared.gid, prepared.gid), Step::Groups)?;
        for capability in (0..64_u32).filter(|&capability| !has(capability)) {
            // Numbers that this kernel does not know end the list.
            if libc::prctl(libc::PR_CAPBSET_READ, capability, 0, 0, 0) == 1 {
                done(libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0).into(), Step::Bounding)?;
            }
        }
        done(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0).into(), Step::User)?;
        done(libc::syscall(libc::SYS_setresuid, prepared.uid, prepared.uid, prepared.uid), Step::User)?;
        // A filter is put on by whoever can gain no new privileges, or may do as it likes: the latter ends with execve, as
        // the right is neither in the bounding set nor among the ambient ones.
        let filtered = prepared.new_privileges && (prepared.scoped || !prepared.filters.is_empty());
        let until_exec = if filtered { mask | 1 << CAP_SYS_ADMIN } else { mask };
        let half = |shift: u32| {
            let bits = (until_exec >> shift) as u32;
            CapabilityData { effective: bits, permitted: bits, inheritable: (mask >> shift) as u32 }
        };
        let header = CapabilityHeader { version: CAPABILITY_VERSION_3, pid: 0 };
        let data = [half(0), half(32)];
        done(libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()), Step::Capabilities)?;
        for capability in (0..64_u32).filter(|&capability| has(capability)) {
            let raised = libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE, capability, 0, 0);
            done(raised.into(), Step::Ambient)?;
        }
    }
    Ok(())
}
