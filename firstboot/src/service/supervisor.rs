//! All services together: who may start, who is ready, who is to be stopped, and what is told about it.

use super::machine::{Action, Event, Exit, Moment, Notice, State};
use super::unit::Unit;
use super::when::wanted;
use crate::sys::cgroup::Cgroup;
use crate::sys::socket::NotifySocket;
use contract::role::{Ready, Service};
use rustix::process::Pid;
use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

/// Time between two looks whether the processes of an earlier start are gone.
const REMAINS_EVERY: Duration = Duration::from_millis(50);

/// Where the supervisor keeps things.
#[derive(Clone, Debug)]
pub struct Places {
    /// Folder of the cgroup above the services' ones; without it, services have none and no limits.
    pub cgroups: Option<PathBuf>,
    /// Folder of log files; without it, logs are in memory only.
    pub logs: Option<PathBuf>,
    /// Folder of notify sockets.
    pub notify: PathBuf,
}

/// Something to tell the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub service: String,
    pub report: Report,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    Notice(Notice),
    /// A line that the service wrote while it started or before it failed.
    Output(String),
    /// What the service says of itself, when it has changed.
    Status(String),
    /// Something about its process that is less than wanted.
    Warning(String),
}

/// Which descriptor of a service became readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Output(usize),
    Notify(usize),
}

/// The state of one service, for the operator.
#[derive(Clone, Debug)]
pub struct Status<'s> {
    pub name: &'s str,
    pub state: &'s State,
    pub pid: Option<i32>,
    pub restarts: u32,
    pub said: Option<&'s str>,
}

/// All services.
pub struct Supervisor {
    units: Vec<Unit>,
    places: Places,
    told: Vec<Told>,
    stopping: bool,
}

impl Supervisor {
    /// Takes the services; those that `config` (the node config as JSON) does not ask for are not wanted.
    #[must_use]
    pub fn new(services: BTreeMap<String, Service>, config: &serde_json::Value, places: Places) -> Supervisor {
        let units: Vec<Unit> = services
            .into_iter()
            .map(|(name, spec)| {
                let wanted = spec.when.as_ref().is_none_or(|path| wanted(config, path));
                Unit::new(name, spec, wanted)
            })
            .collect();
        let mut supervisor = Supervisor { units, places, told: Vec::new(), stopping: false };
        for at in 0..supervisor.units.len() {
            let missing = supervisor
                .units
                .get(at)
                .and_then(|unit| unit.spec.after.iter().find(|name| supervisor.find(name).is_none()).cloned());
            if let Some(missing) = missing {
                supervisor.handle(
                    at,
                    Event::Hopeless(format!("it comes after {missing}, which does not exist")),
                    Moment::ZERO,
                );
            }
        }
        supervisor
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.units.iter().position(|unit| unit.name == name)
    }

    /// Gives up on a service before it starts, because something it needs cannot be had.
    pub fn give_up(&mut self, name: &str, reason: &str, now: Moment) {
        if let Some(at) = self.find(name) {
            self.handle(at, Event::Hopeless(reason.to_owned()), now);
        }
    }

    /// Does all that is due: starts, readiness checks, time-outs, stops.
    pub fn step(&mut self, now: Moment) {
        for at in 0..self.units.len() {
            self.handle(at, Event::Tick, now);
        }
        for at in 0..self.units.len() {
            let Some(unit) = self.units.get_mut(at) else { continue };
            if matches!(unit.machine.state(), State::Starting { .. }) && unit.probe(now) {
                self.handle(at, Event::BecameReady, now);
            }
        }
        if self.stopping {
            for at in 0..self.units.len() {
                if self.may_stop(at) {
                    self.handle(at, Event::StopAsked, now);
                }
            }
        } else {
            for at in 0..self.units.len() {
                if self.may_start(at) {
                    self.handle(at, Event::MayStart, now);
                }
            }
        }
    }

    fn may_start(&self, at: usize) -> bool {
        let Some(unit) = self.units.get(at) else { return false };
        let waiting = *unit.machine.state() == State::Waiting;
        if !waiting || !unit.spec.after.iter().all(|name| self.satisfied(name)) {
            return false;
        }
        let remains = unit.has_remains(&self.places);
        if remains {
            unit.kill_all(&self.places, None);
        }
        !remains
    }

