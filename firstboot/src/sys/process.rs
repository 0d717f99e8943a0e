//! Starting a process with exactly the rights it was given: fork, a fixed list of system calls, execve.
//!
//! Everything that allocates happens before the fork. Between fork and execve the child makes raw system calls only,
//! so it does not matter what the parent was doing. What the child could not do comes back through a close-on-exec
//! pipe as a step and an errno. Mirrors linux/capability.h, linux/prctl.h, linux/securebits.h.

use contract::role::{Capability, Identity};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use std::ffi::{CString, NulError};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// File descriptors that a process may have open.
const OPEN_FILES: u64 = 65_536;

/// What to run, as whom and with which rights.
pub struct Program<'a> {
    /// Absolute path and arguments.
    pub run: &'a [String],
    pub environment: Vec<(String, String)>,
    pub identity: &'a Identity,
    /// Kept as permitted, inheritable, effective and ambient; the bounding set has no others.
    pub capabilities: &'a [Capability],
    /// `cgroup.procs` of the cgroup to join, open for writing.
    pub cgroup: Option<OwnedFd>,
    /// Becomes standard output and error.
    pub output: BorrowedFd<'a>,
}

/// A process that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("there is no program to run")]
    Empty,
    #[error("a zero byte in the program, its arguments or its environment")]
    Nul(#[from] NulError),
    #[error("cannot {step}: {source}")]
    Prepare { step: &'static str, source: std::io::Error },
    #[error("cannot {step} for {program}: {source}")]
    Child { step: &'static str, program: String, source: std::io::Error },
}

/// What the child does, in order; the number travels through the pipe when one of them fails.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Step {
    Session,
    Cgroup,
    Signals,
    Files,
    Limits,
    Groups,
    Bounding,
    User,
    Capabilities,
    Ambient,
    NoNewPrivileges,
    Execute,
}

impl Step {
    fn words(number: u8) -> &'static str {
        const WORDS: [&str; 12] = [
            "open a session",
            "join the cgroup",
            "reset the signals",
            "set up standard input and output",
            "set the limits",
            "set the groups",
            "drop capabilities from the bounding set",
            "become the user",
            "set the capabilities",
            "keep the capabilities across exec",
            "forbid new privileges",
            "execute",
        ];
        WORDS.get(usize::from(number)).copied().unwrap_or("start")
    }
}

/// Everything the child needs, allocated beforehand.
struct Prepared {
    path: *const libc::c_char,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    mask: u64,
    cgroup: i32,
    input: i32,
    output: i32,
    report: i32,
}

/// Starts a program and waits until it has been executed.
///
/// # Errors
/// What could not be done, before the fork or in the child; the child is then gone and reaped.
pub fn spawn(program: &Program<'_>) -> Result<Pid, SpawnError> {
    let prepare = |step| move |error: rustix::io::Errno| SpawnError::Prepare { step, source: error.into() };
    let arguments = program.run.iter().map(|text| CString::new(text.as_str())).collect::<Result<Vec<_>, _>>()?;
    let path = arguments.first().ok_or(SpawnError::Empty)?;
    let environment = program
        .environment
        .iter()
        .map(|(key, value)| CString::new(format!("{key}={value}")))
        .collect::<Result<Vec<_>, _>>()?;
    let null = rustix::fs::open(
        "/dev/null",
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC,
        rustix::fs::Mode::empty(),
    )
    .map_err(prepare("open /dev/null"))?;
    let (report, report_end) = pipe_with(PipeFlags::CLOEXEC).map_err(prepare("make a pipe"))?;
    let pointers = |texts: &[CString]| {
        texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<*const libc::c_char>>()
    };
    let prepared = Prepared {
        path: path.as_ptr(),
        argv: pointers(&arguments),
        envp: pointers(&environment),
        uid: program.identity.uid,
        gid: program.identity.gid,
        groups: program.identity.groups.clone(),
        mask: program.capabilities.iter().fold(0, |mask, capability| mask | 1 << capability.number()),
        cgroup: program.cgroup.as_ref().map_or(-1, AsRawFd::as_raw_fd),
        input: null.as_raw_fd(),
        output: program.output.as_raw_fd(),
        report: report_end.as_raw_fd(),
    };
    // SAFETY: the child calls only `child`, which makes raw system calls on memory prepared above and never returns.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child(&prepared);
    }
    let pid = Some(pid)
        .filter(|&pid| pid > 0)
        .and_then(Pid::from_raw)
        .ok_or_else(|| SpawnError::Prepare { step: "fork", source: std::io::Error::last_os_error() })?;
    drop(report_end);
    match read_report(&report) {
        None => Ok(pid),
        Some((step, errno)) => {
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            Err(SpawnError::Child {
                step: Step::words(step),
                program: program.run.first().cloned().unwrap_or_default(),
                source: std::io::Error::from_raw_os_error(errno),
            })
        }
    }
}

/// What the child reported: nothing when the pipe closed by execve.
fn read_report(report: &OwnedFd) -> Option<(u8, i32)> {
    let mut bytes = [0; 5];
    loop {
        return match rustix::io::read(report, &mut bytes) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(5) => {
                let [step, errno @ ..] = bytes;
                Some((step, i32::from_ne_bytes(errno)))
            }
            _ => None,
        };
    }
}

/// The child between fork and execve. No allocation, no lock, no panic.
fn child(prepared: &Prepared) -> ! {
    let step = match become_program(prepared) {
        Ok(never) => match never {},
        Err(step) => step,
    };
    // SAFETY: raw system calls on a local buffer and an open descriptor; _exit does not return.
    unsafe {
        let errno = (*libc::__errno_location()).to_ne_bytes();
        let bytes = [step as u8, errno[0], errno[1], errno[2], errno[3]];
        libc::write(prepared.report, bytes.as_ptr().cast(), bytes.len());
        libc::_exit(127)
    }
}

