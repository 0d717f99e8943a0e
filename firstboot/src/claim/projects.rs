//! Mounting a file system so that folders on it can have limits.
//!
//! XFS only has to be asked. ext4 keeps the project of each file where its feature `project` is set: one bit of the superblock,
//! which is set here, on file systems from before as well. Its feature `quota`, with which the kernel keeps the quotas
//! themselves in the file system, is left alone: releases that do not load the kernel's module quota_v2 could not mount it any
//! more, and an update could not go back. PID 1 counts at each start instead.

use crate::sys::mount::{self, Flags};
use anyhow::{Context as _, ensure};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Where ext4 has its superblock, in bytes, and how long it is.
const PLACE: u64 = 1024;
const LENGTH: usize = 1024;

// Fields of `struct ext4_super_block` (fs/ext4/ext4.h), by their offsets.
const MAGIC: usize = 0x38;
const INODE_SIZE: usize = 0x58;
const INCOMPAT: usize = 0x60;
const RO_COMPAT: usize = 0x64;
const WANT_EXTRA_ISIZE: usize = 0x15e;
const CHECKSUM: usize = 0x3fc;

const EXT4_MAGIC: u16 = 0xef53;
const INCOMPAT_RECOVER: u32 = 0x4;
const RO_COMPAT_METADATA_CSUM: u32 = 0x400;
const RO_COMPAT_PROJECT: u32 = 0x2000;
/// What an inode needs for its project: `i_projid` ends here, counted from the first 128 bytes.
const EXTRA_ISIZE: u16 = 32;
const LEAST_INODE: u16 = 256;

/// Mounts the file system of `kind` on a partition. Where `limits` are asked for and it cannot have any, it is mounted without,
/// and the reason is given.
///
/// # Errors
/// When it cannot be mounted at all.
pub(super) fn mount(partition: &str, at: &str, kind: &str, flags: Flags, limits: bool) -> io::Result<Option<String>> {
    let mount = |options| mount::mount(Path::new(partition), Path::new(at), kind, flags, options);
    if !limits {
        return mount(None).map(|()| None);
    }
    let prepared = if kind == "ext4" { allow(partition) } else { Ok(()) };
    let tried = prepared.and_then(|()| mount(Some(c"prjquota")).context("mounting it with the option prjquota"));
    let Err(error) = tried else { return Ok(None) };
    mount(None)?;
    Ok(Some(format!("folders on {partition} have no limits: {error:#}")))
}

/// Sets the feature `project` of the ext4 on a partition that is not mounted.
fn allow(partition: &str) -> anyhow::Result<()> {
    let file = File::options().read(true).write(true).open(partition)?;
    let mut superblock = [0; LENGTH];
    file.read_exact_at(&mut superblock, PLACE).context("reading its superblock")?;
    if with_projects(&mut superblock)? {
        file.write_all_at(&superblock, PLACE).and_then(|()| file.sync_all()).context("writing its superblock")?;
    }
    Ok(())
}

/// Sets the feature in a superblock. Returns whether that changed it.
///
/// # Errors
/// When it is not one that the feature can be set in; then nothing was changed.
fn with_projects(superblock: &mut [u8; LENGTH]) -> anyhow::Result<bool> {
    let short = |at: usize| {
        let bytes = superblock.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u16::from_le_bytes)
    };
    let long = |at: usize| u32::from(short(at)) | u32::from(short(at + 2)) << 16;
    ensure!(short(MAGIC) == EXT4_MAGIC, "it has no superblock of ext4");
    let features = long(RO_COMPAT);
    if features & RO_COMPAT_PROJECT != 0 {
        return Ok(false);
    }
    ensure!(long(INCOMPAT) & INCOMPAT_RECOVER == 0, "its journal has not been replayed");
    ensure!(
        short(INODE_SIZE) >= LEAST_INODE && short(WANT_EXTRA_ISIZE) >= EXTRA_ISIZE,
        "its inodes of {} bytes have no room for a project; only a new file system has it",
        short(INODE_SIZE)
    );
    let summed = features & RO_COMPAT_METADATA_CSUM != 0;
    let sum = |superblock: &[u8; LENGTH]| crc32c(superblock.get(..CHECKSUM).unwrap_or_default());
    ensure!(!summed || long(CHECKSUM) == sum(superblock), "the checksum of its superblock is wrong");
    for (to, byte) in superblock.iter_mut().skip(RO_COMPAT).zip((features | RO_COMPAT_PROJECT).to_le_bytes()) {
        *to = byte;
    }
    if summed {
        let sum = sum(superblock).to_le_bytes();
        for (to, byte) in superblock.iter_mut().skip(CHECKSUM).zip(sum) {
            *to = byte;
        }
    }
    Ok(true)
}

