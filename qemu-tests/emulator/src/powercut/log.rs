//! The record of a disk's writes, as QEMU's `blklogwrites` writes it.
//!
//! Source: Linux, Documentation/admin-guide/device-mapper/log-writes.rst and drivers/md/dm-log-writes.c; QEMU,
//! block/blklogwrites.c. All numbers are little-endian.
//!
//! | at | length | field of the first sector |
//! |---|---|---|
//! | 0 | 8 | magic |
//! | 8 | 8 | version, 1 |
//! | 16 | 8 | number of entries |
//! | 24 | 4 | length of a sector in bytes |
//!
//! Then, for each entry, a sector with: first sector, number of sectors, flags, length of further data (8 bytes each); and
//! for a write the sectors written.
//!
//! QEMU's NVMe disks do not pass on that a write is to go through to the medium (force unit access), so that the record lacks
//! it. Linux asks for it with the blocks that end a transaction of ext4's journal and with the journal's superblock
//! (fs/jbd2/commit.c, fs/jbd2/journal.c): these are known by their content (include/linux/jbd2.h).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;
const MARK: u64 = 8;

/// A record that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("reading the record of writes")]
    Io(#[from] io::Error),
    #[error("the record of writes is invalid: {0}")]
    Format(String),
}

/// One thing that was done to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `length` bytes at `offset` of the disk; they are at `at` in the record.
    Write {
        offset: u64,
        length: u64,
        at: u64,
        /// Whether it counts as done only when it is on the medium (force unit access).
        through: bool,
    },
    /// These bytes of the disk no longer matter; QEMU's disks then hold zeros or what was there.
    Discard { offset: u64, length: u64 },
    /// Everything written before is on the medium.
    Flush,
}

impl Entry {
    /// Bytes of the disk that it covers.
    #[must_use]
    pub fn length(&self) -> u64 {
        match self {
            Entry::Write { length, .. } | Entry::Discard { length, .. } => *length,
            Entry::Flush => 0,
        }
    }

    /// The first byte of the disk that it covers.
    #[must_use]
    pub fn offset(&self) -> u64 {
        match self {
            Entry::Write { offset, .. } | Entry::Discard { offset, .. } => *offset,
            Entry::Flush => 0,
        }
    }
}

/// A record of writes.
#[derive(Debug)]
pub struct WriteLog {
    file: File,
    entries: Vec<Entry>,
}

fn format<T>(problem: impl Into<String>) -> Result<T, LogError> {
    Err(LogError::Format(problem.into()))
}

impl WriteLog {
    /// Reads where everything stands; the bytes themselves stay in the file.
    ///
    /// # Errors
    /// When the file cannot be read or is not a record of writes.
    pub fn open(path: &Path) -> Result<WriteLog, LogError> {
        let file = File::open(path)?;
        let entries = read_entries(&file, file.metadata()?.len())?;
        Ok(WriteLog { file, entries })
    }

    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// `length` bytes of what was written, from `at` in the record.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at)?;
        Ok(bytes)
    }
}

fn read_entries(file: &File, length: u64) -> Result<Vec<Entry>, LogError> {
    let [magic, version, count, sector] = numbers(file, 0)?;
    let sector = sector & 0xffff_ffff;
    if magic != MAGIC || version != VERSION {
        return format(format!("magic {magic:#x}, version {version}"));
    }
    if !sector.is_power_of_two() || !(512..=65_536).contains(&sector) {
        return format(format!("sectors of {sector} bytes"));
    }
    if count > length / sector {
        return format(format!("{count} entries in {length} bytes"));
    }
    let mut entries = Vec::new();
    let mut at = sector;
    for number in 0..count {
        let [first, sectors, flags, more] = numbers(file, at)?;
        at += sector;
        let span = first.checked_mul(sector).zip(sectors.checked_mul(sector));
        let Some((offset, bytes)) = span.filter(|(offset, bytes)| offset.checked_add(*bytes).is_some()) else {
            return format(format!("entry {number} covers {sectors} sectors from {first} on"));
        };
        if flags & MARK != 0 {
            at = match at.checked_add(more.next_multiple_of(sector)) {
                Some(at) => at,
                None => return format(format!("entry {number} has {more} bytes of data")),
            };
            continue;
        }
        if flags & FLUSH != 0 {
            entries.push(Entry::Flush);
        }
        if flags & DISCARD != 0 {
            entries.push(Entry::Discard { offset, length: bytes });
        } else if bytes > 0 {
            if at.checked_add(bytes).is_none_or(|end| end > length) {
                return format(format!("entry {number} of {count} ends beyond the end of the record"));
            }
            let through = flags & FUA != 0 || is_journal_mark(file, at, bytes)?;
            entries.push(Entry::Write { offset, length: bytes, at, through });
            at += bytes;
        }
    }
    Ok(entries)
}

