//! What is flashed: a disk, or a file that stands for one. Written and read past the kernel's page cache where that can be
//! done, so that progress is the disk's own, and what is read back comes from the disk.

use rustix::fs::{Advice, FallocateFlags, OFlags};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Alignment of what is transferred past the cache, in bytes; no disk that is flashed has larger logical blocks.
const ALIGNMENT: usize = 4096;

/// What is flashed. Offsets and lengths in bytes.
pub trait Medium: Sync {
    /// # Errors
    /// When it cannot be written.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes a range read as zeros.
    ///
    /// # Errors
    /// When it cannot be written.
    fn zero(&self, offset: u64, length: u64) -> io::Result<()>;

    /// The same, where the medium does so by itself; otherwise nothing is done, and the answer is no.
    ///
    /// # Errors
    /// When it cannot be written.
    fn zero_quickly(&self, offset: u64, length: u64) -> io::Result<bool>;

    /// Reads what is on the disk, not what the kernel remembers of it.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;

    /// Returns when everything written is on the disk.
    ///
    /// # Errors
    /// When it is not.
    fn sync(&self) -> io::Result<()>;
}

/// A buffer that can be transferred past the cache.
pub struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// Room for so many bytes, zeros at first.
    #[must_use]
    pub fn new(length: usize) -> Buffer {
        let bytes = vec![0; length + ALIGNMENT];
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Buffer { bytes, start, length }
    }

    /// The first `length` bytes of it.
    #[must_use]
    pub fn first(&self, length: usize) -> &[u8] {
        &self.bytes[self.start..][..length.min(self.length)]
    }

    #[must_use]
    pub fn first_mut(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[self.start..][..length.min(self.length)]
    }
}

/// An open disk or file.
#[derive(Debug)]
pub struct Target {
    /// Through the cache: for what is not aligned, and where there is no other way.
    plain: File,
    /// Past the cache; nothing where the file system knows no such way.
    direct: Option<File>,
    /// Whether the disk makes zeros by itself.
    makes_zeros: AtomicBool,
}

impl Target {
    /// Opens what is at `path` for writing. A block device is held so that no one else can mount it meanwhile.
    ///
    /// # Errors
    /// When it cannot be opened: `ResourceBusy` when the kernel knows another user of it.
    pub fn open(path: &Path, is_device: bool) -> io::Result<Target> {
        let hold = if is_device { OFlags::EXCL } else { OFlags::empty() };
        let flags = |more: OFlags| i32::try_from((more | OFlags::CLOEXEC).bits()).unwrap_or(0);
        let plain = File::options().read(true).write(true).custom_flags(flags(hold)).open(path)?;
        // The first holds it: the second is of the same holder's.
        let direct = File::options().read(true).write(true).custom_flags(flags(OFlags::DIRECT)).open(path).ok();
        Ok(Target { plain, direct, makes_zeros: AtomicBool::new(true) })
    }

    /// The disk through the cache.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.plain
    }

    /// The way past the cache, when this transfer can go there.
    fn direct(&self, offset: u64, bytes: &[u8]) -> Option<&File> {
        let is_aligned = |number: usize| number.is_multiple_of(ALIGNMENT);
        let all = [bytes.as_ptr().addr(), bytes.len(), usize::try_from(offset).ok()?];
        self.direct.as_ref().filter(|_| all.into_iter().all(is_aligned))
    }
}

/// Whether a file system accepted the flag but not the transfer.
fn is_not_possible(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

impl Medium for Target {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if let Some(direct) = self.direct(offset, bytes) {
            match direct.write_all_at(bytes, offset) {
                Err(error) if is_not_possible(&error) => (),
                result => return result,
            }
        }
        self.plain.write_all_at(bytes, offset)
    }

    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        const PIECE: u64 = 1024 * 1024;
        if self.zero_quickly(offset, length)? {
            return Ok(());
        }
        let zeros = Buffer::new(PIECE as usize);
        let (mut at, end) = (offset, offset + length);
        while at < end {
            let step = PIECE.min(end - at);
            self.write(at, zeros.first(step as usize))?;
            at += step;
        }
        Ok(())
    }

    fn zero_quickly(&self, offset: u64, length: u64) -> io::Result<bool> {
        use rustix::io::Errno;
        if !self.makes_zeros.load(Ordering::Relaxed) {
            return Ok(false);
        }
        // Of a file, this makes a hole; a disk is asked to make zeros by itself.
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.plain, flags, offset, length) {
            Ok(()) => Ok(true),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.makes_zeros.store(false, Ordering::Relaxed);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        if let Some(direct) = self.direct(offset, bytes) {
            match direct.read_exact_at(bytes, offset) {
                Err(error) if is_not_possible(&error) => (),
                result => return result,
            }
        }
        // What was written is on the disk by now: the kernel can forget it.
        let length = std::num::NonZeroU64::new(bytes.len() as u64);
        let _ = rustix::fs::fadvise(&self.plain, offset, length, Advice::DontNeed);
        self.plain.read_exact_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.plain.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_by_either_way_is_read_by_both() {
        // Some file systems know a way past the cache, and memory knows none.
        for folder in [env!("CARGO_MANIFEST_DIR"), "/dev/shm"] {
            let file = tempfile::NamedTempFile::new_in(folder).unwrap();
            file.as_file().set_len(40_000).unwrap();
            let target = Target::open(file.path(), false).unwrap();
            let mut buffer = Buffer::new(8192);
            buffer.first_mut(8192).fill(7);
            target.write(4096, buffer.first(8192)).unwrap();
            target.write(12_288, &[8; 100]).unwrap();
            target.zero(8192, 4096).unwrap();
            target.sync().unwrap();
            let wanted = [&[0; 4096][..], &[7; 4096], &[0; 4096], &[8; 100], &[0; 27_612]].concat();
            assert_eq!(std::fs::read(file.path()).unwrap(), wanted, "{folder}");
            target.read(0, buffer.first_mut(8192)).unwrap();
            assert_eq!(buffer.first(8192), &wanted[..8192]);
            let mut odd = vec![0; 101];
            target.read(12_287, &mut odd).unwrap();
            assert_eq!(odd, wanted[12_287..12_388]);
            assert!(target.read(39_999, &mut odd).is_err(), "beyond the end");
        }
    }
}