    fn satisfied(&self, name: &str) -> bool {
        self.units.iter().any(|unit| unit.name == name && unit.machine.satisfied())
    }

    /// Whether everything that comes after it has come to rest.
    fn may_stop(&self, at: usize) -> bool {
        let Some(unit) = self.units.get(at) else { return false };
        let holds_back = |other: &Unit| !other.machine.at_rest() && other.spec.after.contains(&unit.name);
        !unit.machine.at_rest() && !self.units.iter().any(holds_back)
    }

    fn handle(&mut self, at: usize, event: Event, now: Moment) {
        let Some(unit) = self.units.get_mut(at) else { return };
        let gone = unit.pid;
        if matches!(event, Event::Exited(_)) {
            unit.pid = None;
        }
        let mut failed = false;
        for action in unit.machine.handle(event, now) {
            match action {
                Action::Spawn => {
                    let started = unit.start(&self.places, now);
                    let name = unit.name.clone();
                    let event = match started {
                        Ok(warnings) => {
                            let report = |text| Told { service: name.clone(), report: Report::Warning(text) };
                            self.told.extend(warnings.into_iter().map(report));
                            Event::Spawned
                        }
                        Err(why) => Event::SpawnFailed(why),
                    };
                    return self.handle(at, event, now);
                }
                Action::Terminate => unit.terminate(),
                Action::KillAll => unit.kill_all(&self.places, gone),
                Action::Tell(notice) => {
                    failed |= matches!(notice, Notice::Down { .. } | Notice::StartTimeout);
                    if failed {
                        let service = unit.name.clone();
                        let output = |line| Told { service: service.clone(), report: Report::Output(line) };
                        self.told.extend(unit.last_words().into_iter().map(output));
                    }
                    self.told.push(Told { service: unit.name.clone(), report: Report::Notice(notice) });
                }
            }
        }
    }

    /// A process ended. Returns whether it was the process of a service.
    pub fn exited(&mut self, pid: Pid, exit: Exit, now: Moment) -> bool {
        let Some(at) = self.units.iter().position(|unit| unit.pid == Some(pid)) else { return false };
        self.handle(at, Event::Exited(exit), now);
        true
    }

    /// What to wait for.
    #[must_use]
    pub fn sources(&self) -> Vec<(Source, BorrowedFd<'_>)> {
        let mut sources = Vec::new();
        for (at, unit) in self.units.iter().enumerate() {
            sources.extend(unit.output().map(|fd| (Source::Output(at), fd.as_fd())));
            sources.extend(unit.notify().map(|socket| (Source::Notify(at), socket.as_fd())));
        }
        sources
    }

    /// Takes what a descriptor brought.
    pub fn readable(&mut self, source: Source, now: Moment) {
        match source {
            Source::Output(at) => {
                let Some(unit) = self.units.get_mut(at) else { return };
                let starting = matches!(unit.machine.state(), State::Starting { .. });
                let lines = unit.read_output(starting);
                let service = unit.name.clone();
                let told = |line| Told { service: service.clone(), report: Report::Output(line) };
                self.told.extend(lines.into_iter().map(told));
            }
            Source::Notify(at) => {
                let Some(unit) = self.units.get_mut(at) else { return };
                let Some(message) = unit.notify().and_then(NotifySocket::receive) else {
                    return;
                };
                if let Some(status) = message.lines().find_map(|line| line.strip_prefix("STATUS="))
                    && unit.status.as_deref() != Some(status)
                {
                    unit.status = Some(status.to_owned());
                    let report = Report::Status(status.to_owned());
                    self.told.push(Told { service: unit.name.clone(), report });
                }
                if message.lines().any(|line| line == "READY=1") && unit.spec.ready == Some(Ready::Notify) {
                    self.handle(at, Event::BecameReady, now);
                }
            }
        }
    }

