//! What the services are doing, as facts for pages, operators and the health gate.

use super::machine::State;
use super::supervisor::Supervisor;
use super::timer;
use rustix::process::Pid;

/// The state of one service, for the operator.
#[derive(Clone, Debug)]
pub struct Status<'s> {
    pub name: &'s str,
    pub state: &'s State,
    pub pid: Option<i32>,
    pub restarts: u32,
    /// Why it had to be tried again the last time.
    pub failure: Option<&'s str>,
    pub said: Option<&'s str>,
    /// Where it is run by the clock: when it ran last, and when it runs next, in seconds since 1970.
    pub timer: Option<(Option<u64>, u64)>,
}

impl Supervisor {
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

    /// What the log of a service that is not ready says is wrong, where its profile explains that.
    #[must_use]
    pub fn cause(&self) -> Option<String> {
        let waiting = self.units.iter().filter(|unit| !unit.machine.satisfied());
        waiting.filter_map(|unit| Some(format!("service {}: {}", unit.name, unit.cause.as_ref()?))).next()
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
            failure: unit.machine.failure(),
            said: unit.status.as_deref(),
            timer: unit.timer.as_ref().map(|timer| (timer.last(), timer.next(timer::wall()))),
        })
    }

    /// The folder above the services' cgroups, where there are any.
    #[must_use]
    pub fn cgroups(&self) -> Option<&std::path::Path> {
        self.places.cgroups.as_deref()
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

    /// The state of one service.
    #[must_use]
    pub fn state(&self, name: &str) -> Option<&State> {
        self.units.iter().find(|unit| unit.name == name).map(|unit| unit.machine.state())
    }

    /// Every process that was started here and is not known to have ended, for a loop that may not reap others.
    #[cfg(test)]
    pub fn children(&self) -> Vec<Pid> {
        self.units.iter().flat_map(|unit| unit.pid.into_iter().chain(unit.looker())).collect()
    }
}
