//! The summary of an image, disk or bundle.

use crate::bundle::{Contents, FramesOf, Reader};
use crate::cli::output::{self, OutputError};
use crate::inventory::{Inventory, licences};
use crate::open::{Kind, Medium, OpenError, OpenSlot};
use crate::report::{human_bytes, room};
use anyhow::{Context as _, Result};
use contract::calendar::show_time;
use contract::layout::{Slot, TRAILER_SIZE};
use contract::manifest::Manifest;
use contract::names::LICENCES;
use contract::tree::{root_room, tree_length};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Whether a slot's signature is to be trusted; otherwise why not.
pub(super) type Signed<'s> = &'s dyn Fn(&OpenSlot) -> Result<(), String>;

pub(super) fn all(path: &Path, medium: &Medium, slot: Option<Slot>, signed: Signed<'_>, as_json: bool) -> Result<()> {
    let contents = match medium.kind {
        Kind::Bundle => Some(Reader::open(path)?.contents()?),
        _ => None,
    };
    if let Some(slot) = slot {
        medium.pick(Some(slot))?;
    }
    let chosen = |look: &&OpenSlot| slot.is_none_or(|slot| look.slot == Some(slot));
    let looks: Vec<&OpenSlot> = medium.slots.iter().filter(chosen).collect();
    if as_json {
        return output::json(&report(path, medium, &looks, contents.as_ref(), signed)?);
    }
    outln!("{}", path.display())?;
    head(medium)?;
    for look in looks {
        outln!()?;
        manifest(look, signed(look))?;
        outln!("  room      {}", room_of(medium, look))?;
        made_of(look)?;
    }
    for (slot, why) in &medium.unreadable {
        outln!("\n  slot {slot}    cannot be read: {why}")?;
    }
    if let Some(contents) = &contents {
        outln!()?;
        sections(contents)?;
    }
    Ok(())
}

fn report(
    path: &Path,
    medium: &Medium,
    looks: &[&OpenSlot],
    contents: Option<&Contents>,
    signed: Signed<'_>,
) -> Result<Value> {
    let slot = |look: &&OpenSlot| {
        let inventory = look.inventory();
        let mut slot = json!({
            "slot": look.slot,
            "manifest": look.manifest,
            "manifest_digest": look.manifest_digest(),
            "key": look.trailer.signature.key.to_string(),
            "root_room": root_partition(medium).and_then(|partition| root_room(partition, look.manifest.root.length)),
            "signature": signed(look).err().unwrap_or_else(|| "good".to_owned()),
        });
        match inventory {
            Ok(Inventory { microdc, profile, packages, artifacts, .. }) => {
                slot["inventory"] =
                    json!({ "microdc": microdc, "profile": profile, "packages": packages, "artifacts": artifacts });
            }
            Err(error) => slot["inventory_missing"] = error.to_string().into(),
        }
        slot
    };
    let mut slots: Vec<Value> = looks.iter().map(slot).collect();
    if let Some(contents) = contents {
        // A bundle is one slot: what is said of it is on top.
        let mut report = serde_json::to_value(contents)?;
        report["bundle"] = serde_json::to_value(path)?;
        for (name, value) in slots.pop().and_then(|slot| slot.as_object().cloned()).unwrap_or_default() {
            report[name] = value;
        }
        report["kind"] = serde_json::to_value(medium.kind)?;
        return Ok(report);
    }
    let unreadable: BTreeMap<String, &String> =
        medium.unreadable.iter().map(|(slot, why)| (slot.to_string(), why)).collect();
    Ok(json!({
        "file": path,
        "kind": medium.kind,
        "length": medium.length,
        "default": medium.default,
        "partitions": medium.table.as_ref().map(|table| &table.partitions),
        "slots": slots,
        "unreadable": unreadable,
    }))
}

fn head(medium: &Medium) -> Result<(), OutputError> {
    let boots = match (medium.default, &medium.table) {
        (Some(slot), _) => format!(", boots from slot {slot}"),
        (None, Some(_)) => ", does not say which slot boots".to_owned(),
        (None, None) => String::new(),
    };
    outln!("  {:<9} {}{boots}", medium.kind.to_string(), human_bytes(medium.length))?;
    let Some(table) = &medium.table else { return Ok(()) };
    outln!("\n  {:<18} {:>14} {:>14}", "partition", "from byte", "bytes")?;
    for listed in &table.partitions {
        let name = format!("{} {}", listed.number, listed.name);
        outln!("  {name:<18} {:>14} {:>14}", listed.offset, listed.length)?;
    }
    Ok(())
}

fn manifest(look: &OpenSlot, signed: Result<(), String>) -> Result<(), OutputError> {
    let Manifest { role, version, board, kernel, rollback_index, built, boot, root, .. } = &look.manifest;
    let slot = look.slot.map_or("slot".to_owned(), |slot| format!("slot {slot}"));
    outln!("  {slot:<9} {role} {version} for {board}, kernel {kernel}")?;
    outln!("  for       nodes of {}", look.manifest.compatible())?;
    outln!("  built     {}, rollback index {rollback_index}", show_time(*built))?;
    match signed {
        Ok(()) => outln!("  signed by {}", look.trailer.signature.key)?,
        Err(why) => outln!("  not signed by a key that is trusted here: {why}")?,
    }
    if !look.manifest.supplied.is_empty() {
        outln!("  supplied  {} (by hand, not from the lock)", look.manifest.supplied.join(", "))?;
    }
    outln!("  manifest  {}", look.manifest_digest())?;
    outln!("  boot      {}, root hash {}", human_bytes(boot.length), boot.root_hash)?;
    outln!("  root      {}, root hash {}", human_bytes(root.length), root.root_hash)
}

