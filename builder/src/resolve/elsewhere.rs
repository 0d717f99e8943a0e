//! Where a path comes from that a package does not have itself: a maintainer script, a dependency, or another package of the
//! same source. For messages only: what cannot be had here is left out.

use super::{LockMode, LockedPackage, ResolveError, Resolver, deb};
use crate::scripts::{self, Acts};
use crate::source::http::Wanted;
use crate::source::progress::Quiet;
use crate::tree::Package;
use crate::tree::take::PackageEntries;
use std::sync::Arc;

/// Packages larger than this, in bytes, are not fetched for the sake of a message: of those with a similar name, and of others.
const LARGEST: [u64; 2] = [24 << 20, 3 << 20];
/// Packages that are looked into.
const MOST: usize = 8;

/// Who makes or has a path.
pub enum Elsewhere {
    /// Scripts of this package do.
    Scripts { package: Arc<Package>, acts: Box<Acts> },
    /// This package has it, or a file of that name in another folder.
    Package { package: Arc<Package>, pattern: String },
}

impl Resolver<'_> {
    /// What the maintainer scripts of a package would do.
    ///
    /// # Errors
    /// When the package cannot be had or is not well formed.
    pub fn acts(&self, name: &str) -> Result<(Arc<Package>, Acts), ResolveError> {
        let package = self.require(name)?.package.clone();
        let locked = self.state().required.get(&package.name).cloned();
        let locked = locked.ok_or_else(|| ResolveError::NotRequired { package: name.to_owned() })?;
        let cache = self.places.cache;
        // It may be unpacked in the cache and its file gone.
        if cache.blob(locked.sha256, locked.size).is_none() && !self.options.offline {
            let wanted = Wanted {
                url: self.indices.url(&locked.suite, &locked.path),
                size: locked.size,
                sha256: locked.sha256,
            };
            let fetched = self.client.blob(cache, &wanted, &Quiet);
            fetched.map_err(|source| ResolveError::Fetch { name: locked.name.clone(), source })?;
        }
        let scripts = deb::scripts(cache, &locked, &scripts::SCRIPTS)?;
        let acts = scripts::read(&package, &scripts);
        Ok((package, acts))
    }

    /// Who makes or has what `pattern` means, when the package `name` does not: its own scripts, then its dependencies and
    /// the packages of its source, those with similar names first. Others than itself are asked only when `far`: they may have to
    /// be fetched.
    #[must_use]
    pub fn elsewhere(&self, name: &str, pattern: &str, far: bool) -> Option<Elsewhere> {
        let made = |name: &str| {
            let (package, acts) = self.acts(name).ok()?;
            let acts = acts.making(pattern);
            acts.map(|acts| Elsewhere::Scripts { package, acts: Box::new(acts) })
        };
        if let Some(found) = made(name) {
            return Some(found);
        }
        let others = if far { self.related(name) } else { Vec::new() };
        for other in &others {
            let Ok(unpacked) = self.require(other) else { continue };
            if PackageEntries::new(&unpacked.package).find(pattern).is_ok() {
                return Some(Elsewhere::Package { package: unpacked.package.clone(), pattern: pattern.to_owned() });
            }
        }
        let same_name = |other: &String| {
            let package = self.require(other).ok()?.package.clone();
            let pattern = PackageEntries::new(&package).same_name(pattern)?;
            Some(Elsewhere::Package { package, pattern })
        };
        others.iter().find_map(|other| made(other)).or_else(|| others.iter().find_map(same_name))
    }

    /// Dependencies of a package and packages of the same source that are not too large.
    fn related(&self, name: &str) -> Vec<String> {
        let Ok(unpacked) = self.require(name) else { return Vec::new() };
        let mut names: Vec<String> = unpacked.depends.iter().flatten().cloned().collect();
        names.extend(self.of_same_source(name));
        let alike = |other: &String| other.starts_with(name) || name.starts_with(other.as_str());
        names.sort_by_key(|other| !alike(other));
        let mut seen = std::collections::BTreeSet::from([name.to_owned()]);
        names.retain(|other| seen.insert(other.clone()));
        let most = |other: &String| if alike(other) { LARGEST[0] } else { LARGEST[1] };
        let small = |other: &String| self.choose(other).is_ok_and(|package| package.size <= most(other));
        names.into_iter().filter(small).take(MOST).collect()
    }

    /// Packages whose files are in the same folder of the archive's pool, which is that of their source.
    fn of_same_source(&self, name: &str) -> Vec<String> {
        if self.options.mode == LockMode::Locked || self.options.offline {
            return Vec::new();
        }
        let folder = |package: &LockedPackage| package.path.rsplit_once('/').map(|(folder, _)| folder.to_owned());
        let Some(of) = self.choose(name).ok().as_ref().and_then(folder) else { return Vec::new() };
        let mut names = Vec::new();
        for suite in &self.request.suites {
            let Ok(list) = self.indices.list(suite, "main") else { continue };
            names.extend(list.in_folder(&of));
        }
        names.sort();
        names.dedup();
        // What only compiles or debugs has nothing for a node.
        names.retain(|name| !name.ends_with("-dev") && !name.ends_with("-dbg") && !name.ends_with("-doc"));
        names
    }
}
