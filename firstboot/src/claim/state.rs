//! The `state` partition: identity, node config and logs of this node.
//!
//! First boot: look at the place → add the partition to the table → record `making` → mke2fs → record `made`. After a
//! power cut at any step, the next boot continues from there. Every boot: check, then mount. A file system that cannot
//! be repaired is copied to the second half of the partition, and recreated. If there is no usable `state`, the node
//! runs from memory and says so; from a read-only disk, it copies what it had.

use super::content::{self, Content, LABEL};
use super::filesystem::{Check, Tools};
use super::phase::Phase;
use super::projects;
use crate::console;
use crate::disk::gpt::Table;
use crate::disk::io::DiskIo;
use crate::disk::layout::{self, Plan};
use crate::disk::{list, node};
use crate::sys::block;
use crate::sys::mount::{self, DATA_ONLY, Flags};
use anyhow::{Context as _, bail};
use contract::blank;
use contract::initramfs::BootReport;
use contract::layout::{Extent, MIB, STATE_SIZE, state_file_system};
use contract::names::{STATE_LOGS, STATE_MOUNT};
use contract::storage::State;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use uuid::Uuid;

/// Most that is taken into memory from a disk without writes, in bytes.
const TAKEN_ALONG: u64 = 16 * MIB;

/// Makes (at the first boot), checks and mounts `state`, so that folders on it can have `limits` where there are any. To be
/// called by PID 1 while it has no other children. Feeds the watchdog of `report` while it works.
pub fn state(report: &BootReport, limits: bool) -> State {
    match persistent(report, limits) {
        Ok(outcome) => outcome,
        Err(error) => {
            let mut reason = format!("{error:#}");
            if let Err(error) = memory() {
                reason = format!("{reason}; and {error:#}");
            }
            State::Volatile { reason }
        }
    }
}

fn persistent(report: &BootReport, limits: bool) -> anyhow::Result<State> {
    let tools = Tools { watchdog: report.watchdog.as_ref().map(|watchdog| watchdog.fd) };
    if list::disk(&report.disk, &report.disk).read_only {
        return Ok(State::Volatile { reason: from_read_only(report) });
    }
    let path = Path::new("/dev").join(&report.disk);
    let mut disk = File::options().read(true).write(true).open(&path);
    let disk = disk.as_mut().map_err(|error| anyhow::anyhow!("opening {}: {error}", path.display()))?;
    let size = block::size(&*disk).with_context(|| format!("measuring {}", path.display()))?;
    let place = prepare(disk, size, &report.disk)?;
    let device = node::partition(&report.disk, contract::layout::Partition::State.number(), place.extent)?;
    let mut partition = File::options().read(true).write(true).open(&device)?;

    let mut notes = Vec::new();
    let created = !matches!(place.content, Content::Ours);
    if created {
        console::say(format_args!("making the file system for state on {device}"));
        make(&mut partition, &device, &place, tools)?;
    } else {
        match tools.check(&device)? {
            Check::Clean => {}
            Check::Repaired => notes.push(format!("the file system on {device} had to be repaired")),
            Check::Hopeless(words) => {
                console::say(format_args!("state on {device} cannot be repaired: it is set aside and recreated"));
                let kept = set_aside(&mut partition, place.extent.length, || tools.feed()).with_context(|| {
                    format!("state on {device} is damaged ({words}), and setting it aside failed")
                })?;
                make(&mut partition, &device, &place, tools)?;
                notes.push(format!(
                    "state on {device} could not be repaired and was recreated: what this node kept there is gone. \
                        The damaged file system is kept at bytes {} to {} of {} until this happens again. e2fsck said: {words}",
                    place.extent.offset + kept.offset,
                    place.extent.offset + kept.end(),
                    report.disk
                ));
            }
        }
    }
    let note = projects::mount(&device, STATE_MOUNT, "ext4", DATA_ONLY | Flags::NOATIME, limits)
        .with_context(|| format!("mounting {device} at {STATE_MOUNT}"))?;
    notes.extend(note);
    Ok(State::Persistent { device, created, notes })
}

fn make(partition: &mut File, device: &str, place: &Place, tools: Tools) -> anyhow::Result<()> {
    let length = place.extent.length;
    let mut record = |phase| -> std::io::Result<()> {
        content::write_record(partition, length, phase, &place.disk_guid)?;
        partition.sync_all()
    };
    record(Phase::Making).with_context(|| format!("writing to {device}"))?;
    let uuid = layout::derived(&place.disk_guid, "file system state");
    tools.make(device, state_file_system(length), LABEL, &uuid)?;
    record(Phase::Made).with_context(|| format!("writing to {device}"))
}

/// Copies the file system in the first half of a partition of `length` bytes to the second half, and says where it stands
/// now, in bytes from the start of the partition. Power may go meanwhile: the first half stays as it is.
fn set_aside(partition: &mut (impl DiskIo + ?Sized), length: u64, turn: impl Fn()) -> anyhow::Result<Extent> {
    let half = state_file_system(length);
    let (mut from, mut to) = (vec![0; MIB as usize], vec![0; MIB as usize]);
    for at in (0..half).step_by(MIB as usize) {
        partition.seek(SeekFrom::Start(at))?;
        partition.read_exact(&mut from).with_context(|| format!("reading at byte {at}"))?;
        partition.seek(SeekFrom::Start(half + at))?;
        partition.read_exact(&mut to).with_context(|| format!("reading at byte {}", half + at))?;
        if from != to {
            partition.seek(SeekFrom::Start(half + at))?;
            partition.write_all(&from).with_context(|| format!("writing at byte {}", half + at))?;
        }
        turn();
    }
    partition.flush_to_disk().context("writing")?;
    Ok(Extent { offset: half, length: half })
}

