//! Starting a process with exactly the rights it was given: fork, a fixed list of system calls, execve.
//!
//! Everything that allocates happens before the fork. Between fork and execve the child makes raw system calls only,
//! so it does not matter what the parent was doing. What the child could not do comes back through a close-on-exec
//! pipe as a step and an errno.
//!
//! - here what is prepared · [`child`] what the child does · [`confinement`] what keeps it from others · [`namespace`] what
//!   it sees otherwise than others

mod child;
mod confinement;
mod namespace;
#[cfg(test)]
mod tests;

use child::{Prepared, Step};
pub use confinement::Confinement;
use contract::role::{Capability, Identity};
pub use namespace::{Change, attribute};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use std::ffi::{CString, NulError};
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// File descriptors that a process may have open, where nothing else is said.
const OPEN_FILES: u64 = 65_536;

/// Descriptors that [`Surroundings::files`] may become are below this; what the child still needs of its parent is above.
const ABOVE_FILES: RawFd = 32;

/// What else a program finds around it. The default: `/` as its folder, no setuid, all that everyone sees, no open
/// file but the first three.
#[derive(Clone, Debug, Default)]
pub struct Surroundings<'a> {
    /// Absolute path of its working folder.
    pub folder: Option<&'a str>,
    /// Most file descriptors of one process.
    pub open_files: Option<u64>,
    /// Whether setuid bits and file capabilities count.
    pub new_privileges: bool,
    /// What keeps it from the rest of the node; without it, nothing does.
    pub confinement: Option<&'a Confinement>,
    /// A process by its descriptor (pidfd_open(2)): the program runs in its PID, mount and cgroup namespaces, as a child of
    /// this process all the same.
    pub beside: Option<BorrowedFd<'a>>,
    /// Files that it finds open, by the number that each has there, below 32; also in place of the first three.
    pub files: &'a [(RawFd, BorrowedFd<'a>)],
}

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
    pub surroundings: Surroundings<'a>,
}

/// A process that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("there is no program to run")]
    Empty,
    #[error("a NUL byte in the program, its arguments or its environment")]
    Nul(#[from] NulError),
    #[error("cannot {step}: {source}")]
    Prepare { step: &'static str, source: std::io::Error },
    #[error("cannot start {program}: cannot {step}: {source}")]
    Child { step: String, program: String, source: std::io::Error },
}

/// A copy of a file with a number that no passed file has.
fn aside(file: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(file, ABOVE_FILES)
}

/// Copies of the files that the child gets, each with the number that it has there.
fn passed_files(surroundings: &Surroundings<'_>) -> Result<Vec<(RawFd, OwnedFd)>, SpawnError> {
    let refused = |source| SpawnError::Prepare { step: "pass on a file", source };
    let copies = surroundings.files.iter().map(|(number, file)| {
        if !(0..ABOVE_FILES).contains(number) {
            return Err(refused(std::io::ErrorKind::InvalidInput.into()));
        }
        Ok((*number, aside(*file).map_err(|error| refused(error.into()))?))
    });
    copies.collect()
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
    // In place of the first one, which is closed by this: the parent waits for the end of the pipe.
    let report_end = {
        let below = report_end;
        aside(below.as_fd()).map_err(prepare("keep the pipe"))?
    };
    let files = passed_files(&program.surroundings)?;
    let passed: Vec<(RawFd, RawFd)> = files.iter().map(|(number, file)| (*number, file.as_raw_fd())).collect();
    let pointers = |texts: &[CString]| {
        texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect::<Vec<*const libc::c_char>>()
    };
    let unconfined = Confinement::default();
    let confinement = program.surroundings.confinement.unwrap_or(&unconfined);
    let folder = CString::new(program.surroundings.folder.unwrap_or("/"))?;
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
        folder: folder.as_ptr(),
        open_files: program.surroundings.open_files.unwrap_or(OPEN_FILES),
        new_privileges: program.surroundings.new_privileges,
        changes: &confinement.changes,
        filters: confinement::programs(&confinement.filters),
        scoped: confinement.scoped,
        keyring: confinement.keyring,
        containers: confinement.containers,
        files: &passed,
    };
    // SAFETY: the child calls only `child`, which makes raw system calls on memory prepared above and never returns.
    let pid = unsafe { if confinement.containers { fork_as_init() } else { libc::fork() } };
    if pid == 0 {
        match program.surroundings.beside {
            Some(process) => child::run_beside(&prepared, process.as_raw_fd()),
            None => child::run(&prepared),
        }
    }
    let pid = Some(pid)
        .filter(|&pid| pid > 0)
        .and_then(Pid::from_raw)
        .ok_or_else(|| SpawnError::Prepare { step: "fork", source: std::io::Error::last_os_error() })?;
    drop(report_end);
    outcome(pid, &report, program, &confinement.changes)
}

/// What became of the child: the program's process, once it has been executed.
fn outcome(child: Pid, report: &OwnedFd, program: &Program<'_>, changes: &[Change]) -> Result<Pid, SpawnError> {
    let reap = |pid| {
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    };
    let (mut started, mut failure) = (None, None);
    while let Some((step, change, value)) = read_report(report) {
        match step {
            child::BESIDE => started = Pid::from_raw(value),
            _ => failure = Some((step, change, value)),
        }
    }
    let beside = program.surroundings.beside.is_some();
    if beside {
        // It made the child that became the program.
        reap(child);
    }
    let pid = started.unwrap_or(child);
    let Some((step, change, errno)) = failure else { return Ok(pid) };
    if started.is_some() || !beside {
        reap(pid);
    }
    Err(SpawnError::Child {
        step: match changes.get(usize::from(change)) {
            Some(change) if step == Step::Mounts as u8 => change.words(),
            _ => Step::words(step).to_owned(),
        },
        program: program.run.first().cloned().unwrap_or_default(),
        source: std::io::Error::from_raw_os_error(errno),
    })
}

/// fork(2), with the child as PID 1 of a PID namespace of its own.
///
/// # Safety
/// As fork(2); the C library does not hear of it, so the child must leave it alone.
unsafe fn fork_as_init() -> libc::pid_t {
    let flags = libc::c_long::from(libc::CLONE_NEWPID | libc::SIGCHLD);
    // SAFETY: without a stack of its own the child goes on with a copy of this one, as after fork.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0_usize, 0_usize, 0_usize, 0_usize) };
    pid as libc::pid_t
}

/// What the child reported next: nothing when the pipe closed by execve.
fn read_report(report: &OwnedFd) -> Option<(u8, u8, i32)> {
    let mut bytes = [0; 6];
    loop {
        return match rustix::io::read(report, &mut bytes) {
            Err(rustix::io::Errno::INTR) => continue,
            Ok(6) => {
                let [step, change, errno @ ..] = bytes;
                Some((step, change, i32::from_ne_bytes(errno)))
            }
            _ => None,
        };
    }
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
