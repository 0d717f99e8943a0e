//! Several images: what they share is downloaded, unpacked and compressed once, and the next image is prepared while
//! one is written.

use super::one::{Build, SharedStages};
use super::settings::Settings;
use super::{Options, record, supply};
use crate::cache::Cache;
use crate::gitignore;
use crate::profile::{self, Profile, load};
use crate::release_key::{self, ReleaseKeys};
use crate::report::{Reporter, Summary};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Images written at the same time: each holds its boot partition in memory.
const AT_ONCE: usize = 2;

/// What became of one profile of a build.
pub struct Outcome {
    /// As it was asked for.
    pub profile: String,
    pub result: Result<Summary>,
}

/// The profiles in `profiles/` below `base`, by name.
///
/// # Errors
/// When the folder cannot be read, or has none.
pub fn all_profiles(base: &Path) -> Result<Vec<String>> {
    let folder = base.join("profiles");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("reading the folder {}", folder.display()))?;
    let mut names = BTreeSet::new();
    for entry in entries {
        let name = entry.with_context(|| format!("reading the folder {}", folder.display()))?.file_name();
        // `NAME.node.toml` is a profile's example.
        let name = name.to_str().and_then(|name| name.strip_suffix(".toml")).filter(|name| !name.contains('.'));
        names.extend(name.map(str::to_owned));
    }
    if names.is_empty() {
        bail!("there is no profile in {}", folder.display());
    }
    Ok(names.into_iter().collect())
}

/// Builds one image.
///
/// # Errors
/// What failed, on what, and what to do next. Neither a half image nor a damaged cache is left behind.
pub fn build(options: &Options, reporter: &Reporter) -> Result<Summary> {
    let mut outcomes = build_several(std::slice::from_ref(options), reporter)?;
    outcomes.pop().context("a build thread failed")?.result
}

/// Builds several images, and reports the outcome of each. They share what is said in `from`, the keys and what is
/// supplied: the first one's counts.
///
/// # Errors
/// When a profile or something else that concerns all is wrong: then nothing is built.
pub fn build_several(builds: &[Options], reporter: &Reporter) -> Result<Vec<Outcome>> {
    let Some(first) = builds.first() else { return Ok(Vec::new()) };
    let settings = Settings::load(&first.from.base)?;
    let first_build = !first.from.base.join("out").exists();
    let plans = builds.iter().map(Plan::of).collect::<Result<Vec<_>>>()?;
    let mut outputs = BTreeSet::new();
    if let Some(twice) = plans.iter().find(|plan| !outputs.insert(&plan.output)) {
        bail!("{} would be written twice", twice.output.display());
    }
    for warning in plans.iter().flat_map(|plan| &plan.profile.warnings) {
        reporter.say(&warning.to_string());
    }
    supply::check(&first.supplies, plans.iter().map(|plan| &plan.profile))?;
    let cache = Cache::open(Cache::default_root()?)?;
    let keys = keys(first, reporter)?;
    if first_build || keys.made {
        match gitignore::extend(
            &first.from.base,
            Path::new("keys"),
            builds.iter().any(|build| build.output.is_none()),
        ) {
            Ok(Some(file)) => {
                reporter.say(&format!("{:>10} git ignores private keys and out/: {}", "keys", file.display()))
            }
            Ok(None) => (),
            Err(error) => reporter.say(&format!("warning: {error}")),
        }
    }
    let builder = record::builder()?;
    let jobs = first.from.jobs();

    let gates = SharedStages::default();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Outcome)>> = Mutex::default();
    let alone = plans.len() == 1;
    let work = || -> Result<()> {
        // A pool of its own: a build that waits for another one's stage must not hold up that one's threads.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build().context("starting threads")?;
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(plan) = plans.get(at) else { return Ok(()) };
            let reporter = if alone { reporter.clone() } else { reporter.of(&plan.profile.name) };
            let build = Build {
                options: plan.options,
                settings: &settings,
                profile: &plan.profile,
                path: &plan.path,
                output: &plan.output,
                cache: &cache,
                keys: &keys,
                builder: &builder,
                gates: &gates,
                reporter: &reporter,
            };
            let result = pool.install(|| build.run());
            let outcome = Outcome { profile: plan.profile.name.clone(), result };
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, outcome));
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE.min(jobs).min(plans.len())).map(|_| scope.spawn(work)).collect();
        let mut joined = threads.into_iter().map(|thread| thread.join());
        joined.try_for_each(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let mut outcomes = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcomes.sort_by_key(|(at, _)| *at);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

/// One build, before anything is fetched.
struct Plan<'o> {
    options: &'o Options,
    profile: Profile,
    path: PathBuf,
    output: PathBuf,
}

impl Plan<'_> {
    fn of(options: &Options) -> Result<Plan<'_>> {
        let path = load::find(&options.profile, &options.from.base)?;
        let profile = profile::load(&path)?;
        // The profile alone can be wrong in many ways: say so before anything is fetched.
        profile::check::role_spec(&profile, "", Vec::new()).map_err(load::ProfileError::Mistakes)?;
        let output = match &options.output {
            Some(output) => output.clone(),
            None => options.from.base.join("out").join(format!("{}.img", profile.name)),
        };
        let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
        let output = std::path::absolute(&output).with_context(|| format!("the path {}", output.display()))?;
        Ok(Plan { options, profile, path, output })
    }
}

fn keys(options: &Options, reporter: &Reporter) -> Result<ReleaseKeys> {
    let folder = options.from.base.join("keys");
    if options.unsigned {
        let keys = release_key::find_public(&folder, options.public.as_deref(), &options.trust)?;
        keys.warnings.iter().for_each(|warning| reporter.say(&format!("warning: {warning}")));
        return Ok(keys);
    }
    let keys = release_key::find(&folder, options.key.as_deref(), &options.trust)?;
    keys.warnings.iter().for_each(|warning| reporter.say(&format!("warning: {warning}")));
    if keys.made {
        reporter.say(&format!(
            "{:>10} made a development key, {}: fine for trying out; make a release key with `microdc keys new`",
            "keys",
            keys.path.display()
        ));
    }
    Ok(keys)
}
