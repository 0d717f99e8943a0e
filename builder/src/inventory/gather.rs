//! Gathers the inventory of a build, and puts it into the tree.

use super::{Artifact, FORMAT, Inventory, Package, Reason, licences};
use crate::lock::Lock;
use crate::tree::{self, Content, Kind, Node, Tree, origin};
use contract::names::{INVENTORY, LICENCES};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A finished tree, and what else goes into its image.
pub struct Built<'a> {
    /// Name of the profile.
    pub profile: &'a str,
    pub lock: &'a Lock,
    /// Every package of the lock, by name.
    pub packages: &'a BTreeMap<String, Arc<tree::Package>>,
    pub artifacts: Vec<Artifact>,
    /// Crates that are linked into firstboot, as `NAME VERSION`, where that is known.
    pub crates: Vec<String>,
    /// Why each file of the boot partition is there, by name.
    pub boot: &'a BTreeMap<String, String>,
}

/// Puts the inventory and the licences into the tree. `pack` makes the archive of licences, or has it from before.
///
/// # Errors
/// When a copyright file cannot be read, or something else is in the way.
pub fn insert(
    tree: &mut Tree,
    built: Built<'_>,
    pack: impl FnOnce(&BTreeMap<String, String>) -> anyhow::Result<Vec<u8>>,
) -> anyhow::Result<()> {
    let places = licences::places(built.packages);
    add(tree, LICENCES, pack(&places)?, "the copyright files of all packages")?;
    // The inventory lists itself.
    add(tree, INVENTORY, Vec::new(), "what this image is made of")?;
    let mut packages: Vec<Package> = Vec::new();
    for locked in built.lock.packages.values() {
        let source = built.packages.get(&locked.name).map(|package| package.source.clone());
        packages.push(Package::of(locked, source, places.get(&locked.name).cloned()));
    }
    let mut artifacts = built.artifacts;
    artifacts.sort_by(|one, other| one.name.cmp(&other.name));
    let inventory = Inventory {
        format: FORMAT,
        microdc: env!("CARGO_PKG_VERSION").to_owned(),
        profile: built.profile.to_owned(),
        packages,
        artifacts,
        crates: built.crates,
        root: reasons(tree.nodes.iter().map(|(path, node)| (path.as_str(), &*node.origin))),
        boot: reasons(built.boot.iter().map(|(path, origin)| (path.as_str(), origin.as_str()))),
    };
    if let Some(node) = tree.nodes.get_mut(INVENTORY.trim_start_matches('/')) {
        node.kind = Kind::File(Content::from(inventory.to_bytes()?));
    }
    Ok(())
}

fn add(tree: &mut Tree, path: &str, bytes: Vec<u8>, why: &str) -> anyhow::Result<()> {
    let path = path.trim_start_matches('/');
    tree.insert_parents(path);
    tree.insert(path, Node::of(Kind::File(Content::from(bytes)), 0o644, &origin::made(why)))?;
    Ok(())
}

/// Paths by their reasons.
fn reasons<'a>(paths: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Reason> {
    let mut by_origin: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, origin) in paths {
        by_origin.entry(origin).or_default().push(path.to_owned());
    }
    by_origin.into_iter().map(|(origin, paths)| Reason { origin: origin.to_owned(), paths }).collect()
}
