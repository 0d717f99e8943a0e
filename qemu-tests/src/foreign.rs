//! Disks that are someone else's: every kind of content that a claim must leave alone, made on the host by the tool that
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
    Foreign { serial: "EXT4", name: "a file system of type ext4 with the label \"photos\"", maker: Maker::Tool("mke2fs", &["-q", "-F", "-t", "ext4", "-L", "photos"]) },
    Foreign { serial: "XFS", name: "an XFS file system", maker: Maker::Tool("mkfs.xfs", &["-q"]) },
    Foreign { serial: "BTRFS", name: "a file system of type btrfs", maker: Maker::Tool("mkfs.btrfs", &["-q"]) },
    Foreign { serial: "F2FS", name: "a file system of type f2fs", maker: Maker::Tool("mkfs.f2fs", &["-q"]) },
    Foreign { serial: "NTFS", name: "an NTFS file system", maker: Maker::Tool("mkntfs", &["-q", "-F", "-Q"]) },
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

/// The four labels of a vdev (OpenZFS, include/sys/vdev_impl.h): at 16 KiB the pool's facts as a list in XDR
/// (module/nvpair/nvpair.c), from 128 KiB on its uberblocks (include/sys/uberblock_impl.h).
fn zfs() -> Vec<(u64, Vec<u8>)> {
    let number = |name: &str, value: u64| pair(name, 8, 8, &value.to_be_bytes());
    let text = |name: &str, value: &str| {
        let length = value.len() as u32;
        pair(name, 9, length + 1, &[&length.to_be_bytes()[..], &padded(value)].concat())
    };
    let mut facts = vec![1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    facts.extend(number("version", 5000));
    facts.extend(text("name", "tank"));
    facts.extend(number("state", 0));
    facts.extend(number("txg", 4));
    facts.extend(number("pool_guid", 0x1234_5678_9abc_def0));
    facts.extend(number("errata", 0));
    facts.extend(text("hostname", "nas"));
    facts.extend(number("top_guid", 0x0fed_cba9_8765_4321));
    facts.extend(number("guid", 0x0fed_cba9_8765_4321));
    facts.extend(number("vdev_children", 1));
    facts.extend([0; 8]);
    let uberblock = [0x00ba_b10c_u64, 5000, 4].map(u64::to_le_bytes).concat();
    let label = 256 * 1024;
    let labels = [0, label, SIZE - 2 * label, SIZE - label];
    let one = |start: u64| {
        let blocks = (0..8).map(move |at| start + 128 * 1024 + at * 1024).map(|at| (at, uberblock.clone()));
        blocks.chain([(start + 16 * 1024, facts.clone())]).collect::<Vec<_>>()
    };
    labels.into_iter().flat_map(one).collect()
}

/// A pair of such a list: its length here and in memory, name, type, number of elements, value.
fn pair(name: &str, kind: u32, value_length: u32, value: &[u8]) -> Vec<u8> {
    let name_length = name.len() as u32;
    let mut rest = [&name_length.to_be_bytes()[..], &padded(name)].concat();
    rest.extend([kind, 1].map(u32::to_be_bytes).concat());
    rest.extend(value);
    let in_memory = (16 + name_length + 1).next_multiple_of(8) + value_length.next_multiple_of(8);
    [&(rest.len() as u32 + 8).to_be_bytes()[..], &in_memory.to_be_bytes(), &rest].concat()
}

/// A text as XDR has it, in units of four bytes.
fn padded(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
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
