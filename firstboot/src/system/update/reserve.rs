//! Room for the memory of updates that is taken beforehand: a file of fixed length, written in place. A service that fills
//! `state`, with bytes or with files, cannot keep a node from remembering what failed.
//!
//! The file holds two records, and each write goes to the one that does not count, so that a power cut leaves the other. A
//! record counts for as long as [`STATE_UPDATES`] is what it was when the record was written: that file is the memory, and
//! this one what could not be put there.
//!
//! ```text
//! 0   8  magic     8   8  number of the write     16  32  digest of the memory's file then     48  4  length
//! 52 32  digest of the record (this field zero)    84  -  the memory as JSON
//! ```
//!
//! Numbers are little-endian.
//!
//! [`STATE_UPDATES`]: contract::names::STATE_UPDATES

use contract::hash::Digest;
use contract::names::STATE_UPDATES_RESERVE;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Length of a record and of the file, in bytes.
const RECORD: usize = 72 * 1024;
const LENGTH: u64 = 2 * RECORD as u64;
const MAGIC: &[u8; 8] = b"microdcU";
const HEAD: usize = 84;
/// Where the digest of the record stands in it.
const SEAL: std::ops::Range<usize> = 52..84;

/// The file.
#[derive(Clone, Debug)]
pub struct Reserve(PathBuf);

/// A record that is whole.
#[derive(Debug, PartialEq, Eq)]
struct Record {
    number: u64,
    /// What stood in the memory's file.
    instead_of: Digest,
    body: Vec<u8>,
}

impl Record {
    fn to_bytes(&self) -> Option<Vec<u8>> {
        let length = u32::try_from(self.body.len()).ok()?;
        let mut bytes = Vec::with_capacity(RECORD);
        bytes.extend(MAGIC);
        bytes.extend(self.number.to_le_bytes());
        bytes.extend(self.instead_of.0);
        bytes.extend(length.to_le_bytes());
        bytes.extend([0; 32]);
        bytes.extend(&self.body);
        if bytes.len() > RECORD {
            return None;
        }
        bytes.resize(RECORD, 0);
        let seal = Digest::of(&bytes);
        bytes.get_mut(SEAL)?.copy_from_slice(&seal.0);
        Some(bytes)
    }

    fn parse(bytes: &[u8]) -> Option<Record> {
        if bytes.len() != RECORD || bytes.get(..8)? != MAGIC {
            return None;
        }
        let seal: [u8; 32] = bytes.get(SEAL)?.try_into().ok()?;
        let mut open = bytes.to_vec();
        open.get_mut(SEAL)?.fill(0);
        if Digest::of(&open) != Digest(seal) {
            return None;
        }
        let length = u32::from_le_bytes(bytes.get(48..52)?.try_into().ok()?) as usize;
        Some(Record {
            number: u64::from_le_bytes(bytes.get(8..16)?.try_into().ok()?),
            instead_of: Digest(bytes.get(16..48)?.try_into().ok()?),
            body: bytes.get(HEAD..HEAD.checked_add(length)?)?.to_vec(),
        })
    }
}

impl Reserve {
    /// The one in `folder`.
    #[must_use]
    pub fn at(folder: &Path) -> Reserve {
        Reserve(folder.join(STATE_UPDATES_RESERVE))
    }

