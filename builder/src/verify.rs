//! Verifies every bit of an image file.
//!
//! What is signed is checked against the signature; what is not signed (partition table, `bootsel`) follows from the
//! build and is compared with what the build would write; everything else must be zero.

mod read;
mod unsigned;

pub(crate) use unsigned::spec_in;
pub use unsigned::{Unsigned, unsigned};

use crate::boot::eeprom::{self, EepromError};
use crate::boot::files::root_hash;
use crate::format::disk_table;
use crate::format::fat_read::{FatReadError, InFile, Reader, Source};
use crate::format::gpt::{self, Ends, GptError, HEAD, TAIL};
use crate::image;
use contract::hash::Digest;
use contract::keys::{KeyId, ManifestSignature, PublicKey};
use contract::layout::{ALIGN, BLOCK, Extent, ImageLayout, Partition, SECTOR, Slot, TRAILER_SIZE, trailer_offset};
use contract::manifest::Manifest;
use contract::names::{AUTOBOOT, CMDLINE_TXT, NODE_CONFIG};
use contract::role::Role;
use contract::trailer::{Trailer, TrailerError};
use contract::tree::{self, HashTree, TreeError, zero_leaf};
use read::Blocks;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

/// What an image is verified against.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'k> {
    pub trusted: &'k [PublicKey],
    /// The role that it must be for, if it matters.
    pub role: Option<&'k Role>,
    pub bootsel: Bootsel,
}

/// What `bootsel` may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bootsel {
    /// Bit for bit what the build writes there.
    AsBuilt,
    /// Whatever an operator's tools made of it, as long as the EEPROM boots from it.
    Bootable,
}

/// An image that is complete.
#[derive(Clone, Debug)]
pub struct Verified {
    pub layout: ImageLayout,
    /// The slot that the EEPROM boots from.
    pub default: Slot,
    pub slots: BTreeMap<Slot, VerifiedSlot>,
    /// The node config in `bootsel`.
    pub node_config: Option<Vec<u8>>,
}

