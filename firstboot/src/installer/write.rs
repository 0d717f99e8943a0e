//! The order in which a disk is written, so that it is bootable before the first step or after the last one, and never in
//! between:
//!
//! 1. the bundle is looked at: who signed it, for which nodes it is, whether it fits. Until here nothing is written
//! 2. what the operator has named is erased, to the end of where `state` will be
//! 3. the partition table, at the end of the disk alone; then the start of the disk is erased: no EEPROM looks at the end
//! 4. `bootsel`, with the node config
//! 5. slot A, every block verified; what is there already is not fetched again
//! 6. the partition table at the start, its first 4 KiB last
//!
//! Each step is on the disk before the next begins. After an interruption the table at the end says that the disk is ours,
//! and all is done once more.

use super::verdict::Verdict;
use crate::disk::gpt::{Copy, Table, Write};
use crate::update::install::{self, Order, Pair, Patience, Source};
use anyhow::{Context as _, bail, ensure};
use contract::layout::{Extent, MIB, Partition, Slot, state_extent};
use contract::update::{Release, UpdateEvent};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The partitions of a disk that has no table yet where the kernel looks: block devices on the node, files in tests.
pub trait Partitions {
    /// What was known of the disk's partitions holds no more.
    ///
    /// # Errors
    /// When one of them is in use.
    fn forget(&mut self) -> anyhow::Result<()>;

    /// A partition for reading and writing.
    ///
    /// # Errors
    /// When it cannot be had.
    fn open(&mut self, partition: Partition, extent: Extent) -> anyhow::Result<File>;

    /// Puts a node config onto `bootsel`, whose file system is there.
    ///
    /// # Errors
    /// When it cannot be written.
    fn leave_config(&mut self, extent: Extent, config: &[u8]) -> anyhow::Result<()>;
}

/// What is to be done to a disk.
#[derive(Debug)]
pub struct Job<'j> {
    /// What it was judged to be.
    pub verdict: Verdict,
    /// Its size in bytes.
    pub size: u64,
    /// The table that it gets unless it keeps its own.
    pub fresh: Table,
    /// The file system of `bootsel`.
    pub bootsel: &'j [u8],
    pub config: Option<&'j [u8]>,
    pub order: Order,
    pub patience: Patience,
}

/// Does it.
///
/// # Errors
/// Why not. Unless the bundle was refused, the disk cannot be booted from then.
pub fn install(
    job: &Job<'_>,
    disk: &File,
    partitions: &mut dyn Partitions,
    tell: &mut dyn FnMut(UpdateEvent),
) -> anyhow::Result<Release> {
    let mut order = job.order.clone();
    let (table, erase) = match &job.verdict {
        Verdict::Refused(found) => bail!("it holds {found}"),
        Verdict::Blank => (&job.fresh, false),
        Verdict::Erase(_) => (&job.fresh, true),
        // Root partitions of another size: nobody needs what is there.
        Verdict::Unused(table) if places(table) != places(&job.fresh) => (&job.fresh, true),
        Verdict::Unused(table) => (table, false),
        Verdict::Node(table, rollback_index) => {
            order.rollback_index = order.rollback_index.max(*rollback_index);
            (table, false)
        }
    };
    look(&order, table, job.patience)?;
    if erase {
        self::erase(disk, table, job.size).context("erasing it")?;
    }
    put(disk, &table.backup(job.size)).context("writing the partition table at its end")?;
    zero(disk, Extent { offset: 0, length: Table::FIRST_LEN }).context("erasing the partition table at its start")?;
    partitions.forget()?;

    let place = extent(table, Partition::Bootsel)?;
    let bootsel = partitions.open(Partition::Bootsel, place)?;
    zero(&bootsel, Extent { offset: 0, length: place.length }).context("erasing bootsel")?;
    bootsel.write_all_at(job.bootsel, 0).and_then(|()| bootsel.sync_all()).context("writing bootsel")?;
    drop(bootsel);
    if let Some(config) = job.config {
        partitions.leave_config(place, config)?;
    }

    let mut pair = |slot: Slot| -> anyhow::Result<Pair> {
        let mut open = |partition| partitions.open(partition, extent(table, partition)?);
        Ok(Pair { boot: open(slot.boot())?, root: open(slot.root())? })
    };
    let (standby, other) = (pair(Slot::A)?, pair(Slot::B)?);
    let release = install::install(&order, &standby, &other, Source::Web(job.patience), tell)?;
    drop((standby, other));

    for write in table.primary_anew(job.size) {
        put(disk, &write).context("writing the partition table at its start")?;
    }
    let back = Table::read(&mut &*disk, job.size).context("reading the partition table back")?;
    ensure!(
        back.copy == Copy::Primary && places(&back) == places(table),
        "the partition table is not what was written: do not trust this disk"
    );
    Ok(release)
}

/// Asks for the bundle and writes nothing: it is compared with slots of the right size in memory, which are empty.
fn look(order: &Order, table: &Table, patience: Patience) -> anyhow::Result<()> {
    let empty = || -> anyhow::Result<Pair> {
        let file = |partition| -> anyhow::Result<File> {
            let file = File::from(memfd_create("partition", MemfdFlags::CLOEXEC).context("making a memory file")?);
            file.set_len(extent(table, partition)?.length).context("making a memory file")?;
            Ok(file)
        };
        Ok(Pair { boot: file(Slot::A.boot())?, root: file(Slot::A.root())? })
    };
    let order = Order { dry_run: true, ..order.clone() };
    install::install(&order, &empty()?, &empty()?, Source::Web(patience), &mut |_| ())?;
    Ok(())
}

fn places(table: &Table) -> Vec<Option<Extent>> {
    Partition::IN_IMAGE.iter().map(|&partition| table.find(partition).map(|entry| entry.extent)).collect()
}

fn extent(table: &Table, partition: Partition) -> anyhow::Result<Extent> {
    let entry = table.find(partition).with_context(|| format!("the partition table lacks {}", partition.name()))?;
    Ok(entry.extent)
}

fn put(disk: &File, write: &Write) -> io::Result<()> {
    disk.write_all_at(&write.bytes, write.offset)?;
    disk.sync_all()
}

/// Both ends first: what says how the disk was divided. Then all up to the end of where `state` will be, which the node takes
/// only when it is empty. What is behind it the claim erases, as `wipe` names this disk.
fn erase(disk: &File, table: &Table, size: u64) -> anyhow::Result<()> {
    let state =
        state_extent(extent(table, Partition::RootB)?.end()).context("a place beyond the end of all disks")?;
    zero(disk, Extent { offset: 0, length: MIB })?;
    zero(disk, Extent { offset: size.saturating_sub(MIB), length: MIB })?;
    Ok(zero(disk, Extent { offset: MIB, length: state.end().min(size).saturating_sub(MIB) })?)
}

/// Erases a place, by the disk's own means where it has some.
fn zero(file: &File, place: Extent) -> io::Result<()> {
    // A block device has the first (block/fops.c), a memory file the second.
    let ways = [FallocateFlags::ZERO_RANGE, FallocateFlags::PUNCH_HOLE].map(|way| way | FallocateFlags::KEEP_SIZE);
    let erased = ways.into_iter().any(|way| fallocate(file, way, place.offset, place.length).is_ok());
    if !erased {
        let zeros = vec![0; MIB as usize];
        let mut at = place.offset;
        while at < place.end() {
            let length = usize::try_from(place.end() - at).unwrap_or(usize::MAX).min(zeros.len());
            file.write_all_at(zeros.get(..length).unwrap_or_default(), at)?;
            at += length as u64;
        }
    }
    file.sync_all()
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
