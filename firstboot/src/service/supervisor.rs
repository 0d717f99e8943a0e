//! All services together: which may start, which are ready, which are to be stopped, and what is reported.

use super::log_file::LogEvent;
use super::machine::{Action, Event, Exit, Moment, Notice, State, Then};
use super::places::Places;
use super::timer;
use super::unit::Unit;
use crate::sys::cgroup::Cgroup;
use crate::sys::notify::NotifySocket;
use contract::node::wanted;
use contract::role::{Ready, Service};
use rustix::process::Pid;
use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

/// Time between two checks whether the processes of an earlier start are gone.
const REMAINS_EVERY: Duration = Duration::from_millis(50);
/// Time between two checks whether a process of a service was killed: out of memory.
const MEMORY_EVERY: Duration = Duration::from_secs(5);
/// Memory in bytes and processes that are left to PID 1 and the kernel, whatever all services do together.
const RESERVED_MEMORY: u64 = 32 << 20;
const ALL_PROCESSES: u64 = 16_384;
/// Memory of PID 1 in bytes that is never taken from it, its program's pages too.
const PID_1_MEMORY: u64 = 16 << 20;

/// Something to report to the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEvent {
    pub service: String,
    pub report: Report,
}

impl ServiceEvent {
    fn warning(service: &str, text: String) -> ServiceEvent {
        ServiceEvent { service: service.to_owned(), report: Report::Warning(text) }
    }
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

/// All services.
pub struct Supervisor {
    pub(super) units: Vec<Unit>,
    pub(super) places: Places,
    told: Vec<ServiceEvent>,
    stopping: bool,
    memory_at: Moment,
}

impl Supervisor {
    /// Takes the services; those that `config` (the node config as JSON) does not ask for are not wanted.
    #[must_use]
    pub fn new(services: BTreeMap<String, Service>, config: &serde_json::Value, places: Places) -> Supervisor {
        let units: Vec<Unit> = services
            .into_iter()
            .map(|(name, mut spec)| {
                let node = config.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
                for cause in &mut spec.causes {
                    cause.means = cause.means.replace("{name}", node);
                }
                let wanted = spec.when.as_ref().is_none_or(|path| wanted(config, path));
                Unit::new(name, spec, wanted, &places)
            })
            .collect();
        let mut supervisor = Supervisor { units, places, told: Vec::new(), stopping: false, memory_at: Moment::ZERO };
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
            if matches!(unit.machine.state(), State::Starting { .. }) && unit.probe(&self.places, now) {
                self.handle(at, Event::BecameReady, now);
            }
        }
        if now >= self.memory_at {
            self.memory_at = now + MEMORY_EVERY;
            self.tell_memory_kills(now);
        }
        if self.stopping {
            for at in 0..self.units.len() {
                let Some(unit) = self.units.get_mut(at) else { continue };
                let left = matches!(unit.machine.state(), State::Stopping { then: Then::Remains, .. });
                if left && !unit.terminate_remains(&self.places) {
                    self.handle(at, Event::Gone, now);
                }
                if self.may_stop(at) {
                    self.handle(at, Event::StopAsked, now);
                }
            }
        } else {
            for at in 0..self.units.len() {
                if self.is_due(at) {
                    self.handle(at, Event::Due, now);
                }
                if self.may_start(at) {
                    let idle = self.units.get(at).and_then(|unit| unit.nothing_to_do(&self.places));
                    self.handle(at, idle.map_or(Event::MayStart, Event::NothingToDo), now);
                }
            }
        }
    }

    fn may_start(&self, at: usize) -> bool {
        let Some(unit) = self.units.get(at) else { return false };
        let waiting = *unit.machine.state() == State::Waiting && !unit.held;
        if !waiting || !unit.spec.after.iter().all(|name| self.satisfied(name)) {
            return false;
        }
        let remains = unit.has_remains(&self.places);
        if remains {
            unit.kill_all(&self.places, None, false);
        }
        !remains
    }

    /// Whether its time by the clock has come, and all that it comes after is ready.
    fn is_due(&self, at: usize) -> bool {
        let Some(unit) = self.units.get(at) else { return false };
        let due = unit.timer.as_ref().is_some_and(|timer| timer.is_due(timer::wall()));
        due && matches!(unit.machine.state(), State::Done { .. })
            && unit.spec.after.iter().all(|name| self.satisfied(name))
    }

