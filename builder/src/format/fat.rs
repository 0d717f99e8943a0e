//! FAT volumes, created in memory: no timestamps, fixed IDs, files one after the other in the given order.
//!
//! In a boot partition every file begins on a block of the hash tree: an update then finds the blocks of a file that is
//! the same, however the lengths of those before it changed.
//!
//! The type of a FAT volume depends only on its number of clusters, whatever its label says, so the clusters of the
//! result are counted again.

use super::fat_read::{self, FatReadError};
pub use super::fat_type::FatType;
use contract::layout::{BLOCK, BOOT_SIZE, BOOTSEL_SIZE};
use fatfs::{Date, DateTime, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// A kind of volume. Ids and labels are the same for all images: the same files make the same bytes, in both slots.
#[derive(Clone, Copy, Debug)]
pub struct Volume {
    pub size: u64,
    pub fat_type: FatType,
    pub cluster: u32,
    pub label: [u8; 11],
    pub id: u32,
}

/// The volume of partition `bootsel`.
pub const BOOTSEL: Volume =
    Volume { size: BOOTSEL_SIZE, fat_type: FatType::Fat16, cluster: 1024, label: *b"BOOTSEL    ", id: 0x6d64_6330 };
/// The volume of a slot's boot partition.
pub const BOOT: Volume =
    Volume { size: BOOT_SIZE, fat_type: FatType::Fat32, cluster: 1024, label: *b"BOOT       ", id: 0x6d64_6331 };

/// A file to be put into a volume: its name, in the root directory, and its bytes.
#[derive(Clone, Debug)]
pub struct FatFile {
    pub path: String,
    pub bytes: std::sync::Arc<[u8]>,
}

/// A volume that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FatError {
    #[error("the files need {needed} bytes, but the FAT volume has room for only {room}")]
    Full { needed: u64, room: u64 },
    #[error("writing {path} to the FAT volume: {source}")]
    File { path: String, source: io::Error },
    #[error("making the FAT volume: {0}")]
    Make(#[from] io::Error),
    #[error("the FAT volume came out as {found}, not as {wanted}")]
    Type { wanted: FatType, found: FatType },
    #[error("the FAT volume that was made cannot be read back: {0}")]
    Unreadable(#[from] FatReadError),
}

/// The bytes of a volume up to its last block that is not all zeros; zeros follow.
#[derive(Clone, Debug)]
pub struct FatImage {
    pub bytes: Vec<u8>,
}

/// Makes a volume that holds `files`.
///
/// # Errors
/// When they do not fit, a name is none for FAT, or the volume did not become of the type asked for.
pub fn make(volume: Volume, files: &[FatFile]) -> Result<FatImage, FatError> {
    let mut memory = Memory { bytes: vec![0; volume.size as usize], used: 0, at: 0 };
    let options =
        FormatVolumeOptions::new().bytes_per_cluster(volume.cluster).volume_label(volume.label).volume_id(volume.id);
    fatfs::format_volume(&mut memory, options)?;
    let data_start = fat_read::Reader::open(&memory.bytes[..])?.data_start();
    {
        let fs = FileSystem::new(&mut memory, FsOptions::new().time_provider(&NoTime))?;
        let cluster = u64::from(fs.cluster_size());
        let align = if volume.fat_type == FatType::Fat32 { BLOCK.max(cluster) } else { cluster };
        let room = u64::from(fs.stats()?.free_clusters()) * cluster;
        let needed = files.iter().map(|file| (file.bytes.len() as u64).next_multiple_of(align)).sum();
        if needed > room {
            return Err(FatError::Full { needed, room });
        }
        let failed = |file: &FatFile| {
            let path = file.path.clone();
            move |source| FatError::File { path, source }
        };
        // All entries first, so that the folder does not grow between the files.
        for file in files {
            enter(&fs, file).map_err(failed(file))?;
        }
        let stats = fs.stats()?;
        let taken = u64::from(stats.total_clusters() - stats.free_clusters());
        let mut skip = (data_start + taken * cluster).next_multiple_of(align) - data_start - taken * cluster;
        for file in files {
            put(&fs, file, skip, align).map_err(failed(file))?;
            skip = 0;
        }
        fs.unmount()?;
    }
    let used = memory.used.next_multiple_of(BLOCK as usize);
    let found = fat_read::Reader::open(&memory.bytes[..])?.fat_type();
    if found != volume.fat_type {
        return Err(FatError::Type { wanted: volume.fat_type, found });
    }
    memory.bytes.truncate(used);
    Ok(FatImage { bytes: memory.bytes })
}

/// Makes a file's entry in the folder.
fn enter(fs: &FileSystem<&mut Memory>, file: &FatFile) -> io::Result<()> {
    // The crate's folders do not pass fsck.fat ("Expected a valid '.' entry"), and nothing here needs one.
    if file.path.contains('/') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "folders are not supported"));
    }
    fs.root_dir().create_file(&file.path)?.flush()
}

/// Writes a file's bytes, `skip` bytes after those of the one before, and leaves room up to a multiple of `align`.
///
/// The crate allocates behind what it allocated last, even when that was given back since.
fn put(fs: &FileSystem<&mut Memory>, file: &FatFile, skip: u64, align: u64) -> io::Result<()> {
    if file.bytes.is_empty() {
        return Ok(());
    }
    let mut target = fs.root_dir().open_file(&file.path)?;
    if skip > 0 {
        target.write_all(&vec![0; skip as usize])?;
        target.seek(SeekFrom::Start(0))?;
        target.truncate()?;
    }
    let length = file.bytes.len() as u64;
    target.write_all(&file.bytes)?;
    let rest = length.next_multiple_of(align) - length;
    if rest > 0 {
        target.write_all(&vec![0; rest as usize])?;
        target.seek(SeekFrom::Start(length))?;
        target.truncate()?;
    }
    target.flush()
}

/// The first moment that FAT knows.
#[derive(Debug)]
struct NoTime;

impl TimeProvider for NoTime {
    fn get_current_date(&self) -> Date {
        Date { year: 1980, month: 1, day: 1 }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime { date: self.get_current_date(), time: Time { hour: 0, min: 0, sec: 0, millis: 0 } }
    }
}

/// A volume in memory that knows where its last byte is that is not zero. Pages never written cost nothing.
struct Memory {
    bytes: Vec<u8>,
    used: usize,
    at: usize,
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let here = self.bytes.get(self.at..).unwrap_or_default();
        let length = here.len().min(buffer.len());
        buffer[..length].copy_from_slice(&here[..length]);
        self.at += length;
        Ok(length)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let here = self.bytes.get_mut(self.at..).unwrap_or_default();
        let length = here.len().min(bytes.len());
        let fresh = self.at >= self.used;
        match bytes[..length].iter().rposition(|&byte| byte != 0) {
            // Zeros where nothing was written yet need not be written.
            None if fresh => (),
            last => {
                here[..length].copy_from_slice(&bytes[..length]);
                self.used = self.used.max(last.map_or(0, |last| self.at + last + 1));
            }
        }
        self.at += length;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Memory {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => (self.bytes.len() as u64).checked_add_signed(by),
            SeekFrom::Current(by) => (self.at as u64).checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)? as usize;
        Ok(self.at as u64)
    }
}
