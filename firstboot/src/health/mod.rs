//! The health gate: does this node do what its role requires? One verdict over all checks, with reasons, kept up to
//! date for as long as the node runs.
//!
//! - [`gate`] the verdict, without processes or clocks · [`wanted`] which checks this node has
//!
//! Services are inspected here; everything else by a child ([`crate::service::RunningProbe`]), each check one at a time.

mod gate;
mod wanted;

use crate::service::{Exit, Moment, RunningProbe, State, Supervisor};
use contract::health::HealthReport;
use contract::role::{HealthCheck, Probe, Service};
use contract::storage::Storage;
use gate::Gate;
use rustix::process::Pid;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The checks of this node, and the looks in progress.
#[derive(Debug)]
pub struct Health {
    gate: Gate,
    looks: BTreeMap<usize, RunningProbe>,
    /// Folder of the cgroup above the looking children's.
    cgroups: Option<PathBuf>,
}

impl Health {
    /// `config` is the node config as JSON, `storage` what became of `state` and `data`.
    #[must_use]
    pub fn new(
        role: &[HealthCheck],
        services: &BTreeMap<String, Service>,
        config: &serde_json::Value,
        storage: &Storage,
        cgroups: Option<PathBuf>,
    ) -> Health {
        let mut checks = wanted::checks(role, services, config);
        checks.extend(wanted::disks(storage));
        checks.push(wanted::boot_partition());
        Health { gate: Gate::new(checks), looks: BTreeMap::new(), cgroups }
    }

    /// Names what the reasons of several checks come from.
    pub fn blame(&mut self, cause: &str) {
        self.gate.blame(|| cause.to_owned());
    }

    /// Does all that is due. Returns whether the verdict has changed.
    pub fn step(&mut self, services: &Supervisor, now: Moment) -> bool {
        for look in self.looks.values_mut() {
            look.tick(now);
        }
        for at in 0..self.gate.checks().len() {
            let Some(check) = self.gate.checks().get(at) else { continue };
            match &check.spec.probe {
                Probe::Service { name, stable_ms } => {
                    let state = services.state(name);
                    let found = stable(state, Duration::from_millis(*stable_ms), now);
                    if let Some(State::Failed { reason }) = state {
                        let cause = format!("service {name} cannot run: {reason}");
                        self.gate.blame(|| cause);
                    }
                    self.gate.found(at, found, now);
                }
                _ if !check.due(now) => {}
                probe => {
                    // A disk that never answers must not keep its check as it was.
                    if let Some(look) = self.looks.get(&at) {
                        if let Some(why) = look.stuck(now) {
                            self.gate.found(at, Err(why), now);
                        }
                        continue;
                    }
                    let limit = Duration::from_millis(check.spec.timeout_ms);
                    match RunningProbe::at(&format!("health-{at}"), probe, self.cgroups.as_deref(), limit, now) {
                        Ok(look) => {
                            self.looks.insert(at, look);
                        }
                        Err(why) => self.gate.found(at, Err(why), now),
                    }
                }
            }
        }
        self.gate.suspect(services.cause());
        self.gate.judge(now)
    }

    /// Asks of each check why a trial does not fail with it.
    pub fn excuse(&mut self, why: impl Fn(&HealthCheck) -> Option<String>) {
        self.gate.excuse(why);
    }

    /// Checks that do not pass and are excused, with the reasons.
    pub fn excused(&self) -> impl Iterator<Item = (&str, &str)> {
        self.gate.excused()
    }

    /// What counts in a trial, in one line.
    #[must_use]
    pub fn trial_line(&self) -> String {
        self.gate.line()
    }

    /// A process ended. Returns whether it was one that looked at something.
    pub fn exited(&mut self, pid: Pid, exit: Exit, now: Moment) -> bool {
        let Some(at) = self.looks.iter().find(|(_, look)| look.pid() == pid).map(|(at, _)| *at) else { return false };
        if let Some(look) = self.looks.remove(&at) {
            self.gate.found(at, look.ended(exit), now);
        }
        true
    }

    /// When [`Health::step`] is due next, if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        let looking = self.looks.values().filter_map(RunningProbe::deadline).min();
        let waits = |at: usize| self.looks.get(&at).is_some_and(|look| look.deadline().is_some());
        [self.gate.deadline(waits), looking].into_iter().flatten().min()
    }

    #[must_use]
    pub fn report(&self) -> HealthReport {
        self.gate.report()
    }

    /// A check that never passed although its time is over, with its reason.
    #[must_use]
    pub fn overdue(&self) -> Option<String> {
        self.gate.overdue()
    }

    /// For how long everything has passed without a break: what the commit of an update waits for.
    #[must_use]
    pub fn passed_for(&self, now: Moment) -> Option<Duration> {
        self.gate.passed_for(now)
    }
}

/// Whether a service has been ready for so long, or need not be.
fn stable(state: Option<&State>, wanted: Duration, now: Moment) -> Result<(), String> {
    match state {
        Some(State::NotWanted | State::Done { .. }) => Ok(()),
        Some(State::Ready { since }) => {
            let up = now.saturating_sub(*since);
            if up >= wanted {
                return Ok(());
            }
            Err(format!("ready for {:.0} s, not {:.0} s", up.as_secs_f64(), wanted.as_secs_f64()))
        }
        Some(State::Failed { reason }) => Err(reason.clone()),
        Some(state) => Err(format!("it is {}", state.kind())),
        None => Err("there is no such service".to_owned()),
    }
}