    /// Processes other than a service's first one that the kernel killed: out of memory.
    fn tell_memory_kills(&mut self, now: Moment) {
        for unit in &mut self.units {
            if !unit.new_memory_kills(&self.places, now) {
                continue;
            }
            let text = format!("one of its processes was killed: out of memory{}", unit.memory_limit());
            self.told.push(ServiceEvent::warning(&unit.name, text));
        }
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
                            let report = |text| ServiceEvent::warning(&name, text);
                            self.told.extend(warnings.into_iter().map(report));
                            Event::Spawned
                        }
                        Err(why) => Event::SpawnFailed(why),
                    };
                    return self.handle(at, event, now);
                }
                Action::Terminate => unit.terminate(),
                Action::TerminateRemains => {
                    if !unit.terminate_remains(&self.places) {
                        return self.handle(at, Event::Gone, now);
                    }
                }
                Action::KillAll => unit.kill_all(&self.places, gone, self.stopping),
                Action::Tell(notice) => {
                    if matches!(notice, Notice::Ready | Notice::Done) {
                        unit.cause = None;
                    }
                    if notice == Notice::Done
                        && let Err(error) = unit.remember_done(&self.places)
                    {
                        let text =
                            format!("it has ended well, but that cannot be kept on state: {error}; it is run again");
                        self.told.push(ServiceEvent::warning(&unit.name, text));
                    }
                    if matches!(notice, Notice::Done | Notice::Missed(_) | Notice::Skipped(_))
                        && let Some(timer) = &mut unit.timer
                        && let Err(error) = timer.ran(timer::wall())
                    {
                        let text = format!("the time of its last run cannot be kept on state: {error}");
                        self.told.push(ServiceEvent::warning(&unit.name, text));
                    }
                    failed |= matches!(notice, Notice::Down { .. } | Notice::Missed(_) | Notice::StartTimeout);
                    if let (Notice::StartTimeout, Some(why)) = (&notice, unit.unready()) {
                        let report = Report::Output(format!("not ready: {why}"));
                        self.told.push(ServiceEvent { service: unit.name.clone(), report });
                    }
                    if failed {
                        let service = unit.name.clone();
                        let output = |line| ServiceEvent { service: service.clone(), report: Report::Output(line) };
                        self.told.extend(unit.last_words().into_iter().map(output));
                    }
                    self.told.push(ServiceEvent { service: unit.name.clone(), report: Report::Notice(notice) });
                }
            }
        }
    }

    /// A process ended. Returns whether it was the process of a service, or one that inspected a service.
    pub fn exited(&mut self, pid: Pid, exit: Exit, now: Moment) -> bool {
        for at in 0..self.units.len() {
            let Some(unit) = self.units.get_mut(at) else { continue };
            if unit.pid == Some(pid) {
                let exit = unit.cause(exit, &self.places, now);
                self.handle(at, Event::Exited(exit), now);
                return true;
            }
            if unit.kept_by(pid) {
                unit.keeper_ended();
                return true;
            }
            if unit.looked_by(pid) {
                if unit.look_ended(exit, now) {
                    self.handle(at, Event::BecameReady, now);
                }
                return true;
            }
        }
        false
    }

    /// The cgroups, by their names in `/proc/PID/cgroup`, of the services whose processes may be operators.
    #[must_use]
    pub fn operators(&self) -> Vec<String> {
        let units = self.units.iter().filter(|unit| unit.spec.sandbox.operators);
        units.filter_map(|unit| unit.cgroup_name(&self.places)).collect()
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
                let event = unit.log_event().map(|event| match event {
                    LogEvent::Failed(why) => Report::Warning(format!(
                        "its log cannot be written: {why}; new lines are kept in memory, and the file is tried again"
                    )),
                    LogEvent::Resumed(lost) => {
                        Report::Output(format!("its log is written again; lines lost: {lost}"))
                    }
                });
                let service = unit.name.clone();
                let told = |report| ServiceEvent { service: service.clone(), report };
                self.told.extend(lines.into_iter().map(Report::Output).chain(event).map(told));
            }
            Source::Notify(at) => {
                let Some(unit) = self.units.get_mut(at) else { return };
                let Some(heard) = unit.notify().and_then(NotifySocket::receive) else { return };
                if !unit.speaks_for_it(&heard, &self.places) {
                    // Once for each start: whoever it is may go on without end.
                    if !std::mem::replace(&mut unit.stranger_told, true) {
                        let who = heard.sender.as_raw_pid();
                        let text =
                            format!("process {who}, which does not belong to it, sent a notification in its name");
                        self.told.push(ServiceEvent::warning(&unit.name, text));
                    }
                    return;
                }
                if let Some(status) = heard.text.lines().find_map(|line| line.strip_prefix("STATUS="))
                    && unit.status.as_deref() != Some(status)
                {
                    unit.status = Some(status.to_owned());
                    let report = Report::Status(status.to_owned());
                    self.told.push(ServiceEvent { service: unit.name.clone(), report });
                }
                if heard.text.lines().any(|line| line == "READY=1") && unit.spec.ready == Some(Ready::Notify) {
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
            let remains = match unit.machine.state() {
                State::Waiting => {
                    !self.stopping && !unit.held && unit.spec.after.iter().all(|name| self.satisfied(name))
                }
                State::Stopping { then: Then::Remains, .. } => true,
                _ => false,
            };
            let remains = remains.then_some(now + REMAINS_EVERY);
            [unit.machine.deadline(), probe, remains].into_iter().flatten().min()
        };
        self.units.iter().filter_map(of_unit).chain([self.memory_at]).min()
    }

    /// Events since the last call.
    pub fn take_events(&mut self) -> Vec<ServiceEvent> {
        std::mem::take(&mut self.told)
    }

    /// Starts one service again, at the operator's word.
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
            Some(State::NotWanted) => return Err(format!("the node config does not enable {name}")),
            _ => {}
        }
        if let Some(unit) = self.units.get_mut(at) {
            unit.asked = true;
        }
        self.handle(at, Event::RestartAsked, now);
        Ok(())
    }

    /// Begins the stop of all services, each after those that come after it.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// The longest time that a service has to stop whose program is outlived by others.
    #[must_use]
    pub fn stop_time(&self) -> Duration {
        let outlived = self.units.iter().filter(|unit| unit.outlived());
        let longest = outlived.map(|unit| unit.spec.stop_timeout_ms).max();
        Duration::from_millis(longest.unwrap_or(0))
    }

    /// Whether nothing runs any more.
    #[must_use]
    pub fn at_rest(&self) -> bool {
        self.units.iter().all(|unit| unit.machine.at_rest())
    }

    /// Ends everything at once.
    pub fn kill(&self) {
        for unit in self.units.iter().filter(|unit| unit.machine.running()) {
            unit.kill_all(&self.places, unit.pid, true);
        }
    }
}

