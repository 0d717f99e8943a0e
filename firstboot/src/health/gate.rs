//! The verdict as a pure state machine: check results and the time go in, the verdict and its reasons come out.

use crate::service::Moment;
use contract::health::{CheckReport, HealthReport, Verdict};
use contract::role::{HealthCheck, Probe};
use std::time::Duration;

/// Time between two checks at what has not passed yet.
const IMPATIENT: Duration = Duration::from_secs(1);
/// After a check has passed, so many looks in a row must fail before it has failed: one may be lost under load.
const TOLERATED: u32 = 2;
/// Time between two looks at a boot partition that is not the signed one: each reads and hashes all of it.
const BOOT_PARTITION: Duration = Duration::from_secs(600);

/// One check and what is known of it.
#[derive(Clone, Debug)]
pub struct Check {
    pub spec: HealthCheck,
    verdict: Verdict,
    reason: Option<String>,
    /// Whether it ever passed.
    passed_once: bool,
    failures: u32,
    next: Moment,
    /// Why a trial does not fail with it.
    excuse: Option<String>,
}

/// All checks and the verdict over them.
#[derive(Clone, Debug)]
pub struct Gate {
    checks: Vec<Check>,
    verdict: Verdict,
    since: Moment,
    /// Since when every check that is not excused has passed without a break.
    good_since: Option<Moment>,
    /// What the reasons of several checks come from.
    cause: Option<String>,
    /// The same, for as long as it holds.
    suspected: Option<String>,
}

impl Gate {
    /// Nothing has been inspected. Without checks nothing can be wrong.
    #[must_use]
    pub fn new(specs: Vec<HealthCheck>) -> Gate {
        let check = |spec| Check {
            spec,
            verdict: Verdict::Waiting,
            reason: None,
            passed_once: false,
            failures: 0,
            next: Moment::ZERO,
            excuse: None,
        };
        let checks = specs.into_iter().map(check).collect();
        Gate {
            checks,
            verdict: Verdict::Waiting,
            since: Moment::ZERO,
            good_since: None,
            cause: None,
            suspected: None,
        }
    }

    #[must_use]
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// For how long everything that counts in a trial has passed without a break; what a commit waits for.
    #[must_use]
    pub fn passed_for(&self, now: Moment) -> Option<Duration> {
        self.good_since.map(|since| now.saturating_sub(since))
    }

    /// Names what the reasons of several checks come from; the first that is named stays.
    pub fn blame(&mut self, cause: impl FnOnce() -> String) {
        self.cause.get_or_insert_with(cause);
    }

    /// Names what the reasons come from now, or that it is no longer known. What was blamed comes first.
    pub fn suspect(&mut self, cause: Option<String>) {
        self.suspected = cause;
    }

    fn cause(&self) -> Option<String> {
        self.cause.clone().or_else(|| self.suspected.clone())
    }

    /// Asks of each check why a trial does not fail with it; the verdict stays what it is.
    pub fn excuse(&mut self, why: impl Fn(&HealthCheck) -> Option<String>) {
        for check in &mut self.checks {
            check.excuse = why(&check.spec);
        }
    }

    /// Checks that do not pass and are excused, with the reasons.
    pub fn excused(&self) -> impl Iterator<Item = (&str, &str)> {
        let failing = self.checks.iter().filter(|check| check.verdict != Verdict::Passed);
        failing.filter_map(|check| Some((check.spec.name.as_str(), check.excuse.as_deref()?)))
    }

    /// What counts in a trial, in one line.
    #[must_use]
    pub fn line(&self) -> String {
        let checks: Vec<CheckReport> =
            self.checks.iter().filter(|check| check.excuse.is_none()).map(Check::report).collect();
        let verdict = verdict(checks.iter().map(|check| check.verdict));
        HealthReport { verdict, since_s: 0.0, checks, cause: self.cause() }.line()
    }

    /// A check that counts in a trial and never passed although its time is over, with its reason.
    #[must_use]
    pub fn overdue(&self) -> Option<String> {
        let counts = self.checks.iter().filter(|check| check.excuse.is_none());
        let check = counts.into_iter().find(|check| check.verdict == Verdict::Failed && !check.passed_once)?;
        Some(format!("{}: {}", check.spec.name, check.reason.as_deref().unwrap_or("no reason is known")))
    }

    /// Takes the answer of one look.
    pub fn found(&mut self, at: usize, finding: Result<(), String>, now: Moment) {
        let Some(check) = self.checks.get_mut(at) else { return };
        match finding {
            Ok(()) => {
                (check.verdict, check.reason) = (Verdict::Passed, None);
                (check.passed_once, check.failures) = (true, 0);
                check.next = now + Duration::from_millis(check.spec.every_ms);
            }
            Err(reason) => {
                check.failures = check.failures.saturating_add(1);
                // A service's state is known, not measured: nothing gets lost on the way.
                let sure = matches!(check.spec.probe, Probe::Service { .. }) || check.failures >= TOLERATED;
                // What does not get better by waiting has no need of its deadline.
                let stays = matches!(check.spec.probe, Probe::BootPartition);
                let pause = if stays && sure { BOOT_PARTITION } else { IMPATIENT };
                check.next = now + pause.min(Duration::from_millis(check.spec.every_ms));
                if sure && (check.passed_once || stays) {
                    (check.verdict, check.reason) = (Verdict::Failed, Some(reason));
                } else if !check.passed_once {
                    check.reason = Some(reason);
                }
            }
        }
    }

