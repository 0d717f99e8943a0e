//! How healthy a node is: one verdict over all health checks of its role, as PID 1 keeps it and
//! as operators, metrics and the commit of an update read it.

use crate::words::words;
use serde::{Deserialize, Serialize};

words! {
    /// The verdict over one check, or over all of them.
    pub enum Verdict {
        /// Not every check has passed yet, and none is past its deadline.
        Waiting = "waiting",
        /// Every check passes.
        Passed = "passed",
        /// A check did not pass by its deadline, or no longer passes.
        Failed = "failed",
    }
}

/// The verdict and what it is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthReport {
    pub verdict: Verdict,
    /// When the verdict became this one, in seconds since power-on.
    pub since_s: f64,
    /// In the order of the role.
    pub checks: Vec<CheckReport>,
    /// What the reasons of several checks come from, where that is known: there is no node config, or a service cannot run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckReport {
    pub name: String,
    pub verdict: Verdict,
    /// What keeps it from passing, in words; `None` when it passes.
    pub reason: Option<String>,
    /// Time since power-on by which it must have passed, in seconds.
    pub deadline_s: f64,
}

impl HealthReport {
    /// The report of a node that has no checks, or has not begun with them.
    #[must_use]
    pub fn empty() -> HealthReport {
        HealthReport { verdict: Verdict::Waiting, since_s: 0.0, checks: Vec::new(), cause: None }
    }

    /// What is wrong: the cause where it is known, then one entry a check: `name: reason`.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let wrong =
            self.checks.iter().filter(|check| check.verdict == self.verdict && self.verdict != Verdict::Passed);
        let symptoms = wrong.map(|check| match &check.reason {
            Some(reason) => format!("{}: {reason}", check.name),
            None => check.name.clone(),
        });
        let cause = self.cause.clone().filter(|_| self.verdict != Verdict::Passed);
        cause.into_iter().chain(symptoms).collect()
    }

    /// As [`HealthReport::line`], and for how long it has passed at this time since power-on, in seconds:
    /// `passed: 4 checks, for 12.0 s`.
    #[must_use]
    pub fn line_at(&self, now_s: f64) -> String {
        match self.verdict {
            Verdict::Passed => {
                let span = (now_s - self.since_s).max(0.0);
                format!("{}: {} checks, for {span:.1} s", self.verdict, self.checks.len())
            }
            _ => self.line(),
        }
    }

    /// One line: `passed`, or `failed: bgpd: it is in back-off`.
    #[must_use]
    pub fn line(&self) -> String {
        let reasons = self.reasons();
        if reasons.is_empty() {
            self.verdict.to_string()
        } else {
            format!("{}: {}", self.verdict, reasons.join("; "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, verdict: Verdict, reason: Option<&str>) -> CheckReport {
        CheckReport { name: name.to_owned(), verdict, reason: reason.map(str::to_owned), deadline_s: 60.0 }
    }

    #[test]
    fn a_report_says_in_one_line_what_is_wrong() {
        let mut report = HealthReport {
            verdict: Verdict::Failed,
            since_s: 61.0,
            checks: vec![
                check("zebra", Verdict::Passed, None),
                check("bgpd", Verdict::Failed, Some("it is in back-off")),
                check("route", Verdict::Waiting, Some("no route")),
            ],
            cause: None,
        };
        assert_eq!(report.line(), "failed: bgpd: it is in back-off");
        report.cause = Some("no node.toml is in force".to_owned());
        assert_eq!(report.line(), "failed: no node.toml is in force; bgpd: it is in back-off");
        report.verdict = Verdict::Passed;
        assert_eq!(report.line(), "passed");
        (report.verdict, report.cause) = (Verdict::Waiting, None);
        assert_eq!(report.line(), "waiting: route: no route");
        report.verdict = Verdict::Passed;
        assert_eq!(report.line(), "passed");
        assert_eq!(report.line_at(73.5), "passed: 3 checks, for 12.5 s");
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.starts_with(r#"{"verdict":"passed","since_s":61.0,"checks":[{"name":"zebra","#), "{text}");
        assert_eq!(serde_json::from_str::<HealthReport>(&text).unwrap(), report);
    }
}
