//! What a package's maintainer scripts would have done, without a profile.

use super::Environment;
use super::settings::Settings;
use crate::cache::Cache;
use crate::report::Reporter;
use crate::resolve::{self, Request, Resolver, Wanted};
use crate::scripts::Acts;
use crate::source::keyring::Keyring;
use crate::source::mirror::{Mirror, MirrorSettings};
use crate::source::trust::Trust;
use crate::tree::Package;
use anyhow::Result;
use std::path::Path;
use std::sync::Arc;

/// The newest package of this name, and what its scripts would do.
///
/// # Errors
/// When there is no such package, or it cannot be had.
pub fn acts(wanted: Wanted, from: &Environment, reporter: &Reporter) -> Result<(Arc<Package>, Acts)> {
    let settings = Settings::load(&from.base)?;
    let cache = Cache::open(Cache::default_root()?)?;
    let options = resolve::Options {
        offline: from.offline,
        jobs: from.jobs(),
        accept_expired: from.accept_expired.clone(),
        ..resolve::Options::usual()
    };
    let client = resolve::client(&options, &Trust::find(settings.ca.as_deref())?, from.interrupted.clone());
    let told = MirrorSettings { mirror: from.mirror.clone(), security: from.security_mirror.clone() };
    let mirror = Mirror::find(&told, &settings.debian, Path::new("/etc/apt"))?;
    let keyring = Keyring::debian()?;
    let stage = reporter.stage("packages");
    let places = resolve::Places { cache: &cache, mirror: &mirror, keyring: &keyring, progress: &stage };
    let name = wanted.name.clone();
    let request = Request::of(vec![wanted]);
    Ok(Resolver::new(&request, None, &options, places, &client).acts(&name)?)
}