    /// Passes judgement. Returns whether the verdict has changed.
    pub fn judge(&mut self, now: Moment) -> bool {
        for check in &mut self.checks {
            let late = now >= Duration::from_millis(check.spec.deadline_ms);
            if check.verdict == Verdict::Waiting && late {
                check.verdict = Verdict::Failed;
                let limit = Duration::from_millis(check.spec.deadline_ms).as_secs_f64();
                let why = check.reason.take().unwrap_or_else(|| "it could not be checked".to_owned());
                check.reason = Some(format!("not within {limit:.0} s: {why}"));
            }
        }
        let good = self.checks.iter().all(|check| check.excuse.is_some() || check.verdict == Verdict::Passed);
        self.good_since = good.then(|| self.good_since.unwrap_or(now));
        let verdict = verdict(self.checks.iter().map(|check| check.verdict));
        let changed = verdict != self.verdict;
        if changed {
            (self.verdict, self.since) = (verdict, now);
        }
        changed
    }

    /// When something is due next. Those that `looking` names are being inspected.
    #[must_use]
    pub fn deadline(&self, looking: impl Fn(usize) -> bool) -> Option<Moment> {
        let of = |(at, check): (usize, &Check)| {
            let look = (!looking(at)).then_some(check.next);
            let limit = Duration::from_millis(check.spec.deadline_ms);
            let limit = (check.verdict == Verdict::Waiting).then_some(limit);
            [look, limit].into_iter().flatten().min()
        };
        self.checks.iter().enumerate().filter_map(of).min()
    }

    #[must_use]
    pub fn report(&self) -> HealthReport {
        HealthReport {
            verdict: self.verdict,
            since_s: self.since.as_secs_f64(),
            checks: self.checks.iter().map(Check::report).collect(),
            cause: self.cause(),
        }
    }
}

/// The verdict over several.
fn verdict(each: impl Iterator<Item = Verdict> + Clone) -> Verdict {
    let any = |wanted| each.clone().any(|verdict| verdict == wanted);
    if any(Verdict::Failed) {
        Verdict::Failed
    } else if any(Verdict::Waiting) {
        Verdict::Waiting
    } else {
        Verdict::Passed
    }
}

impl Check {
    /// Whether it is time to look.
    #[must_use]
    pub fn due(&self, now: Moment) -> bool {
        now >= self.next
    }

