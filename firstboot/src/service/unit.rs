//! One service with its process: the pipe it writes to, its cgroup, its readiness check.

mod beside;
mod ending;

use super::confine::{cell, command, confinement};
use super::keeper::Keeper;
use super::log::Log;
use super::log_file::{LogEvent, LogFile};
use super::machine::{Exit, Machine, Moment, Policy};
use super::places::Places;
use super::running_probe::RunningProbe;
use super::timer::{self, Timer};
use crate::config::store::{Access, write_atomic};
use crate::sys::cgroup::{self, Cgroup};
use crate::sys::notify::{Notification, NotifySocket};
use crate::sys::process::{Program, Surroundings, spawn};
use crate::sys::socket::{TcpProbe, unix_accepts};
use contract::role::{Capability, Kill, Limits, Mount, Probe, Ready, Service};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use std::collections::BTreeSet;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time between two checks at a service's readiness.
const PROBE_EVERY: Duration = Duration::from_millis(50);
/// Time after which a child looks again, and the time it has for one look.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// The cgroup below a container engine's own that is the top of those it sees.
const CELL: &str = "inside";
/// Processes of a service that names no limit.
const USUAL_PIDS: u64 = 4096;
/// Most bytes taken from one service at a time, so that a noisy one does not keep PID 1 from the others.
const READ_AT_ONCE: usize = 16 * 1024;
/// Folders in memory that PID 1 shares with every service.
const IN_MEMORY: [&str; 2] = ["/run/", "/var/log/"];
/// Lines shown on the console while a service starts, and the last ones when it fails.
const SHOWN_AT_START: usize = 20;
const SHOWN_AT_FAILURE: usize = 10;

/// A service and its process.
pub struct Unit {
    pub name: String,
    pub spec: Service,
    pub machine: Machine,
    pub pid: Option<Pid>,
    /// What holds its containers, where they outlive its program.
    keeper: Option<Keeper>,
    /// Processes that were asked to end since its program has.
    asked_to_end: BTreeSet<i32>,
    pub log: Log,
    /// What it last said of itself (`STATUS=` on the notify socket).
    pub status: Option<String>,
    /// What the last line of its log means that its profile explains, since it was last ready.
    pub cause: Option<String>,
    started: Moment,
    pipe: Option<(OwnedFd, OwnedFd)>,
    notify: Option<NotifySocket>,
    probe: TcpProbe,
    next_probe: Moment,
    /// The look in progress, and what the last one found wanting.
    look: Option<RunningProbe>,
    unready: Option<String>,
    memory_kills: u64,
    /// When such a kill was noticed last.
    killed_at: Option<Moment>,
    /// When it is run by the clock, where it is.
    pub timer: Option<Timer>,
    /// Whether an operator asked for its next run, which `once` and `unless` do not keep from coming.
    pub asked: bool,
    /// Whether it is kept from starting while something else works on what it keeps.
    pub held: bool,
    /// Whether it was told that somebody else speaks in its name.
    pub stranger_told: bool,
    shown: usize,
    unshown: usize,
}

