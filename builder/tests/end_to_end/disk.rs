//! Reads an image with the eyes of others: sgdisk for the table, ext4-view for the root.

use super::said;
use contract::layout::{BLOCK, SECTOR, TRAILER_SIZE};
use contract::manifest::Manifest;
use contract::trailer::Trailer;
use ext4_view::Ext4;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

/// Runs a tool of the system that must be content, and returns what it printed.
pub fn tool(program: &str, arguments: &[&str]) -> String {
    let path = format!("/usr/sbin:/sbin:{}", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).env("LC_ALL", "C").output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be started: {error}"));
    said(&output, 0)
}

/// Where a partition lies, by sgdisk: its first byte and its length.
pub fn partition(image: &Path, number: u32) -> (u64, u64) {
    let text = tool("sgdisk", &["-i", &number.to_string(), image.to_str().unwrap()]);
    let sector = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{text}"));
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let (first, last) = (sector("First sector: "), sector("Last sector: "));
    (first * SECTOR, (last + 1 - first) * SECTOR)
}

pub fn read(image: &Path, offset: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; length as usize];
    File::open(image).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

/// The root of slot A.
pub struct Root {
    pub fs: Ext4,
    pub manifest: Manifest,
    /// Of the partition.
    pub offset: u64,
    pub length: u64,
    /// Of the hash tree behind the data, in bytes.
    pub tree: u64,
}

impl Root {
    pub fn open(image: &Path) -> Root {
        let (offset, length) = partition(image, 4);
        let trailer = Trailer::parse(&read(image, offset + length - TRAILER_SIZE, TRAILER_SIZE)).unwrap();
        let manifest = Manifest::parse(&trailer.manifest).unwrap();
        let fs = Ext4::load(Box::new(read(image, offset, manifest.root.length))).unwrap();
        // One block of hashes for 128 blocks of the level below, up to a single one (dm-verity's layout).
        let (mut level, mut tree) = (manifest.root.length / BLOCK, 0);
        while level > 1 {
            level = level.div_ceil(128);
            tree += level * BLOCK;
        }
        Root { fs, manifest, offset, length, tree }
    }
}

/// The node's program: `/init` of the initramfs of slot A, which mtools reads from the boot partition.
pub fn firstboot(image: &Path) -> Vec<u8> {
    let place = format!("{}@@{}", image.display(), partition(image, 2).0);
    let output = Command::new("mtype").args(["-i", &place, "::initramfs.img"]).output();
    let output = output.unwrap_or_else(|error| panic!("mtype cannot be started ({error}): install mtools"));
    let archive = zstd::decode_all(&output.stdout[..]).unwrap();
    // cpio(5), newc: a head of 110 letters, the name, the content, each padded to 4 bytes.
    let mut at = 0;
    loop {
        let field = |number: usize| {
            let from = at + 6 + 8 * number;
            usize::from_str_radix(std::str::from_utf8(&archive[from..from + 8]).unwrap(), 16).unwrap()
        };
        let (length, name_length) = (field(6), field(11));
        let name = &archive[at + 110..at + 110 + name_length - 1];
        let content = (at + 110 + name_length).next_multiple_of(4);
        assert_ne!(name, b"TRAILER!!!", "the initramfs has no /init");
        if name == b"init" {
            return archive[content..content + length].to_vec();
        }
        at = (content + length).next_multiple_of(4);
    }
}