/// A slot that is complete.
#[derive(Clone, Debug)]
pub struct VerifiedSlot {
    pub manifest: Manifest,
    /// Of the manifest's bytes.
    pub manifest_digest: Digest,
    pub key: KeyId,
    /// Files of the boot partition, with their lengths in bytes.
    pub boot_files: BTreeMap<String, u64>,
}

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("opening the image: {0}")]
    Open(#[source] io::Error),
    #[error("reading the image at byte {offset}: {source}")]
    Read { offset: u64, source: io::Error },
    #[error("the file has {0} bytes, and no image has this length: it is truncated, or not an image")]
    Length(u64),
    #[error("the disk's partition table: {0}")]
    Disk(#[source] disk_table::TableError),
    #[error("the partition table at byte 0 and its copy at byte {backup}: {source}")]
    Table { backup: u64, source: GptError },
    #[error("{place}, block {block} (byte {offset} of the image): {what}")]
    Damage { place: &'static str, block: u64, offset: u64, what: String },
    #[error("{place} (bytes {} to {} of the image): {what}", extent.offset, extent.end())]
    Part { place: &'static str, extent: Extent, what: String },
    #[error("{place}, trailer (byte {offset} of the image): {source}")]
    Trailer { place: &'static str, offset: u64, source: TrailerError },
    #[error("slot {slot} is for the role {found}, not for {wanted}")]
    Role { slot: Slot, wanted: Role, found: Role },
    #[error("slot {0} is what the EEPROM boots from, and it is empty")]
    EmptyDefault(Slot),
    #[error("{place}: {source}")]
    Boot { place: &'static str, source: EepromError },
    #[error("{place}: {source}")]
    Fat { place: &'static str, source: FatReadError },
}

/// Verifies the image at `path`.
///
/// # Errors
/// The first thing that is wrong, by partition, block and offset.
pub fn verify(path: &Path, expect: &Expect<'_>) -> Result<Verified, VerifyError> {
    with_signature(path, expect, None)
}

/// [`verify`] of an image as it would be with this signature in that slot's trailer.
///
/// # Errors
/// As [`verify`].
pub fn as_if_signed(
    path: &Path,
    expect: &Expect<'_>,
    slot: Slot,
    signature: ManifestSignature,
) -> Result<Verified, VerifyError> {
    with_signature(path, expect, Some((slot, signature)))
}

/// An image file that is long enough for a table, and its length in bytes.
fn open(path: &Path) -> Result<(File, u64), VerifyError> {
    let file = File::open(path).map_err(VerifyError::Open)?;
    let length = file.metadata().map_err(VerifyError::Open)?.len();
    if length < 2 * ALIGN || !length.is_multiple_of(SECTOR) {
        return Err(VerifyError::Length(length));
    }
    Ok((file, length))
}

fn with_signature(
    path: &Path,
    expect: &Expect<'_>,
    signature: Option<(Slot, ManifestSignature)>,
) -> Result<Verified, VerifyError> {
    let (file, length) = open(path)?;
    let blocks = Blocks { file: &file, length };
    let layout = table(blocks)?;
    let (default, node_config) = bootsel(blocks, layout, expect.bootsel)?;
    let mut slots = BTreeMap::new();
    for slot in Slot::BOTH {
        let of_slot = signature.filter(|(signed, _)| *signed == slot).map(|(_, signature)| signature);
        if let Some(found) = verify_slot(blocks, layout, slot, expect, Remainder::Zeros, of_slot)? {
            slots.insert(slot, found);
        }
    }
    if !slots.contains_key(&default) {
        return Err(VerifyError::EmptyDefault(default));
    }
    Ok(Verified { layout, default, slots, node_config })
}

/// Verifies what is ours on a node's disk, or on a copy of one: the slots and what it boots from. What a node, or another
/// program, made of the rest is its own affair.
///
/// # Errors
/// The first thing that is wrong, by partition, block and offset.
pub fn disk(path: &Path, expect: &Expect<'_>) -> Result<Verified, VerifyError> {
    let file = File::open(path).map_err(VerifyError::Open)?;
    let length = disk_table::length(&file).map_err(VerifyError::Open)?;
    let layout = disk_table::read(&file, length).map_err(VerifyError::Disk)?.layout;
    let blocks = Blocks { file: &file, length };
    let (default, node_config) = bootsel(blocks, layout, Bootsel::Bootable)?;
    let mut slots = BTreeMap::new();
    for slot in Slot::BOTH {
        if let Some(found) = verify_slot(blocks, layout, slot, expect, Remainder::Anything, None)? {
            slots.insert(slot, found);
        }
    }
    if !slots.contains_key(&default) {
        return Err(VerifyError::EmptyDefault(default));
    }
    Ok(Verified { layout, default, slots, node_config })
}

/// Verifies one slot of a node's disk: what its manifest names, and nothing else, since a node may have left anything behind the
/// images and in the other partitions. Nothing when the slot has no trailer.
///
/// # Errors
/// The first thing that is wrong with what the slot holds.
pub fn slot(
    disk: &File,
    layout: ImageLayout,
    slot: Slot,
    trusted: &[PublicKey],
) -> Result<Option<VerifiedSlot>, VerifyError> {
    let length = disk.metadata().map_err(VerifyError::Open)?.len();
    let expect = Expect { trusted, role: None, bootsel: Bootsel::Bootable };
    verify_slot(Blocks { file: disk, length }, layout, slot, &expect, Remainder::Anything, None)
}

/// What may follow a slot's images, and in an empty slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remainder {
    Zeros,
    Anything,
}

/// The partition table and what is between it and the partitions.
fn table(blocks: Blocks<'_>) -> Result<ImageLayout, VerifyError> {
    const PLACE: &str = "partition table";
    let backup = blocks.length - TAIL;
    let ends = Ends { head: blocks.read(0, HEAD)?, tail: blocks.read(backup, TAIL)? };
    let bad = |source| VerifyError::Table { backup, source };
    let (layout, ids) = gpt::read(&ends, blocks.length).map_err(bad)?;
    let wanted = gpt::table(layout, &ids).map_err(bad)?;
    for (at, found, wanted) in [(0, &ends.head, &wanted.head), (backup, &ends.tail, &wanted.tail)] {
        if let Some(byte) = (0..found.len()).find(|&byte| found[byte] != wanted[byte]) {
            let offset = at + byte as u64;
            let what = "it differs from the other copy and the layout".to_owned();
            return Err(VerifyError::Damage { place: PLACE, block: offset / BLOCK, offset, what });
        }
    }
    blocks.zero(PLACE, 0, HEAD..ALIGN)?;
    blocks.zero(PLACE, 0, blocks.length - ALIGN..backup)?;
    Ok(layout)
}

fn bootsel(blocks: Blocks<'_>, layout: ImageLayout, demand: Bootsel) -> Result<(Slot, Option<Vec<u8>>), VerifyError> {
    let place = Partition::Bootsel.name();
    let extent = extent(layout, Partition::Bootsel);
    let reader = Reader::open(InFile { file: blocks.file, offset: extent.offset });
    let node_config = reader.as_ref().ok().and_then(|reader| reader.read(NODE_CONFIG).ok().flatten());
    let make = |config: Option<&[u8]>| {
        image::bootsel(config).map_err(|error| VerifyError::Part { place, extent, what: error.to_string() })
    };
    let as_built = make(node_config.as_deref()).and_then(|wanted| blocks.same(place, extent, &wanted));
    match (as_built, demand) {
        (Ok(()), _) => return Ok((Slot::A, node_config)),
        (Err(error), Bootsel::AsBuilt) => return Err(error),
        (Err(_), Bootsel::Bootable) => (),
    }
    let fat = |source| VerifyError::Fat { place, source };
    let file = reader.map_err(fat)?.read(AUTOBOOT).map_err(fat)?;
    let boot = |source| VerifyError::Boot { place, source };
    let default = eeprom::check_autoboot(&file.ok_or(boot(EepromError::NoFile(AUTOBOOT)))?).map_err(boot)?;
    Ok((default, node_config))
}

/// A slot, or nothing when it is empty.
fn verify_slot(
    blocks: Blocks<'_>,
    layout: ImageLayout,
    slot: Slot,
    expect: &Expect<'_>,
    beyond: Remainder,
    signature: Option<ManifestSignature>,
) -> Result<Option<VerifiedSlot>, VerifyError> {
    let [boot, root] = [slot.boot(), slot.root()];
    let (boot_place, root_place) = (boot.name(), root.name());
    let (boot, root) = (extent(layout, boot), extent(layout, root));
    let trailer_at = root.offset + trailer_offset(root.length).unwrap_or(0);
    let bad_trailer = |source| VerifyError::Trailer { place: root_place, offset: trailer_at, source };

    let mut trailer = match Trailer::parse(&blocks.read(trailer_at, TRAILER_SIZE)?) {
        Err(TrailerError::Empty) if beyond == Remainder::Anything => return Ok(None),
        Err(TrailerError::Empty) => {
            blocks.zero(boot_place, boot.offset, boot.offset..boot.end())?;
            blocks.zero(root_place, root.offset, root.offset..root.end())?;
            return Ok(None);
        }
        trailer => trailer.map_err(bad_trailer)?,
    };
    trailer.signature = signature.unwrap_or(trailer.signature);
    let manifest = trailer.verify(expect.trusted).map_err(bad_trailer)?;
    if let Some(wanted) = expect.role.filter(|wanted| **wanted != manifest.role) {
        return Err(VerifyError::Role { slot, wanted: wanted.clone(), found: manifest.role });
    }

    let room = Extent { offset: root.offset, length: trailer_at - root.offset };
    let root_end = verify_root(blocks, root_place, room, &manifest)?;
    let boot_end = verify_boot(blocks, boot_place, boot, &manifest)?;
    if beyond == Remainder::Zeros {
        blocks.zero(root_place, room.offset, root_end..room.end())?;
        blocks.zero(boot_place, boot.offset, boot_end..boot.end())?;
    }
    let fat = |source| VerifyError::Fat { place: boot_place, source };
    let reader = Reader::open(InFile { file: blocks.file, offset: boot.offset }).map_err(fat)?;
    let boot_files = boot_content(&reader, boot_place, &manifest)?;
    let manifest_digest = Digest::of(&trailer.manifest);
    Ok(Some(VerifiedSlot { manifest, manifest_digest, key: trailer.signature.key, boot_files }))
}

/// The files of a boot partition: the firmware would start them, and they start the root that the manifest names. Gives
/// their lengths in bytes.
///
/// # Errors
/// What the firmware would stumble over.
pub fn boot_content<S: Source>(
    reader: &Reader<S>,
    place: &'static str,
    manifest: &Manifest,
) -> Result<BTreeMap<String, u64>, VerifyError> {
    let fat = |source| VerifyError::Fat { place, source };
    let files = reader.list().map_err(fat)?;
    let bad_boot = |source| VerifyError::Boot { place, source };
    eeprom::check_boot(&|name| reader.read(name).ok().flatten()).map_err(bad_boot)?;
    let cmdline = reader.read(CMDLINE_TXT).map_err(fat)?.unwrap_or_default();
    let named = root_hash(&String::from_utf8_lossy(&cmdline));
    if named != Some(manifest.root.root_hash) {
        let why =
            format!("it names a different root than the manifest, whose root hash is {}", manifest.root.root_hash);
        return Err(bad_boot(EepromError::Cmdline(why)));
    }
    Ok(files)
}

/// Root data and tree against the root hash; gives where they end. `room` ends where the trailer begins.
fn verify_root(
    blocks: Blocks<'_>,
    place: &'static str,
    room: Extent,
    manifest: &Manifest,
) -> Result<u64, VerifyError> {
    let part = |what: String| VerifyError::Part { place, extent: room, what };
    let data = manifest.root.length;
    let tree_length = tree::tree_length(data).map_err(|error| part(error.to_string()))?;
    let end = data.checked_add(tree_length).filter(|end| *end <= room.length);
    let end = end.ok_or_else(|| part("the manifest's root does not fit in the partition".to_owned()))?;
    let stored = blocks.read(room.offset + data, tree_length)?;
    let leaves = tree::checked_leaves(&stored, data, manifest.root.root_hash).map_err(|error| match error {
        TreeError::Mismatch { block, .. } => {
            let block = data / BLOCK + block;
            VerifyError::Damage {
                place,
                block,
                offset: room.offset + block * BLOCK,
                what: format!("hash tree: {error}"),
            }
        }
        other => part(other.to_string()),
    })?;
    blocks.hashed(room.offset, data, |first, found| {
        let wanted = &leaves[first as usize..];
        match found.iter().zip(wanted).position(|(found, wanted)| found != wanted) {
            None => Ok(()),
            Some(index) => {
                let block = first + index as u64;
                let what = format!("it should hash to {}, but hashes to {}", wanted[index], found[index]);
                Err(VerifyError::Damage { place, block, offset: room.offset + block * BLOCK, what })
            }
        }
    })?;
    Ok(room.offset + end)
}

/// The boot image against the manifest; gives where it ends. Its tree is stored nowhere, so that a wrong block is known
/// only as one of them.
fn verify_boot(
    blocks: Blocks<'_>,
    place: &'static str,
    room: Extent,
    manifest: &Manifest,
) -> Result<u64, VerifyError> {
    let extent = Extent { offset: room.offset, length: manifest.boot.length };
    let part = |what: String| VerifyError::Part { place, extent, what };
    if extent.length > room.length {
        return Err(part("the manifest's boot image does not fit in the partition".to_owned()));
    }
    let mut leaves = vec![zero_leaf(); manifest.boot.blocks() as usize];
    blocks.hashed(room.offset, extent.length, |first, found| {
        leaves[first as usize..][..found.len()].copy_from_slice(found);
        Ok(())
    })?;
    let found = HashTree::from_leaves(&leaves).map_err(|error| part(error.to_string()))?.root_hash;
    if found != manifest.boot.root_hash {
        let blocks = manifest.boot.blocks();
        let wanted = manifest.boot.root_hash;
        let what = format!(
            "one of the blocks 0 to {} is damaged: they should hash to {wanted}, but hash to {found}",
            blocks - 1
        );
        return Err(part(what));
    }
    Ok(extent.end())
}

/// Where a partition of the image lies. Only those that the node makes have no place, and they are never asked for.
fn extent(layout: ImageLayout, partition: Partition) -> Extent {
    layout.extent(partition).unwrap_or(Extent { offset: 0, length: 0 })
}
