//! What the control socket answers: facts about the node in the types of [`contract::control`]. Pages, screen and metrics
//! show the same facts.

use super::events::LATE;
use super::node::Node;
use crate::service::{Moment, State, Supervisor};
use contract::calendar;
use contract::control::{
    ConfigInForce, Facts, LogLine, MAX_LINES, NetworkStatus, Reply, ServiceState, ServiceStatus, Status,
};
use contract::health::{HealthReport, Verdict};
use contract::role::NETWORK;
use contract::update::{Phase, PhaseKind, UpdateStatus};
use std::collections::BTreeMap;

/// Everything that answers are made from.
pub struct View<'n> {
    pub node: &'n Node,
    pub supervisor: &'n Supervisor,
    pub health: HealthReport,
    pub update: UpdateStatus,
}

impl View<'_> {
    #[must_use]
    pub fn facts(&self, now: Moment) -> Facts {
        Facts {
            status: self.status(now),
            services: services(self.supervisor, now),
            storage: self.node.storage.clone(),
            folders: self.node.folders(),
        }
    }

    #[must_use]
    pub fn status(&self, now: Moment) -> Status {
        let (node, supervisor) = (self.node, self.supervisor);
        let not_ready: Vec<String> = supervisor.not_ready().into_iter().map(str::to_owned).collect();
        let all = supervisor.statuses().count();
        Status {
            name: node.intake.config.name.as_str().to_owned(),
            cluster: node.intake.config.cluster.name.clone(),
            role: node.role.role.to_string(),
            profile: node.report.compatible.profile.to_string(),
            version: node.report.version.clone(),
            slot: node.report.slot,
            trial: self.update.phase.kind() == PhaseKind::Trial,
            disk: node.report.disk.clone(),
            state_persistent: node.state_is_kept(),
            config: node.intake.origin.to_string(),
            uptime_s: now.as_secs_f64(),
            addresses: network(supervisor).addresses,
            ready: u32::try_from(all.saturating_sub(not_ready.len())).unwrap_or(u32::MAX),
            not_ready,
            pid1_resident_bytes: resident_bytes(),
            health: self.health.clone(),
            update: self.update.clone(),
            board: node.board.board().clone(),
            problems: self.problems(now),
            warnings: self.warnings(),
        }
    }

    /// What was said as a warning since power-on, and what is short on room now.
    fn warnings(&self) -> Vec<String> {
        let room = super::room::problems(self.node).into_iter().map(|(_, problem)| problem);
        self.node.warnings.list().iter().cloned().chain(room).collect()
    }

    /// What is wrong now, each in a few words; what was said as a warning comes last.
    fn problems(&self, now: Moment) -> Vec<String> {
        let of_service = |status: crate::service::Status<'_>| {
            let word = status.state.kind();
            match status.state {
                State::BackOff { .. } => Some(format!("{}: it keeps failing and being restarted", status.name)),
                // What is run by the clock takes its time.
                State::Waiting | State::Starting { .. } if now >= LATE && status.timer.is_none() => {
                    Some(format!("{}: {word} since power-on or its last start", status.name))
                }
                // Failed ones have their warning.
                _ => None,
            }
        };
        let mut problems: Vec<String> = self.supervisor.statuses().filter_map(of_service).collect();
        if self.health.verdict == Verdict::Failed {
            problems.extend(self.health.reasons().into_iter().map(|reason| format!("health: {reason}")));
        }
        if let Phase::Stray { reason } = &self.update.phase {
            problems.push(format!("slot {} is not the default slot: {reason}", self.node.report.slot));
        }
        problems.extend(self.node.board.board().throttled.unwrap_or_default().problems());
        problems.extend(self.warnings());
        problems
    }
}

