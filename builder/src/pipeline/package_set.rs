//! The packages of a build, as the tree takes from them.

use crate::inventory::licences;
use crate::lock::Lock;
use crate::profile::Profile;
use crate::resolve::{ResolveError, Resolver};
use crate::tree::Package;
use anyhow::{Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(super) struct PackageSet<'r> {
    resolver: &'r Resolver<'r>,
    packages: BTreeMap<String, Arc<Package>>,
}

impl<'r> PackageSet<'r> {
    pub(super) fn new(resolver: &'r Resolver<'r>) -> PackageSet<'r> {
        PackageSet { resolver, packages: BTreeMap::new() }
    }

    pub(super) fn package(&mut self, name: &str) -> Result<Arc<Package>> {
        if let Some(package) = self.packages.get(name) {
            return Ok(package.clone());
        }
        let package = self.resolver.require(name)?.package.clone();
        self.packages.insert(name.to_owned(), package.clone());
        Ok(package)
    }

    /// What the profile names, with mistakes shown in the profile's line.
    pub(super) fn named(&mut self, profile: &Profile) -> Result<BTreeMap<String, Arc<Package>>> {
        let mut named = BTreeMap::new();
        for (name, (place, _)) in &profile.packages {
            let package = self.package(name).map_err(|error| match error.downcast_ref() {
                Some(ResolveError::Unknown { .. }) => super::mistake::mistake(profile, place, &error.to_string()),
                _ => error,
            })?;
            named.insert(name.clone(), package);
        }
        Ok(named)
    }

    /// Every package of a lock that this run made.
    pub(super) fn all(&mut self, lock: &Lock) -> Result<BTreeMap<String, Arc<Package>>> {
        lock.packages.keys().map(|name| Ok((name.clone(), self.package(name)?))).collect()
    }

    /// Brings the packages that have the copyright files of others: a package's documentation may be a link into that of
    /// another one of its source, which it then depends on (Debian policy 12.3). Any other link is left alone.
    pub(super) fn copyright_holders(&mut self) -> Result<()> {
        let mut asked = BTreeSet::new();
        loop {
            let packages = self.all(&self.resolver.lock())?;
            let mut missing = BTreeSet::new();
            for (name, package) in &packages {
                let holder = licences::holder(name, package).filter(|holder| !packages.contains_key(holder));
                let Some(holder) = holder.filter(|holder| !asked.contains(holder)) else { continue };
                if self.resolver.require(name)?.depends.iter().flatten().any(|other| *other == holder) {
                    missing.insert(holder);
                }
            }
            if missing.is_empty() {
                return Ok(());
            }
            for name in missing {
                match self.package(&name) {
                    Err(error) if matches!(error.downcast_ref(), Some(ResolveError::Unknown { .. })) => {}
                    other => drop(other?),
                }
                asked.insert(name);
            }
        }
    }

    /// The package that holds the kernel: the one named, or the one that it depends on.
    pub(super) fn kernel(&mut self, profile: &Profile) -> Result<Arc<Package>> {
        let name = &profile.kernel.package.value;
        let holds = |package: &Package| package.entries.keys().any(|path| path.starts_with("boot/vmlinuz-"));
        let package = self.package(name)?;
        if holds(&package) {
            return Ok(package);
        }
        let depends = self.resolver.require(name)?.depends.clone();
        for other in depends.iter().flatten().filter(|other| other.starts_with("linux-image-")) {
            let package = self.package(other)?;
            if holds(&package) {
                return Ok(package);
            }
        }
        bail!("neither {name} nor what it depends on holds a kernel (boot/vmlinuz-*)")
    }
}
