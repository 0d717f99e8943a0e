//! Disks that are somebody else's: every kind of content that a claim must leave alone, made on the host by the tool that
//! people make it with. Three have no tool that runs on a file: their labels are written byte by byte, by their format.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

/// Size of the disks, in bytes: mkfs.xfs makes nothing below 300 MiB.
pub const SIZE: u64 = 400 << 20;

/// A kind of foreign content.
#[derive(Clone, Copy, Debug)]
pub struct Foreign {
    /// Serial number of the disk with it.
    pub serial: &'static str,
    /// What the node calls it.
    pub name: &'static str,
    maker: Maker,
}

#[derive(Clone, Copy, Debug)]
enum Maker {
    /// A program and its arguments; the disk comes last.
    Tool(&'static str, &'static [&'static str]),
    /// As before, with this on its standard input.
    Script(&'static str, &'static [&'static str], &'static str),
    /// Bytes at offsets.
    Bytes(fn() -> Vec<(u64, Vec<u8>)>),
}

const LUKS: &[&str] = &[
    "luksFormat",
    "-q",
    "--type",
    "luks2",
    "--pbkdf",
    "pbkdf2",
    "--pbkdf-force-iterations",
    "1000",
    "--key-file",
    "/etc/hostname",
];

/// All kinds.
#[rustfmt::skip]
pub const ALL: [Foreign; 15] = [
    Foreign { serial: "MBR", name: "a partition table (dos)", maker: Maker::Script("sfdisk", &["-q"], "label: dos\n2048,200M,83\n") },
    Foreign { serial: "GPT", name: "a partition table (gpt)", maker: Maker::Tool("sgdisk", &["-n", "1:0:0"]) },
    Foreign { serial: "EXT4", name: "a file system ext4 with the label \"photos\"", maker: Maker::Tool("mke2fs", &["-q", "-F", "-t", "ext4", "-L", "photos"]) },
    Foreign { serial: "XFS", name: "a file system XFS", maker: Maker::Tool("mkfs.xfs", &["-q"]) },
    Foreign { serial: "BTRFS", name: "a file system btrfs", maker: Maker::Tool("mkfs.btrfs", &["-q"]) },
    Foreign { serial: "F2FS", name: "a file system f2fs", maker: Maker::Tool("mkfs.f2fs", &["-q"]) },
    Foreign { serial: "NTFS", name: "a file system NTFS", maker: Maker::Tool("mkntfs", &["-q", "-F", "-Q"]) },
    Foreign { serial: "LVM", name: "an LVM physical volume", maker: Maker::Bytes(lvm) },
    Foreign { serial: "RAID", name: "a member of a Linux md RAID", maker: Maker::Bytes(md_raid) },
    Foreign { serial: "LUKS", name: "a LUKS encrypted volume", maker: Maker::Tool("cryptsetup", LUKS) },
    Foreign { serial: "ZFS", name: "a member of a ZFS pool", maker: Maker::Bytes(zfs) },
    Foreign { serial: "BCACHE", name: "a bcache device", maker: Maker::Tool("make-bcache", &["-B"]) },
    Foreign { serial: "SWAP", name: "Linux swap space", maker: Maker::Tool("mkswap", &[]) },
    Foreign { serial: "CEPH", name: "a Ceph OSD", maker: Maker::Bytes(ceph) },
    Foreign { serial: "UNKNOWN", name: "unknown data (at byte ", maker: Maker::Bytes(unknown) },
];

/// Superblock 1.2 of a RAID (linux/raid/md_p.h, `struct mdp_superblock_1`).
fn md_raid() -> Vec<(u64, Vec<u8>)> {
    let mut superblock = vec![0; 256];
    let mut put = |at: usize, bytes: &[u8]| superblock[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &0xa92b_4efc_u32.to_le_bytes());
    put(4, &1u32.to_le_bytes());
    put(16, b"0123456789abcdef");
    put(32, b"vault:0");
    put(72, &1u32.to_le_bytes());
    put(80, &100_000u64.to_le_bytes());
    put(92, &2u32.to_le_bytes());
    put(128, &2048u64.to_le_bytes());
    put(136, &100_000u64.to_le_bytes());
    put(144, &8u64.to_le_bytes());
    let words = superblock.as_chunks::<4>().0.iter();
    let sum: u64 = words.map(|word| u64::from(u32::from_le_bytes(*word))).sum();
    let checksum = ((sum & 0xffff_ffff) + (sum >> 32)) as u32;
    superblock[216..220].copy_from_slice(&checksum.to_le_bytes());
    vec![(4096, superblock)]
}

/// Label and header of a physical volume (lvm2, lib/format_text/layout.h), with LVM's own start value for the CRC.
fn lvm() -> Vec<(u64, Vec<u8>)> {
    let mut rest = 32u32.to_le_bytes().to_vec();
    rest.extend(b"LVM2 001");
    rest.extend(b"0Zmi5kL3bTnHbGIpR1rFrjgV2hgtQ0y2");
    rest.extend(SIZE.to_le_bytes());
    rest.resize(512 - 20, 0);
    let crc = rest.iter().fold(0xf597_a6cf_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    });
    vec![(512, [&b"LABELONE"[..], &1u64.to_le_bytes(), &crc.to_le_bytes(), &rest].concat())]
}

/// Uberblocks of the first label (OpenZFS, include/sys/uberblock_impl.h).
fn zfs() -> Vec<(u64, Vec<u8>)> {
    let uberblock = [0x00ba_b10c_u64, 5000, 1].map(u64::to_le_bytes).concat();
    (0..8).map(|at| (128 * 1024 + at * 1024, uberblock.clone())).collect()
}

/// Label of a BlueStore device (Ceph, src/os/bluestore/BlueStore.cc).
fn ceph() -> Vec<(u64, Vec<u8>)> {
    vec![(0, b"bluestore block device\n5d0a2c1e-6d0a-4bd5-8a4b-6b1d8e2f7a10\n".to_vec())]
}

/// A megabyte in the midst, without any signature.
fn unknown() -> Vec<(u64, Vec<u8>)> {
    vec![((100 << 20) + 4096, vec![0xaa; 1 << 20])]
}

impl Foreign {
    /// Makes a disk with it as a file.
    ///
    /// # Panics
    /// When the tool is missing or fails.
    pub fn make(&self, path: &Path) {
        let file = File::options().create(true).truncate(true).write(true).read(true).open(path).unwrap();
        file.set_len(SIZE).unwrap();
        match self.maker {
            Maker::Tool(program, arguments) => drop(run(program, arguments, "", path)),
            Maker::Script(program, arguments, input) => drop(run(program, arguments, input, path)),
            Maker::Bytes(bytes) => bytes().iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap()),
        }
    }
}

/// Runs a program over a disk; gives what it said.
///
/// # Panics
/// When it is missing or fails.
pub fn run(program: &str, arguments: &[&str], input: &str, path: &Path) -> String {
    let mut command = Command::new(program);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").args(arguments).arg(path).stdin(input_of(input));
    let output = command.output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

/// A pipe that holds a short text.
fn input_of(text: &str) -> OwnedFd {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    writer.write_all(text.as_bytes()).expect("the text is shorter than a pipe holds");
    reader.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_that_stand_for_a_raid_are_those_of_a_raid() {
        let folder = std::env::temp_dir().join(format!("microdc-raid-{}", std::process::id()));
        ALL.iter().find(|foreign| foreign.serial == "RAID").unwrap().make(&folder);
        let said = run("mdadm", &["--examine"], "", &folder);
        std::fs::remove_file(&folder).unwrap();
        assert!(said.contains("vault:0") && said.contains("- correct"), "{said}");
    }
}
