//! The partition table of a separate disk: one partition, `data`. It follows from the disk's size, block size and serial
//! number alone, so that making it twice gives the same bytes, and a table that is not this one is not ours.
//!
//! Source: UEFI Specification 2.10, chapter 5; logical blocks of 512 and of 4096 bytes.

use super::gpt::{Entry, entry_bytes, protective_mbr};
use super::layout::derived;
use contract::layout::{ALIGN, Extent, Partition};
use contract::node::Serial;
use uuid::Uuid;

/// Bytes of the entry array: 128 entries of 128 bytes.
const ARRAY: u64 = 16 * 1024;
/// Number of the one partition.
pub const NUMBER: u32 = 1;
/// Where the marker stands: behind the table.
pub const MARKER: u64 = ALIGN;
/// Where `data` begins.
const DATA: u64 = 2 * ALIGN;

/// Where `data` is on a separate disk of `size` bytes; `None` when nothing is left for it.
pub fn data_extent(size: u64) -> Option<Extent> {
    // 4096-byte blocks need the most room for the backup: the array and one block.
    let end = size.checked_sub(ARRAY + 4096)? / ALIGN * ALIGN;
    let length = end.checked_sub(DATA).filter(|&length| length > 0)?;
    Some(Extent { offset: DATA, length })
}

/// Both copies of the table: bytes, and where they are on the disk. The backup comes first.
pub fn copies(size: u64, block: u64, serial: &Serial) -> Option<[(u64, Vec<u8>); 2]> {
    let disk = derived(&Uuid::nil(), &format!("disk {serial}"));
    let entry = Entry {
        number: NUMBER,
        type_guid: Uuid::parse_str(Partition::Data.type_guid()).ok()?,
        guid: derived(&disk, "partition data"),
        extent: data_extent(size)?,
        name: Partition::Data.name().to_owned(),
    };
    let last = (size / block).checked_sub(1)?;
    let array_blocks = ARRAY / block;
    let mut array = entry_bytes(&entry, block).to_vec();
    array.resize(ARRAY as usize, 0);
    let backup_array = last.checked_sub(array_blocks)?;
    let geometry = Geometry { block, last, array_blocks, array_crc: crc32fast::hash(&array), disk };

    let backup = [&array[..], &geometry.header(last, 1, backup_array)].concat();
    let primary = [&protective_mbr(last, block)[..], &geometry.header(1, last, 2), &array].concat();
    Some([(backup_array * block, backup), (0, primary)])
}

struct Geometry {
    block: u64,
    last: u64,
    array_blocks: u64,
    array_crc: u32,
    disk: Uuid,
}

impl Geometry {
    fn header(&self, at: u64, other: u64, array_at: u64) -> Vec<u8> {
        let fields = |crc: u32| {
            let mut bytes = b"EFI PART\0\0\x01\0\x5c\0\0\0".to_vec();
            bytes.extend(crc.to_le_bytes());
            bytes.extend([0; 4]);
            let last_usable = self.last - self.array_blocks - 1;
            for lba in [at, other, 2 + self.array_blocks, last_usable] {
                bytes.extend(lba.to_le_bytes());
            }
            bytes.extend(self.disk.to_bytes_le());
            bytes.extend(array_at.to_le_bytes());
            for number in [128, 128, self.array_crc] {
                bytes.extend(number.to_le_bytes());
            }
            bytes
        };
        let mut bytes = fields(crc32fast::hash(&fields(0)));
        bytes.resize(self.block as usize, 0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::layout::MIB;
    use std::os::unix::fs::FileExt as _;
    use std::process::Command;

    fn serial() -> Serial {
        Serial::try_from("S1".to_owned()).unwrap()
    }

    fn disk(block: u64, size: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(size).unwrap();
        for (offset, bytes) in copies(size, block, &serial()).unwrap() {
            file.as_file().write_all_at(&bytes, offset).unwrap();
        }
        file
    }

    #[test]
    fn sgdisk_finds_no_fault_and_one_partition() {
        let size = 700 * MIB + 512;
        let file = disk(512, size);
        let said = |option: &str| {
            let output =
                Command::new("sgdisk").arg(option).arg(file.path()).output().expect("sgdisk (package gdisk)");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let report = said("-v");
        assert!(report.contains("No problems found") && !report.to_lowercase().contains("warning"), "{report}");
        assert!(said("-i1").contains("Partition name: 'data'"));
        let extent = data_extent(size).unwrap();
        assert!(said("-i1").contains(&format!("Partition size: {} sectors", extent.length / 512)));
    }

    #[test]
    fn another_program_reads_the_table_of_a_disk_with_4096_byte_blocks() {
        let size = 700 * MIB;
        let file = disk(4096, size);
        let table = ::gpt::GptConfig::new().logical_block_size(::gpt::disk::LogicalBlockSize::Lb4096);
        let table = table.open(file.path()).unwrap();
        assert!(table.primary_header().is_ok() && table.backup_header().is_ok());
        let entry = &table.partitions()[&1];
        let extent = data_extent(size).unwrap();
        assert_eq!((entry.first_lba * 4096, entry.name.as_str()), (extent.offset, "data"));
        assert_eq!((entry.last_lba + 1) * 4096, extent.end());
    }

    #[test]
    fn a_disk_too_small_for_a_table_has_no_data() {
        for size in [0, 512, 2 * MIB, 3 * MIB] {
            assert_eq!(data_extent(size), None, "{size}");
        }
    }
}
