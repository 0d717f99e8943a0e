//! One service with its process: the pipe it writes to, its cgroup, its readiness check.

use super::log::{Log, LogFile, utc};
use super::machine::{Machine, Moment, Policy};
use super::supervisor::Places;
use crate::sys::cgroup::Cgroup;
use crate::sys::process::{Program, kill_session, spawn};
use crate::sys::socket::{NotifySocket, TcpProbe, unix_accepts};
use contract::role::{Ready, Service};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// Where services find programs that they start themselves.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Time between two looks at a service's readiness.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// Most bytes taken from one service at a time, so that a noisy one does not keep PID 1 from the others.
const READ_AT_ONCE: usize = 16 * 1024;
/// Lines shown on the console while a service starts, and the last ones when it fails.
const SHOWN_AT_START: usize = 20;
const SHOWN_AT_FAILURE: usize = 10;

/// A service and its process.
pub struct Unit {
    pub name: String,
    pub spec: Service,
    pub machine: Machine,
    pub pid: Option<Pid>,
    pub log: Log,
    /// What it last said of itself (`STATUS=` on the notify socket).
    pub status: Option<String>,
    started: Moment,
    pipe: Option<(OwnedFd, OwnedFd)>,
    notify: Option<NotifySocket>,
    probe: TcpProbe,
    next_probe: Moment,
    shown: usize,
    unshown: usize,
}

impl Unit {
    #[must_use]
    pub fn new(name: String, spec: Service, wanted: bool) -> Unit {
        Unit {
            machine: Machine::new(Policy::of(&spec), wanted),
            name,
            spec,
            pid: None,
            log: Log::new(None),
            status: None,
            started: Moment::ZERO,
            pipe: None,
            notify: None,
            probe: TcpProbe::default(),
            next_probe: Moment::ZERO,
            shown: 0,
            unshown: 0,
        }
    }

    /// Starts its process.
    ///
    /// # Errors
    /// Why it could not be started, in words.
    pub fn start(&mut self, places: &Places, now: Moment) -> Result<Vec<String>, String> {
        let mut warnings = Vec::new();
        if self.pipe.is_none() {
            let file = places.logs.as_ref().map(|folder| LogFile::open(folder, &self.name));
            let file =
                file.and_then(|opened| opened.map_err(|error| warnings.push(format!("no log file: {error}"))).ok());
            self.log = Log::new(file);
            let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
            let (read, write) = pipe_with(flags).map_err(|error| format!("cannot make a pipe: {error}"))?;
            // Only PID 1 must never wait; a service that writes faster than it is read waits as at any pipe.
            rustix::fs::fcntl_setfl(&write, rustix::fs::OFlags::empty())
                .map_err(|error| format!("cannot set up a pipe: {error}"))?;
            self.pipe = Some((read, write));
        }
        let cgroup = match self.cgroup(places) {
            Some(Ok(cgroup)) => {
                warnings.extend(cgroup.limit(&self.spec.limits));
                Some(cgroup.procs().map_err(|error| format!("cannot open its cgroup: {error}"))?)
            }
            Some(Err(error)) => return Err(format!("cannot make its cgroup: {error}")),
            None => None,
        };
        let mut environment = vec![("PATH".to_owned(), PATH.to_owned())];
        if self.spec.ready == Some(Ready::Notify) {
            let path = places.notify.join(&self.name);
            let (uid, gid) = (self.spec.identity.uid, self.spec.identity.gid);
            let socket = NotifySocket::bind(&path, uid, gid);
            self.notify = Some(socket.map_err(|error| format!("cannot bind {}: {error}", path.display()))?);
            environment.push(("NOTIFY_SOCKET".to_owned(), path.to_string_lossy().into_owned()));
        }
        environment.retain(|(key, _)| !self.spec.environment.contains_key(key));
        environment.extend(self.spec.environment.iter().map(|(key, value)| (key.clone(), value.clone())));
        let Some((_, write)) = &self.pipe else { return Err("it has no pipe".to_owned()) };
        let program = Program {
            run: &self.spec.run,
            environment,
            identity: &self.spec.identity,
            capabilities: &self.spec.capabilities,
            cgroup,
            output: write.as_fd(),
        };
        self.status = None;
        self.probe = TcpProbe::default();
        (self.started, self.next_probe) = (now, now + PROBE_EVERY);
        (self.shown, self.unshown) = (0, 0);
        self.pid = Some(spawn(&program).map_err(|error| error.to_string())?);
        Ok(warnings)
    }

