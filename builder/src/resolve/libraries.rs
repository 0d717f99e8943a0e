//! Which package contains a library that another one needs.

use std::sync::Arc;

use super::Resolver;
use crate::tree::elf::{DEFAULT_DIRECTORIES, Libraries};
use crate::tree::{Kind, Package};

impl Libraries for &Resolver<'_> {
    fn provider(&mut self, needed_by_package: &str, soname: &str) -> anyhow::Result<Option<(Arc<Package>, String)>> {
        if needed_by_package.is_empty() {
            return self.provider_anywhere(soname);
        }
        // A package may bring its own libraries, outside the folders that the loader knows by itself.
        let own = needed_by_package.to_owned();
        for name in std::iter::once(own).chain(self.candidates(needed_by_package, soname)?) {
            let unpacked = self.require(&name)?;
            if let Some(path) = path_of(&unpacked.package, soname) {
                return Ok(Some((unpacked.package.clone(), path)));
            }
        }
        Ok(None)
    }
}

impl Resolver<'_> {
    /// The library for a program that no package brought: from the packages of this build, else from the package that
    /// Debian's rules for names make the home of this library.
    fn provider_anywhere(&self, soname: &str) -> anyhow::Result<Option<(Arc<Package>, String)>> {
        for unpacked in self.taken() {
            if let Some(path) = path_of(&unpacked.package, soname) {
                return Ok(Some((unpacked.package.clone(), path)));
            }
        }
        for name in self.named_after(soname)? {
            let unpacked = self.require(&name)?;
            if let Some(path) = path_of(&unpacked.package, soname) {
                return Ok(Some((unpacked.package.clone(), path)));
            }
        }
        Ok(None)
    }
}

/// Where a package has a library: where the loader looks by itself, else anywhere, the first by path.
fn path_of(package: &Package, soname: &str) -> Option<String> {
    let library = |path: &&String| {
        let named = path.rsplit('/').next() == Some(soname);
        named && matches!(package.entries[*path].kind, Kind::File(_) | Kind::Symlink(_) | Kind::Hardlink(_))
    };
    let usual = |path: &&String| {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        DEFAULT_DIRECTORIES.iter().any(|usual| *usual == folder || usual.strip_prefix("usr/") == Some(folder))
    };
    let mut paths = package.entries.keys().filter(library);
    paths.clone().find(usual).or_else(|| paths.next()).cloned()
}
