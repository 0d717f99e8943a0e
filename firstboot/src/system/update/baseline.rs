//! What the committed system managed of this node, and what it did not: the measure of a trial. A peer that is off or a
//! port that is not there fails every system alike, and is no reason to go back from an update.
//!
//! The committed system writes it down when all is known after power-on, and again when a trial is asked for. A trial
//! reads it: what failed before as well is reported and does not end the trial. What is new in the trial is excused only
//! where it concerns a port that neither system has.

use contract::health::{CheckReport, Verdict};
use contract::network::NetworkReport;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Longest form on the disk, in bytes, and characters of a reason.
const LONGEST: usize = 16 * 1024;
const LONGEST_REASON: usize = 120;

/// Names of checks or services, each with the reason why it failed; `None`: it was fine, or not known yet.
type Found = BTreeMap<String, Option<String>>;

/// A node as its committed system has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Baseline {
    /// It had no link with an address.
    #[serde(default)]
    pub no_network: bool,
    /// Interfaces of the node config that were not there.
    #[serde(default)]
    pub absent: BTreeSet<String>,
    #[serde(default)]
    checks: Found,
    #[serde(default)]
    services: Found,
}

/// A service as it is now.
#[derive(Clone, Debug)]
pub struct ServiceNow {
    pub name: String,
    /// Ready, done, or not wanted.
    pub fine: bool,
    /// Why it failed last, or cannot run.
    pub failure: Option<String>,
}

/// The node as it is now.
#[derive(Clone, Debug, Default)]
pub struct Now {
    pub network: bool,
    pub absent: BTreeSet<String>,
    pub checks: Vec<CheckReport>,
    pub services: Vec<ServiceNow>,
    /// Whether the time is over by which everything should be ready.
    pub late: bool,
}

impl Now {
    /// Whether nothing is still on its way.
    #[must_use]
    pub fn is_known(&self) -> bool {
        let waiting = self.checks.iter().any(|check| check.verdict == Verdict::Waiting);
        let starting = self.services.iter().any(|service| !service.fine);
        !waiting && (self.late || !starting)
    }
}

impl Baseline {
    /// What is known `now`. Where nothing is known yet, what was known `before` counts on.
    #[must_use]
    pub fn of(now: &Now, before: &Baseline) -> Baseline {
        let kept = |found: &Found, name: &str| found.get(name).cloned().flatten();
        let check = |check: &CheckReport| {
            let failed = match check.verdict {
                Verdict::Passed => None,
                Verdict::Failed => Some(check.reason.clone().unwrap_or_default()),
                Verdict::Waiting => kept(&before.checks, &check.name),
            };
            (check.name.clone(), failed.map(short))
        };
        let service = |service: &ServiceNow| {
            let failed = match (&service.failure, service.fine) {
                (_, true) => None,
                (Some(why), false) => Some(why.clone()),
                (None, false) if now.late => Some("it was not ready".to_owned()),
                (None, false) => kept(&before.services, &service.name),
            };
            (service.name.clone(), failed.map(short))
        };
        Baseline {
            no_network: !now.network,
            absent: now.absent.clone(),
            checks: now.checks.iter().map(check).collect(),
            services: now.services.iter().map(service).collect(),
        }
        .bounded()
    }

    /// Why a check that fails in a trial does not end it. `port` names an interface that it concerns and that is not there.
    #[must_use]
    pub fn excuses_check(&self, name: &str, port: Option<&str>) -> Option<String> {
        self.excuse(&self.checks, name, port)
    }

    /// As [`Baseline::excuses_check`], for a service.
    #[must_use]
    pub fn excuses_service(&self, name: &str, port: Option<&str>) -> Option<String> {
        self.excuse(&self.services, name, port)
    }

    fn excuse(&self, found: &Found, name: &str, port: Option<&str>) -> Option<String> {
        match (found.get(name), port) {
            (Some(Some(why)), _) if why.is_empty() => Some("it failed before the update as well".to_owned()),
            (Some(Some(why)), _) => Some(format!("it failed before the update as well: {why}")),
            // It was fine before: what fails it now came with the update.
            (Some(None), _) => None,
            (None, Some(port)) if self.absent.contains(port) => {
                Some(format!("it is new, and {port} is not there, as before the update"))
            }
            (None, _) => None,
        }
    }

    /// As much of it as may be kept: reasons go first, then everything.
    fn bounded(mut self) -> Baseline {
        let fits = |baseline: &Baseline| serde_json::to_vec(baseline).is_ok_and(|bytes| bytes.len() <= LONGEST);
        if !fits(&self) {
            let reasons = self.checks.values_mut().chain(self.services.values_mut()).flatten();
            reasons.for_each(String::clear);
        }
        // Without a record a trial is judged by itself.
        if fits(&self) { self } else { Baseline::default() }
    }
}

fn short(reason: String) -> String {
    reason.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect()
}

