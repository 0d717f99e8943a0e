//! `microdc audit`: known vulnerabilities of the packages of an image.

use crate::audit::download::{self, Data};
use crate::audit::hole::{Fix, Hole, Level, Plan};
use crate::audit::subjects::Subjects;
use crate::audit::{self, Report, ignore};
use crate::cache::Cache;
use crate::cli::output::{self, OutputError};
use crate::clock;
use crate::lock::Lock;
use crate::open::Medium;
use crate::pipeline::settings::Settings;
use crate::profile::load;
use crate::report::Reporter;
use crate::source::http::{Client, Patience};
use crate::source::trust::Trust;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use contract::calendar::show_time;
use contract::layout::Slot;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::UNIX_EPOCH;

/// The exit status when an audit could not be made.
pub(super) const NOT_MADE: u8 = 3;
/// A bill of materials has at most so many bytes.
const LARGEST_BILL: u64 = 64 << 20;
/// A copy of the data older than this, in days, is named as such.
const OLD: u64 = 7;

/// Check the packages of an image for known vulnerabilities
///
/// Compares the packages of an image, a disk, a bundle, a profile's lock or a
/// bill of materials (CycloneDX or SPDX) with the data of Debian's security
/// tracker: which have known vulnerabilities, how urgent Debian thinks they
/// are, and whether a new build fixes them. The data is fetched and kept in the cache;
/// what has not changed is not fetched again.
///
/// Artifacts, and modules inside programs, are not Debian's packages: they are
/// not audited, and the last lines name them.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc audit out/router.img\n  microdc audit router --fixable\n  microdc audit \
                  out/router.img --data tracker.json.gz --fail-on high\n  microdc audit router.cdx.json --json \
                  --ignore-file accepted.txt\n\nLevels are Debian's urgencies: high, medium, end-of-life, unassigned \
                  (not judged\nyet), low, unimportant.\n\nExit status: 0 no vulnerability at --fail-on or above; 1 there is \
                  one; 2 wrong usage;\n3 the audit could not be completed; 130 interrupted."
)]
pub(super) struct Audit {
    /// An image, disk, root partition or bundle; a profile's name or its lock;
    /// or a bill of materials as JSON
    what: PathBuf,
    /// The tracker's data, plain or packed by gzip [default: fetched]
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Where the data is published [default: at Debian's security tracker]
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    url: Option<String>,
    /// Download nothing: use the cached copy of an earlier run
    #[arg(long, conflicts_with = "data")]
    offline: bool,
    /// Fail the audit at this level or above
    #[arg(long, value_name = "LEVEL", value_enum, default_value = "unassigned", hide_possible_values = true)]
    fail_on: Level,
    /// Show only vulnerabilities that a new build fixes
    #[arg(long)]
    fixable: bool,
    /// Ignore this vulnerability; can be repeated
    #[arg(long, value_name = "CVE", value_parser = ignore::name)]
    ignore: Vec<String>,
    /// Ignore the vulnerabilities listed in this file, one per line; # starts a
    /// comment
    #[arg(long, value_name = "FILE")]
    ignore_file: Option<PathBuf>,
    /// The slot [default: the one that boots]
    #[arg(long, value_name = "A|B", value_parser = super::bundle::slot)]
    slot: Option<Slot>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
#[error("the audit could not be completed")]
pub(super) struct NotMade;

impl Audit {
    pub(super) fn run(self, interrupted: &Arc<AtomicBool>) -> Result<()> {
        let (mut report, data_of) = self.audit(interrupted).context(NotMade)?;
        if self.fixable {
            report.holes.retain(|hole| hole.fix.is_available());
        }
        let failing = report.holes.iter().filter(|hole| hole.level >= self.fail_on).count();
        if self.json {
            let data_of = data_of.map(|time| show_time(time).replace(" UTC", "Z").replace(' ', "T"));
            let passed = failing == 0;
            output::json(&serde_json::json!({
                "of": self.what, "data_of": data_of, "fail_on": self.fail_on, "passed": passed, "report": report,
            }))?;
        } else {
            print(&self.what, &report, data_of)?;
        }
        output::flush()?;
        if failing > 0 {
            bail!("{}: {} at {} or above", self.what.display(), holes(failing), self.fail_on.name());
        }
        Ok(())
    }

    /// What was found, and when the data was fetched or its file last changed.
    fn audit(&self, interrupted: &Arc<AtomicBool>) -> Result<(Report, Option<u64>)> {
        let cache = Cache::open(Cache::default_root()?)?;
        let subjects = self.subjects(&cache).with_context(|| self.what.display().to_string())?;
        let mut ignored: BTreeSet<String> = self.ignore.iter().cloned().collect();
        if let Some(path) = &self.ignore_file {
            ignored.extend(ignore::read(path)?);
        }
        if let Some(path) = &self.data {
            let shown = || path.display().to_string();
            let file = File::open(path).with_context(shown)?;
            let changed = file.metadata().and_then(|metadata| metadata.modified()).ok();
            let changed = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map(|age| age.as_secs());
            return Ok((audit::audit(&subjects, file, &ignored).with_context(shown)?, changed));
        }
        let base = std::env::current_dir().context("the current folder is gone")?;
        let trust = Trust::find(Settings::load(&base)?.ca.as_deref())?;
        let client = Client::trusting(Patience::default(), &trust, interrupted.clone());
        let reporter = Reporter::new(self.json);
        let stage = reporter.stage("tracker");
        let url = self.url.as_deref().unwrap_or(download::URL);
        stage.doing(url);
        let now = clock::now();
        Ok(match download::data(&cache, &client, url, self.offline, &stage)? {
            Data::Kept { reader, fetched } => {
                let days = now.saturating_sub(fetched) / (24 * 3600);
                if self.offline && days > OLD {
                    note!("warning: the data is {days} days old; leave out --offline to fetch it anew");
                }
                (audit::audit(&subjects, reader, &ignored).with_context(|| url.to_owned())?, Some(fetched))
            }
            Data::Fresh(fresh) => {
                let report = audit::audit(&subjects, fresh.reader(), &ignored).with_context(|| url.to_owned())?;
                fresh.keep(&cache, now)?;
                (report, Some(now))
            }
        })
    }

    fn subjects(&self, cache: &Cache) -> Result<Subjects> {
        let what = &self.what;
        let ends = |ending: &str| what.extension().is_some_and(|extension| extension == ending);
        let is_file = what.is_file() || what.exists() && !what.is_dir();
        if self.slot.is_some() && (!is_file || ["json", "lock", "toml"].into_iter().any(ends)) {
            bail!("it has no slots to choose from: leave out --slot");
        }
        if is_file && ends("json") {
            let mut text = Vec::new();
            File::open(what)?.take(LARGEST_BILL + 1).read_to_end(&mut text)?;
            anyhow::ensure!(text.len() as u64 <= LARGEST_BILL, "it is larger than a bill of materials is");
            return Ok(Subjects::of_bill(&text)?);
        }
        if is_file && !ends("toml") && !ends("lock") {
            let medium = Medium::open(what)?;
            return Ok(Subjects::of_inventory(&medium.pick(self.slot)?.inventory()?));
        }
        let lock = if ends("lock") { what.clone() } else { self.profile()?.with_extension("lock") };
        let lock = Lock::load(&lock)?
            .with_context(|| format!("there is no lock {}: `microdc lock` or a build makes it", lock.display()))?;
        Ok(Subjects::of_lock(&lock, cache))
    }

    /// The file of the profile of that name.
    fn profile(&self) -> Result<PathBuf> {
        let base = std::env::current_dir().context("the current folder is gone")?;
        Ok(load::find(&self.what.to_string_lossy(), &base)?)
    }
}

fn print(of: &Path, report: &Report, data_of: Option<u64>) -> Result<(), OutputError> {
    let Report { packages, sources, holes: found, .. } = report;
    let data = data_of.map(|time| format!("; data of {}", show_time(time))).unwrap_or_default();
    outln!("{}: {packages} packages from {sources} source packages{data}", of.display())?;
    if !found.is_empty() {
        outln!("\n{:<12} {:<18} {:<20} {:<24} fix", "level", "hole", "source", "version")?;
        found.iter().try_for_each(line)?;
    }
    outln!()?;
    let counts = Level::ALL.map(|level| (level, found.iter().filter(|hole| hole.level == level).count()));
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(level, count)| format!("{count} {}", level.name()))
        .collect();
    match counts.is_empty() {
        true => outln!("no known vulnerability")?,
        false => outln!("{}: {}", holes(found.len()), counts.join(", "))?,
    }
    let closed = found.iter().filter(|hole| hole.fix.is_available()).count();
    if closed > 0 {
        outln!("a new build closes {closed} of them: `microdc lock NAME --update`, then build")?;
    }
    let list = |count: usize, what: &str| if count > 0 { outln!("{count} {what}") } else { Ok(()) };
    list(report.ignored.len(), "accepted by name")?;
    list(report.undetermined.len(), "of which Debian does not know yet whether they are there")?;
    let named = |names: &[String], what: &str| match names.is_empty() {
        true => Ok(()),
        false => outln!("{what}: {}", names.join(", ")),
    };
    let in_vain: Vec<String> = report.ignored_in_vain.iter().cloned().collect();
    named(&in_vain, "accepted, and not there (any more)")?;
    named(&report.not_followed, "not audited (from suites that the tracker does not cover)")?;
    named(&report.not_covered, "not audited (not from a Debian package)")?;
    named(&report.guessed, "their source package was told by their path in the archive")
}

fn line(hole: &Hole) -> Result<(), OutputError> {
    let Hole { level, id, source, version, fix, plan, release, .. } = hole;
    let fix = match fix {
        Fix::Available { version, suite } => format!("{version} in {suite}: build again"),
        Fix::Announced { version } => format!("{version}, not in {release} yet"),
        Fix::Elsewhere { version, release: other } => format!("none in {release}; {other} has {version}"),
        Fix::None => "none yet".to_owned(),
    };
    let plan = match plan {
        None => "",
        Some(Plan::NoAdvisory) => " (no advisory planned)",
        Some(Plan::Postponed) => " (postponed)",
        Some(Plan::Ignored) => " (Debian will not fix it)",
    };
    outln!("{:<12} {id:<18} {source:<20} {version:<24} {fix}{plan}", level.name())
}

fn holes(count: usize) -> String {
    if count == 1 { "1 vulnerability".to_owned() } else { format!("{count} vulnerabilities") }
}