    /// When [`Supervisor::step`] is due next, if nothing happens before.
    #[must_use]
    pub fn deadline(&self, now: Moment) -> Option<Moment> {
        let of_unit = |unit: &Unit| {
            let probe = if matches!(unit.machine.state(), State::Starting { .. }) { unit.probe_due() } else { None };
            let remains = (*unit.machine.state() == State::Waiting
                && !self.stopping
                && unit.spec.after.iter().all(|name| self.satisfied(name)))
            .then_some(now + REMAINS_EVERY);
            [unit.machine.deadline(), probe, remains].into_iter().flatten().min()
        };
        self.units.iter().filter_map(of_unit).min()
    }

    /// What is to be told since the last call.
    pub fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// Starts one service anew, at the operator's word.
    ///
    /// # Errors
    /// Why it is not started, in words.
    pub fn restart(&mut self, name: &str, now: Moment) -> Result<(), String> {
        let at = self.find(name).ok_or_else(|| format!("there is no service {name}"))?;
        if self.stopping {
            return Err("the node is stopping".to_owned());
        }
        match self.units.get(at).map(|unit| unit.machine.state()) {
            Some(State::Failed { reason }) => return Err(format!("{name} cannot run: {reason}")),
            Some(State::NotWanted) => return Err(format!("the node config does not ask for {name}")),
            _ => {}
        }
        self.handle(at, Event::RestartAsked, now);
        Ok(())
    }

    /// Begins the stop of all services, each after those that come after it.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether nothing runs any more.
    #[must_use]
    pub fn at_rest(&self) -> bool {
        self.units.iter().all(|unit| unit.machine.at_rest())
    }

    /// Ends everything at once.
    pub fn kill(&self) {
        for unit in self.units.iter().filter(|unit| unit.machine.running()) {
            unit.kill_all(&self.places, unit.pid);
        }
    }

    /// Whether every wanted service is ready or done.
    #[must_use]
    pub fn all_ready(&self) -> bool {
        self.units.iter().all(|unit| unit.machine.satisfied())
    }

    /// Services that are not ready although they are wanted.
    #[must_use]
    pub fn not_ready(&self) -> Vec<&str> {
        self.units.iter().filter(|unit| !unit.machine.satisfied()).map(|unit| unit.name.as_str()).collect()
    }

    /// Services that still have a process.
    #[must_use]
    pub fn running(&self) -> Vec<&str> {
        self.units.iter().filter(|unit| unit.machine.running()).map(|unit| unit.name.as_str()).collect()
    }

    /// The services by name, for the status page.
    pub fn statuses(&self) -> impl Iterator<Item = Status<'_>> {
        self.units.iter().map(|unit| Status {
            name: &unit.name,
            state: unit.machine.state(),
            pid: unit.pid.map(Pid::as_raw_pid),
            restarts: unit.machine.restarts(),
            said: unit.status.as_deref(),
        })
    }

    /// Memory of a service's processes in bytes, where it has a cgroup.
    #[must_use]
    pub fn memory(&self, name: &str) -> Option<u64> {
        let path = self.places.cgroups.as_ref()?.join(name).join("memory.current");
        std::fs::read_to_string(path).ok()?.trim_end().parse().ok()
    }

    /// The log lines of a service that came after its first `seen` ones and are still kept, and how many ever came.
    #[must_use]
    pub fn lines_since(&self, name: &str, seen: u64) -> (Vec<&str>, u64) {
        self.units.iter().find(|unit| unit.name == name).map_or((Vec::new(), seen), |unit| {
            let ring = unit.log.ring();
            (ring.since(seen).collect(), ring.count())
        })
    }

    /// The last `count` log lines of each service that wrote any.
    pub fn last_lines(&self, count: usize) -> impl Iterator<Item = (&str, Vec<&str>)> {
        self.units
            .iter()
            .map(move |unit| (unit.name.as_str(), unit.log.ring().last(count).collect::<Vec<_>>()))
            .filter(|(_, lines)| !lines.is_empty())
    }
}

/// Makes the cgroup above the services' ones.
///
/// # Errors
/// Where cgroup2 is not mounted or not writable.
pub fn prepare_cgroups(mount: &std::path::Path) -> std::io::Result<(PathBuf, Vec<&'static str>)> {
    let services = Cgroup::create(mount, "services")?;
    let missing = Cgroup::enable_controllers(services.path());
    Ok((services.path().to_owned(), missing))
}
