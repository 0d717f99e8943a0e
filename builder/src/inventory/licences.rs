//! The packages' copyright files, in one compressed tar: every image carries the licences of its contents.
//!
//! A package's file is `usr/share/doc/PACKAGE/copyright` (Debian policy 12.5); `usr/share/doc/PACKAGE` may instead be a
//! symbolic link to the folder of another package, which then has it.

use super::{LEVEL, unpack};
use crate::tree::{Kind, Package, take::merged};
use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::sync::Arc;

/// The archive has at most so many bytes when unpacked, ...
const LARGEST: u64 = 64 << 20;
/// ... and one file of it so many.
const LARGEST_FILE: u64 = 8 << 20;

/// Where the copyright file of each package stands: its path, by the package's name. Packages of which no one has it are
/// left out.
#[must_use]
pub fn places(packages: &BTreeMap<String, Arc<Package>>) -> BTreeMap<String, String> {
    let place = |name: &str| {
        let holder = linked_folder(name, packages.get(name)?).unwrap_or_else(|| name.to_owned());
        let path = format!("usr/share/doc/{holder}/copyright");
        file(packages, &path).map(|_| path)
    };
    packages.keys().filter_map(|name| Some((name.clone(), place(name)?))).collect()
}

/// The other package that has a package's copyright file, where it is not its own.
#[must_use]
pub fn holder(name: &str, package: &Package) -> Option<String> {
    linked_folder(name, package).or_else(|| {
        let own = format!("usr/share/doc/{name}/copyright");
        let path = linked_file(name, &package.entries.get(&own)?.kind)?;
        owner(&path).filter(|owner| *owner != name).map(str::to_owned)
    })
}

/// The package whose folder a package's own is a link to.
fn linked_folder(name: &str, package: &Package) -> Option<String> {
    match &package.entries.get(&format!("usr/share/doc/{name}"))?.kind {
        Kind::Symlink(target) => target.trim_end_matches('/').rsplit('/').next().map(str::to_owned),
        _ => None,
    }
}

/// The path that a link in a package's folder leads to. Two packages of one source often share the file of the first.
fn linked_file(name: &str, kind: &Kind) -> Option<String> {
    let Kind::Symlink(target) = kind else { return None };
    let path = if target.starts_with('/') { target.clone() } else { format!("usr/share/doc/{name}/{target}") };
    (!target.is_empty()).then(|| merged(&crate::tree::take::lexical(&path)).into_owned())
}

/// The package whose documentation a path belongs to.
fn owner(path: &str) -> Option<&str> {
    path.strip_prefix("usr/share/doc/")?.split('/').next()
}

/// The content at a path of the form above, in the package that its folder names.
fn file<'p>(packages: &'p BTreeMap<String, Arc<Package>>, path: &str) -> Option<&'p crate::tree::Content> {
    let holder = owner(path)?;
    match &packages.get(holder)?.entries.get(path)?.kind {
        Kind::File(content) => Some(content),
        kind => {
            let path = linked_file(holder, kind)?;
            match &packages.get(owner(&path)?)?.entries.get(&path)?.kind {
                Kind::File(content) => Some(content),
                _ => None,
            }
        }
    }
}

/// The packed archive of the files at these places.
///
/// # Errors
/// When a file cannot be read from the cache, or is damaged there.
pub fn pack(packages: &BTreeMap<String, Arc<Package>>, places: &BTreeMap<String, String>) -> io::Result<Vec<u8>> {
    let paths: std::collections::BTreeSet<&String> = places.values().collect();
    let mut archive = tar::Builder::new(Vec::new());
    for path in paths {
        let Some(content) = file(packages, path) else { continue };
        let bytes = content.to_bytes()?;
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        archive.append_data(&mut header, path, &*bytes)?;
    }
    zstd::bulk::compress(&archive.into_inner()?, LEVEL)
}

/// The files of an archive, by path. Its bytes are foreign, and what they unpack to is bounded.
///
/// # Errors
/// When it is not such an archive, or too large for one.
pub fn read(bytes: &[u8]) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let plain = unpack(bytes, LARGEST)?.ok_or_else(|| bad("the archive of licences is too large"))?;
    let mut files = BTreeMap::new();
    for entry in tar::Archive::new(&plain[..]).entries()? {
        let entry = entry?;
        if entry.size() > LARGEST_FILE {
            return Err(bad("a file in the archive of licences is too large"));
        }
        let path = String::from_utf8(entry.path_bytes().into_owned()).map_err(|_| bad("a name is not UTF-8"))?;
        let mut bytes = Vec::new();
        entry.take(LARGEST_FILE).read_to_end(&mut bytes)?;
        files.insert(path, bytes);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Entry;
    use proptest::prelude::*;

    fn package(name: &str, entries: &[(&str, Kind)]) -> (String, Arc<Package>) {
        let entry = |kind: &Kind| Entry {
            kind: kind.clone(),
            owner: Default::default(),
            uname: String::new(),
            gname: String::new(),
            mode: 0o644,
            xattrs: BTreeMap::new(),
        };
        let entries = entries.iter().map(|(path, kind)| (format!("usr/share/doc/{path}"), entry(kind))).collect();
        (
            name.into(),
            Arc::new(Package {
                name: name.into(),
                version: "1".into(),
                source: crate::tree::SourcePackage::of("", name, "1"),
                entries,
            }),
        )
    }

    fn text(text: &str) -> Kind {
        Kind::File(text.as_bytes().to_vec().into())
    }

    #[test]
    fn a_package_has_its_own_copyright_or_that_of_the_folder_it_links_to() {
        let packages = BTreeMap::from([
            package("a", &[("a", Kind::Directory), ("a/copyright", text("A's"))]),
            package("b", &[("b", Kind::Symlink("a".into()))]),
            package("c", &[("c", Kind::Symlink("gone".into()))]),
            package("d", &[("d", Kind::Directory), ("d/copyright", Kind::Symlink("../a/copyright".into()))]),
            package("e", &[]),
        ]);
        let places = places(&packages);
        let place = |name: &str| {
            (name.to_owned(), format!("usr/share/doc/{}/copyright", if name == "d" { "d" } else { "a" }))
        };
        assert_eq!(places, BTreeMap::from(["a", "b", "d"].map(place)));
        let holders = packages.iter().map(|(name, package)| holder(name, package));
        let expected = [None, Some("a"), Some("gone"), Some("a"), None].map(|name| name.map(str::to_owned));
        assert_eq!(holders.collect::<Vec<_>>(), expected);
        let files = read(&pack(&packages, &places).unwrap()).unwrap();
        let paths: Vec<&str> = files.keys().map(String::as_str).collect();
        assert_eq!(paths, ["usr/share/doc/a/copyright", "usr/share/doc/d/copyright"]);
        assert!(files.values().all(|bytes| bytes == b"A's"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
            let _ = read(&bytes);
            let _ = read(&zstd::bulk::compress(&bytes, 1).unwrap());
        }
    }
}
