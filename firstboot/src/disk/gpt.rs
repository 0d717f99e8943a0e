//! The GUID partition table: reading it from untrusted bytes, and adding to it so that power may fail at any instant.
//!
//! Source: UEFI Specification 2.10, chapter 5 ("GUID Partition Table (GPT) Disk Layout"). Only what microdc's own
//! images use is supported: sectors of 512 bytes, entries of 128 bytes.

use contract::layout::{Extent, SECTOR};
use std::io::{self, Read, Seek, SeekFrom};
use uuid::Uuid;

const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
pub(super) const HEADER_LEN: usize = 92;
pub(super) const ENTRY_LEN: usize = 128;
/// Sectors of the entry array: 128 entries, which the specification demands at least, and which everyone writes.
const ARRAY_SECTORS: u64 = 32;
pub(super) const ENTRIES: usize = 128;
/// The first bytes of the disk that are rewritten in one go: protective MBR, header, and the first 24 entries. Disks
/// with 4 KiB physical blocks write them as one.
const HEAD: usize = 4096;

/// A table that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    #[error("reading the partition table")]
    Io(#[from] io::Error),
    #[error("there is no partition table (GPT): {primary}; and at the end of the disk: {backup}")]
    None { primary: &'static str, backup: &'static str },
    #[error("partition {0} already exists")]
    Taken(u32),
    #[error(
        "the disk has no room for partition {number}: it would end at byte {end}, the disk's last usable one is {last}"
    )]
    NoRoom { number: u32, end: u64, last: u64 },
}

/// Which of the two copies a table was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    Primary,
    Backup,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From 1.
    pub number: u32,
    pub type_guid: Uuid,
    pub guid: Uuid,
    pub extent: Extent,
    pub name: String,
}

/// A whole table, its checksums checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    pub disk_guid: Uuid,
    pub copy: Copy,
    /// Where the other copy stands, in sectors.
    alternate: u64,
    first_usable: u64,
    /// The entry array as stored.
    array: Vec<u8>,
}

/// Bytes to write at an offset of the disk. Each must have reached the disk before the next is begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub offset: u64,
    pub bytes: Vec<u8>,
}

impl Table {
    /// Reads the table of a disk of `size` bytes: the primary copy, or the backup in the last sector when the primary
    /// one is damaged.
    ///
    /// # Errors
    /// When the disk cannot be read or holds no whole copy.
    pub fn read(disk: &mut (impl Read + Seek + ?Sized), size: u64) -> Result<Table, GptError> {
        let sectors = size / SECTOR;
        let primary = match Table::read_copy(disk, 1, sectors, Copy::Primary)? {
            Ok(table) => return Ok(table),
            Err(reason) => reason,
        };
        match Table::read_copy(disk, sectors.saturating_sub(1), sectors, Copy::Backup)? {
            Ok(table) => Ok(table),
            Err(backup) => Err(GptError::None { primary, backup }),
        }
    }

