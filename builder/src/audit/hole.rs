//! One package beside what the tracker says of it.

use super::tracker::{Issue, Scope, State, Status};
use crate::source::version::Version;
use serde::Serialize;
use std::cmp::Reverse;

/// How bad a hole is, in Debian's eyes, from the least on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// A bug that nobody can use as a hole.
    Unimportant,
    Low,
    /// Debian has not judged it: most of the recent ones.
    Unassigned,
    /// Debian's security support for the package has ended.
    EndOfLife,
    Medium,
    High,
}

impl Level {
    /// All, the worst first.
    pub const ALL: [Level; 6] =
        [Level::High, Level::Medium, Level::EndOfLife, Level::Unassigned, Level::Low, Level::Unimportant];

    /// From the tracker's `urgency`; stars behind it say that it was not Debian who judged.
    #[must_use]
    pub fn of(urgency: &str) -> Level {
        match urgency.trim_end_matches('*') {
            "unimportant" => Level::Unimportant,
            "low" => Level::Low,
            "medium" => Level::Medium,
            "high" => Level::High,
            "end-of-life" => Level::EndOfLife,
            _ => Level::Unassigned,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Unimportant => "unimportant",
            Level::Low => "low",
            Level::Unassigned => "unassigned",
            Level::EndOfLife => "end-of-life",
            Level::Medium => "medium",
            Level::High => "high",
        }
    }
}

/// What can be done about a hole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Fix {
    /// A suite of the release has a version without it: a build with a new lock takes it.
    Available {
        version: String,
        suite: String,
    },
    /// Debian has decided on a version for the release, and no suite of it has one yet.
    Announced {
        version: String,
    },
    /// Another release has one.
    Elsewhere {
        version: String,
        release: String,
    },
    None,
}

impl Fix {
    #[must_use]
    pub fn is_available(&self) -> bool {
        matches!(self, Fix::Available { .. })
    }
}

/// What Debian's security team means to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Plan {
    /// It comes with a point release, if at all.
    NoAdvisory,
    Postponed,
    Ignored,
}

/// A hole of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hole {
    pub level: Level,
    /// `CVE-2026-1234`.
    pub id: String,
    /// The source package, and the version of it that is in the image.
    pub source: String,
    pub version: String,
    /// The packages of the image that were built from it.
    pub packages: Vec<String>,
    pub release: String,
    pub fix: Fix,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bug: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Hole {
    /// The worst first, then what a new build closes.
    pub(super) fn order(&self) -> impl Ord {
        let id = self.id.clone();
        (Reverse(self.level), !self.fix.is_available(), self.source.clone(), self.version.clone(), id)
    }
}

/// What an issue means for a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The package has not, or no longer, got it.
    NotThere,
    /// Nobody knows yet.
    Undetermined(Hole),
    Hole(Hole),
}

/// Judges a version of a source package in a release.
#[must_use]
pub fn judge(source: &str, version: &str, release: &str, id: &str, issue: &Issue) -> Verdict {
    let Some(state) = issue.releases.get(release) else { return Verdict::NotThere };
    let fixed = state.fixed_version.as_deref();
    // A version that cannot be read is not known to be a fixed one.
    if fixed.is_some_and(|fixed| fixed == "0" || at_least(version, fixed)) {
        return Verdict::NotThere;
    }
    let hole = Hole {
        level: Level::of(state.urgency.as_deref().unwrap_or_default()),
        id: id.to_owned(),
        source: source.to_owned(),
        version: version.to_owned(),
        packages: Vec::new(),
        release: release.to_owned(),
        fix: fix(state, release, issue),
        plan: plan(state),
        scope: issue.scope,
        bug: issue.debianbug,
        description: issue.description.clone(),
    };
    match state.status {
        Status::Undetermined => Verdict::Undetermined(hole),
        // Resolved without a version means that no version of the release has it.
        Status::Resolved if fixed.is_none() => Verdict::NotThere,
        Status::Resolved | Status::Open => Verdict::Hole(hole),
    }
}

/// Whether one version is as new as another; not so where either is not a version.
fn at_least(version: &str, other: &str) -> bool {
    let both = version.parse::<Version>().ok().zip(other.parse::<Version>().ok());
    both.is_some_and(|(version, other)| version >= other)
}

