//! The differences between two slots or two locks: packages, artifacts, files, sizes.
//!
//! - [`slots`] two slots, wherever they lie · [`locks`] two locks, with the files of packages that the cache has

pub mod locks;
pub mod slots;

use crate::open::files::{Entry, EntryKind};
use contract::hash::Digest;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// All that differs. What is the same on both sides is left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Fields of the manifest.
    pub manifest: Vec<Field>,
    pub packages: Vec<ItemChange>,
    pub artifacts: Vec<ItemChange>,
    /// Files and folders of the root.
    pub files: Vec<FileChange>,
    /// Files of the boot partition.
    pub boot: Vec<FileChange>,
    pub totals: Vec<Total>,
    /// What could not be compared, and why.
    pub notes: Vec<String>,
}

/// A field that has another value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Field {
    pub name: &'static str,
    pub old: String,
    pub new: String,
}

/// A package or an artifact, exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Item {
    pub version: String,
    /// Of the package file or of the placed bytes, in bytes.
    pub size: u64,
    pub sha256: Digest,
}

/// A package or artifact that came, went, or is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ItemChange {
    pub name: String,
    pub old: Option<Item>,
    pub new: Option<Item>,
}

/// A path that came, went, or is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileChange {
    pub path: String,
    pub old: Option<Seen>,
    pub new: Option<Seen>,
    /// In what it is another: `kind`, `content`, `mode`, `owner`, `target`. Nothing for what came or went.
    pub what: Vec<&'static str>,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    #[serde(flatten)]
    pub entry: Entry,
    /// Of a file's content, where it was needed to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
}

/// A size on both sides, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Total {
    pub name: &'static str,
    pub old: u64,
    pub new: u64,
}

impl Difference {
    /// Whether both sides are the same in all that was compared. Sizes follow from the rest.
    #[must_use]
    pub fn is_none(&self) -> bool {
        let Difference { manifest, packages, artifacts, files, boot, .. } = self;
        manifest.is_empty() && packages.is_empty() && artifacts.is_empty() && files.is_empty() && boot.is_empty()
    }
}

/// Items of which one side has another, in the order of their names.
#[must_use]
pub fn items(old: &BTreeMap<String, Item>, new: &BTreeMap<String, Item>) -> Vec<ItemChange> {
    let pair = |name: &String| (old.get(name).cloned(), new.get(name).cloned());
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let changes = names.into_iter().map(|name| (name, pair(name))).filter(|(_, (old, new))| old != new);
    changes.map(|(name, (old, new))| ItemChange { name: name.clone(), old, new }).collect()
}

/// Paths of which one side has another, in order. `digest` gives a file's digest on the old (`false`) or the new side; it
/// is asked only about files of which both sides have one of the same size, and those that differ anyway are not read.
///
/// # Errors
/// When a digest cannot be had.
pub fn files<E>(
    old: &BTreeMap<String, Entry>,
    new: &BTreeMap<String, Entry>,
    digest: &dyn Fn(bool, &str) -> Result<Digest, E>,
) -> Result<Vec<FileChange>, E> {
    let mut changes = Vec::new();
    let paths: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for path in paths {
        let seen = |entry: &Entry| Seen { entry: entry.clone(), sha256: None };
        let (mut old, mut new) = (old.get(path).map(seen), new.get(path).map(seen));
        let mut what = Vec::new();
        if let (Some(old), Some(new)) = (&mut old, &mut new) {
            compare(old, new, &|side| digest(side, path), &mut what)?;
            if what.is_empty() {
                continue;
            }
        }
        changes.push(FileChange { path: path.clone(), old, new, what });
    }
    Ok(changes)
}

fn compare<E>(
    old: &mut Seen,
    new: &mut Seen,
    digest: &dyn Fn(bool) -> Result<Digest, E>,
    what: &mut Vec<&'static str>,
) -> Result<(), E> {
    match (&old.entry.kind, &new.entry.kind) {
        (EntryKind::File { size }, EntryKind::File { size: other }) if size != other => what.push("content"),
        (EntryKind::File { .. }, EntryKind::File { .. }) => {
            let (one, other) = (digest(false)?, digest(true)?);
            if one != other {
                what.push("content");
                (old.sha256, new.sha256) = (Some(one), Some(other));
            }
        }
        (EntryKind::Link { target }, EntryKind::Link { target: other }) if target != other => what.push("target"),
        (old, new) if std::mem::discriminant(old) != std::mem::discriminant(new) => what.push("kind"),
        _ => (),
    }
    if old.entry.mode != new.entry.mode {
        what.push("mode");
    }
    if (old.entry.uid, old.entry.gid) != (new.entry.uid, new.entry.gid) {
        what.push("owner");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(size: u64, mode: u16) -> Entry {
        Entry { kind: EntryKind::File { size }, mode, uid: 0, gid: 0 }
    }

    fn link(target: &str) -> Entry {
        Entry { kind: EntryKind::Link { target: target.into() }, mode: 0o777, uid: 0, gid: 0 }
    }

    #[test]
    fn every_kind_of_difference_is_named_and_what_is_the_same_is_not() {
        let side = |entries: &[(&str, Entry)]| -> BTreeMap<String, Entry> {
            entries.iter().map(|(path, entry)| ((*path).to_owned(), entry.clone())).collect()
        };
        let owned = Entry { uid: 5, ..file(1, 0o644) };
        let old = side(&[
            ("gone", file(1, 0o644)),
            ("grown", file(1, 0o644)),
            ("kind", file(1, 0o644)),
            ("link", link("a")),
            ("mode", file(1, 0o644)),
            ("other", file(1, 0o644)),
            ("owner", file(1, 0o644)),
            ("same", file(1, 0o644)),
        ]);
        let new = side(&[
            ("came", file(1, 0o644)),
            ("grown", file(2, 0o755)),
            ("kind", link("x")),
            ("link", link("b")),
            ("mode", file(1, 0o600)),
            ("other", file(1, 0o644)),
            ("owner", owned),
            ("same", file(1, 0o644)),
        ]);
        let digest = |side: bool, path: &str| -> Result<Digest, std::convert::Infallible> {
            assert_ne!(path, "grown", "a file of another size need not be read");
            Ok(Digest::of(if side && path == "other" { b"new" } else { b"old" }))
        };
        let found = files(&old, &new, &digest).unwrap();
        let found: Vec<(&str, &[&str])> = found.iter().map(|change| (&*change.path, &change.what[..])).collect();
        let wanted: [(&str, &[&str]); 8] = [
            ("came", &[]),
            ("gone", &[]),
            ("grown", &["content", "mode"]),
            ("kind", &["kind", "mode"]),
            ("link", &["target"]),
            ("mode", &["mode"]),
            ("other", &["content"]),
            ("owner", &["owner"]),
        ];
        assert_eq!(found, wanted);
        assert_eq!(files(&old, &old, &|_, _| Ok::<_, std::convert::Infallible>(Digest::of(b""))).unwrap(), []);
    }
}