/// Whether so many bytes at this place of the record are a commit block or the superblock of ext4's journal.
fn is_journal_mark(file: &File, at: u64, length: u64) -> io::Result<bool> {
    const MAGIC: [u8; 4] = 0xc03b_3998_u32.to_be_bytes();
    const COMMIT: u32 = 2;
    const SUPERBLOCKS: [u32; 2] = [3, 4];
    if !matches!(length, 1024 | 2048 | 4096) {
        return Ok(false);
    }
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, at)?;
    let [magic, kind] = [0, 4].map(|at| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let kind = u32::from_be_bytes(kind);
    Ok(magic == MAGIC && (kind == COMMIT || SUPERBLOCKS.contains(&kind)))
}

/// Four numbers of 8 bytes.
fn numbers(file: &File, at: u64) -> io::Result<[u64; 4]> {
    let mut bytes = [0; 32];
    file.read_exact_at(&mut bytes, at)?;
    let mut numbers = [0; 4];
    for (number, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *number = u64::from_le_bytes(*bytes);
    }
    Ok(numbers)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    /// A record of these entries: first sector, flags, bytes written.
    pub(crate) fn record(entries: &[(u64, u64, Vec<u8>)]) -> tempfile::NamedTempFile {
        let mut bytes = [MAGIC, VERSION, entries.len() as u64, 512].map(u64::to_le_bytes).concat();
        bytes.resize(512, 0);
        for (first, flags, data) in entries {
            let start = bytes.len();
            bytes.extend([*first, data.len() as u64 / 512, *flags, 0].map(u64::to_le_bytes).concat());
            bytes.resize(start + 512, 0);
            if flags & DISCARD == 0 {
                bytes.extend(data);
            }
        }
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn the_marks_of_a_journal_were_written_through() {
        let block = |kind: u32| {
            let mut block = vec![0; 4096];
            block[..8].copy_from_slice([0xc03b_3998_u32, kind].map(u32::to_be_bytes).as_flattened());
            block
        };
        let longer = [block(2), block(0)].concat();
        let file = record(&[(0, 0, block(1)), (0, 0, block(2)), (0, 0, block(4)), (0, 0, longer)]);
        let log = WriteLog::open(file.path()).unwrap();
        let through = log.entries().iter().map(|entry| matches!(entry, Entry::Write { through: true, .. }));
        assert_eq!(through.collect::<Vec<_>>(), [false, true, true, false]);
    }

    #[test]
    fn writes_flushes_and_discards_are_read() {
        let one = vec![7; 512];
        let file =
            record(&[(3, 0, one.clone()), (0, FLUSH, vec![]), (8, DISCARD, vec![0; 4096]), (9, FUA, one.clone())]);
        let log = WriteLog::open(file.path()).unwrap();
        assert_eq!(
            log.entries(),
            [
                Entry::Write { offset: 1536, length: 512, at: 1024, through: false },
                Entry::Flush,
                Entry::Discard { offset: 4096, length: 4096 },
                Entry::Write { offset: 4608, length: 512, at: 3072, through: true },
            ]
        );
        assert_eq!(log.read(1024, 512).unwrap(), one);
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let whole = std::fs::read(record(&[(0, 0, vec![1; 1024])]).path()).unwrap();
        for (at, byte) in [(0, 0xff), (8, 2), (25, 1), (16, 200)] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            assert!(WriteLog::open(file.path()).is_err(), "byte {at}");
            std::fs::write(file.path(), &whole[..whole.len() - 1]).unwrap();
            assert!(WriteLog::open(file.path()).is_err(), "cut short");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..3000), count in 0u64..4) {
            let file = tempfile::NamedTempFile::new().unwrap();
            let mut bytes = [MAGIC, VERSION, count, 512].map(u64::to_le_bytes).concat();
            bytes.resize(512, 0);
            bytes.extend(&body);
            std::fs::write(file.path(), &bytes).unwrap();
            let _ = WriteLog::open(file.path());
            std::fs::write(file.path(), &body).unwrap();
            let _ = WriteLog::open(file.path());
        }
    }
}
