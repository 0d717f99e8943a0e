//! Whether a disk may be taken, by the claim's rules: blank, already ours, or named by the operator (`wipe` in `node.toml`).
//! What is on it is judged by the signatures that `microdc flash` knows, too.

use crate::disk::gpt::{self, Table};
use crate::disk::layout::derived;
use crate::disk::trailer;
use anyhow::{Context as _, bail};
use contract::blank;
use contract::keys::PublicKey;
use contract::layout::{Extent, ImageLayout, Partition, SECTOR, Slot, state_extent};
use contract::node::Serial;
use contract::role::Compatible;
use contract::signatures;
use std::io::{self, Read, Seek, SeekFrom};
use uuid::Uuid;

/// What a disk is to the installer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing is on it.
    Blank,
    /// An image of ours that no node has used, or an installation that was not finished.
    Unused(Table),
    /// A node of this profile, which keeps its `state` and `data`. Older bundles than this rollback index are refused.
    Node(Table, u64),
    /// Something else that the operator has named.
    Erase(String),
    /// Something else.
    Refused(String),
}

/// Who judges.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'j> {
    /// The table that a blank disk gets.
    pub fresh: &'j Table,
    pub serial: Option<&'j Serial>,
    pub wipe: Option<&'j Serial>,
    pub keys: &'j [PublicKey],
    pub node_is: &'j Compatible,
}

/// The table of a disk of `size` bytes with root partitions of `root_size` bytes. It follows from these and from the disk's
/// serial number, so that making it twice gives the same bytes.
///
/// # Errors
/// When the disk is too small for it and for `state` behind it.
pub fn fresh_table(serial: Option<&Serial>, size: u64, root_size: u64) -> anyhow::Result<Table> {
    let layout = ImageLayout::new(root_size)?;
    let needed = state_extent(layout.image_size().saturating_sub(contract::layout::ALIGN));
    let needed = needed.map_or(u64::MAX, |state| state.end().saturating_add(Table::TAIL_LEN));
    if size < needed {
        bail!("it has {size} bytes, too few: the system and its state need {needed}; take a larger disk");
    }
    let disk = derived(&Uuid::nil(), &format!("system disk {}", serial.map_or("", Serial::as_str)));
    let mut table = Table::empty(disk);
    for partition in Partition::IN_IMAGE {
        let extent = layout.extent(partition).context("a partition without a place")?;
        let entry = gpt::Entry {
            number: partition.number(),
            type_guid: Uuid::parse_str(partition.type_guid()).unwrap_or_default(),
            guid: derived(&disk, &format!("partition {}", partition.name())),
            extent,
            name: partition.name().to_owned(),
        };
        table = table.with(&entry, size)?;
    }
    Ok(table)
}

/// Looks at a disk of `size` bytes. Nothing is written.
///
/// # Errors
/// When it cannot be read.
pub fn judge(disk: &mut (impl Read + Seek + ?Sized), size: u64, by: &Judge<'_>) -> anyhow::Result<Verdict> {
    let found = match Table::read(disk, size).ok().filter(is_ours) {
        Some(table) if table.find(Partition::State).is_none() => return Ok(Verdict::Unused(table)),
        Some(table) => match node(disk, &table, by)? {
            Ok(rollback_index) => return Ok(Verdict::Node(table, rollback_index)),
            Err(found) => found,
        },
        None if is_blank(disk, size, by.fresh)? => return Ok(Verdict::Blank),
        None => foreign(disk, size)?,
    };
    let named = by.wipe.is_some() && by.wipe == by.serial;
    Ok(if named { Verdict::Erase(found) } else { Verdict::Refused(found) })
}

/// Whether a table has the partitions of our images, and no others.
fn is_ours(table: &Table) -> bool {
    let known = [Partition::State, Partition::Data];
    let ours = Partition::IN_IMAGE.iter().chain(&known);
    let is_known = |entry: gpt::Entry| ours.clone().any(|&partition| table.find(partition).as_ref() == Some(&entry));
    Partition::IN_IMAGE.iter().all(|&partition| table.find(partition).is_some()) && table.entries().all(is_known)
}

/// The highest rollback index that a node's slots have; else whose node it is.
fn node(
    disk: &mut (impl Read + Seek + ?Sized),
    table: &Table,
    by: &Judge<'_>,
) -> anyhow::Result<Result<u64, String>> {
    let mut rollback_index = None;
    for slot in Slot::BOTH {
        let Some(entry) = table.find(slot.root()) else { continue };
        let Ok(signed) = trailer::read(disk, entry.extent, by.keys) else { continue };
        let compatible = signed.manifest.compatible();
        if compatible != *by.node_is {
            return Ok(Err(format!("a node of {compatible}, with its state; this installer is for {}", by.node_is)));
        }
        rollback_index = rollback_index.max(Some(signed.manifest.rollback_index));
    }
    // An installation over a node that was cut off, which has left no table at the start ([`super::write`]).
    let mut first = vec![0; Table::FIRST_LEN as usize];
    disk.seek(SeekFrom::Start(0)).and_then(|_| disk.read_exact(&mut first)).context("reading its first bytes")?;
    let unfinished = table.copy == gpt::Copy::Backup && first.iter().all(|&byte| byte == 0);
    match rollback_index {
        Some(index) => Ok(Ok(index)),
        None if unfinished => Ok(Ok(0)),
        None => {
            Ok(Err("the state of a node of microdc, without a slot that a key of this installer has signed".into()))
        }
    }
}

/// Whether nothing is on it, but for what an installation writes first: the backup of its table, or a part of it.
fn is_blank(disk: &mut (impl Read + Seek + ?Sized), size: u64, fresh: &Table) -> anyhow::Result<bool> {
    let backup = fresh.backup(size);
    let before = Extent { offset: 0, length: backup.offset.min(size) };
    if blank::first_data(disk, before, || ()).context("checking whether it is blank")?.is_some() {
        return Ok(false);
    }
    let mut tail = vec![0; usize::try_from(size.saturating_sub(backup.offset))?];
    disk.seek(SeekFrom::Start(backup.offset)).and_then(|_| disk.read_exact(&mut tail)).context("reading its end")?;
    let (sectors, _) = tail.as_chunks::<{ SECTOR as usize }>();
    let (ours, _) = backup.bytes.as_chunks::<{ SECTOR as usize }>();
    let fine = |(sector, ours): (&[u8; SECTOR as usize], &[u8; SECTOR as usize])| {
        sector == ours || sector.iter().all(|&byte| byte == 0)
    };
    Ok(sectors.len() == ours.len() && sectors.iter().zip(ours).all(fine))
}

/// Names what a disk holds that is neither blank nor ours.
fn foreign(disk: &mut (impl Read + Seek + ?Sized), size: u64) -> anyhow::Result<String> {
    let mut read = |at: u64, bytes: &mut [u8]| -> io::Result<()> {
        disk.seek(SeekFrom::Start(at))?;
        disk.read_exact(bytes)
    };
    let found = signatures::find(size, &mut read).context("looking for signatures")?;
    if !found.is_empty() {
        return Ok(found.join(" and "));
    }
    let data = blank::first_data(disk, Extent { offset: 0, length: size }, || ()).context("looking for data")?;
    Ok(data.map_or_else(|| "unknown data".to_owned(), |at| format!("unknown data (at byte {at})")))
}