/// Takes what stands on a disk without writes into memory, and says so.
fn from_read_only(report: &BootReport) -> String {
    let disk = &report.disk;
    match memory().and_then(|()| copy_state(disk)) {
        Ok(files) => format!(
            "{disk} is read-only, as eMMC becomes when it is worn out: {files} files of state were copied to memory, \
                and changes will be lost; replace the disk"
        ),
        Err(error) => {
            format!("{disk} is read-only, and its state cannot be read: {error:#}; replace it")
        }
    }
}

fn memory() -> anyhow::Result<()> {
    mount::mount(Path::new("tmpfs"), Path::new(STATE_MOUNT), "tmpfs", DATA_ONLY, Some(c"mode=0755"))
        .with_context(|| format!("mounting memory at {STATE_MOUNT}"))
}

/// Copies the files of `state` on a disk without writes into the memory at [`STATE_MOUNT`].
fn copy_state(name: &str) -> anyhow::Result<usize> {
    let mut disk = File::open(Path::new("/dev").join(name)).with_context(|| format!("opening {name}"))?;
    let size = block::size(&disk)?;
    let entry = Table::read(&mut disk, size)?.find(contract::layout::Partition::State).context("there is none")?;
    let device = node::partition(name, entry.number, entry.extent)?;
    let from = Path::new(STATE_MOUNT).join(".read-only");
    std::fs::create_dir_all(&from)?;
    mount::mount(Path::new(&device), &from, "ext4", DATA_ONLY | Flags::RDONLY, Some(c"noload"))
        .with_context(|| format!("mounting {device}"))?;
    let mut room = TAKEN_ALONG;
    let copied = copy_kept(&from, Path::new(STATE_MOUNT), &mut room);
    mount::detach(&from)?;
    std::fs::remove_dir(&from)?;
    Ok(copied?)
}

/// Copies what `state` keeps, without logs, as long as there is `room` (bytes). Returns the number of files.
fn copy_kept(from: &Path, to: &Path, room: &mut u64) -> std::io::Result<usize> {
    copy_files(from, to, room, &|name| name == STATE_LOGS || name == "lost+found")
}

/// Copies a folder with owners and modes: regular files, the smallest first, as long as there is `room` (bytes); then
/// folders, but for those that are `spared`. What is small is what a node cannot do without: its name, keys and ids.
fn copy_files(from: &Path, to: &Path, room: &mut u64, spared: &dyn Fn(&OsStr) -> bool) -> std::io::Result<usize> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        entries.push((entry.metadata()?, entry.file_name()));
    }
    entries.sort_by_key(|(found, name)| (found.is_dir(), found.len(), name.clone()));
    let mut files = 0;
    for (found, name) in entries {
        let target = to.join(&name);
        if found.is_dir() {
            if spared(&name) {
                continue;
            }
            std::fs::create_dir_all(&target)?;
            files += copy_files(&from.join(&name), &target, room, &|_| false)?;
        } else if found.is_file() && found.len() <= *room {
            *room -= found.len();
            std::fs::copy(from.join(&name), &target)?;
            files += 1;
        } else {
            continue;
        }
        std::os::unix::fs::chown(&target, Some(found.uid()), Some(found.gid()))?;
        std::fs::set_permissions(&target, found.permissions())?;
    }
    Ok(files)
}

/// Where `state` is, and what it holds.
pub(super) struct Place {
    pub extent: Extent,
    pub content: Content,
    pub disk_guid: Uuid,
}

/// Finds `state` in the disk's table, or adds it when its place is blank or already ours. Nothing is written before what
/// is there was inspected.
pub(super) fn prepare(disk: &mut (impl DiskIo + ?Sized), size: u64, name: &str) -> anyhow::Result<Place> {
    let table = Table::read(disk, size).with_context(|| format!("reading the partition table of {name}"))?;
    let (entry, add) = match layout::plan(&table, size).with_context(|| format!("no room for state on {name}"))? {
        Plan::Exists(entry) => (entry, false),
        Plan::Add(entry) => (entry, true),
    };
    if entry.extent.length < STATE_SIZE / 2 || entry.extent.end() > size {
        bail!("{name} has a state partition of {} bytes, which microdc did not make", entry.extent.length);
    }
    let content = content::inspect(disk, entry.extent, &table.disk_guid)
        .with_context(|| format!("checking the place of state on {name}"))?;
    if let Content::Foreign(found) = &content {
        bail!(
            "the area for the state partition on {name} (bytes {} to {}) contains {found} and was left unchanged. To let microdc use it, \
                erase the disk (blkdiscard) and flash it again",
            entry.extent.offset,
            entry.extent.end()
        );
    }
    if content == Content::Blank
        && let Some(at) = blank::glance(disk, entry.extent).with_context(|| format!("reading {name}"))?
    {
        bail!(
            "the area for the state partition on {name} (bytes {} to {}) contains unknown data (at byte {at}) and was left unchanged. To \
                let microdc use it, erase the disk (blkdiscard) and flash it again",
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
            "its last {} bytes hold data of an unknown kind. To let microdc use them, erase the disk (blkdiscard) and \
             flash it again",
            Table::TAIL_LEN
        );
    }
    Ok(())
}

fn uuid_bytes(text: &str) -> [u8; 16] {
    Uuid::parse_str(text).unwrap_or_default().to_bytes_le()
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
