//! The claim on files in place of disks, as the next boot would do it: for the power-cut tests, which have more states of a
//! disk than they can boot.

use super::content::{self, Content};
use super::data::plan::{self, Plan};
use super::data::steps::Claim;
use super::data::{Request, kind};
use super::filesystem::{Check, Tools};
use super::phase::Phase;
use super::state;
use crate::console;
use crate::disk::io::DiskIo;
use anyhow::{Context as _, ensure};
use contract::layout::Extent;
use contract::node::{DataKind, Disks, Serial};
use rustix::fs::{FallocateFlags, SeekFrom};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use uuid::Uuid;

const TOOLS: Tools = Tools { watchdog: None };

/// Who claims what. `data` is made as ext4.
#[derive(Clone, Debug)]
pub struct Claimant {
    pub cluster: Option<String>,
    pub node: String,
    pub serial: Serial,
    pub wipe: Option<Serial>,
    /// Where files may be made for a while.
    pub scratch: PathBuf,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The place was taken before, and its file system is complete, or was made whole by its journal.
    Found,
    /// The work was begun, or begun again, and brought to its end.
    Made,
    /// The disk was left alone.
    Refused(String),
}

impl Claimant {
    /// Claims the whole of a separate disk with logical blocks of `block` bytes.
    ///
    /// # Errors
    /// When a step fails, or when the disk says that it is claimed and its file system is damaged.
    pub fn separate(&self, path: &Path, block: u32) -> anyhow::Result<Outcome> {
        console::dry_run();
        let mut disk = FileDisk(open(path)?);
        let plan = plan::separate(disk.0.metadata()?.len(), block, &self.serial)?;
        self.claim(&mut disk, path, plan, true)
    }

    /// Makes `state` on a system disk and claims the rest of it: how each of both ended.
    ///
    /// # Errors
    /// As [`Claimant::separate`].
    pub fn system(&self, path: &Path) -> anyhow::Result<(Outcome, Outcome)> {
        console::dry_run();
        let mut disk = FileDisk(open(path)?);
        let size = disk.0.metadata()?.len();
        let state = self.state(&mut disk, size).context("state")?;
        let plan = plan::rest(&mut disk, size)?;
        Ok((state, self.claim(&mut disk, path, plan, false)?))
    }

    fn state(&self, disk: &mut FileDisk, size: u64) -> anyhow::Result<Outcome> {
        let place = state::prepare(disk, size, "the disk")?;
        let Extent { offset, length } = place.extent;
        let half = contract::layout::state_file_system(length);
        if place.content == Content::Ours {
            return self.whole(&disk.0, Extent { offset, length: half }).map(|()| Outcome::Found);
        }
        let (fresh, name) = self.scratch("state", length)?;
        content::write_record(&mut &fresh, length, Phase::Making, &place.disk_guid)?;
        TOOLS.make(&name, half, content::LABEL, &Uuid::nil())?;
        content::write_record(&mut &fresh, length, Phase::Made, &place.disk_guid)?;
        copy(&fresh, 0, &disk.0, offset, length)?;
        Ok(Outcome::Made)
    }

    fn claim(&self, disk: &mut FileDisk, path: &Path, plan: Plan, separate: bool) -> anyhow::Result<Outcome> {
        let request = Request {
            system: "mmcblk0".to_owned(),
            cluster: self.cluster.clone(),
            node: self.node.clone(),
            disks: Disks { data: DataKind::Ext4, serial: None, wipe: self.wipe.clone() },
            limits: false,
        };
        let owner = request.owner(self.serial.clone(), &plan);
        let data = plan.place.data;
        let mut claim = Claim { disk, path: path.to_owned(), plan, owner, separate, tools: TOOLS };
        let taken = match claim.take("disk", self.wipe.as_ref()) {
            Ok(taken) => taken,
            Err(error) => return Ok(Outcome::Refused(format!("{error:#}"))),
        };
        if taken.new {
            let (fresh, name) = self.scratch("data", data.length)?;
            kind::make(DataKind::Ext4, &name, data.length, &Uuid::nil(), TOOLS)?;
            copy(&fresh, 0, &claim.disk.0, data.offset, data.length)?;
            claim.finish()?;
            return Ok(Outcome::Made);
        }
        self.whole(&claim.disk.0, data).context("data")?;
        Ok(Outcome::Found)
    }

    /// Checks an ext4 file system as the node does; what the journal does not make good is an error.
    fn whole(&self, disk: &File, extent: Extent) -> anyhow::Result<()> {
        let (fresh, name) = self.scratch("check", extent.length)?;
        copy(disk, extent.offset, &fresh, 0, extent.length)?;
        let journal = TOOLS.check(&name)?;
        ensure!(!matches!(journal, Check::Hopeless(_)), "it says that it is claimed, but is damaged: {journal:?}");
        let again = TOOLS.check(&name)?;
        ensure!(again == Check::Clean, "it was repaired, but is still damaged: {again:?}");
        Ok(())
    }

    fn scratch(&self, name: &str, length: u64) -> anyhow::Result<(File, String)> {
        let path = self.scratch.join(name);
        let file = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
        file.set_len(length)?;
        Ok((file, path.to_str().context("a path that is not text")?.to_owned()))
    }
}

/// A file in place of a disk. Nothing is flushed, as no one cuts its power, and zeros become holes: a claim erases a lot.
struct FileDisk(File);

impl Read for FileDisk {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Seek for FileDisk {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

impl Write for FileDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.iter().any(|&byte| byte != 0) {
            return self.0.write(bytes);
        }
        let at = self.0.stream_position()?;
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&self.0, hole, at, bytes.len() as u64)?;
        self.0.seek(io::SeekFrom::Current(bytes.len() as i64))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl DiskIo for FileDisk {
    fn flush_to_disk(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::options().read(true).write(true).open(path).with_context(|| format!("opening {}", path.display()))
}

/// Copies what is not a hole.
fn copy(from: &File, from_offset: u64, to: &File, to_offset: u64, length: u64) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let end = from_offset + length;
    let mut at = from_offset;
    while at < end {
        at = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = rustix::fs::seek(from, SeekFrom::Hole(at))?.min(end);
        while at < hole {
            let wanted = usize::try_from(hole - at).unwrap_or(usize::MAX).min(buffer.len());
            let bytes = buffer.get_mut(..wanted).unwrap_or_default();
            from.read_exact_at(bytes, at)?;
            to.write_all_at(bytes, to_offset + (at - from_offset))?;
            at += wanted as u64;
        }
    }
    Ok(())
}