    /// Takes the room, unless it is taken already. Every block is written: a file with holes has none.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn prepare(&self) -> io::Result<()> {
        if self.open().is_ok() {
            return Ok(());
        }
        let _ = std::fs::remove_file(&self.0);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = File::from(rustix::fs::open(&self.0, flags, Mode::from_raw_mode(0o600))?);
        let written = file.write_all_at(&vec![0; LENGTH as usize], 0).and_then(|()| file.sync_all());
        if written.is_err() {
            // Half of it would be taken for whole.
            let _ = std::fs::remove_file(&self.0);
        }
        written
    }

    fn open(&self) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = File::from(rustix::fs::open(&self.0, flags, Mode::empty())?);
        if file.metadata()?.len() == LENGTH { Ok(file) } else { Err(ErrorKind::InvalidData.into()) }
    }

    /// The records, in their order in the file.
    fn records(file: &File) -> io::Result<[Option<Record>; 2]> {
        let mut found = [None, None];
        for (at, record) in (0_u64..).zip(&mut found) {
            let mut bytes = vec![0; RECORD];
            file.read_exact_at(&mut bytes, at * RECORD as u64)?;
            *record = Record::parse(&bytes);
        }
        Ok(found)
    }

    /// Puts `body` here while `standing` is what the memory's file holds (empty: there is none).
    ///
    /// # Errors
    /// What the kernel says; and when it is too long.
    pub fn write(&self, standing: &[u8], body: &[u8]) -> io::Result<()> {
        let file = self.open()?;
        let numbers = Reserve::records(&file)?.map(|record| record.map_or(0, |record| record.number));
        let [first, second] = numbers;
        let at = if first <= second { 0 } else { RECORD as u64 };
        let number = first.max(second).saturating_add(1);
        let record = Record { number, instead_of: Digest::of(standing), body: body.to_vec() };
        let bytes = record.to_bytes().ok_or(ErrorKind::FileTooLarge)?;
        file.write_all_at(&bytes, at)?;
        file.sync_data()
    }

    /// The newest body that was put here in place of `standing`.
    #[must_use]
    pub fn read(&self, standing: &[u8]) -> Option<Vec<u8>> {
        let records = Reserve::records(&self.open().ok()?).ok()?;
        let of_now = Digest::of(standing);
        let counts = records.into_iter().flatten().filter(|record| record.instead_of == of_now);
        counts.max_by_key(|record| record.number).map(|record| record.body)
    }

    /// Forgets what is here, where something is: the memory's file has been written.
    pub fn clear(&self) {
        let Ok(file) = self.open() else { return };
        for (at, record) in (0_u64..).zip(Reserve::records(&file).unwrap_or_default()) {
            if record.is_some() {
                let _ = file.write_all_at(&[0; 8], at * RECORD as u64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reserve() -> (tempfile::TempDir, Reserve) {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::at(folder.path());
        reserve.prepare().unwrap();
        (folder, reserve)
    }

    #[test]
    fn what_is_put_there_is_read_while_the_file_it_stands_for_is_the_same() {
        let (_folder, reserve) = reserve();
        assert_eq!(reserve.read(b""), None);
        for body in [&b"one"[..], b"two", b"three", b""] {
            reserve.write(b"old", body).unwrap();
            assert_eq!(reserve.read(b"old").as_deref(), Some(body));
        }
        assert_eq!(reserve.read(b"newer"), None, "the file has been written since");
        reserve.write(b"newer", b"four").unwrap();
        assert_eq!(reserve.read(b"newer").as_deref(), Some(&b"four"[..]));
        reserve.clear();
        assert_eq!((reserve.read(b"old"), reserve.read(b"newer")), (None, None));
    }

    #[test]
    fn a_write_that_is_cut_off_anywhere_leaves_the_one_before() {
        let (_folder, reserve) = reserve();
        reserve.write(b"old", b"one").unwrap();
        let before = std::fs::read(&reserve.0).unwrap();
        reserve.write(b"old", b"two").unwrap();
        let after = std::fs::read(&reserve.0).unwrap();
        for cut in (0..before.len()).step_by(4096).chain([RECORD + 9, RECORD + 60, RECORD + 86]) {
            let torn = [&after[..cut], &before[cut..]].concat();
            std::fs::write(&reserve.0, &torn).unwrap();
            let found = reserve.read(b"old").unwrap();
            assert!(found == b"one" || found == b"two", "cut at {cut}");
            assert_eq!(found == b"two", torn == after, "cut at {cut}");
        }
    }

    #[test]
    fn the_room_is_taken_in_full_and_used_in_place() {
        use std::os::unix::fs::MetadataExt as _;
        let (_folder, reserve) = reserve();
        let before = std::fs::metadata(&reserve.0).unwrap();
        assert!(before.blocks() * 512 >= LENGTH && before.mode() & 0o777 == 0o600, "{before:?}");
        reserve.write(b"", &vec![b'x'; 64 * 1024]).unwrap();
        reserve.prepare().unwrap();
        let after = std::fs::metadata(&reserve.0).unwrap();
        assert_eq!((after.ino(), after.blocks()), (before.ino(), before.blocks()));
        assert_eq!(reserve.read(b"").unwrap().len(), 64 * 1024);
        assert!(reserve.write(b"", &vec![b'x'; RECORD]).is_err());
    }

    #[test]
    fn a_damaged_file_or_a_link_is_made_anew() {
        let (folder, reserve) = reserve();
        std::fs::write(&reserve.0, "short").unwrap();
        reserve.prepare().unwrap();
        assert_eq!(std::fs::metadata(&reserve.0).unwrap().len(), LENGTH);
        let precious = folder.path().join("precious");
        std::fs::write(&precious, vec![7; LENGTH as usize]).unwrap();
        std::fs::remove_file(&reserve.0).unwrap();
        std::os::unix::fs::symlink(&precious, &reserve.0).unwrap();
        reserve.prepare().unwrap();
        reserve.write(b"", b"x").unwrap();
        assert!(std::fs::read(&precious).unwrap().iter().all(|&byte| byte == 7));
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_were_and_no_other_bytes_are_one(
            number in any::<u64>(), body in prop::collection::vec(any::<u8>(), 0..3000), at in 0..RECORD, bit in 0..8_u32,
        ) {
            let record = Record { number, instead_of: Digest::of(&body), body };
            let mut bytes = record.to_bytes().unwrap();
            prop_assert_eq!(Record::parse(&bytes), Some(record));
            bytes[at] ^= 1_u8 << bit;
            prop_assert_eq!(Record::parse(&bytes), None);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut record = bytes.clone();
            record.resize(RECORD, 0);
            let _ = (Record::parse(&bytes), Record::parse(&record));
        }
    }
}