/// CRC-32C as ext4 has it: without the last inversion.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for &byte in bytes {
        sum ^= u32::from(byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::super::filesystem::{Check, Tools};
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;
    use uuid::Uuid;

    /// What the debugger of e2fsprogs says of a file system.
    fn stats(path: &str) -> String {
        let said = Command::new("debugfs").args(["-R", "stats -h", path]).output().unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    /// An ext4 in a file, made as `state` is.
    fn made() -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(64 << 20).unwrap();
        let name = file.path().to_str().unwrap();
        Tools { watchdog: None }.make(name, 64 << 20, "label", &Uuid::from_u128(7)).unwrap();
        file
    }

    #[test]
    fn e2fsprogs_knows_the_feature_and_finds_nothing_wrong() {
        let file = made();
        let name = file.path().to_str().unwrap();
        let features = |text: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix("Filesystem features:")).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let before = features(&stats(name));
        assert!(!before.contains(&"project".to_owned()), "{before:?}");
        for _ in 0..2 {
            allow(name).unwrap();
            let after = features(&stats(name));
            let added: Vec<_> = after.iter().filter(|feature| !before.contains(feature)).collect();
            assert_eq!(added, ["project"], "and not quota");
            assert_eq!(Tools { watchdog: None }.check(name).unwrap(), Check::Clean);
        }
    }

    #[test]
    fn a_superblock_that_is_not_whole_stays_as_it_is() {
        let file = made();
        let mut good = [0; LENGTH];
        file.as_file().read_exact_at(&mut good, PLACE).unwrap();
        let refused = |at: usize, byte: u8| {
            let mut changed = good;
            changed[at] = byte;
            let before = changed;
            let error = with_projects(&mut changed).unwrap_err().to_string();
            assert!(changed == before);
            error
        };
        assert!(refused(MAGIC, 0).contains("no superblock"));
        assert!(refused(INCOMPAT, 0xff).contains("journal"));
        assert!(refused(INODE_SIZE + 1, 0).contains("no room"));
        assert!(refused(WANT_EXTRA_ISIZE, 28).contains("no room"));
        assert!(refused(0, good[0] ^ 1).contains("checksum"));
        let nothing = tempfile::NamedTempFile::new().unwrap();
        assert!(format!("{:#}", allow(nothing.path().to_str().unwrap()).unwrap_err()).contains("reading"));
    }

    proptest! {
        #[test]
        fn nothing_but_the_bit_and_the_checksum_is_ever_changed(
            bytes in proptest::collection::vec(any::<u8>(), LENGTH),
            real in any::<bool>(),
            summed in any::<bool>(),
        ) {
            let mut superblock: [u8; LENGTH] = bytes.try_into().unwrap();
            if real {
                superblock[MAGIC..MAGIC + 2].copy_from_slice(&EXT4_MAGIC.to_le_bytes());
                superblock[INODE_SIZE..INODE_SIZE + 2].copy_from_slice(&256_u16.to_le_bytes());
                superblock[WANT_EXTRA_ISIZE..WANT_EXTRA_ISIZE + 2].copy_from_slice(&32_u16.to_le_bytes());
                superblock[INCOMPAT] &= !4;
                superblock[RO_COMPAT + 1] &= !0x24;
                superblock[RO_COMPAT + 1] |= u8::from(summed) << 2;
                let sum = crc32c(&superblock[..CHECKSUM]).to_le_bytes();
                superblock[CHECKSUM..].copy_from_slice(&sum);
            }
            let before = superblock;
            let changed = with_projects(&mut superblock);
            if real {
                prop_assert!(changed.unwrap());
                prop_assert_eq!(superblock[RO_COMPAT + 1], before[RO_COMPAT + 1] | 0x20);
                prop_assert!(!summed || crc32c(&superblock[..CHECKSUM]).to_le_bytes() == superblock[CHECKSUM..]);
                prop_assert!(!with_projects(&mut superblock).unwrap(), "it is set once");
                superblock[RO_COMPAT + 1] = before[RO_COMPAT + 1];
                prop_assert_eq!(&superblock[..CHECKSUM], &before[..CHECKSUM]);
            } else if !changed.is_ok_and(|changed| changed) {
                prop_assert_eq!(superblock, before);
            }
        }
    }

    #[test]
    fn the_checksum_is_crc_32c() {
        // The check value of the catalogue of CRCs, before the last inversion.
        assert_eq!(crc32c(b"123456789"), !0xe306_9283);
    }
}
