//! Whether the packages of an image have known holes, as Debian's security tracker says.
//!
//! - [`subjects`] the packages: of an image, of a lock, of a bill of materials · [`tracker`] the tracker's data, read as a
//!   stream · [`hole`] one package beside what the tracker says of it · [`ignore`] holes that somebody accepted
//! - [`download`] the data by HTTP, kept in the cache
//!
//! The tracker knows source packages by release, and nothing else: artifacts, and what lies in programs, are not looked at.

pub mod download;
pub mod hole;
pub mod ignore;
pub mod subjects;
pub mod tracker;

use hole::{Hole, Verdict};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use subjects::{Subject, Subjects};
use tracker::{Issue, TrackerError};

/// Data that says nothing of what is looked at.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error(transparent)]
    Tracker(#[from] TrackerError),
    #[error(
        "the data contains no packages of {release}: either it is not Debian security tracker data, or the tracker no \
         longer covers that release"
    )]
    UnknownRelease { release: String },
    #[error("it contains no Debian packages to audit")]
    NoPackages,
}

/// What an audit found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Binary packages that were looked at.
    pub packages: usize,
    /// The source packages that they come from.
    pub sources: usize,
    /// The worst first.
    pub holes: Vec<Hole>,
    /// Holes that somebody accepted by name.
    pub ignored: Vec<Hole>,
    /// Of which Debian does not know yet whether the package has them.
    pub undetermined: Vec<Hole>,
    /// What was accepted by name, and is not in this image.
    pub ignored_in_vain: BTreeSet<String>,
    /// Packages of suites that the tracker does not follow.
    pub not_followed: Vec<String>,
    /// Packages whose source package was told from the archive's path, as nothing else says it.
    pub guessed: Vec<String>,
    /// What comes from no package, and what the tracker thus knows nothing of.
    pub not_covered: Vec<String>,
}

/// Looks every package up in the tracker's data. `ignored` are the names of accepted holes.
///
/// # Errors
/// When the data cannot be understood, or says nothing of a release that is looked at.
pub fn audit(subjects: &Subjects, data: impl Read, ignored: &BTreeSet<String>) -> Result<Report, AuditError> {
    let mut by_source: BTreeMap<&str, Vec<&Subject>> = BTreeMap::new();
    for subject in &subjects.followed {
        by_source.entry(&subject.source.name).or_default().push(subject);
    }
    if subjects.followed.is_empty() {
        return Err(AuditError::NoPackages);
    }
    let mut found = Found { ignored, seen: BTreeSet::new(), report: empty(subjects, by_source.len()) };
    tracker::read(data, &|source| by_source.contains_key(source), &mut |source, id, issue| {
        found.take(by_source.get(source).map_or(&[][..], Vec::as_slice), id, &issue);
    })?;
    let Found { seen, mut report, .. } = found;
    let releases: BTreeSet<&str> = subjects.followed.iter().map(|subject| subject.release.as_str()).collect();
    if let Some(release) = releases.into_iter().find(|release| !seen.contains(*release)) {
        return Err(AuditError::UnknownRelease { release: release.to_owned() });
    }
    for holes in [&mut report.holes, &mut report.ignored, &mut report.undetermined] {
        holes.sort_by(|one, other| one.order().cmp(&other.order()));
    }
    let met: BTreeSet<&str> = report.ignored.iter().map(|hole| hole.id.as_str()).collect();
    report.ignored_in_vain = ignored.iter().filter(|id| !met.contains(id.as_str())).cloned().collect();
    Ok(report)
}

fn empty(subjects: &Subjects, sources: usize) -> Report {
    let guessed = subjects.followed.iter().filter(|subject| subject.guessed);
    Report {
        packages: subjects.followed.len(),
        sources,
        holes: Vec::new(),
        ignored: Vec::new(),
        undetermined: Vec::new(),
        ignored_in_vain: BTreeSet::new(),
        not_followed: subjects.not_followed.clone(),
        guessed: guessed.map(|subject| subject.package.clone()).collect(),
        not_covered: subjects.not_covered.clone(),
    }
}

/// What was found so far.
struct Found<'i> {
    ignored: &'i BTreeSet<String>,
    /// Releases that the data knows.
    seen: BTreeSet<String>,
    report: Report,
}

impl Found<'_> {
    /// Judges one issue of one source package. Packages of one source, version and release share a line.
    fn take(&mut self, subjects: &[&Subject], id: &str, issue: &Issue) {
        let mut lines: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
        for subject in subjects {
            let key = (subject.release.as_str(), subject.source.version.as_str());
            lines.entry(key).or_default().push(subject.package.clone());
        }
        for ((release, version), packages) in lines {
            if issue.releases.contains_key(release) && !self.seen.contains(release) {
                self.seen.insert(release.to_owned());
            }
            let source = subjects.first().map_or("", |subject| subject.source.name.as_str());
            let verdict = hole::judge(source, version, release, id, issue);
            let (list, mut hole) = match verdict {
                Verdict::NotThere => continue,
                Verdict::Undetermined(hole) => (&mut self.report.undetermined, hole),
                Verdict::Hole(hole) if self.ignored.contains(id) => (&mut self.report.ignored, hole),
                Verdict::Hole(hole) => (&mut self.report.holes, hole),
            };
            hole.packages = packages;
            list.push(hole);
        }
    }
}