    fn read_copy(
        disk: &mut (impl Read + Seek + ?Sized),
        at: u64,
        sectors: u64,
        copy: Copy,
    ) -> io::Result<Result<Table, &'static str>> {
        if sectors < 2 * (ARRAY_SECTORS + 2) {
            return Ok(Err("the disk is too small"));
        }
        let mut sector = [0; SECTOR as usize];
        read_at(disk, at * SECTOR, &mut sector)?;
        let header = match Header::parse(&sector, at, sectors) {
            Ok(header) => header,
            Err(reason) => return Ok(Err(reason)),
        };
        let mut array = vec![0; header.entries * ENTRY_LEN];
        read_at(disk, header.array_at * SECTOR, &mut array)?;
        if crc32fast::hash(&array) != header.array_crc {
            return Ok(Err("the checksum of its entries is wrong"));
        }
        array.resize(ENTRIES * ENTRY_LEN, 0);
        let Header { disk_guid, alternate, first_usable, .. } = header;
        Ok(Ok(Table { disk_guid, copy, alternate, first_usable, array }))
    }

    /// A table without partitions, for a disk that has none at either end.
    pub fn empty(disk_guid: Uuid) -> Table {
        let array = vec![0; ENTRIES * ENTRY_LEN];
        Table { disk_guid, copy: Copy::Backup, alternate: 0, first_usable: ARRAY_SECTORS + 2, array }
    }

    /// The partitions, in the order of their numbers. Entries that make no sense are left out.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        (1u32..).zip(self.array.as_chunks::<ENTRY_LEN>().0).filter_map(|(number, bytes)| {
            let type_guid = guid(bytes, 0)?;
            let (first, last) = (u64_at(bytes, 32)?, u64_at(bytes, 40)?);
            if type_guid.is_nil() || last < first {
                return None;
            }
            let extent = Extent {
                offset: first.checked_mul(SECTOR)?,
                length: (last - first).checked_add(1)?.checked_mul(SECTOR)?,
            };
            extent.offset.checked_add(extent.length)?;
            let name = bytes.get(56..)?.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
            let name = char::decode_utf16(name.take_while(|&unit| unit != 0))
                .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect();
            Some(Entry { number, type_guid, guid: guid(bytes, 16)?, extent, name })
        })
    }

    /// The partition with this number and this name; both must fit, so that a foreign table is not taken for ours.
    pub fn find(&self, partition: contract::layout::Partition) -> Option<Entry> {
        self.entries().find(|entry| entry.number == partition.number() && entry.name == partition.name())
    }

    /// Whether both copies stand where a disk of `size` bytes should have them, and this one is the primary.
    pub fn is_in_place(&self, size: u64) -> bool {
        self.copy == Copy::Primary && self.alternate == (size / SECTOR).saturating_sub(1)
    }

    /// The last sector that partitions may use on a disk of `size` bytes.
    fn last_usable(size: u64) -> u64 {
        (size / SECTOR).saturating_sub(ARRAY_SECTORS + 2)
    }

    /// Where the usable part of a disk of `size` bytes ends, in bytes.
    pub fn usable_end(size: u64) -> u64 {
        (Table::last_usable(size) + 1) * SECTOR
    }

    /// This table with one more partition, for a disk of `size` bytes.
    ///
    /// # Errors
    /// When the number is taken, or the extent overlaps another partition or leaves the usable part of the disk.
    pub fn with(&self, new: &Entry, size: u64) -> Result<Table, GptError> {
        let taken = |entry: &Entry| {
            entry.number == new.number
                || (entry.extent.offset < new.extent.end() && new.extent.offset < entry.extent.end())
        };
        if let Some(entry) = self.entries().find(taken) {
            return Err(GptError::Taken(entry.number));
        }
        let last = Table::usable_end(size);
        let no_room = GptError::NoRoom { number: new.number, end: new.extent.end(), last: last.saturating_sub(1) };
        if new.extent.end() > last || new.extent.offset < self.first_usable * SECTOR {
            return Err(no_room);
        }
        let mut table = self.clone();
        let index = (new.number as usize).checked_sub(1);
        let entries = table.array.as_chunks_mut::<ENTRY_LEN>().0;
        match index.and_then(|index| entries.get_mut(index)) {
            Some(bytes) => *bytes = entry_bytes(new, SECTOR),
            None => return Err(no_room),
        }
        Ok(table)
    }

    /// What to write, and in which order, so that this table is in both places of a disk of `size` bytes. `head` is
    /// what the disk's first bytes hold now ([`Table::HEAD_LEN`] of them).
    ///
    /// The backup goes first: until it is complete, the old primary copy and the old backup still hold. Then the primary,
    /// whose changed sectors lie together in the disk's first 4 KiB. If even that write is torn, the backup at the end
    /// of the disk is found. A table that was read from the backup has no other copy that holds: then the primary goes
    /// first.
    pub fn writes(&self, size: u64, head: &[u8]) -> Vec<Write> {
        let mut writes = Vec::new();
        let mut sector = head.get(..SECTOR as usize).unwrap_or_default().to_vec();
        sector.resize(SECTOR as usize, 0);
        stretch_protective_mbr(&mut sector, size);
        let [rest, first] = self.primary(size, sector);
        if head.get(HEAD..) != Some(&rest.bytes) {
            writes.push(rest);
        }
        writes.push(first);
        let at = if self.copy == Copy::Backup { writes.len() } else { 0 };
        writes.insert(at, self.backup(size));
        writes
    }

    /// The backup copy, for a disk of `size` bytes.
    pub fn backup(&self, size: u64) -> Write {
        let last = (size / SECTOR).saturating_sub(1);
        let array_at = last.saturating_sub(ARRAY_SECTORS);
        let mut bytes = self.array.clone();
        bytes.extend(self.header(last, 1, array_at, size));
        Write { offset: array_at * SECTOR, bytes }
    }

    /// The primary copy behind this first sector of the disk, the protective MBR: what decides whether the disk has a
    /// table comes last.
    fn primary(&self, size: u64, mut sector: Vec<u8>) -> [Write; 2] {
        let last = (size / SECTOR).saturating_sub(1);
        sector.extend(self.header(1, last, 2, size));
        sector.extend(&self.array);
        let rest = sector.split_off(HEAD);
        [Write { offset: HEAD as u64, bytes: rest }, Write { offset: 0, bytes: sector }]
    }

    /// The primary copy for a disk whose first [`Table::FIRST_LEN`] bytes are erased, with a protective MBR of its own.
    pub fn primary_anew(&self, size: u64) -> [Write; 2] {
        self.primary(size, protective_mbr((size / SECTOR).saturating_sub(1), SECTOR))
    }

    /// Bytes at the start of a disk without which it has no primary copy.
    pub const FIRST_LEN: u64 = HEAD as u64;

    /// Bytes at the start of a disk that a table takes, protective MBR included.
    pub const HEAD_LEN: usize = (2 + ARRAY_SECTORS as usize) * SECTOR as usize;
    /// Bytes at the end of a disk that the backup takes.
    pub const TAIL_LEN: u64 = (1 + ARRAY_SECTORS) * SECTOR;

    /// The sector of a header.
    fn header(&self, at: u64, other: u64, array_at: u64, size: u64) -> [u8; SECTOR as usize] {
        let mut fields = Vec::with_capacity(SECTOR as usize);
        fields.extend(SIGNATURE);
        fields.extend(REVISION.to_le_bytes());
        fields.extend((HEADER_LEN as u32).to_le_bytes());
        fields.extend([0; 8]);
        for sector in [at, other, self.first_usable, Table::last_usable(size)] {
            fields.extend(sector.to_le_bytes());
        }
        fields.extend(self.disk_guid.to_bytes_le());
        fields.extend(array_at.to_le_bytes());
        fields.extend((ENTRIES as u32).to_le_bytes());
        fields.extend((ENTRY_LEN as u32).to_le_bytes());
        fields.extend(crc32fast::hash(&self.array).to_le_bytes());
        let crc = crc32fast::hash(&fields).to_le_bytes();
        let mut sector = [0; SECTOR as usize];
        for (to, from) in sector.iter_mut().zip(&fields) {
            *to = *from;
        }
        if let Some(field) = sector.get_mut(16..20) {
            field.copy_from_slice(&crc);
        }
        sector
    }
}

