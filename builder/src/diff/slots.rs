//! What differs between two slots.

use super::{Difference, Field, FileChange, Item, Total, files, items};
use crate::inventory::Inventory;
use crate::open::files::{Entry, EntryKind};
use crate::open::{OpenError, OpenSlot};
use contract::calendar::show_time;
use contract::hash::Digest;
use contract::manifest::Manifest;
use std::collections::BTreeMap;

/// Compares two slots, whole.
///
/// # Errors
/// When one of them cannot be read.
pub fn compare(old: &OpenSlot, new: &OpenSlot) -> Result<Difference, OpenError> {
    let mut difference = Difference { manifest: manifest(&old.manifest, &new.manifest), ..Difference::default() };
    match (old.inventory(), new.inventory()) {
        (Ok(old), Ok(new)) => {
            difference.packages = items(&packages(&old), &packages(&new));
            difference.artifacts = items(&artifacts(&old), &artifacts(&new));
        }
        (old, new) => {
            for (side, error) in [("old", old.err()), ("new", new.err())] {
                difference
                    .notes
                    .extend(error.map(|error| format!("packages are not compared: the {side} one: {error}")));
            }
        }
    }
    let (old_root, new_root) = (old.root()?, new.root()?);
    let (old_entries, new_entries) = (old_root.entries()?, new_root.entries()?);
    difference.files = files(&old_entries, &new_entries, &|side, path| match side {
        false => old_root.digest(path),
        true => new_root.digest(path),
    })?;
    let sizes = |entries: &BTreeMap<String, Entry>| entries.values().map(Entry::size).sum();
    let mut totals = vec![
        total("root file system", old.manifest.root.length, new.manifest.root.length),
        total("files of the root", sizes(&old_entries), sizes(&new_entries)),
        total("boot partition", old.manifest.boot.length, new.manifest.boot.length),
    ];
    match (boot(old), boot(new)) {
        (Err(OpenError::NoBoot), _) | (_, Err(OpenError::NoBoot)) => {
            difference.notes.push("boot files are not compared: a root partition alone has none".to_owned());
        }
        (old_boot, new_boot) => {
            let (old_boot, new_boot) = (old_boot?, new_boot?);
            difference.boot = boot_files(old, new, &old_boot, &new_boot)?;
            totals.push(total("files of the boot partition", sizes(&old_boot), sizes(&new_boot)));
        }
    }
    difference.totals = totals;
    Ok(difference)
}

fn total(name: &'static str, old: u64, new: u64) -> Total {
    Total { name, old, new }
}

/// Fields that say something by themselves; lengths and root hashes follow from the content.
fn manifest(old: &Manifest, new: &Manifest) -> Vec<Field> {
    let fields = |manifest: &Manifest| {
        [
            ("role", manifest.role.to_string()),
            ("compatible", manifest.compatible().profile.to_string()),
            ("version", manifest.version.to_string()),
            ("built", show_time(manifest.built)),
            ("rollback index", manifest.rollback_index.to_string()),
            ("kernel", manifest.kernel.to_string()),
            ("board", manifest.board.clone()),
            ("supplied", manifest.supplied.join(", ")),
        ]
    };
    let pairs = fields(old).into_iter().zip(fields(new));
    pairs.filter(|(old, new)| old != new).map(|((name, old), (_, new))| Field { name, old, new }).collect()
}

fn packages(inventory: &Inventory) -> BTreeMap<String, Item> {
    let item = |package: &crate::inventory::Package| Item {
        version: package.version.clone(),
        size: package.size,
        sha256: package.sha256,
    };
    inventory.packages.iter().map(|package| (package.name.clone(), item(package))).collect()
}

fn artifacts(inventory: &Inventory) -> BTreeMap<String, Item> {
    let item = |artifact: &crate::inventory::Artifact| Item {
        version: artifact.version.clone().unwrap_or_else(|| "without version".to_owned()),
        size: artifact.size,
        sha256: artifact.sha256,
    };
    inventory.artifacts.iter().map(|artifact| (artifact.name.clone(), item(artifact))).collect()
}

/// The boot partition's files, as entries of a file system without owners.
fn boot(look: &OpenSlot) -> Result<BTreeMap<String, Entry>, OpenError> {
    let entry = |size| Entry { kind: EntryKind::File { size }, mode: 0, uid: 0, gid: 0 };
    Ok(look.boot_files()?.into_iter().map(|(name, size)| (name, entry(size))).collect())
}

fn boot_files(
    old: &OpenSlot,
    new: &OpenSlot,
    old_entries: &BTreeMap<String, Entry>,
    new_entries: &BTreeMap<String, Entry>,
) -> Result<Vec<FileChange>, OpenError> {
    files(old_entries, new_entries, &|side, name| {
        let look = if side { new } else { old };
        Ok(Digest::of(&look.read_boot(name)?))
    })
}
