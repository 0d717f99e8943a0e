//! How a trial goes, judged by what the committed system managed of this node; and the record of that.

use super::super::update::baseline::{self, Now, ServiceNow};
use super::super::update::machine::{Facts, Standing};
use super::super::update::outside::Missing;
use super::turn::Loop;
use crate::service::{Moment, State, Status};
use contract::names::NETWORK_REPORT;
use contract::network::NetworkReport;
use contract::role::{NETWORK, Probe};
use std::collections::BTreeMap;
use std::time::Duration;

/// So often a service may be restarted in a trial.
const RESTARTS: u32 = 5;

/// What the network's child says, when it has said something.
fn network_report() -> Option<NetworkReport> {
    serde_json::from_slice(&std::fs::read(NETWORK_REPORT).ok()?).ok()
}

fn is_fine(state: &State) -> bool {
    matches!(state, State::Ready { .. } | State::Done { .. } | State::NotWanted)
}

fn service_now(status: Status<'_>) -> ServiceNow {
    let failure = match status.state {
        State::Failed { reason } => Some(reason.as_str()),
        _ => status.failure,
    };
    ServiceNow {
        name: status.name.to_owned(),
        fine: is_fine(status.state) || status.timer.is_some(),
        failure: failure.map(str::to_owned),
    }
}

impl Loop {
    fn is_connected(&self, report: Option<&NetworkReport>) -> bool {
        matches!(self.supervisor.state(NETWORK), Some(State::Ready { .. }))
            && report.is_some_and(NetworkReport::is_connected)
    }

    /// The node as it is now.
    pub(super) fn node_now(&self, now: Moment) -> Now {
        let report = network_report();
        Now {
            network: self.is_connected(report.as_ref()),
            absent: report.as_ref().map(baseline::absent).unwrap_or_default(),
            ..self.without_network(now)
        }
    }

    /// The node as it is now but for its network, for which a file is read.
    fn without_network(&self, now: Moment) -> Now {
        Now {
            checks: self.health.report().checks,
            services: self.supervisor.statuses().map(service_now).collect(),
            late: now >= Duration::from_millis(self.node.role.update.services_ms),
            ..Now::default()
        }
    }

    /// What the state machine of updates has to know. In a trial, what failed before the update as well does not count.
    pub(super) fn trial_facts(&mut self, now: Moment) -> Facts {
        let trial = *self.updates.machine().standing() == Standing::Trial;
        let (network, excused) = if trial { self.excuses() } else { (false, BTreeMap::new()) };
        let crashing = |status: Status<'_>| match status.state {
            _ if excused.contains_key(status.name) => None,
            State::Failed { reason } => Some(format!("service {} cannot run: {reason}", status.name)),
            _ if status.restarts >= RESTARTS => {
                let last = status.failure.map(|why| format!(", most recently because: {why}")).unwrap_or_default();
                Some(format!("service {} keeps crashing: it was restarted {RESTARTS} times{last}", status.name))
            }
            _ => None,
        };
        let not_ready = self.supervisor.not_ready().into_iter().filter(|name| !excused.contains_key(*name));
        Facts {
            now,
            network,
            not_ready: not_ready.map(str::to_owned).collect(),
            crashing: self.supervisor.statuses().find_map(crashing),
            passed_for: self.health.passed_for(now),
            overdue: self.health.overdue(),
            health: self.health.trial_line(),
        }
    }

    /// Excuses checks and services of a trial, and keeps what is tolerated. Gives whether the network counts as ready, and
    /// the services that are excused.
    fn excuses(&mut self) -> (bool, BTreeMap<String, String>) {
        let report = network_report();
        let base = self.updates.baseline();
        let absent = report.as_ref().map(baseline::absent).unwrap_or_default();
        let missing = Missing::new(&absent, &self.node.intake.config.network, &self.node.role.services, &self.config);
        let service = |name: &str| base.excuses_service(name, missing.for_service(name));
        let excused: BTreeMap<String, String> = self
            .supervisor
            .statuses()
            .filter_map(|status| Some((status.name.to_owned(), service(status.name)?)))
            .collect();
        self.health.excuse(|check| {
            let of_service = || match &check.probe {
                Probe::Service { name, .. } => excused.get(name).cloned(),
                _ => None,
            };
            if is_of_the_slot(&check.probe) {
                return None;
            }
            base.excuses_check(&check.name, missing.for_check(check)).or_else(of_service)
        });
        let failing = |name: &str| !self.supervisor.state(name).is_some_and(is_fine);
        let services = excused.iter().filter(|(name, _)| failing(name));
        let services = services.map(|(name, why)| format!("service {name}: {why}"));
        let checks = self.health.excused().map(|(name, why)| format!("check {name}: {why}"));
        let connected = self.is_connected(report.as_ref());
        let network = (base.no_network && !connected).then(|| "no network: as before the update".to_owned());
        self.updates.tolerated = network.into_iter().chain(services).chain(checks).collect();
        (connected || base.no_network, excused)
    }

    /// The committed system writes down how the node is with it, once in a run, when all is known.
    pub(super) fn record_baseline(&mut self, now: Moment) {
        if self.recorded || self.stop.is_some() || *self.updates.machine().standing() != Standing::Committed {
            return;
        }
        if self.without_network(now).is_known() {
            self.recorded = true;
            let found = self.node_now(now);
            self.updates.record(&found, &mut self.node.warnings);
        }
    }
}

/// Whether a check looks at the slot itself: that the other slot failed it says nothing of this one.
fn is_of_the_slot(probe: &Probe) -> bool {
    matches!(probe, Probe::BootPartition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_boot_partition_of_the_one_slot_excuses_none_of_the_other() {
        assert!(is_of_the_slot(&Probe::BootPartition));
        assert!(!is_of_the_slot(&Probe::Service { name: "bgpd".to_owned(), stable_ms: 0 }));
    }
}
