//! Locks alone: completes them, or resolves them again, without making an image.

use super::artifacts::Locals;
use super::settings::Settings;
use super::{Environment, Supply, root, supply};
use crate::cache::Cache;
use crate::lock::{Change, Lock};
use crate::profile::diagnostic::did_you_mean;
use crate::profile::{self, load};
use crate::report::Reporter;
use crate::resolve::LockMode;
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// What to do with the locks of profiles.
#[derive(Clone, Debug)]
pub struct LockOptions {
    /// Names or paths of profiles.
    pub profiles: Vec<String>,
    /// `None`: what is locked stays. An empty list: everything again. Else the named packages and artifacts.
    pub update: Option<Vec<String>>,
    /// Nothing is written.
    pub check: bool,
    pub supplies: Vec<Supply>,
    pub from: Environment,
}

/// What became of a lock.
#[derive(Clone, Debug, Serialize)]
pub struct Locked {
    pub profile: String,
    pub lock: PathBuf,
    pub packages: usize,
    pub artifacts: usize,
    /// In the order of names.
    pub changes: Vec<Change>,
    /// Whether the file is not as it would be written; also when only the dates of indices differ.
    pub differs: bool,
    /// Whether the file was written.
    pub written: bool,
}

/// Brings the locks of profiles up to date with the profiles, or with what there is now. All are resolved before the
/// first is written.
///
/// # Errors
/// What failed, in which profile. Then no lock is changed.
pub fn lock(options: &LockOptions, reporter: &Reporter) -> Result<Vec<Locked>> {
    let LockOptions { update, from, .. } = options;
    let settings = Settings::load(&from.base)?;
    let mut profiles = Vec::new();
    for name in &options.profiles {
        let path = load::find(name, &from.base)?;
        let profile = profile::load(&path)?;
        profile::check::role_spec(&profile, "", Vec::new()).map_err(load::ProfileError::Mistakes)?;
        let lock = Lock::load(&path.with_extension("lock"))?;
        profiles.push((path.with_extension("lock"), profile, lock));
    }
    supply::check(&options.supplies, profiles.iter().map(|(_, profile, _)| profile))?;
    let named: BTreeSet<&str> = update.iter().flatten().map(String::as_str).collect();
    known(&named, profiles.iter().filter_map(|(_, _, lock)| lock.as_ref()))?;
    let cache = Cache::open(Cache::default_root()?)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(from.jobs()).build().context("starting threads")?;
    let mut done = Vec::new();
    for (path, profile, old) in &profiles {
        let locals = Locals::find(&options.supplies, profile, &cache)?;
        let start = old.clone().map(|mut lock| {
            lock.packages.retain(|name, _| !named.contains(name.as_str()));
            lock.artifacts.retain(|name, _| !named.contains(name.as_str()));
            lock
        });
        let everything = update.as_ref().is_some_and(Vec::is_empty);
        let inputs = root::Inputs {
            profile,
            lock: start.as_ref(),
            mode: if everything { LockMode::Update } else { LockMode::Reuse },
            locals: &locals,
            cache: &cache,
            from,
            settings: &settings,
            reporter,
        };
        let new = pool.install(|| root::make(&inputs, || (), |_| Ok(()))).map(|(root, ())| root.lock);
        let new = new.with_context(|| format!("the lock of {}", profile.name))?;
        let old = old.clone().unwrap_or_default();
        let changes = old.differences(&new);
        let differs = old != new || !path.exists();
        let result = Locked {
            profile: profile.name.clone(),
            lock: path.clone(),
            packages: new.packages.len(),
            artifacts: new.artifacts.len(),
            changes,
            differs,
            written: differs && !options.check,
        };
        done.push((result, new));
    }
    for (result, new) in done.iter().filter(|(result, _)| result.written) {
        new.save(&result.lock)?;
    }
    Ok(done.into_iter().map(|(result, _)| result).collect())
}

/// Every name that is to be updated must be locked in one of the profiles.
fn known<'l>(named: &BTreeSet<&str>, locks: impl Iterator<Item = &'l Lock>) -> Result<()> {
    let mut there: BTreeSet<&str> = BTreeSet::new();
    for lock in locks {
        there.extend(lock.packages.keys().map(String::as_str));
        there.extend(lock.artifacts.keys().map(String::as_str));
    }
    for name in named {
        if !there.contains(name) {
            let help = did_you_mean(name, there.iter().copied());
            let help = help.unwrap_or_else(|| "profiles are named before --update".to_owned());
            bail!("--update {name}: neither a package nor an artifact of that name is locked; {help}");
        }
    }
    Ok(())
}