impl Unit {
    /// A service that has not started. What it wrote in earlier runs of the node is still to be read.
    #[must_use]
    pub fn new(name: String, spec: Service, wanted: bool, places: &Places) -> Unit {
        let history = places.logs.as_ref().map(|folder| super::log::history(folder, &name)).unwrap_or_default();
        let file = places.timers.as_ref().map(|folder| folder.join(&name));
        Unit {
            timer: spec.timer.map(|spec| Timer::new(spec, file, timer::wall())),
            machine: Machine::new(Policy::of(&spec), wanted),
            name,
            spec,
            pid: None,
            keeper: None,
            asked_to_end: BTreeSet::new(),
            log: Log::new(None, history),
            status: None,
            cause: None,
            started: Moment::ZERO,
            pipe: None,
            notify: None,
            probe: TcpProbe::default(),
            next_probe: Moment::ZERO,
            look: None,
            unready: None,
            memory_kills: 0,
            killed_at: None,
            asked: false,
            held: false,
            stranger_told: false,
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
            if let Some(folder) = &places.logs {
                self.log.keep_in(LogFile::at(folder, &self.name));
            }
            let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
            let (read, write) = pipe_with(flags).map_err(|error| format!("cannot make a pipe: {error}"))?;
            // Only PID 1 must never wait; a service that writes faster than it is read waits as at any pipe.
            rustix::fs::fcntl_setfl(&write, rustix::fs::OFlags::empty())
                .map_err(|error| format!("cannot set up a pipe: {error}"))?;
            self.pipe = Some((read, write));
        }
        let kept = self.keeper.as_ref().is_some_and(Keeper::is_alive);
        let mut cgroup = if kept { None } else { self.joined_cgroup(places, &mut warnings)? };
        let environment = self.environment(places)?;
        self.mount_points()?;
        let mut confinement = match &places.ground {
            Some(ground) if !kept => Some(confinement(&self.spec, ground)?),
            _ => None,
        };
        let Some((_, write)) = &self.pipe else { return Err("it has no pipe".to_owned()) };
        let run = if self.outlived() {
            if !kept {
                let made = (self.cell_cgroup(places), cgroup.take(), confinement.take());
                let (Some(cell), Some(cgroup), Some(confinement)) = made else {
                    return Err("its containers cannot outlive it: it has no cgroup or no confinement".to_owned());
                };
                self.keeper = Some(Keeper::start(&self.spec, &cell, cgroup, confinement, write.as_fd())?);
            }
            self.spec.run.clone()
        } else {
            command(&self.spec, &self.spec.run)
        };
        let held = self.keeper.as_ref();
        if let Some(keeper) = held {
            cgroup = Some(keeper.cgroup()?);
        }
        let program = Program {
            run: &run,
            environment,
            identity: &self.spec.identity,
            capabilities: &self.spec.capabilities,
            cgroup,
            output: write.as_fd(),
            surroundings: Surroundings {
                folder: self.spec.working_folder.as_deref(),
                open_files: self.spec.limits.open_files,
                new_privileges: self.spec.new_privileges,
                confinement: held.map(Keeper::confinement).or(confinement.as_ref()),
                beside: held.map(Keeper::process),
                files: &[],
            },
        };
        self.asked = false;
        self.status = None;
        self.probe = TcpProbe::default();
        (self.look, self.unready, self.stranger_told, self.killed_at) = (None, None, false, None);
        (self.started, self.next_probe) = (now, now + PROBE_EVERY);
        (self.shown, self.unshown) = (0, 0);
        self.asked_to_end.clear();
        self.pid = Some(spawn(&program).map_err(|error| error.to_string())?);
        Ok(warnings)
    }

    /// Its cgroup with its limits, open for the process that joins it; none where there are no cgroups.
    fn joined_cgroup(&mut self, places: &Places, warnings: &mut Vec<String>) -> Result<Option<OwnedFd>, String> {
        let Some(parent) = &places.cgroups else { return Ok(None) };
        let containers = self.spec.sandbox.containers;
        if containers {
            // What containers have left there would keep it from beginning anew.
            Cgroup::remove(&parent.join(&self.name)).map_err(|error| format!("cannot clear its cgroup: {error}"))?;
        }
        let mut cgroup =
            Cgroup::create(parent, &self.name).map_err(|error| format!("cannot make its cgroup: {error}"))?;
        let pids = self.spec.limits.pids.or(Some(USUAL_PIDS));
        warnings.extend(cgroup.limit(&Limits { pids, ..self.spec.limits }));
        self.memory_kills = cgroup.memory_kills();
        if containers {
            cgroup = cell(&self.spec, &cgroup, CELL)
                .map_err(|error| format!("cannot guard its devices and settings: {error}"))?;
        }
        cgroup.procs().map(Some).map_err(|error| format!("cannot open its cgroup: {error}"))
    }

    /// Whether what its program has started lives on without it.
    pub fn outlived(&self) -> bool {
        self.spec.kill == Kill::Main && self.spec.sandbox.containers
    }

    /// Whether this process holds its containers.
    #[must_use]
    pub fn kept_by(&self, pid: Pid) -> bool {
        self.keeper.as_ref().is_some_and(|keeper| keeper.pid() == pid)
    }

    /// What held its containers has ended, and everything in there with it.
    pub fn keeper_ended(&mut self) {
        self.keeper = None;
    }

    /// The cgroup in which it sees its own ones.
    fn cell_cgroup(&self, places: &Places) -> Option<Cgroup> {
        Cgroup::create(&places.cgroups.as_ref()?.join(&self.name), CELL).ok()
    }

