//! The differences between two locks. A lock lists no files; if the cache has both versions of a package unpacked,
//! their files are compared as well.

use super::{Difference, FileChange, Item, ItemChange, Total, files, items};
use crate::cache::Cache;
use crate::lock::{Lock, LockedFrom, LockedPackage};
use crate::open::files::{Entry, EntryKind};
use crate::source::deb;
use crate::tree::{self, Kind, take::merged};
use contract::calendar::show_time;
use contract::hash::Digest;
use std::collections::BTreeMap;

/// Compares two locks; with a cache, also the files of the packages that changed.
#[must_use]
pub fn compare(old: &Lock, new: &Lock, cache: Option<&Cache>) -> Difference {
    let packages = items(&packages(old), &packages(new));
    let sum = |lock: &Lock| lock.packages.values().map(|package| package.size).sum();
    let placed = |lock: &Lock| lock.artifacts.values().map(|artifact| artifact.size).sum();
    let mut difference = Difference {
        manifest: times(old, new),
        artifacts: items(&artifacts(old), &artifacts(new)),
        totals: vec![
            Total { name: "packages", old: sum(old), new: sum(new) },
            Total { name: "artifacts", old: placed(old), new: placed(new) },
        ],
        ..Difference::default()
    };
    for ItemChange { name, .. } in &packages {
        let side = |lock: &Lock| lock.packages.get(name).map(|package| entries(cache, package)).transpose();
        match (side(old), side(new)) {
            (Ok(old), Ok(new)) => {
                difference.files.extend(changes(name, &old.unwrap_or_default(), &new.unwrap_or_default()))
            }
            (Err(missing), _) | (_, Err(missing)) => {
                difference.notes.push(format!("the files of {name} are not compared: {missing} is not in the cache"));
            }
        }
    }
    difference.files.sort_by(|one, other| one.path.cmp(&other.path));
    difference.packages = packages;
    difference
}

fn packages(lock: &Lock) -> BTreeMap<String, Item> {
    let item = |package: &LockedPackage| Item {
        version: package.version.clone(),
        size: package.size,
        sha256: package.sha256,
    };
    lock.packages.values().map(|package| (package.name.clone(), item(package))).collect()
}

fn artifacts(lock: &Lock) -> BTreeMap<String, Item> {
    let item = |artifact: &crate::lock::LockedArtifact| Item {
        version: match &artifact.from {
            LockedFrom::Url { url } => url.clone(),
            LockedFrom::Go { program, .. } => program.version.clone(),
            LockedFrom::File => "the operator's own".to_owned(),
        },
        size: artifact.size,
        sha256: artifact.sha256,
    };
    lock.artifacts.values().map(|artifact| (artifact.name.clone(), item(artifact))).collect()
}

/// The newest input, which becomes the image's time.
fn times(old: &Lock, new: &Lock) -> Vec<super::Field> {
    let (old, new) = (old.built(), new.built());
    let field = super::Field { name: "built", old: show_time(old), new: show_time(new) };
    if old == new { Vec::new() } else { vec![field] }
}

type Unpacked = BTreeMap<String, (Entry, Option<Digest>)>;

/// A package's files with their digests, by path.
fn entries(cache: Option<&Cache>, package: &LockedPackage) -> Result<Unpacked, String> {
    let missing = || format!("{} {}", package.name, package.version);
    let unpacked = cache.and_then(|cache| deb::cached(cache, package)).ok_or_else(missing)?;
    let entry = |entry: &tree::Entry| {
        let (kind, digest) = match &entry.kind {
            Kind::Directory => (EntryKind::Directory, None),
            Kind::File(content) => (EntryKind::File { size: content.len() }, Some(content.digest())),
            Kind::Symlink(target) => (EntryKind::Link { target: target.clone() }, None),
            Kind::Hardlink(first) => (EntryKind::Link { target: format!("/{}", merged(first)) }, None),
            _ => (EntryKind::Special, None),
        };
        let mode = u16::try_from(entry.mode & 0o7777).unwrap_or(0);
        (Entry { kind, mode, uid: entry.owner.uid, gid: entry.owner.gid }, digest)
    };
    let entries = unpacked.package.entries.iter();
    Ok(entries.map(|(path, found)| (merged(path).into_owned(), entry(found))).collect())
}

/// Changed paths. Folders that come or go with what is in them, such as every package's own, say nothing.
fn changes(package: &str, old: &Unpacked, new: &Unpacked) -> Vec<FileChange> {
    let plain = |side: &Unpacked| -> BTreeMap<String, Entry> {
        let files = side.iter().filter(|(_, (entry, _))| entry.kind != EntryKind::Directory);
        files.map(|(path, (entry, _))| (path.clone(), entry.clone())).collect()
    };
    let digest = |side: bool, path: &str| -> Result<Digest, std::convert::Infallible> {
        let side = if side { new } else { old };
        // Every file of an unpacked package has one.
        Ok(side.get(path).and_then(|(_, digest)| *digest).unwrap_or_else(|| Digest::of(package.as_bytes())))
    };
    match files(&plain(old), &plain(new), &digest) {
        Ok(changes) => changes,
        Err(never) => match never {},
    }
}
