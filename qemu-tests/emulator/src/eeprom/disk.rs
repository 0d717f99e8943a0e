//! Reads what the EEPROM reads: the primary GPT and the files of FAT partitions. Trusts nothing it finds.

use contract::layout::{Extent, MIB, SECTOR, TYPE_FAT};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

/// How many reads one partition may cost. A directory whose chain of clusters runs in a circle ends here; an honest
/// file of 256 MiB in clusters of 2 KiB stays below it.
const READS: u32 = 1_000_000;

/// A part of a file as a stream of its own, with a limit on the number of reads.
#[derive(Debug)]
pub(crate) struct Window {
    file: Rc<File>,
    extent: Extent,
    at: u64,
    reads: u32,
}

impl Window {
    pub(crate) fn new(file: Rc<File>, extent: Extent) -> Window {
        Window { file, extent, at: 0, reads: READS }
    }

    fn clip(&self, wanted: usize) -> usize {
        usize::try_from(self.extent.length.saturating_sub(self.at)).unwrap_or(usize::MAX).min(wanted)
    }
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads =
            self.reads.checked_sub(1).ok_or_else(|| io::Error::other("the file system's chains run in a circle"))?;
        let length = self.clip(buffer.len());
        let got = self.file.read_at(&mut buffer[..length], self.extent.offset + self.at)?;
        self.at += got as u64;
        Ok(got)
    }
}

impl Write for Window {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.clip(bytes.len());
        let put = self.file.write_at(&bytes[..length], self.extent.offset + self.at)?;
        self.at += put as u64;
        Ok(put)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.extent.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a seek before the start"))?;
        Ok(self.at)
    }
}

/// Partition type of an EFI system partition (UEFI 2.10, table 5.7).
const TYPE_EFI: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";

/// One entry of the partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionEntry {
    /// From 1.
    pub number: u32,
    pub name: String,
    pub extent: Extent,
    /// Whether its type is one that the EEPROM looks into: basic data or EFI system.
    pub may_be_fat: bool,
}

/// The used entries of the disk's primary GPT, by number. The backup table is not inspected.
///
/// # Errors
/// What is wrong with the table, in words.
pub fn partitions(file: &File) -> Result<Vec<PartitionEntry>, String> {
    let size = file.metadata().map_err(|error| format!("its size: {error}"))?.len();
    let head = Extent { offset: 0, length: size.min(MIB) };
    let mut header = [0; 92];
    file.read_exact_at(&mut header, SECTOR).map_err(|_| "the disk is too short for a partition table".to_owned())?;
    // UEFI 2.10, 5.3.2: the number and the size of the entries. The reader below takes only entries of 128 bytes.
    let field = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    if &header[..8] != b"EFI PART" {
        return Err("sector 1 holds no GPT header".to_owned());
    }
    if field(84) != 128 || field(80) > 128 {
        return Err(format!(
            "a GPT of {} entries of {} bytes; the EEPROM reads 128 entries of 128 bytes",
            field(80),
            field(84)
        ));
    }
    let file = file.try_clone().map_err(|error| error.to_string())?;
    let table = gpt::GptConfig::new()
        .writable(false)
        .logical_block_size(gpt::disk::LogicalBlockSize::Lb512)
        .open_from_device(Window::new(Rc::new(file), head))
        .map_err(|error| format!("its GPT: {error}"))?;
    table.primary_header().map_err(|error| format!("its primary GPT header: {error}"))?;
    let mut found = Vec::new();
    for (&number, entry) in table.partitions() {
        let length = entry.last_lba.checked_sub(entry.first_lba).and_then(|n| n.checked_add(1));
        let extent = length.and_then(|n| n.checked_mul(SECTOR)).zip(entry.first_lba.checked_mul(SECTOR));
        match extent {
            Some((length, offset)) if offset.checked_add(length).is_some_and(|end| end <= size) => {
                let kind = &entry.part_type_guid.guid;
                let may_be_fat = [TYPE_FAT, TYPE_EFI].iter().any(|fat| kind.to_string().eq_ignore_ascii_case(fat));
                let extent = Extent { offset, length };
                found.push(PartitionEntry { number, name: entry.name.clone(), extent, may_be_fat });
            }
            _ => return Err(format!("partition {number} does not lie on the disk")),
        }
    }
    Ok(found)
}

/// A FAT file system on a partition.
pub(crate) struct Fat(fatfs::FileSystem<Window>);

impl Fat {
    /// `None` when the partition holds none.
    pub(crate) fn open(file: &File, extent: Extent) -> Option<Fat> {
        let mut sector = [0; 512];
        file.read_exact_at(&mut sector, extent.offset).ok()?;
        if !plausible(&sector, extent.length) {
            return None;
        }
        let window = Window::new(Rc::new(file.try_clone().ok()?), extent);
        fatfs::FileSystem::new(window, fatfs::FsOptions::new()).ok().map(Fat)
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.0.root_dir().open_file(path).is_ok()
    }

    /// A file of at most `limit` bytes; `None` when there is none.
    pub(crate) fn read(&self, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match self.0.root_dir().open_file(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes")));
        }
        Ok(Some(bytes))
    }

    /// Writes a file in the root directory, in place of one of that name.
    pub(crate) fn write(self, name: &str, bytes: &[u8]) -> io::Result<()> {
        {
            let mut file = self.0.root_dir().create_file(name)?;
            file.truncate()?;
            file.write_all(bytes)?;
            file.flush()?;
        }
        self.0.unmount()
    }

    /// Removes a file of the root directory.
    pub(crate) fn remove(self, name: &str) -> io::Result<()> {
        self.0.root_dir().remove(name)?;
        self.0.unmount()
    }
}

/// Whether the boot sector's numbers fit each other and the partition: what the FAT reader takes on trust.
/// Microsoft's FAT specification 1.03, section 3.
fn plausible(sector: &[u8; 512], length: u64) -> bool {
    let short = |at: usize| u64::from(u16::from_le_bytes([sector[at], sector[at + 1]]));
    let long = |at: usize| short(at) | short(at + 2) << 16;
    let (sector_length, cluster, reserved) = (short(11), u64::from(sector[13]), short(14));
    let (fats, root_entries) = (u64::from(sector[16]), short(17));
    let total = if short(19) != 0 { short(19) } else { long(32) };
    let fat_length = if short(22) != 0 { short(22) } else { long(36) };
    if sector[510..] != [0x55, 0xaa] || sector_length != SECTOR || !cluster.is_power_of_two() {
        return false;
    }
    if reserved == 0 || !(1..=2).contains(&fats) || fat_length == 0 {
        return false;
    }
    let before_data = reserved + fats * fat_length + (root_entries * 32).div_ceil(SECTOR);
    let entries = fat_length * SECTOR / 4;
    total * SECTOR <= length
        && before_data < total
        && (short(22) != 0 || ((total - before_data) / cluster + 2 <= entries && root_entries == 0))
}
