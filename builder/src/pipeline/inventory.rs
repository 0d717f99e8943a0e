//! The inventory of a build. The archive of licences depends on the packages alone, and is kept in the cache.

use crate::cache::Cache;
use crate::inventory::{self, Artifact, Built, licences};
use crate::lock::Lock;
use crate::node_program;
use crate::report::Reporter;
use crate::tree::{Package, Tree};
use anyhow::{Context as _, Result};
use contract::hash::Digest;
use contract::names::FIRSTBOOT;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What the inventory is made of, besides the tree.
pub(super) struct Inputs<'a> {
    pub cache: &'a Cache,
    pub profile: &'a str,
    pub lock: &'a Lock,
    /// Every package of the lock, by name.
    pub packages: &'a BTreeMap<String, Arc<Package>>,
    /// Why each file of the boot partition is there, by name.
    pub boot: &'a BTreeMap<String, String>,
    pub artifacts: Vec<Artifact>,
    /// Crates that are linked into firstboot; none where it was supplied.
    pub crates: Vec<String>,
    pub reporter: &'a Reporter,
}

pub(super) fn insert(tree: &mut Tree, inputs: Inputs<'_>) -> Result<()> {
    let Inputs { cache, profile, lock, packages, boot, artifacts, crates, reporter } = inputs;
    let mut key = super::stage_key("licences");
    for package in lock.packages.values() {
        key.add("package", package.sha256.0);
    }
    let key = key.finish();
    inventory::insert(tree, Built { profile, lock, packages, artifacts, crates, boot }, |places| {
        if let Some(bytes) = cache.get_bytes("licences", key) {
            reporter.did("licences", false);
            return Ok(bytes);
        }
        let bytes = licences::pack(packages, places).context("packing the licences")?;
        cache.put_bytes("licences", key, &bytes)?;
        reporter.did("licences", true);
        Ok(bytes)
    })
}

/// The crates of the project's own program, which follow from its sources.
pub(super) fn crates(cache: &Cache, base: &Path) -> Result<Vec<String>> {
    let workspace = node_program::sources(base)?;
    let key = super::stage_key("licensed crates").with("sources", node_program::fingerprint(&workspace)?.0).finish();
    let kept = cache.get_bytes("licensed-crates", key).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    if let Some(crates) = kept {
        return Ok(crates);
    }
    let crates = node_program::crates(&workspace)?;
    cache.put_bytes("licensed-crates", key, &serde_json::to_vec(&crates)?)?;
    Ok(crates)
}

/// The project's own program, as an artifact.
pub(super) fn firstboot(bytes: &[u8], supplied: bool) -> Artifact {
    Artifact {
        name: "firstboot".to_owned(),
        kind: "microdc".to_owned(),
        from: None,
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        path: FIRSTBOOT.to_owned(),
        size: bytes.len() as u64,
        sha256: Digest::of(bytes),
        supplied,
    }
}
