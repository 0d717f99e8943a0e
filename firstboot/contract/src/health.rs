//! How healthy a node is: one verdict over all health checks of its role, as PID 1 keeps it and
//! as operators, metrics and the commit of an update read it.

use serde::{Deserialize, Serialize};

/// The whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Not every check has passed yet, and none is past its deadline.
    Waiting,
    /// Every check passes.
    Passed,
    /// A check did not pass by its deadline, or passed once and does not any more.
    Failed,
}

impl Verdict {
    /// As in sentences and metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Waiting => "waiting",
            Verdict::Passed => "passed",
            Verdict::Failed => "failed",
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
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
        HealthReport { verdict: Verdict::Waiting, since_s: 0.0, checks: Vec::new() }
    }

    /// What is wrong, one entry a check: `name: reason`.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let wrong =
            self.checks.iter().filter(|check| check.verdict == self.verdict && self.verdict != Verdict::Passed);
        wrong
            .map(|check| match &check.reason {
                Some(reason) => format!("{}: {reason}", check.name),
                None => check.name.clone(),
            })
            .collect()
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
        };
        assert_eq!(report.line(), "failed: bgpd: it is in back-off");
        report.verdict = Verdict::Waiting;
        assert_eq!(report.line(), "waiting: route: no route");
        report.verdict = Verdict::Passed;
        assert_eq!(report.line(), "passed");
        let text = serde_json::to_string(&report).unwrap();
        assert!(text.starts_with(r#"{"verdict":"passed","since_s":61.0,"checks":[{"name":"zebra","#), "{text}");
        assert_eq!(serde_json::from_str::<HealthReport>(&text).unwrap(), report);
    }
}
