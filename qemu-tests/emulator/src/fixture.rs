//! Small disks for tests: a GPT with FAT partitions, and a kernel of 19 instructions that speaks on the serial console.

use crate::devicetree::Tree;
use crate::eeprom::{FIRMWARE, FIXUP};
use contract::layout::{Extent, MIB, SECTOR};
use contract::names::{CMDLINE_TXT, CONFIG_TXT, KERNEL};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

pub(crate) const AB: &str = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n";
pub(crate) const CONFIG: &str =
    "arm_64bit=1\nkernel=kernel8.img\ninitramfs initramfs.img followkernel\nupstream_kernel=1\n";
pub(crate) const SIZE: u64 = 4 * MIB;

/// For QEMU's `virt`: writes its message to the PL011, then waits for a key: `r` resets and `o` powers off by PSCI
/// (Arm DEN 0022, SYSTEM_RESET and SYSTEM_OFF).
const PROGRAM: [u32; 19] = [
    0xd2a1_2001, //        movz x1, #0x0900, lsl #16     the PL011
    0x1000_0242, //        adr  x2, message
    0x3840_1440, // next:  ldrb w0, [x2], #1
    0x3400_0060, //        cbz  w0, key
    0xb900_0020, //        str  w0, [x1]                 data register
    0x17ff_fffd, //        b    next
    0xb940_1823, // key:   ldr  w3, [x1, #0x18]          flag register
    0x3727_ffe3, //        tbnz w3, #4, key              receive FIFO empty
    0xb940_0020, //        ldr  w0, [x1]
    0x7101_c81f, //        cmp  w0, #'r'
    0x5400_00a0, //        b.eq reset
    0x7101_bc1f, //        cmp  w0, #'o'
    0x54ff_ff41, //        b.ne key
    0x5280_0100, //        movz w0, #8
    0x1400_0002, //        b    call
    0x5280_0120, // reset: movz w0, #9
    0x72b0_8000, // call:  movk w0, #0x8400, lsl #16
    0xd400_0002, //        hvc  #0
    0x1400_0000, //        b    .
];

/// A raw arm64 Image (Linux, Documentation/arch/arm64/booting.rst) around [`PROGRAM`]; its last byte tells it from
/// others, and so does what it says: `slot A here`.
pub(crate) fn image_of(mark: u8) -> Vec<u8> {
    let mut kernel = vec![0; 4096];
    kernel[..4].copy_from_slice(&0x1400_0010_u32.to_le_bytes());
    kernel[16..24].copy_from_slice(&0x1000_u64.to_le_bytes());
    kernel[24..32].copy_from_slice(&0xa_u64.to_le_bytes());
    kernel[56..60].copy_from_slice(b"ARM\x64");
    for (place, word) in kernel[64..].chunks_exact_mut(4).zip(PROGRAM) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let message = format!("slot {} here\r\n", mark as char);
    kernel[140..140 + message.len()].copy_from_slice(message.as_bytes());
    kernel[4095] = mark;
    kernel
}

/// A device tree that says which board it is for.
fn device_tree(model: &str) -> Vec<u8> {
    let mut tree = Tree::empty();
    tree.set("/", "model", model.as_bytes()).unwrap();
    tree.to_bytes()
}

/// The content of one FAT partition.
pub(crate) type Content = BTreeMap<&'static str, Vec<u8>>;

pub(crate) fn bootsel(autoboot: &str) -> Content {
    BTreeMap::from([("autoboot.txt", autoboot.as_bytes().to_vec())])
}

pub(crate) fn slot(mark: u8) -> Content {
    BTreeMap::from([
        (FIRMWARE, b"elf".to_vec()),
        (FIXUP, b"dat".to_vec()),
        (CONFIG_TXT, CONFIG.as_bytes().to_vec()),
        (CMDLINE_TXT, b"console=ttyAMA0 panic=10\n".to_vec()),
        (KERNEL, image_of(mark)),
        ("initramfs.img", vec![mark; 100]),
        ("bcm2711-rpi-cm4-io.dtb", device_tree("cm4")),
        ("bcm2711-rpi-4-b.dtb", device_tree("4b")),
    ])
}

pub(crate) fn normal() -> Vec<Content> {
    vec![bootsel(AB), slot(b'A'), slot(b'B')]
}

pub(crate) fn with(mut content: Content, name: &'static str, bytes: impl Into<Vec<u8>>) -> Content {
    content.insert(name, bytes.into());
    content
}

pub(crate) fn without(mut content: Content, name: &str) -> Content {
    content.remove(name);
    content
}

fn fat(content: &Content) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; SIZE as usize]);
    fatfs::format_volume(&mut disk, fatfs::FormatVolumeOptions::new()).unwrap();
    disk.set_position(0);
    {
        let files = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new()).unwrap();
        for (name, bytes) in content {
            files.root_dir().create_file(name).unwrap().write_all(bytes).unwrap();
        }
    }
    disk.into_inner()
}

pub(crate) fn start(number: usize) -> u64 {
    MIB + (number as u64 - 1) * SIZE
}

/// A disk with these FAT partitions, from number 1.
pub(crate) fn disk(contents: &[Content]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(start(contents.len() + 1) + MIB).unwrap();
    let window = crate::eeprom::Window::new(
        Rc::new(file.try_clone().unwrap()),
        Extent { offset: 0, length: file.metadata().unwrap().len() },
    );
    let mut table = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(gpt::disk::LogicalBlockSize::Lb512)
        .create_from_device(window, None)
        .unwrap();
    let mut partitions = BTreeMap::new();
    for (index, content) in contents.iter().enumerate() {
        let (number, offset) = (index as u32 + 1, start(index + 1));
        partitions.insert(
            number,
            gpt::partition::Partition {
                part_type_guid: gpt::partition_types::BASIC,
                part_guid: gpt::partition::Partition::zero().part_guid,
                first_lba: offset / SECTOR,
                last_lba: (offset + SIZE) / SECTOR - 1,
                flags: 0,
                name: format!("part{number}"),
            },
        );
        file.write_all_at(&fat(content), offset).unwrap();
    }
    table.update_partitions(partitions).unwrap();
    table.write().unwrap();
    file
}