    fn cgroup(&self, places: &Places) -> Option<std::io::Result<Cgroup>> {
        places.cgroups.as_ref().map(|parent| Cgroup::create(parent, &self.name))
    }

    /// Whether processes of an earlier start are still there.
    #[must_use]
    pub fn has_remains(&self, places: &Places) -> bool {
        matches!(self.cgroup(places), Some(Ok(cgroup)) if cgroup.populated())
    }

    /// Asks its process to end.
    pub fn terminate(&self) {
        if let Some(pid) = self.pid {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }

    /// Ends all its processes at once. `pid` is the one that was started, also when it is gone already.
    pub fn kill_all(&self, places: &Places, pid: Option<Pid>) {
        let killed = matches!(self.cgroup(places), Some(Ok(cgroup)) if cgroup.kill().is_ok());
        if !killed && let Some(pid) = pid {
            kill_session(pid);
        }
    }

    /// When the next look at its readiness is due, if it starts and can be looked at.
    #[must_use]
    pub fn probe_due(&self) -> Option<Moment> {
        match self.spec.ready {
            Some(Ready::Notify) | None => None,
            Some(Ready::AliveMs(ms)) => Some(self.started + Duration::from_millis(ms)),
            Some(_) => Some(self.next_probe),
        }
    }

    /// Looks whether it is ready.
    pub fn probe(&mut self, now: Moment) -> bool {
        if self.probe_due().is_none_or(|due| now < due) {
            return false;
        }
        self.next_probe = now + PROBE_EVERY;
        match &self.spec.ready {
            Some(Ready::Tcp(address)) => address.parse().is_ok_and(|address| self.probe.accepted(address)),
            Some(Ready::Unix(path)) => unix_accepts(Path::new(path)),
            Some(Ready::Path(path)) => Path::new(path).symlink_metadata().is_ok(),
            Some(Ready::AliveMs(_)) => true,
            Some(Ready::Notify) | None => false,
        }
    }

    /// The pipe of its output.
    #[must_use]
    pub fn output(&self) -> Option<&OwnedFd> {
        self.pipe.as_ref().map(|(read, _)| read)
    }

    #[must_use]
    pub fn notify(&self) -> Option<&NotifySocket> {
        self.notify.as_ref()
    }

    /// Reads what it wrote. Returns the lines to show on the console: those of a start, up to a limit.
    pub fn read_output(&mut self, starting: bool) -> Vec<String> {
        let mut buffer = [0; READ_AT_ONCE];
        let Some((read, _)) = &self.pipe else { return Vec::new() };
        let length = rustix::io::read(read, &mut buffer).unwrap_or(0);
        let lines = self.log.write(buffer.get(..length).unwrap_or_default(), &wall_clock());
        self.show(lines, starting)
    }

    fn show(&mut self, mut lines: Vec<String>, starting: bool) -> Vec<String> {
        let room = if starting { SHOWN_AT_START.saturating_sub(self.shown) } else { 0 };
        self.unshown += lines.len().saturating_sub(room);
        lines.truncate(room);
        self.shown += lines.len();
        lines
    }

    /// What is to be shown when it has failed: the last lines that were not shown yet.
    pub fn last_words(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        // The pipe holds 64 KiB at most.
        for _ in 0..5 {
            words.extend(self.read_output(true));
        }
        self.unshown += usize::from(self.log.flush(&wall_clock()).is_some());
        words.extend(self.log.ring().last(self.unshown.min(SHOWN_AT_FAILURE)).map(str::to_owned));
        self.unshown = 0;
        words
    }
}

fn wall_clock() -> String {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    utc(u64::try_from(now.tv_sec).unwrap_or(0))
}