    fn report(&self) -> CheckReport {
        CheckReport {
            name: self.spec.name.clone(),
            verdict: self.verdict,
            reason: self.reason.clone(),
            deadline_s: Duration::from_millis(self.spec.deadline_ms).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::role::Target;
    use proptest::prelude::*;

    const fn s(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    fn check(name: &str, deadline: u64) -> HealthCheck {
        HealthCheck {
            name: name.to_owned(),
            probe: Probe::Tcp(Target::Is("127.0.0.1:1".to_owned())),
            deadline_ms: deadline * 1000,
            every_ms: 10_000,
            timeout_ms: 1000,
            when: None,
        }
    }

    fn no(gate: &mut Gate, at: usize, now: u64) -> Verdict {
        gate.found(at, Err("refused".to_owned()), s(now));
        gate.judge(s(now));
        gate.verdict
    }

    fn yes(gate: &mut Gate, at: usize, now: u64) -> Verdict {
        gate.found(at, Ok(()), s(now));
        gate.judge(s(now));
        gate.verdict
    }

    #[test]
    fn the_gate_passes_when_every_check_has_passed_and_not_before() {
        let mut gate = Gate::new(vec![check("a", 60), check("b", 60)]);
        assert_eq!(no(&mut gate, 0, 1), Verdict::Waiting);
        assert_eq!(gate.report().line(), "waiting: a: refused; b");
        assert_eq!(yes(&mut gate, 0, 2), Verdict::Waiting);
        assert_eq!(yes(&mut gate, 1, 3), Verdict::Passed);
        assert_eq!(gate.passed_for(s(8)), Some(s(5)));
    }

    #[test]
    fn what_does_not_pass_by_its_deadline_has_failed_with_the_reason() {
        let mut gate = Gate::new(vec![check("a", 60), check("b", 30)]);
        yes(&mut gate, 0, 1);
        assert_eq!(no(&mut gate, 1, 29), Verdict::Waiting);
        assert_eq!(gate.deadline(|_| false), Some(s(11)));
        assert!(gate.judge(s(30)) && !gate.judge(s(31)), "it is told once");
        assert_eq!(gate.report().line(), "failed: b: not within 30 s: refused");
        assert_eq!(gate.passed_for(s(31)), None);
        assert_eq!(yes(&mut gate, 1, 40), Verdict::Passed, "late, but healthy now");
    }

    #[test]
    fn after_it_has_passed_one_lost_look_is_forgiven_and_two_are_not() {
        let mut gate = Gate::new(vec![check("a", 60)]);
        yes(&mut gate, 0, 1);
        assert_eq!(no(&mut gate, 0, 100), Verdict::Passed);
        assert_eq!(gate.deadline(|_| false), Some(s(101)), "it looks again soon");
        assert_eq!(no(&mut gate, 0, 101), Verdict::Failed);
        assert_eq!(gate.report().line(), "failed: a: refused");
        assert_eq!(yes(&mut gate, 0, 102), Verdict::Passed);
        assert_eq!(gate.passed_for(s(102)), Some(s(0)), "settling begins again");
    }

    #[test]
    fn what_is_excused_keeps_no_trial_back_and_stays_in_the_report() {
        let mut gate = Gate::new(vec![check("peer", 30), check("route", 60)]);
        gate.excuse(|check| (check.name == "peer").then(|| "as before".to_owned()));
        assert_eq!(no(&mut gate, 0, 1), Verdict::Waiting);
        assert_eq!((gate.line(), gate.passed_for(s(1))), ("waiting: route".to_owned(), None));
        yes(&mut gate, 1, 2);
        assert_eq!(no(&mut gate, 0, 31), Verdict::Failed);
        assert_eq!((gate.passed_for(s(32)), gate.overdue()), (Some(s(30)), None));
        assert_eq!(gate.report().line(), "failed: peer: not within 30 s: refused");
        assert_eq!(
            (gate.line(), gate.excused().collect::<Vec<_>>()),
            ("passed".to_owned(), vec![("peer", "as before")])
        );
        no(&mut gate, 1, 33);
        no(&mut gate, 1, 34);
        assert_eq!((gate.passed_for(s(34)), gate.line().as_str()), (None, "failed: route: refused"));
        yes(&mut gate, 1, 35);
        // The excuse is gone: it counts again.
        gate.excuse(|_| None);
        gate.judge(s(36));
        assert_eq!(gate.passed_for(s(36)), None);
        assert_eq!(gate.overdue().unwrap(), "peer: not within 30 s: refused");
    }

    #[test]
    fn a_changed_boot_partition_has_failed_at_the_second_look_and_is_read_seldom_from_then_on() {
        let mut gate = Gate::new(vec![HealthCheck {
            probe: Probe::BootPartition,
            every_ms: 6 * 3600 * 1000,
            ..check("boot partition", 120)
        }]);
        assert_eq!(no(&mut gate, 0, 1), Verdict::Waiting, "one look may be lost under load");
        assert_eq!(gate.deadline(|_| false), Some(s(2)));
        assert_eq!(no(&mut gate, 0, 3), Verdict::Failed);
        assert_eq!(gate.report().line(), "failed: boot partition: refused");
        assert_eq!(gate.overdue().as_deref(), Some("boot partition: refused"), "a trial does not wait either");
        assert_eq!(gate.deadline(|_| false), Some(s(603)));
        assert_eq!(yes(&mut gate, 0, 603), Verdict::Passed, "it was written anew");
    }

    #[test]
    fn what_is_suspected_comes_first_for_as_long_as_it_is() {
        let mut gate = Gate::new(vec![check("a", 60)]);
        no(&mut gate, 0, 1);
        gate.suspect(Some("the password is another".to_owned()));
        assert_eq!(gate.report().line(), "waiting: the password is another; a: refused");
        gate.suspect(None);
        assert_eq!(gate.report().line(), "waiting: a: refused");
        gate.suspect(Some("the password is another".to_owned()));
        gate.blame(|| "no node.toml is in force".to_owned());
        assert_eq!(gate.line(), "waiting: no node.toml is in force; a: refused");
        yes(&mut gate, 0, 2);
        assert_eq!(gate.report().line(), "passed");
    }

    #[test]
    fn a_service_that_is_down_is_known_at_once() {
        let probe = Probe::Service { name: "bgpd".to_owned(), stable_ms: 0 };
        let mut gate = Gate::new(vec![HealthCheck { probe, ..check("bgpd", 60) }]);
        yes(&mut gate, 0, 1);
        assert_eq!(no(&mut gate, 0, 2), Verdict::Failed);
    }

    proptest! {
        #[test]
        fn passed_means_that_each_last_look_was_good_or_forgiven(
            looks in prop::collection::vec((0..3_usize, any::<bool>(), 0..20_u64), 0..60),
        ) {
            let mut gate = Gate::new(vec![check("a", 60), check("b", 60), check("c", 60)]);
            let mut now = 0;
            let mut bad = [2_u32; 3];
            for (at, good, later) in looks {
                now += later;
                if good { yes(&mut gate, at, now) } else { no(&mut gate, at, now) };
                bad[at] = if good { 0 } else { bad[at] + 1 };
                prop_assert_eq!(gate.verdict == Verdict::Passed, bad.iter().all(|&count| count < 2));
                prop_assert_eq!(gate.passed_for(s(now)).is_some(), gate.verdict == Verdict::Passed);
            }
        }
    }
}
