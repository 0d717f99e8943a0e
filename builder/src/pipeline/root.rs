//! From a profile and its lock to the root's tree and the lock that this run made.

use super::artifacts::{self, Gathered, Locals};
use super::boot::Modules;
use super::package_set::PackageSet;
use super::settings::Settings;
use super::{Environment, assemble, hints};
use crate::boot::{module_firmware, modules};
use crate::cache::Cache;
use crate::lock::Lock;
use crate::profile::Profile;
use crate::report::Reporter;
use crate::resolve::{self, LockMode, Request, Resolver, Wanted};
use crate::source::deb;
use crate::source::keyring::Keyring;
use crate::source::mirror::{Mirror, MirrorSettings};
use crate::source::trust::Trust;
use crate::tree::{Package, Tree, dead_ends};
use anyhow::{Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a root is made of.
pub(super) struct Inputs<'a> {
    pub profile: &'a Profile,
    pub lock: Option<&'a Lock>,
    pub mode: LockMode,
    pub locals: &'a Locals,
    pub cache: &'a Cache,
    pub from: &'a Environment,
    pub settings: &'a Settings,
    pub reporter: &'a Reporter,
}

/// The root's tree, and what it was made of.
pub(super) struct Root<'p> {
    pub tree: Tree,
    pub lock: Lock,
    /// Every package of the lock.
    pub packages: BTreeMap<String, Arc<Package>>,
    pub gathered: Gathered<'p>,
}

/// What the boot partition is made of, as soon as it is known.
#[derive(Clone, Copy)]
pub(super) struct ForBoot<'a> {
    pub kernel: &'a Package,
    pub firmware: &'a Package,
    pub modules: &'a Modules,
}

/// Brings all that the profile takes from outside, and makes the tree. `brought` is called in between: from there on
/// nothing large is fetched or unpacked. `boot` makes the boot partition's files while the tree is made.
pub(super) fn make<'p, B: Send>(
    inputs: &Inputs<'p>,
    brought: impl FnOnce(),
    boot: impl FnOnce(ForBoot<'_>) -> Result<B> + Send,
) -> Result<(Root<'p>, B)> {
    let Inputs { profile, lock, mode, locals, cache, from, settings, reporter } = *inputs;
    let resolving = resolve::Options {
        mode,
        offline: from.offline,
        jobs: from.jobs(),
        accept_expired: from.accept_expired.clone(),
        ..resolve::Options::usual()
    };
    let client = resolve::client(&resolving, &Trust::find(settings.ca.as_deref())?, from.interrupted.clone());
    let gathering =
        artifacts::Inputs { profile, locals, lock, mode, cache, from, settings, client: &client, reporter };
    let gathered = artifacts::gather(&gathering)?;
    check_interrupted(from)?;

    let stage = reporter.stage("packages");
    let request = request(profile);
    let told = MirrorSettings { mirror: from.mirror.clone(), security: from.security_mirror.clone() };
    let mirror = Mirror::find(&told, &settings.debian, Path::new("/etc/apt"))?;
    let keyring = Keyring::debian()?;
    let places = resolve::Places { cache, mirror: &mirror, keyring: &keyring, progress: &stage };
    let resolver = Resolver::new(&request, lock, &resolving, places, &client);
    let unpacked = unpacked(cache, lock);
    resolver.prefetch()?;
    let mut set = PackageSet::new(&resolver);
    let named = set.named(profile)?;
    let kernel = set.kernel(profile)?;
    super::boot::kernel_config(profile, &kernel)?;
    let firmware = set.package(&profile.firmware.package.value)?;
    stage.result(format!("{} named by the profile", named.len()));
    stage.end();
    check_interrupted(from)?;
    brought();

    let stage = reporter.stage("root");
    let modules = Modules::order(profile, &kernel)?;
    super::boot::drivers(profile, &kernel, &modules, cache)?;
    let elsewhere = hints::finder(&resolver);
    let inputs = assemble::Inputs {
        profile,
        packages: &named,
        artifacts: &gathered.placed,
        modules: &modules.system,
        kernel: &kernel,
        elsewhere: &elsewhere,
    };
    let for_boot = ForBoot { kernel: &kernel, firmware: &firmware, modules: &modules };
    let (tree, boot) = rayon::join(|| assemble::assemble(&inputs, &mut &resolver), || boot(for_boot));
    let (tree, boot) = (tree?, boot?);
    for dead_end in dead_ends::find(&tree) {
        reporter.say(&format!("warning: {dead_end}"));
    }
    let accepted = profile.kernel.missing_firmware.iter().map(|name| modules::kernel_name(&name.value)).collect();
    for missing in module_firmware::missing(modules.initramfs.iter().chain(&modules.system), &tree, &accepted) {
        reporter.say(&format!("warning: {missing}"));
    }
    set.copyright_holders()?;
    let lock = Lock { artifacts: gathered.locked.clone(), ..resolver.lock() };
    let packages = set.all(&lock)?;
    tell(reporter, &unpacked, &lock);
    stage.result(format!("{} entries from {} packages", tree.nodes.len(), packages.len()));
    drop(stage);
    check_interrupted(from)?;
    Ok((Root { tree, lock, packages, gathered }, boot))
}

/// Packages of a lock that lie unpacked in the cache.
fn unpacked(cache: &Cache, lock: Option<&Lock>) -> BTreeSet<String> {
    let packages = lock.into_iter().flat_map(|lock| lock.packages.values());
    packages.filter(|package| deb::is_unpacked(cache, package.sha256)).map(|package| package.name.clone()).collect()
}

/// Tells which packages had to be unpacked.
fn tell(reporter: &Reporter, before: &BTreeSet<String>, lock: &Lock) {
    let mut all = true;
    for name in lock.packages.keys().filter(|name| !before.contains(*name)) {
        reporter.did(&format!("package {name}"), true);
        all = false;
    }
    if all {
        reporter.did("packages", false);
    }
}

/// # Errors
/// When the operator wants to stop.
pub(super) fn check_interrupted(from: &Environment) -> Result<()> {
    if from.interrupted.load(Ordering::Relaxed) {
        bail!("interrupted; what was downloaded stays in the cache");
    }
    Ok(())
}

fn request(profile: &Profile) -> Request {
    let mut wanted: Vec<Wanted> = profile
        .packages
        .iter()
        .map(|(name, (_, take))| Wanted {
            name: name.clone(),
            suite: take.suite.as_ref().map(|suite| suite.value.clone()),
            component: take.component.as_ref().map(|component| component.value.clone()),
        })
        .collect();
    wanted.push(Wanted::named(&profile.kernel.package.value));
    wanted.push(Wanted {
        name: profile.firmware.package.value.clone(),
        suite: profile.firmware.suite.as_ref().map(|suite| suite.value.clone()),
        component: profile.firmware.component.as_ref().map(|component| component.value.clone()),
    });
    Request::of(wanted)
}
