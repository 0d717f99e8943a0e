//! The partitions of a disk that someone else laid out, as far as they are needed to erase what stands at their ends: a
//! guess from bytes that nobody vouches for. Extents that do not lie on the disk are left out.
//!
//! Sources: UEFI Specification 2.10, sections 5.2.1 (MBR) and 5.3 (GPT).

use contract::layout::{Extent, SECTOR};
use std::io;

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Old {
    pub extent: Extent,
    /// In a GPT, where it has one.
    pub name: Option<String>,
}

/// A disk has at most so many partitions here.
const MOST: usize = 128;
const ENTRY: usize = 128;

/// The partitions of a disk of `size` bytes. `read` fills a buffer from a place on it.
///
/// # Errors
/// When it cannot be read.
pub fn read(size: u64, read: &mut dyn FnMut(u64, &mut [u8]) -> io::Result<()>) -> io::Result<Vec<Old>> {
    let mut found = Vec::new();
    for block in [SECTOR, 4096] {
        for header in [Some(block), (size / block).checked_sub(1).map(|last| last * block)] {
            let Some(at) = header.filter(|at| at.checked_add(block).is_some_and(|end| end <= size)) else { continue };
            let mut bytes = [0; 92];
            read(at, &mut bytes)?;
            if !bytes.starts_with(b"EFI PART") {
                continue;
            }
            let array = u64_at(&bytes, 72).checked_mul(block);
            let length = (MOST * ENTRY) as u64;
            let inside = |array: &u64| array.checked_add(length).is_some_and(|end| end <= size);
            let Some(array) = array.filter(inside) else { continue };
            let mut entries = vec![0; MOST * ENTRY];
            read(array, &mut entries)?;
            for entry in entries.as_chunks::<ENTRY>().0.iter().filter_map(|entry| gpt_entry(entry, block, size)) {
                if !found.contains(&entry) {
                    found.push(entry);
                }
            }
        }
    }
    let mut sector = [0; SECTOR as usize];
    if size >= SECTOR {
        read(0, &mut sector)?;
    }
    if sector.ends_with(&[0x55, 0xaa]) {
        let records = sector[446..510].as_chunks::<16>().0.iter();
        found.extend(records.filter_map(|record| mbr_record(record, size)));
    }
    Ok(found)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn on_the_disk(offset: u64, length: u64, size: u64) -> Option<Extent> {
    let inside = length > 0 && offset.checked_add(length).is_some_and(|end| end <= size);
    inside.then_some(Extent { offset, length })
}

fn gpt_entry(entry: &[u8; ENTRY], block: u64, size: u64) -> Option<Old> {
    if entry[..16] == [0; 16] {
        return None;
    }
    let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
    let length = last.checked_sub(first)?.checked_add(1)?.checked_mul(block)?;
    let extent = on_the_disk(first.checked_mul(block)?, length, size)?;
    let units = entry[56..].as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
    let name: String = char::decode_utf16(units.take_while(|&unit| unit != 0))
        .map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    Some(Old { extent, name: Some(name).filter(|name| !name.is_empty()) })
}

/// Not the protective one of a GPT (type 0xee).
fn mbr_record(record: &[u8; 16], size: u64) -> Option<Old> {
    let number = |at: usize| record[at..].first_chunk().map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
    let (kind, status) = (record[4], record[0]);
    if matches!(kind, 0 | 0xee) || !matches!(status, 0 | 0x80) {
        return None;
    }
    let extent = on_the_disk(number(8) * SECTOR, number(12) * SECTOR, size)?;
    Some(Old { extent, name: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn of(disk: &[u8]) -> Vec<Old> {
        read(disk.len() as u64, &mut |at, bytes| {
            let at = usize::try_from(at).unwrap();
            bytes.copy_from_slice(&disk[at..at + bytes.len()]);
            Ok(())
        })
        .unwrap()
    }

    fn partitioned(script: &str) -> Vec<u8> {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(64 << 20).unwrap();
        let path = format!("/usr/sbin:/sbin:{}", std::env::var("PATH").unwrap_or_default());
        let mut sfdisk = Command::new("sfdisk");
        let child = sfdisk.env("PATH", path).arg("-q").arg(file.path()).stdin(std::process::Stdio::piped());
        let mut child = child.spawn().expect("sfdisk (package fdisk)");
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        std::fs::read(file.path()).unwrap()
    }

    const TWO: &str = "start=2048, size=4096\nstart=8192, size=100\n";

    fn extents(disk: &[u8]) -> Vec<(u64, u64)> {
        of(disk).iter().map(|old| (old.extent.offset / SECTOR, old.extent.length / SECTOR)).collect()
    }

    #[test]
    fn the_partitions_that_another_tool_made_are_found_in_either_kind_of_table() {
        for label in ["gpt", "dos"] {
            let disk = partitioned(&format!("label: {label}\n{TWO}"));
            assert_eq!(extents(&disk), [(2048, 4096), (8192, 100)], "{label}");
        }
        let mut disk = partitioned(&format!("label: gpt\n{TWO}"));
        disk[..17_408].fill(0);
        assert_eq!(extents(&disk), [(2048, 4096), (8192, 100)], "by the backup");
        assert!(of(&vec![0; 1 << 20]).is_empty());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_leave_the_disk(bytes in prop::collection::vec(any::<u8>(), 0..9000), gpt: bool) {
            let mut disk = bytes;
            if gpt && disk.len() > 600 {
                disk[510..520].copy_from_slice(b"\x55\xaaEFI PART");
                disk[584..592].copy_from_slice(&2u64.to_le_bytes());
                disk.resize(1 << 20, 0x11);
            }
            for old in of(&disk) {
                prop_assert!(old.extent.end() <= disk.len() as u64);
            }
        }
    }
}
