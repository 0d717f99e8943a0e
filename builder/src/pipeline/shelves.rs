//! The packages of a build, as the tree takes from them.

use crate::profile::Profile;
use crate::resolve::Resolver;
use crate::source::unpacked;
use crate::tree::{Entry, Kind, Libraries, Owner, Package};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) struct Shelves<'r> {
    resolver: &'r Resolver<'r>,
    packages: BTreeMap<String, Arc<Package>>,
}

impl<'r> Shelves<'r> {
    pub(super) fn new(resolver: &'r Resolver<'r>) -> Shelves<'r> {
        Shelves { resolver, packages: BTreeMap::new() }
    }

    pub(super) fn package(&mut self, name: &str) -> Result<Arc<Package>> {
        if let Some(package) = self.packages.get(name) {
            return Ok(package.clone());
        }
        let package = Arc::new(to_tree(&*self.resolver.require(name)?));
        self.packages.insert(name.to_owned(), package.clone());
        Ok(package)
    }

    /// What the profile names, with mistakes shown in the profile's line.
    pub(super) fn named(&mut self, profile: &Profile) -> Result<BTreeMap<String, Arc<Package>>> {
        let mut named = BTreeMap::new();
        for (name, (place, _)) in &profile.packages {
            let package = self.package(name).map_err(|error| match error.downcast_ref() {
                Some(crate::resolve::ResolveError::Unknown { .. }) => {
                    super::assemble::mistake(profile, place, &error.to_string())
                }
                _ => error,
            })?;
            named.insert(name.clone(), package);
        }
        Ok(named)
    }

    /// The package that holds the kernel: the one named, or the one that it depends on.
    pub(super) fn kernel(&mut self, profile: &Profile) -> Result<Arc<Package>> {
        let name = &profile.kernel_package.value;
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

impl Libraries for Shelves<'_> {
    fn provider(&mut self, needed_by_package: &str, soname: &str) -> Result<Option<(Arc<Package>, String)>> {
        let own = needed_by_package.to_owned();
        for candidate in std::iter::once(own).chain(self.resolver.candidates(needed_by_package, soname)?) {
            let package = self.package(&candidate)?;
            let found = package.entries.keys().find(|path| path.rsplit('/').next() == Some(soname));
            if let Some(path) = found.cloned() {
                return Ok(Some((package, path)));
            }
        }
        Ok(None)
    }
}

fn to_tree(package: &unpacked::Package) -> Package {
    let entries = package.entries.iter().map(|(path, entry)| {
        let entry = Entry {
            kind: match &entry.kind {
                Kind::Hardlink(first) => Kind::Hardlink(first.clone()),
                other => other.clone(),
            },
            owner: Owner { uid: entry.uid, gid: entry.gid },
            uname: entry.uname.clone(),
            gname: entry.gname.clone(),
            mode: entry.mode,
            xattrs: entry.xattrs.clone(),
        };
        (path.clone(), entry)
    });
    Package { name: package.name.clone(), version: package.version.clone(), entries: entries.collect() }
}
