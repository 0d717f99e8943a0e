//! What others keep on disks, by the signatures that their tools write: file systems, RAID, LVM, encryption, swap and
//! partition tables. The node looks with this before it takes a place, and a disk is looked at with it before it is flashed.
//!
//! Sources: libblkid's `superblocks/` and `partitions/` (util-linux), and the headers named below. A signature says that
//! something is there; that none is found does not mean that nothing is.

use std::io;

/// Where a signature stands, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// From the start of the disk or partition.
    Start(u64),
    /// So many before its end, rounded down to a multiple of the second number.
    End(u64, u64),
}

use At::{End, Start};

/// The magic of version 1 and 0.90 of Linux md (linux/raid/md_p.h: `MD_SB_MAGIC`, little-endian).
const MD: &[u8] = b"\xfc\x4e\x2b\xa9";
const RAID: &str = "a member of a Linux RAID";
const LVM: &str = "an LVM physical volume";
const LUKS: &str = "a LUKS encrypted volume";
const ZFS: &str = "a member of a ZFS pool";
const TABLE: &str = "a partition table";
const SWAP: &str = "Linux swap space";
const FAT: &str = "a FAT file system";
/// The first bytes of the name-value list in a ZFS label: XDR, and one unique-name list (sys/nvpair.h).
const ZFS_LIST: &[u8] = &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Every signature but that of ext, from the surest on.
const KNOWN: &[(At, &[u8], &str)] = &[
    (Start(0), b"XFSB", "an XFS file system"),
    (Start(0), b"LABELONE", LVM),
    (Start(512), b"LABELONE", LVM),
    (Start(1024), b"LABELONE", LVM),
    (Start(1536), b"LABELONE", LVM),
    (Start(0), b"LUKS\xba\xbe", LUKS),
    (Start(16_384), b"SKUL\xba\xbe", LUKS),
    (Start(4096), MD, RAID),
    (Start(0), MD, RAID),
    // Version 1.0: at least 8 KiB and less than 12 KiB from the end. Version 0.90: in the last 64 KiB but for a rest.
    (End(8192, 4096), MD, RAID),
    (End(65_536, 65_536), MD, RAID),
    (End(1024, 512), b"Intel Raid ISM Cfg Sig. ", "a member of an Intel RAID"),
    (End(512, 512), b"\xde\x11\xde\x11", "a member of a DDF RAID"),
    (Start(65_600), b"_BHRfS_M", "a btrfs file system"),
    (Start(67_108_928), b"_BHRfS_M", "a btrfs file system"),
    (Start(4086), b"SWAPSPACE2", SWAP),
    (Start(65_526), b"SWAPSPACE2", SWAP),
    (Start(1024), b"\x10\x20\xf5\xf2", "an F2FS file system"),
    // Its identifier, c68573f6-4e1a-45ca-8265-f57f48ba6d81 (linux/bcache.h).
    (Start(4120), b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", "a bcache device"),
    (Start(16_384), ZFS_LIST, ZFS),
    (End(507_904, 262_144), ZFS_LIST, ZFS),
    (Start(0), b"bluestore block device", "a Ceph OSD"),
    (Start(32_769), b"CD001", "an ISO 9660 file system"),
    (Start(65_588), b"ReIsEr", "a ReiserFS file system"),
    (Start(32_768), b"JFS1", "a JFS file system"),
    (Start(0), b"hsqs", "a squashfs file system"),
    (Start(1024), b"\xe2\xe1\xf5\xe0", "an EROFS file system"),
    (Start(32), b"NXSB", "an APFS container"),
    (Start(1024), b"H+\0\x04", "an HFS+ file system"),
    (Start(3), b"NTFS    ", "an NTFS file system"),
    (Start(3), b"EXFAT   ", "an exFAT file system"),
    (Start(82), b"FAT32   ", FAT),
    (Start(54), b"FAT16   ", FAT),
    (Start(54), b"FAT12   ", FAT),
    (Start(512), b"EFI PART", TABLE),
    (Start(4096), b"EFI PART", TABLE),
    (End(512, 512), b"EFI PART", TABLE),
    (End(4096, 4096), b"EFI PART", TABLE),
    (Start(510), b"\x55\xaa", BOOT_SECTOR),
];

/// Told only where nothing else is known: many file systems and tables have one.
const BOOT_SECTOR: &str = "a boot sector";

/// The words for what says how a disk is divided, and nothing of what is on it.
pub const TABLES: [&str; 2] = [TABLE, BOOT_SECTOR];

/// The label in an ext2, 3 or 4 superblock (Documentation/filesystems/ext4: at byte 1024; magic at 0x38, label at 0x78).
#[must_use]
pub fn ext_label(first: &[u8]) -> Option<String> {
    let superblock = first.get(1024..2048)?;
    if superblock.get(0x38..0x3a)? != [0x53, 0xef] {
        return None;
    }
    let label = superblock.get(0x78..0x88)?.split(|&byte| byte == 0).next()?;
    Some(String::from_utf8_lossy(label).into_owned())
}

fn ext(label: &str) -> String {
    format!("an ext file system with the label {label:?}")
}

/// What the first bytes of a disk or partition say of it, in words: one thing, the surest.
#[must_use]
pub fn describe(first: &[u8]) -> Option<String> {
    if let Some(label) = ext_label(first) {
        return Some(ext(&label));
    }
    let is = |at: u64, magic: &[u8]| {
        let rest = usize::try_from(at).ok().and_then(|at| first.get(at..));
        rest.is_some_and(|rest| rest.starts_with(magic))
    };
    let known = |&&(at, magic, _): &&(At, &[u8], &str)| matches!(at, Start(at) if is(at, magic));
    KNOWN.iter().find(known).map(|(_, _, words)| (*words).to_owned())
}

/// Everything that the signatures at both ends of a disk or partition of `length` bytes say of it, in words, each thing
/// once. `read` fills a buffer from a place in it; it is asked for at most 2048 bytes at a time.
///
/// # Errors
/// When it cannot be read.
pub fn find(length: u64, read: &mut dyn FnMut(u64, &mut [u8]) -> io::Result<()>) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut first = [0; 2048];
    if length >= 2048 {
        read(0, &mut first)?;
        found.extend(ext_label(&first).map(|label| ext(&label)));
    }
    for &(at, magic, words) in KNOWN {
        let place = match at {
            Start(at) => Some(at),
            End(before, multiple) => length.checked_sub(before).map(|at| at - at % multiple),
        };
        let end = |place: &u64| place.checked_add(magic.len() as u64).is_some_and(|end| end <= length);
        let Some(place) = place.filter(end) else { continue };
        let mut buffer = [0; 32];
        let Some(bytes) = buffer.get_mut(..magic.len()) else { continue };
        read(place, bytes)?;
        let boot_sector_of_another = words == BOOT_SECTOR && !found.is_empty();
        if bytes == magic && !boot_sector_of_another && !found.iter().any(|other| other == words) {
            found.push(words.to_owned());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(disk: &[u8]) -> Vec<String> {
        find(disk.len() as u64, &mut |at, bytes| {
            let at = at as usize;
            bytes.copy_from_slice(&disk[at..at + bytes.len()]);
            Ok(())
        })
        .unwrap()
    }

    #[test]
    fn every_signature_is_found_at_its_place_and_nowhere_else() {
        let length = 68 * 1024 * 1024;
        let mut disk = vec![0; length];
        assert!(found(&disk).is_empty());
        for &(at, magic, words) in KNOWN {
            let place = match at {
                Start(at) => at as usize,
                End(before, multiple) => {
                    let at = length - before as usize;
                    at - at % multiple as usize
                }
            };
            disk[place..place + magic.len()].copy_from_slice(magic);
            assert_eq!(found(&disk), [words], "{at:?}");
            disk[place] ^= 1;
            assert!(found(&disk).is_empty(), "{at:?}");
            disk[place..place + magic.len()].fill(0);
        }
    }

    #[test]
    fn several_things_are_all_told_and_each_once() {
        let mut disk = vec![0; 1 << 20];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert_eq!(found(&disk), ["a boot sector"]);
        disk[512..520].copy_from_slice(b"EFI PART");
        let end = disk.len() - 512;
        disk[end..end + 8].copy_from_slice(b"EFI PART");
        disk[4096..4100].copy_from_slice(MD);
        assert_eq!(found(&disk), [RAID, TABLE]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..9000)) {
            let _ = found(&bytes);
            let _ = describe(&bytes);
        }
    }
}