fn fix(state: &State, release: &str, issue: &Issue) -> Fix {
    let real = |fixed: &&String| *fixed != "0" && fixed.parse::<Version>().is_ok();
    if let Some(fixed) = state.fixed_version.as_ref().filter(real) {
        let version = fixed.clone();
        let suite = state.repositories.iter().find(|(_, has)| at_least(has, fixed));
        return match suite.filter(|(suite, _)| is_suite(suite)) {
            Some((suite, has)) => Fix::Available { version: has.clone(), suite: suite.clone() },
            None => Fix::Announced { version },
        };
    }
    // The newest release stands for what is being worked on.
    let others = issue.releases.iter().filter(|(other, state)| *other != release && state.status == Status::Resolved);
    let mut others: Vec<(&String, &String)> =
        others.filter_map(|(other, state)| Some((other, state.fixed_version.as_ref().filter(real)?))).collect();
    others.sort_by_key(|(other, _)| *other != "sid");
    match others.first() {
        Some((release, version)) if is_suite(release) => {
            Fix::Elsewhere { version: (*version).clone(), release: (*release).clone() }
        }
        _ => Fix::None,
    }
}

/// What may be printed as it is.
fn is_suite(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn plan(state: &State) -> Option<Plan> {
    state.nodsa.as_ref()?;
    Some(match state.nodsa_reason.as_deref() {
        Some("postponed") => Plan::Postponed,
        Some("ignored") => Plan::Ignored,
        _ => Plan::NoAdvisory,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(releases: &str) -> Issue {
        serde_json::from_str(&format!("{{\"releases\": {releases}}}")).unwrap()
    }

    fn found(version: &str, releases: &str) -> Option<Hole> {
        match judge("frr", version, "trixie", "CVE-2026-1", &issue(releases)) {
            Verdict::Hole(hole) => Some(hole),
            Verdict::NotThere => None,
            Verdict::Undetermined(_) => panic!("it is determined"),
        }
    }

    const RESOLVED: &str = r#"{"trixie": {"status": "resolved", "fixed_version": "10.3-3+deb13u1", "urgency": "high**",
        "repositories": {"trixie": "10.3-3", "trixie-security": "10.3-3+deb13u2"}}}"#;

    #[test]
    fn a_version_before_the_fix_has_the_hole_and_the_fixed_one_and_later_ones_have_not() {
        let hole = found("10.3-3", RESOLVED).unwrap();
        assert_eq!(hole.level, Level::High);
        let suite = "trixie-security".to_owned();
        assert_eq!(hole.fix, Fix::Available { version: "10.3-3+deb13u2".to_owned(), suite });
        assert_eq!(found("10.3-3+deb13u1", RESOLVED), None);
        assert_eq!(found("1:1.0-1", RESOLVED), None, "an epoch goes before all");
        assert!(found("10.3-3+deb13u1~pre", RESOLVED).is_some());
    }

    #[test]
    fn a_fix_that_no_suite_has_yet_is_announced_and_a_build_does_not_help() {
        let announced = RESOLVED.replace("10.3-3+deb13u2", "10.3-3");
        assert_eq!(found("10.3-3", &announced).unwrap().fix, Fix::Announced { version: "10.3-3+deb13u1".to_owned() });
    }

    #[test]
    fn an_open_issue_is_a_hole_of_every_version_and_the_fix_of_sid_is_named() {
        let open = r#"{"trixie": {"status": "open", "urgency": "low", "nodsa": "Minor issue", "nodsa_reason": "postponed",
            "repositories": {"trixie": "10.3-3"}}, "forky": {"status": "resolved", "fixed_version": "10.4-1"},
            "sid": {"status": "resolved", "fixed_version": "10.5-1"}}"#;
        let hole = found("99-1", open).unwrap();
        assert_eq!((hole.level, hole.plan), (Level::Low, Some(Plan::Postponed)));
        assert_eq!(hole.fix, Fix::Elsewhere { version: "10.5-1".to_owned(), release: "sid".to_owned() });
        let alone = r#"{"trixie": {"status": "open"}}"#;
        assert_eq!(found("99-1", alone).unwrap().fix, Fix::None);
    }

    #[test]
    fn what_a_release_never_had_is_not_a_hole() {
        assert_eq!(found("1-1", r#"{"trixie": {"status": "resolved", "fixed_version": "0"}}"#), None);
        assert_eq!(found("1-1", r#"{"bookworm": {"status": "open"}}"#), None);
    }

    #[test]
    fn a_version_that_cannot_be_read_counts_as_not_fixed() {
        let odd = RESOLVED.replace("\"10.3-3+deb13u1\"", "\"\\u001b[31m\"");
        let hole = found("10.3-3", &odd).unwrap();
        assert_eq!(hole.fix, Fix::None);
        assert!(found("not a version", RESOLVED).is_some());
    }

    #[test]
    fn what_is_not_determined_is_told_apart() {
        let issue = issue(r#"{"trixie": {"status": "undetermined", "urgency": "not yet assigned"}}"#);
        let verdict = judge("frr", "1", "trixie", "CVE-2026-1", &issue);
        assert!(matches!(verdict, Verdict::Undetermined(Hole { level: Level::Unassigned, .. })), "{verdict:?}");
    }
}