/// How much of its partition a root leaves free; of a bundle, what it needs.
fn room_of(medium: &Medium, look: &OpenSlot) -> String {
    let length = look.manifest.root.length;
    match root_partition(medium) {
        Some(partition) => match root_room(partition, length) {
            Some(left) => room(left, partition),
            None => "the root is larger than its partition".to_owned(),
        },
        None => {
            let tree = tree_length(length).unwrap_or(0);
            let needed = length.saturating_add(tree).saturating_add(TRAILER_SIZE);
            format!("it needs {} of a node's root partition", human_bytes(needed))
        }
    }
}

/// Length of each root partition, where there is one.
fn root_partition(medium: &Medium) -> Option<u64> {
    match medium.kind {
        Kind::Partition => Some(medium.length),
        Kind::Bundle => None,
        Kind::Image | Kind::Disk => medium.table.as_ref().map(|table| table.layout.root_size()),
    }
}

fn made_of(look: &OpenSlot) -> Result<()> {
    let inventory = match look.inventory() {
        Err(error @ (OpenError::NoInventory | OpenError::Root(_) | OpenError::Inventory(_))) => {
            outln!("  made of   unknown: {error}")?;
            return Ok(());
        }
        inventory => inventory?,
    };
    let files: usize = inventory.root.iter().map(|reason| reason.paths.len()).sum();
    let (packages, artifacts) = (inventory.packages.len(), inventory.artifacts.len());
    outln!("  made of   profile {} by microdc {}", inventory.profile, inventory.microdc)?;
    outln!("            {packages} packages, {artifacts} artifacts, {files} files and folders")?;
    let mut suites: BTreeMap<&str, usize> = BTreeMap::new();
    inventory.packages.iter().for_each(|package| *suites.entry(&package.suite).or_default() += 1);
    let suites: Vec<String> = suites.iter().map(|(suite, count)| format!("{suite} {count}")).collect();
    outln!("  suites    {}", suites.join(", "))?;
    for artifact in &inventory.artifacts {
        let version = artifact.version.as_deref().unwrap_or("without version");
        let by_hand = if artifact.supplied { ", supplied by hand" } else { "" };
        outln!("  artifact  {} {version}, {}{by_hand}", artifact.name, human_bytes(artifact.size))?;
    }
    outln!("  licences  in {LICENCES}")?;
    Ok(())
}

fn sections(contents: &Contents) -> Result<(), OutputError> {
    outln!("  checksum  {}", contents.checksum)?;
    outln!("\n  {:<18} {:>12} {:>12}", "section", "from byte", "bytes")?;
    for section in &contents.sections {
        let image = section.image.map(|image| format!(", {image}")).unwrap_or_default();
        outln!("  {:<18} {:>12} {:>12}", format!("{}{image}", section.name), section.offset, section.length)?;
    }
    outln!()?;
    for FramesOf { image, blocks, frames, uncompressed, content, stored } in &contents.frames {
        let (each, share) = (contents.frame_blocks, *stored as f64 * 100.0 / *content as f64);
        outln!("  {image}      {blocks} blocks in {frames} frames of {each}: {share:.1} % of their size,")?;
        outln!("            {uncompressed} of them not compressed")?;
    }
    Ok(())
}

pub(super) fn packages(look: &OpenSlot, as_json: bool) -> Result<()> {
    let Inventory { packages, artifacts, .. } = look.inventory()?;
    if as_json {
        return output::json(&json!({ "packages": packages, "artifacts": artifacts }));
    }
    for package in &packages {
        let place = format!("{}/{}", package.suite, package.component);
        outln!("{} {} ({place}, {})", package.name, package.version, human_bytes(package.size))?;
        outln!("  SHA-256 {}", package.sha256)?;
        outln!("  licence {}", package.copyright.as_deref().unwrap_or("not in the image"))?;
    }
    for artifact in &artifacts {
        let version = artifact.version.as_deref().unwrap_or("without version");
        let by_hand = if artifact.supplied { ", supplied by hand" } else { "" };
        let (name, kind) = (&artifact.name, &artifact.kind);
        outln!("{name} {version} (artifact, {kind}, {}{by_hand})", human_bytes(artifact.size))?;
        outln!("  SHA-256 {}", artifact.sha256)?;
        if let Some(from) = &artifact.from {
            outln!("  from    {from}")?;
        }
        outln!("  at      {}", artifact.path)?;
    }
    Ok(())
}

pub(super) fn licence(look: &OpenSlot, name: &str) -> Result<()> {
    let inventory = look.inventory()?;
    let package = inventory.package(name).with_context(|| {
        let names = inventory.packages.iter().map(|package| package.name.as_str());
        let near = crate::profile::diagnostic::did_you_mean(name, names);
        format!("no package {name} in it{}", near.map(|near| format!("; {near}")).unwrap_or_default())
    })?;
    let path = package.copyright.as_ref().with_context(|| {
        format!("no package of the image has the copyright file of {name}: see the package itself")
    })?;
    let archive = licences::read(&look.root()?.read(LICENCES.trim_start_matches('/'))?).context(LICENCES)?;
    let text = archive.get(path).with_context(|| format!("{path} is not in {LICENCES}"))?;
    output::bytes(text)?;
    Ok(())
}