    /// Why it need not be run, where that is so.
    #[must_use]
    pub fn nothing_to_do(&self, places: &Places) -> Option<String> {
        if self.asked {
            return None;
        }
        if self.mark(places).is_some_and(|mark| mark.exists()) {
            return Some("it has ended well on this node once".to_owned());
        }
        let path = self.spec.unless.as_ref()?;
        Path::new(path).symlink_metadata().is_ok().then(|| format!("{path} is there"))
    }

    fn mark(&self, places: &Places) -> Option<PathBuf> {
        places.once.as_ref().filter(|_| self.spec.once).map(|folder| folder.join(&self.name))
    }

    /// It has ended well: where it is run once, that is kept.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remember_done(&self, places: &Places) -> std::io::Result<()> {
        let Some(mark) = self.mark(places) else { return Ok(()) };
        if let Some(folder) = mark.parent() {
            std::fs::create_dir_all(folder)?;
        }
        write_atomic(&mark, self.stamp().as_bytes(), Access::root(0o600))
    }

    /// Makes places in memory on which something is mounted for it. Those on the disk are in the image, and those in memory
    /// of its own are made there.
    fn mount_points(&self) -> Result<(), String> {
        for mount in &self.spec.mounts {
            let (path, from) = match mount {
                Mount::Temporary { path, .. } => (path, None),
                Mount::Bind { from, to, .. } => (to, Some(from)),
                Mount::ReadOnly(_) | Mount::Hidden(_) => continue,
            };
            let in_memory = IN_MEMORY.iter().any(|folder| path.starts_with(folder));
            if !in_memory || Path::new(path).symlink_metadata().is_ok() {
                continue;
            }
            let shows_file = from.is_some_and(|from| std::fs::metadata(from).is_ok_and(|found| !found.is_dir()));
            let made = match Path::new(path).parent() {
                Some(folder) if shows_file => {
                    std::fs::create_dir_all(folder).and_then(|()| std::fs::File::create_new(path).map(drop))
                }
                _ => std::fs::create_dir_all(path),
            };
            made.map_err(|error| format!("cannot make {path}: {error}"))?;
        }
        Ok(())
    }

    fn cgroup(&self, places: &Places) -> Option<std::io::Result<Cgroup>> {
        places.cgroups.as_ref().map(|parent| Cgroup::create(parent, &self.name))
    }

    /// The name of its cgroup in `/proc/PID/cgroup`, whether it has been made or not.
    #[must_use]
    pub fn cgroup_name(&self, places: &Places) -> Option<String> {
        let parent = places.cgroups.as_deref()?;
        let inside = parent.strip_prefix(cgroup::MOUNT).unwrap_or(parent);
        Some(format!("/{}", inside.join(&self.name).display()))
    }

    /// Its limit of memory, as the end of a sentence.
    #[must_use]
    pub fn memory_limit(&self) -> String {
        self.spec.limits.memory.map_or_else(String::new, |bytes| format!(" (its limit is {} MiB)", bytes >> 20))
    }

    /// Whether the sender of a message is one of its processes.
    #[must_use]
    pub fn speaks_for_it(&self, heard: &Notification, places: &Places) -> bool {
        if self.pid == Some(heard.sender) {
            return true;
        }
        match self.cgroup(places) {
            Some(Ok(cgroup)) => {
                let name = cgroup.name();
                // A sender that is gone already cannot be placed: its word does not count.
                let file = format!("/proc/{}/cgroup", heard.sender.as_raw_pid());
                std::fs::read_to_string(file).is_ok_and(|text| {
                    let own = |line: &str| {
                        let rest = line.strip_prefix("0::").and_then(|path| path.strip_prefix(&name));
                        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                    };
                    text.lines().any(own)
                })
            }
            _ => heard.uid == self.spec.identity.uid,
        }
    }

    /// When the next look at its readiness is due, if it starts and can be inspected.
    #[must_use]
    pub fn probe_due(&self) -> Option<Moment> {
        match self.spec.ready {
            Some(Ready::Notify) | None => None,
            Some(Ready::AliveMs(ms)) => Some(self.started + Duration::from_millis(ms)),
            Some(_) => match &self.look {
                Some(look) => look.deadline(),
                None => Some(self.next_probe),
            },
        }
    }

    /// Looks whether it is ready. Where a child has to look, its answer comes with its exit.
    pub fn probe(&mut self, places: &Places, now: Moment) -> bool {
        if self.probe_due().is_none_or(|due| now < due) {
            return false;
        }
        if let Some(look) = &mut self.look {
            look.tick(now);
            return false;
        }
        self.next_probe = now + PROBE_EVERY;
        match &self.spec.ready {
            Some(Ready::Tcp(address)) => address.parse().is_ok_and(|address| self.probe.accepted(address)),
            Some(Ready::Unix(path)) => unix_accepts(Path::new(path)),
            Some(Ready::Path(path)) => Path::new(path).symlink_metadata().is_ok(),
            Some(Ready::AliveMs(_)) => true,
            Some(Ready::Http(http)) => self.begin_look(&Probe::Http(http.clone()), places, now),
            Some(Ready::Program(run)) => self.begin_look(&self.looker_of(run, &[]), places, now),
            Some(Ready::ProgramWith { run, capabilities }) => {
                self.begin_look(&self.looker_of(run, capabilities), places, now)
            }
            Some(Ready::Notify) | None => false,
        }
    }

    /// A program that looks whether it is ready.
    fn looker_of(&self, run: &[String], capabilities: &[Capability]) -> Probe {
        let identity = self.spec.identity.clone();
        Probe::Program { run: run.to_vec(), identity, capabilities: capabilities.to_vec() }
    }

    fn begin_look(&mut self, probe: &Probe, places: &Places, now: Moment) -> bool {
        self.next_probe = now + LOOK_EVERY;
        let name = format!("ready-{}", self.name);
        match RunningProbe::at(&name, probe, places.looks.as_deref(), LOOK_LIMIT, now) {
            Ok(look) => self.look = Some(look),
            Err(why) => self.unready = Some(why),
        }
        false
    }

    /// Whether this process is the one that looks at it.
    #[must_use]
    pub fn looked_by(&self, pid: Pid) -> bool {
        self.look.as_ref().is_some_and(|look| look.pid() == pid)
    }

    #[cfg(test)]
    pub fn looker(&self) -> Option<Pid> {
        self.look.as_ref().map(RunningProbe::pid)
    }

    /// The looking child has ended. Returns whether the service is ready.
    pub fn look_ended(&mut self, exit: Exit, now: Moment) -> bool {
        self.next_probe = now + LOOK_EVERY;
        match self.look.take().map(|look| look.ended(exit)) {
            Some(Ok(())) => true,
            Some(Err(why)) => {
                self.unready = Some(why);
                false
            }
            None => false,
        }
    }

    /// What the last look found wanting.
    #[must_use]
    pub fn unready(&self) -> Option<&str> {
        self.unready.as_deref()
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
        let stamp = self.stamp();
        let lines = self.log.write(buffer.get(..length).unwrap_or_default(), &stamp);
        for line in &lines {
            self.explain(line);
        }
        self.show(lines, starting)
    }

    /// Notes what a line of its log means, where its profile says that.
    fn explain(&mut self, line: &str) {
        if let Some(cause) = self.spec.causes.iter().find(|cause| line.contains(&cause.line)) {
            self.cause = Some(cause.means.clone());
        }
    }

    fn show(&mut self, mut lines: Vec<String>, starting: bool) -> Vec<String> {
        let room = if starting { SHOWN_AT_START.saturating_sub(self.shown) } else { 0 };
        self.unshown += lines.len().saturating_sub(room);
        lines.truncate(room);
        self.shown += lines.len();
        lines
    }

    /// What the operator should know of its log.
    pub fn log_event(&mut self) -> Option<LogEvent> {
        self.log.take_event()
    }

    /// What is to be shown when it has failed: the last lines that were not shown yet.
    pub fn last_words(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        // The pipe holds 64 KiB at most.
        for _ in 0..5 {
            words.extend(self.read_output(true));
        }
        let stamp = self.stamp();
        self.unshown += usize::from(self.log.flush(&stamp).is_some());
        words.extend(self.log.ring().last(self.unshown.min(SHOWN_AT_FAILURE)).map(str::to_owned));
        self.unshown = 0;
        words
    }

    /// What stands before each line in its file: the time and its name.
    fn stamp(&self) -> String {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        format!("{} {}", contract::calendar::stamp(u64::try_from(now.tv_sec).unwrap_or(0)), self.name)
    }
}