/// The interfaces that are not there.
#[must_use]
pub fn absent(report: &NetworkReport) -> BTreeSet<String> {
    report.interfaces.iter().filter(|port| !port.present).map(|port| port.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(name: &str, verdict: Verdict, reason: Option<&str>) -> CheckReport {
        CheckReport { name: name.to_owned(), verdict, reason: reason.map(str::to_owned), deadline_s: 60.0 }
    }

    fn service(name: &str, fine: bool, failure: Option<&str>) -> ServiceNow {
        ServiceNow { name: name.to_owned(), fine, failure: failure.map(str::to_owned) }
    }

    fn now() -> Now {
        Now {
            network: true,
            absent: BTreeSet::from(["eth1".to_owned()]),
            checks: vec![
                check("route 10.0.0.2", Verdict::Passed, None),
                check("neighbour 10.0.0.9", Verdict::Failed, Some("does not answer")),
                check("slow", Verdict::Waiting, Some("not yet")),
            ],
            services: vec![
                service("bgpd", true, Some("killed by signal 11")),
                service("metrics", false, Some("not ready after 30 s")),
                service("late", false, None),
            ],
            late: false,
        }
    }

    #[test]
    fn what_failed_before_is_excused_and_what_worked_before_is_not() {
        let base = Baseline::of(&now(), &Baseline::default());
        let why = base.excuses_check("neighbour 10.0.0.9", None).unwrap();
        assert_eq!(why, "it failed before the update as well: does not answer");
        assert!(base.excuses_service("metrics", None).unwrap().ends_with("not ready after 30 s"));
        for fine in ["route 10.0.0.2", "slow", "nobody knows it"] {
            assert_eq!(base.excuses_check(fine, None), None, "{fine}");
        }
        // It crashed once, and has been ready since.
        assert_eq!(base.excuses_service("bgpd", None), None);
        assert_eq!(base.excuses_service("late", None), None, "it may still come");
    }

    #[test]
    fn what_is_new_is_excused_for_a_port_that_neither_system_has() {
        let base = Baseline::of(&now(), &Baseline::default());
        let why = base.excuses_check("tcp 10.1.0.1:80", Some("eth1")).unwrap();
        assert_eq!(why, "it is new, and eth1 is not there, as before the update");
        assert!(base.excuses_service("dnsmasq", Some("eth1")).is_some());
        // The port went with the update: a driver that is missing, say.
        assert_eq!(base.excuses_check("tcp 10.0.0.1:80", Some("eth0")), None);
        // It worked without the port before.
        assert_eq!(base.excuses_check("route 10.0.0.2", Some("eth1")), None);
        assert_eq!(base.excuses_service("bgpd", Some("eth1")), None);
    }

    #[test]
    fn what_is_not_known_yet_is_taken_from_before_and_lateness_ends_the_waiting() {
        let mut first = now();
        first.late = true;
        first.checks[2] = check("slow", Verdict::Failed, Some("not within 60 s"));
        let first = Baseline::of(&first, &Baseline::default());
        assert!(first.excuses_service("late", None).unwrap().ends_with("it was not ready"));
        // Restarted, and a trial is asked for at once.
        let second = Baseline::of(&now(), &first);
        assert!(second.excuses_check("slow", None).unwrap().ends_with("not within 60 s"));
        assert!(second.excuses_service("late", None).is_some());
        let mut healed = now();
        healed.checks[2] = check("slow", Verdict::Passed, None);
        assert_eq!(Baseline::of(&healed, &second).excuses_check("slow", None), None);
        assert!(!now().is_known());
    }

    #[test]
    fn all_is_known_when_no_check_waits_and_services_are_ready_or_too_late() {
        let mut node = now();
        node.checks.pop();
        assert!(!node.is_known());
        node.late = true;
        assert!(node.is_known());
        (node.late, node.services) = (false, vec![service("bgpd", true, None)]);
        assert!(node.is_known());
    }

    #[test]
    fn a_node_without_any_network_is_known_to_have_had_none() {
        assert!(Baseline::of(&Now::default(), &Baseline::default()).no_network);
        assert!(!Baseline::default().no_network, "without a record a trial must show its network");
    }

    proptest! {
        #[test]
        fn it_stays_short_whatever_names_and_reasons_there_are(
            names in prop::collection::vec("\\PC{0,300}", 0..200), reason in "\\PC{0,1000}",
        ) {
            let node = Now {
                checks: names.iter().map(|name| check(name, Verdict::Failed, Some(&reason))).collect(),
                ..Now::default()
            };
            let base = Baseline::of(&node, &Baseline::default());
            let bytes = serde_json::to_vec(&base).unwrap();
            prop_assert!(bytes.len() <= LONGEST);
            prop_assert_eq!(serde_json::from_slice::<Baseline>(&bytes).unwrap(), base);
        }
    }
}
