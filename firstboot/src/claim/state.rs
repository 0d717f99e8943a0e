//! The `state` partition: identity, node config and logs of this node.
//!
//! First boot: look at the place → add the partition to the table → record `making` → mke2fs → record `made`. A power
//! cut at any step leaves what the next boot goes on from. Every boot: check, then mount. When `state` cannot be had, the
//! node runs from memory and says so.

use super::content::{self, Content, LABEL, Phase, RESERVED};
use super::filesystem::{Check, Tools};
use super::gpt::Table;
use super::layout::{self, Plan};
use super::node;
use crate::console;
use crate::sys::block;
use crate::sys::mount::{self, DATA_ONLY, Flags};
use anyhow::{Context as _, bail};
use contract::initramfs::BootReport;
use contract::layout::{Extent, STATE_SIZE};
use contract::names::STATE_MOUNT;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use uuid::Uuid;

/// What stands at [`STATE_MOUNT`] now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateOutcome {
    /// The partition.
    Persistent {
        /// Device node, such as `/dev/nvme0n1p6`.
        device: String,
        /// Whether it was made at this boot.
        created: bool,
        /// Whether the check had to repair something.
        repaired: bool,
    },
    /// Memory, or nothing when even that fails: whatever is stored there is gone after this run.
    Volatile {
        /// Why, and what to do about it, in words for the operator.
        reason: String,
    },
}

/// Makes (at the first boot), checks and mounts `state`. To be called by PID 1 while it has no other children. Feeds the
/// watchdog of `report` while it works.
pub fn state(report: &BootReport) -> StateOutcome {
    match persistent(report) {
        Ok(outcome) => outcome,
        Err(error) => {
            let mut reason = format!("{error:#}");
            let memory =
                mount::mount(Path::new("tmpfs"), Path::new(STATE_MOUNT), "tmpfs", DATA_ONLY, Some(c"mode=0755"));
            if let Err(error) = memory {
                reason = format!("{reason}; and mounting memory at {STATE_MOUNT} failed: {error}");
            }
            StateOutcome::Volatile { reason }
        }
    }
}

fn persistent(report: &BootReport) -> anyhow::Result<StateOutcome> {
    let tools = Tools { watchdog: report.watchdog.as_ref().map(|watchdog| watchdog.fd) };
    let path = Path::new("/dev").join(&report.disk);
    let mut disk = File::options().read(true).write(true).open(&path);
    let disk = disk.as_mut().map_err(|error| anyhow::anyhow!("opening {}: {error}", path.display()))?;
    let size = block::size(&*disk).with_context(|| format!("measuring {}", path.display()))?;
    let place = prepare(disk, size, &report.disk)?;
    let device = node::partition(&report.disk, contract::layout::Partition::State.number(), place.extent)?;

    let created = !matches!(place.content, Content::Ours);
    let mut repaired = false;
    if created {
        console::say(format_args!("making the file system for state on {device}"));
        let mut partition = File::options().read(true).write(true).open(&device)?;
        let length = place.extent.length;
        let mut record = |phase| -> std::io::Result<()> {
            content::write_record(&mut partition, length, phase, &place.disk_guid)?;
            partition.sync_all()
        };
        record(Phase::Making).with_context(|| format!("writing to {device}"))?;
        tools.make(
            &device,
            length.saturating_sub(RESERVED),
            LABEL,
            &layout::derived(&place.disk_guid, "file system state"),
        )?;
        record(Phase::Made).with_context(|| format!("writing to {device}"))?;
    } else {
        repaired = tools.check(&device)? == Check::Repaired;
    }
    mount::mount(Path::new(&device), Path::new(STATE_MOUNT), "ext4", DATA_ONLY | Flags::NOATIME, None)
        .with_context(|| format!("mounting {device} at {STATE_MOUNT}"))?;
    Ok(StateOutcome::Persistent { device, created, repaired })
}

/// Where `state` is, and what it holds.
struct Place {
    extent: Extent,
    content: Content,
    disk_guid: Uuid,
}

/// Finds `state` in the disk's table, or adds it when its place is blank or already ours. Nothing is written before what
/// stands there was looked at.
fn prepare(disk: &mut (impl DiskIo + ?Sized), size: u64, name: &str) -> anyhow::Result<Place> {
    let table = Table::read(disk, size).with_context(|| format!("reading the partition table of {name}"))?;
    let (entry, add) = match layout::plan(&table, size).with_context(|| format!("no room for state on {name}"))? {
        Plan::Exists(entry) => (entry, false),
        Plan::Add(entry) => (entry, true),
    };
    if entry.extent.length < STATE_SIZE / 2 || entry.extent.end() > size {
        bail!("{name} has a state partition of {} bytes, which microdc has not made", entry.extent.length);
    }
    let content = content::look(disk, entry.extent, &table.disk_guid)
        .with_context(|| format!("looking at the place of state on {name}"))?;
    if let Content::Foreign(found) = &content {
        bail!(
            "the place of state on {name} (bytes {} to {}) holds {found}: it is left alone. To let microdc have it, erase \
             the disk (blkdiscard) and flash it again",
            entry.extent.offset,
            entry.extent.end()
        );
    }
    if add {
        end_is_free(disk, size).with_context(|| format!("the end of {name} is left alone"))?;
        console::say(format_args!("adding the partition state to {name}"));
    }
    let wanted = if add { table.with(&entry, size)? } else { table };
    if add || !wanted.is_in_place(size) {
        let mut head = vec![0; Table::HEAD_LEN];
        disk.seek(SeekFrom::Start(0))?;
        disk.read_exact(&mut head)?;
        for write in wanted.writes(size, &head) {
            disk.seek(SeekFrom::Start(write.offset))?;
            disk.write_all(&write.bytes).with_context(|| format!("writing the partition table of {name}"))?;
            disk.flush_to_disk().with_context(|| format!("writing the partition table of {name}"))?;
        }
    }
    Ok(Place { extent: entry.extent, content, disk_guid: wanted.disk_guid })
}

/// The last sectors take the backup table. They must be empty, or hold a backup table.
fn end_is_free(disk: &mut (impl Read + Seek + ?Sized), size: u64) -> anyhow::Result<()> {
    let mut tail = vec![0; Table::TAIL_LEN as usize];
    disk.seek(SeekFrom::Start(size.saturating_sub(Table::TAIL_LEN)))?;
    disk.read_exact(&mut tail)?;
    let is_table = tail.rchunks(512).next().is_some_and(|sector| sector.starts_with(b"EFI PART"));
    // A backup table that was being written when power went has entries and no header yet.
    let entries_only = tail.rchunks(512).next().is_some_and(|sector| sector.iter().all(|&byte| byte == 0))
        && tail.starts_with(&uuid_bytes(contract::layout::TYPE_FAT));
    if !is_table && !entries_only && tail.iter().any(|&byte| byte != 0) {
        bail!(
            "its last {} bytes hold data of an unknown kind. To let microdc have them, erase the disk (blkdiscard) and \
             flash it again",
            Table::TAIL_LEN
        );
    }
    Ok(())
}

fn uuid_bytes(text: &str) -> [u8; 16] {
    Uuid::parse_str(text).unwrap_or_default().to_bytes_le()
}

/// A disk, or a file that stands for one in tests.
trait DiskIo: Read + std::io::Write + Seek {
    /// Returns when everything written has reached the disk.
    fn flush_to_disk(&mut self) -> std::io::Result<()>;
}

impl DiskIo for File {
    fn flush_to_disk(&mut self) -> std::io::Result<()> {
        self.sync_all()
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