struct Header {
    disk_guid: Uuid,
    alternate: u64,
    first_usable: u64,
    array_at: u64,
    entries: usize,
    array_crc: u32,
}

impl Header {
    fn parse(sector: &[u8; SECTOR as usize], at: u64, sectors: u64) -> Result<Header, &'static str> {
        const SHORT: &str = "its header is too short";
        if !sector.starts_with(SIGNATURE) {
            return Err("no signature");
        }
        if u32_at(sector, 12) != Some(HEADER_LEN as u32) {
            return Err("a header of unusual length");
        }
        let mut fields = sector.get(..HEADER_LEN).ok_or(SHORT)?.to_vec();
        fields.get_mut(16..20).ok_or(SHORT)?.fill(0);
        if u32_at(sector, 16) != Some(crc32fast::hash(&fields)) {
            return Err("the checksum of its header is wrong");
        }
        if u64_at(sector, 24) != Some(at) {
            return Err("its header belongs elsewhere");
        }
        let entries = u32_at(sector, 80).ok_or(SHORT)? as usize;
        if u32_at(sector, 84) != Some(ENTRY_LEN as u32) || entries > ENTRIES {
            return Err("entries of an unusual number or length");
        }
        let array_at = u64_at(sector, 72).ok_or(SHORT)?;
        if array_at.checked_add(ARRAY_SECTORS).is_none_or(|end| end > sectors) {
            return Err("its entries are beyond the end of the disk");
        }
        let first_usable = u64_at(sector, 40).ok_or(SHORT)?;
        if first_usable > sectors {
            return Err("its usable part ends beyond the end of the disk");
        }
        Ok(Header {
            disk_guid: guid(sector, 56).ok_or(SHORT)?,
            alternate: u64_at(sector, 32).ok_or(SHORT)?,
            first_usable,
            array_at,
            entries,
            array_crc: u32_at(sector, 88).ok_or(SHORT)?,
        })
    }
}

/// Lets the protective partition of the MBR cover the whole disk, if there is one.
fn stretch_protective_mbr(sector: &mut [u8], size: u64) {
    let length = u32::try_from((size / SECTOR).saturating_sub(1)).unwrap_or(u32::MAX);
    if sector.get(450) == Some(&0xee)
        && let Some(field) = sector.get_mut(458..462)
    {
        field.copy_from_slice(&length.to_le_bytes());
    }
}

/// Block 0: one partition of type 0xee over the whole disk (section 5.2.3).
pub(super) fn protective_mbr(last: u64, block: u64) -> Vec<u8> {
    let mut bytes = vec![0; 446];
    bytes.extend([0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0]);
    bytes.extend(u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes());
    bytes.resize(510, 0);
    bytes.extend([0x55, 0xaa]);
    bytes.resize(block as usize, 0);
    bytes
}

/// An entry as stored on a disk with logical blocks of `block` bytes.
pub fn entry_bytes(entry: &Entry, block: u64) -> [u8; ENTRY_LEN] {
    let mut fields = Vec::with_capacity(ENTRY_LEN);
    fields.extend(entry.type_guid.to_bytes_le());
    fields.extend(entry.guid.to_bytes_le());
    fields.extend((entry.extent.offset / block).to_le_bytes());
    fields.extend((entry.extent.end() / block).saturating_sub(1).to_le_bytes());
    fields.extend([0; 8]);
    fields.extend(entry.name.encode_utf16().flat_map(u16::to_le_bytes));
    let mut bytes = [0; ENTRY_LEN];
    for (to, from) in bytes.iter_mut().zip(fields) {
        *to = from;
    }
    bytes
}

fn read_at(disk: &mut (impl Read + Seek + ?Sized), offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    disk.seek(SeekFrom::Start(offset))?;
    disk.read_exact(bytes)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    field(bytes, at).map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    field(bytes, at).map(u64::from_le_bytes)
}

fn guid(bytes: &[u8], at: usize) -> Option<Uuid> {
    field(bytes, at).map(Uuid::from_bytes_le)
}

#[cfg(test)]
#[path = "gpt_tests.rs"]
pub(crate) mod tests;