/// Makes the cgroup above the services' ones, with limits that leave PID 1 room, and one beside it for children that
/// look at something. Returns their folders and the controllers that the kernel lacks.
///
/// # Errors
/// Where cgroup2 is not mounted or not writable.
pub fn prepare_cgroups(mount: &std::path::Path) -> std::io::Result<(PathBuf, Vec<&'static str>)> {
    let services = Cgroup::create(mount, "services")?;
    let missing = Cgroup::enable_controllers(services.path());
    // Without a controller there is no such limit; that it is missing has been reported already.
    if let Some(total) = total_memory().and_then(|total| total.checked_sub(RESERVED_MEMORY)) {
        let _ = services.set("memory.max", &total.to_string());
    }
    // PID 1 comes first: with nothing else to do it asks for little.
    let init = Cgroup::create(mount, "init")?;
    let _ = init.set("cpu.weight", "1000");
    let _ = init.set("memory.min", &PID_1_MEMORY.to_string());
    let _ = services.set("pids.max", &ALL_PROCESSES.to_string());
    let looks = Cgroup::create(mount, LOOKS)?;
    Cgroup::enable_controllers(looks.path());
    Ok((services.path().to_owned(), missing))
}

/// Folder of the cgroup for looks, beside the services' one.
pub const LOOKS: &str = "looks";

/// Memory of the machine in bytes (`MemTotal` of /proc/meminfo, which is in KiB).
fn total_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 =
        text.lines().find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse().ok())?;
    kib.checked_mul(1024)
}