fn become_program(prepared: &Prepared) -> Result<std::convert::Infallible, Step> {
    let done = |result: libc::c_long, step| if result < 0 { Err(step) } else { Ok(()) };
    // SAFETY: every pointer comes from `prepared` or this stack and outlives its call. The identity calls go to the
    // kernel directly, as libc's own would signal other threads, which do not exist here.
    unsafe {
        done(libc::setsid().into(), Step::Session)?;
        if prepared.cgroup >= 0 {
            done(libc::write(prepared.cgroup, c"0".as_ptr().cast(), 1) as libc::c_long, Step::Cgroup)?;
        }
        reset_signals()?;
        done(libc::dup2(prepared.input, 0).into(), Step::Files)?;
        done(libc::dup2(prepared.output, 1).into(), Step::Files)?;
        done(libc::dup2(prepared.output, 2).into(), Step::Files)?;
        // Whatever PID 1 holds open, the watchdog first of all, stays with PID 1.
        let closed = libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC);
        done(closed, Step::Files)?;
        done(libc::chdir(c"/".as_ptr()).into(), Step::Files)?;
        libc::umask(0o022);
        limits()?;
        become_user(prepared)?;
        done(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into(), Step::NoNewPrivileges)?;
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
unsafe fn limits() -> Result<(), Step> {
    // SAFETY: plain calls with local values.
    unsafe {
        let mut files = libc::rlimit { rlim_cur: OPEN_FILES, rlim_max: OPEN_FILES };
        // Where the limit cannot be raised, all that is allowed.
        if libc::setrlimit(libc::RLIMIT_NOFILE, &files) < 0 {
            if libc::getrlimit(libc::RLIMIT_NOFILE, &mut files) < 0 {
                return Err(Step::Limits);
            }
            files.rlim_cur = files.rlim_max.min(OPEN_FILES);
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
unsafe fn become_user(prepared: &Prepared) -> Result<(), Step> {
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
        let half = |shift: u32| {
            let bits = (mask >> shift) as u32;
            CapabilityData { effective: bits, permitted: bits, inheritable: bits }
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

/// Ends a process group at once, for where there is no cgroup to end.
pub fn kill_session(pid: Pid) {
    let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
}

/// Ends every process but PID 1, at once (kill(2) with -1). For the end of the run.
pub fn kill_everything() {
    // Anywhere but in PID 1 this would reach every process of the user.
    if rustix::process::getpid().is_init() {
        // SAFETY: a plain system call.
        unsafe { libc::kill(-1, libc::SIGKILL) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::os::fd::AsFd as _;

    /// Runs a program and returns what it wrote and its exit status.
    fn output(run: &[&str], identity: &Identity, capabilities: &[Capability]) -> (String, Option<i32>) {
        let run: Vec<String> = run.iter().map(|&text| text.to_owned()).collect();
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let program = Program {
            run: &run,
            environment: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
            identity,
            capabilities,
            cgroup: None,
            output: write.as_fd(),
        };
        let pid = spawn(&program).unwrap();
        drop(write);
        let mut text = String::new();
        std::fs::File::from(read).read_to_string(&mut text).unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).unwrap().unwrap();
        (text, status.exit_status())
    }

    fn field<'t>(status: &'t str, name: &str) -> &'t str {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim()
    }

    #[test]
    fn a_service_has_its_user_and_exactly_its_capabilities() {
        let nobody = Identity { uid: 65_534, gid: 65_533, groups: vec![65_532] };
        let keep = [Capability::NetBindService, Capability::NetRaw];
        let (status, code) = output(&["/bin/cat", "/proc/self/status"], &nobody, &keep);
        assert_eq!(code, Some(0));
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(&status, set), "0000000000002400", "{set} in {status}");
        }
        assert_eq!(field(&status, "Uid:"), "65534\t65534\t65534\t65534");
        assert_eq!(field(&status, "Gid:"), "65533\t65533\t65533\t65533");
        assert_eq!(field(&status, "Groups:"), "65532");
        assert_eq!(field(&status, "NoNewPrivs:"), "1");
        assert_eq!(field(&status, "SigBlk:"), "0000000000000000");
    }

    #[test]
    fn even_root_has_only_the_capabilities_it_was_given() {
        let (status, _) = output(&["/bin/cat", "/proc/self/status"], &Identity::default(), &[Capability::NetAdmin]);
        for set in ["CapPrm:", "CapEff:", "CapBnd:"] {
            assert_eq!(field(&status, set), "0000000000001000", "{set} in {status}");
        }
    }

    #[test]
    fn a_service_inherits_no_descriptor_but_its_three() {
        let held = std::fs::File::open("/proc/self/status").unwrap();
        rustix::io::fcntl_setfd(&held, rustix::io::FdFlags::empty()).unwrap();
        let (list, _) = output(&["/bin/ls", "/proc/self/fd"], &Identity::default(), &[]);
        // The fourth is ls's own, for reading the folder.
        assert_eq!(list.split_whitespace().collect::<Vec<_>>(), ["0", "1", "2", "3"]);
    }

    #[test]
    fn a_program_that_does_not_exist_is_named_with_the_reason() {
        let run = ["/nowhere/program".to_owned()];
        let (_read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let program = Program {
            run: &run,
            environment: Vec::new(),
            identity: &Identity::default(),
            capabilities: &[],
            cgroup: None,
            output: write.as_fd(),
        };
        let error = spawn(&program).unwrap_err().to_string();
        assert_eq!(error, "cannot execute for /nowhere/program: No such file or directory (os error 2)");
    }
}