#[must_use]
pub fn services(supervisor: &Supervisor, now: Moment) -> Vec<ServiceStatus> {
    let one = |status: crate::service::Status<'_>| ServiceStatus {
        name: status.name.to_owned(),
        state: status.state.kind(),
        pid: status.pid,
        restarts: status.restarts,
        up_s: match status.state {
            State::Ready { since } => Some(now.saturating_sub(*since).as_secs_f64()),
            _ => None,
        },
        memory_bytes: supervisor.memory(status.name),
        note: match status.state {
            State::Failed { reason } => Some(reason.clone()),
            State::BackOff { .. } => status.failure.map(str::to_owned),
            State::Done { .. } if status.timer.is_some() => {
                status.timer.map(|(last, next)| by_the_clock(last, next, status.failure))
            }
            _ => status.said.map(str::to_owned),
        },
    };
    supervisor.statuses().map(one).collect()
}

/// When a service ran last by the clock, and when it runs next.
fn by_the_clock(last: Option<u64>, next: u64, failure: Option<&str>) -> String {
    let last = last.map_or_else(|| "never".to_owned(), calendar::stamp);
    let failed = failure.map(|why| format!(" ({why})")).unwrap_or_default();
    format!("last run {last}{failed}, next {}", calendar::stamp(next))
}

/// The last lines of one service or all, and how many each has ever written.
///
/// # Errors
/// When there is no such service.
pub fn logs(
    supervisor: &Supervisor,
    service: Option<&str>,
    lines: u32,
) -> Result<(Vec<LogLine>, BTreeMap<String, u64>), String> {
    let (mut found, mut seen) = (Vec::new(), BTreeMap::new());
    let wanted =
        supervisor.statuses().map(|status| status.name).filter(|name| service.is_none_or(|one| one == *name));
    for name in wanted {
        let (all, count) = supervisor.lines_since(name, 0);
        let skip = all.len().saturating_sub(usize::try_from(lines.min(MAX_LINES)).unwrap_or(0));
        let line = |line: &str| LogLine { service: name.to_owned(), line: line.to_owned() };
        found.extend(all.into_iter().skip(skip).map(line));
        seen.insert(name.to_owned(), count);
    }
    match service {
        Some(name) if seen.is_empty() => Err(format!("there is no service {name}")),
        _ => Ok((found, seen)),
    }
}

#[must_use]
pub fn network(supervisor: &Supervisor) -> NetworkStatus {
    let network = supervisor.statuses().find(|status| status.name == NETWORK);
    NetworkStatus {
        state: network.as_ref().map_or(ServiceState::NotWanted, |status| status.state.kind()),
        addresses: network.and_then(|status| status.said).unwrap_or("none").to_owned(),
        routes: Vec::new(),
    }
}

#[must_use]
pub fn config(node: &Node) -> Reply {
    // Secrets hide themselves.
    let config = serde_json::to_value(&node.intake.config).unwrap_or_default();
    Reply::Config(ConfigInForce { origin: node.intake.origin.to_string(), notes: node.intake.notes.clone(), config })
}

/// Memory of this process that is in RAM, in bytes (`VmRSS` of /proc/self/status, which is in KiB).
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Places;

    #[test]
    fn logs_of_a_service_that_does_not_exist_are_refused() {
        let places = Places { notify: "/nowhere".into(), ..Places::default() };
        let supervisor = Supervisor::new(BTreeMap::new(), &serde_json::Value::Null, places);
        assert!(logs(&supervisor, Some("ssh"), 10).unwrap_err().contains("no service ssh"));
        assert_eq!(logs(&supervisor, None, 10), Ok((Vec::new(), BTreeMap::new())));
        assert_eq!(network(&supervisor).addresses, "none");
    }

    #[test]
    fn a_service_by_the_clock_tells_its_last_run_and_its_next() {
        assert_eq!(by_the_clock(None, 0, None), "last run never, next 1970-01-01T00:00:00Z");
        let told = by_the_clock(Some(60), 3660, Some("ended with status 1"));
        assert_eq!(told, "last run 1970-01-01T00:01:00Z (ended with status 1), next 1970-01-01T01:01:00Z");
    }

    #[test]
    fn pid_1_knows_its_own_memory() {
        assert!(resident_bytes() > 100_000);
    }
}
