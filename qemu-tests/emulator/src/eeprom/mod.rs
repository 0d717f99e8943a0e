//! What the CM4's EEPROM and firmware do before the kernel runs: GPT → `autoboot.txt` → `config.txt` → files.
//!
//! A pure function of the disk's bytes, of the EEPROM ([`Eeprom`]), and of what a reset leaves behind: the tryboot request,
//! and the number of a partition in PM_RSTS. Where Raspberry Pi's documentation leaves a case open, the choice made here is
//! the worse one for the node, and it is named:
//! - Only partitions of a type that FAT file systems have are inspected, and the first 8 of the table.
//! - A number in PM_RSTS comes before `autoboot.txt`.
//! - `autoboot.txt` is read from the first FAT partition. Missing, unreadable or too long: that partition is the wanted one.
//! - The walk (`PARTITION_WALK`), where the EEPROM has it, tries the wanted partition and then those after it, in a circle.
//!   Bootable means a FAT file system with `start4.elf`. Without the walk there is the wanted one and no other.
//! - What the firmware cannot load from a bootable partition is not walked past: it stands still, here an error. The
//!   EEPROM's own watchdog (`BOOT_WATCHDOG_TIMEOUT`) resets it, where it is set.
//! - The network comes last in the boot order (`BOOT_ORDER=0xf26`): it is asked when the EEPROM finds nothing on the disk.

mod autoboot;
mod config;
mod disk;
mod release;

pub use autoboot::Autoboot;
pub use config::{Board, Config};
pub(crate) use disk::Fat;
#[cfg(test)]
pub(crate) use disk::Window;
pub use disk::{PartitionEntry, partitions};
pub use release::{Eeprom, Release};

use contract::names::{AUTOBOOT, CMDLINE_TXT, CONFIG_TXT, KERNEL};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};

/// The firmware program that makes a partition bootable on a BCM2711.
pub const FIRMWARE: &str = "start4.elf";
/// Its other half: the memory layout that belongs to it.
pub const FIXUP: &str = "fixup4.dat";
/// Longest kernel command line in bytes: arm64's `COMMAND_LINE_SIZE`, less the closing zero.
pub const COMMAND_LINE_MAX: usize = 2047;

/// Partitions behind this one are not inspected.
const LAST_WALKED: u32 = 8;

const TEXT_MAX: usize = 64 * 1024;
const DEVICE_TREE_MAX: usize = 2 * 1024 * 1024;
const KERNEL_MAX: usize = 256 * 1024 * 1024;

/// How the EEPROM is asked to boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub board: Board,
    pub eeprom: Eeprom,
    /// The one-shot tryboot flag, as it was at reset.
    pub tryboot: bool,
    /// The partition whose number the last reset left in PM_RSTS; 0 when it left none.
    pub partition: u32,
}

/// What boots.
#[derive(Clone, Debug)]
pub struct Boot {
    /// Number of the boot partition, as `/chosen/bootloader/partition` reports it.
    pub partition: u32,
    pub tryboot: bool,
    /// A raw or gzip-compressed arm64 Image.
    pub kernel: Vec<u8>,
    pub initramfs: Option<Vec<u8>>,
    pub device_tree: Vec<u8>,
    pub command_line: String,
    pub config: Config,
    /// What was passed over on the way, in words.
    pub notes: Vec<String>,
}

/// Why the EEPROM or the firmware would not get as far as the kernel.
#[derive(Debug, thiserror::Error)]
pub enum NoBoot {
    #[error("the EEPROM finds no partition table: {0}")]
    Table(String),
    #[error("the EEPROM finds no bootable partition: none of {0} is a FAT file system with {FIRMWARE}")]
    NoBootable(String),
    #[error(
        "partition {wanted} is not bootable, and this EEPROM ({release}) looks at no other one: it does not walk"
    )]
    NoWalk { wanted: u32, release: Release },
    #[error("partition {partition}: {file} is missing, {purpose}")]
    Missing { partition: u32, file: String, purpose: &'static str },
    #[error("partition {partition}: {file} cannot be read: {source}")]
    Unreadable { partition: u32, file: String, source: std::io::Error },
    #[error("partition {partition}: {problem}")]
    Refused { partition: u32, problem: String },
}

/// Decides what boots from `disk`.
///
/// # Errors
/// Why nothing would.
pub fn decide(disk: &File, request: Request) -> Result<Boot, NoBoot> {
    let mut entries = partitions(disk).map_err(NoBoot::Table)?;
    let mut notes = Vec::new();
    entries.retain(|entry| entry.number <= LAST_WALKED && entry.may_be_fat);
    let first = entries.iter().find_map(|entry| Fat::open(disk, entry.extent));
    let autoboot = match first.map(|fat| fat.read(AUTOBOOT, TEXT_MAX)) {
        Some(Ok(Some(bytes))) => {
            let (autoboot, passed_over) = autoboot::parse(&bytes, request.tryboot);
            notes.extend(passed_over);
            autoboot
        }
        Some(Err(error)) => {
            notes.push(format!("{AUTOBOOT} cannot be read: {error}"));
            Autoboot::default()
        }
        Some(Ok(None)) | None => Autoboot::default(),
    };

    let wanted = if request.partition > 0 {
        notes.push(format!("PM_RSTS names partition {}, which comes before {AUTOBOOT}", request.partition));
        Some(request.partition)
    } else {
        autoboot.boot_partition
    };
    let (partition, fat) = walk(disk, &entries, wanted, request.eeprom, &mut notes)?;
    let config_name = if request.tryboot && !autoboot.tryboot_a_b { "tryboot.txt" } else { CONFIG_TXT };
    Files { partition, from: Origin::Disk(Box::new(fat)) }.boot(config_name, request, notes)
}

/// Files that a server on the network has for the board, by name.
pub type Tree = BTreeMap<String, Vec<u8>>;

/// What boots from the network: as with a partition, but there is no `autoboot.txt` and no number.
///
/// # Errors
/// Why nothing would.
pub fn decide_netboot(tree: &Tree, request: Request) -> Result<Boot, NoBoot> {
    let files = Files { partition: 0, from: Origin::Network(tree) };
    files.needed(FIRMWARE, KERNEL_MAX, "without which a folder on the network is passed over")?;
    // The one-shot request is for a disk's autoboot.txt.
    files.boot(CONFIG_TXT, Request { tryboot: false, ..request }, Vec::new())
}

/// The wanted partition, or the next bootable one of an EEPROM that walks.
fn walk(
    disk: &File,
    entries: &[PartitionEntry],
    wanted: Option<u32>,
    eeprom: Eeprom,
    notes: &mut Vec<String>,
) -> Result<(u32, Fat), NoBoot> {
    let start = match wanted {
        None => 0,
        Some(number) => entries.iter().position(|entry| entry.number == number).unwrap_or_else(|| {
            notes.push(format!("the wanted partition {number} does not exist"));
            0
        }),
    };
    if !eeprom.walks() {
        let first = wanted.or(entries.first().map(|entry| entry.number)).unwrap_or(1);
        let fat = entries.iter().find(|entry| entry.number == first).and_then(|entry| Fat::open(disk, entry.extent));
        let fat = fat.filter(|fat| fat.has(FIRMWARE));
        return fat.map(|fat| (first, fat)).ok_or(NoBoot::NoWalk { wanted: first, release: eeprom.release });
    }
    for entry in entries[start..].iter().chain(&entries[..start]) {
        match Fat::open(disk, entry.extent) {
            Some(fat) if fat.has(FIRMWARE) => return Ok((entry.number, fat)),
            _ if wanted == Some(entry.number) => {
                notes
                    .push(format!("the wanted partition {} is not bootable; looking at the next ones", entry.number));
            }
            _ => {}
        }
    }
    let names: Vec<String> = entries.iter().map(|entry| format!("{} ({})", entry.number, entry.name)).collect();
    Err(NoBoot::NoBootable(if names.is_empty() { "no partitions".to_owned() } else { names.join(", ") }))
}

/// The files of the boot partition, or of a server's folder, whose number is 0.
struct Files<'f> {
    partition: u32,
    from: Origin<'f>,
}

enum Origin<'f> {
    Disk(Box<Fat>),
    Network(&'f Tree),
}

impl Files<'_> {
    fn read(&self, file: &str, limit: usize) -> Result<Option<Vec<u8>>, NoBoot> {
        let read = match &self.from {
            Origin::Disk(fat) => fat.read(file, limit),
            Origin::Network(tree) => match tree.get(file) {
                Some(bytes) if bytes.len() > limit => {
                    Err(std::io::Error::new(ErrorKind::FileTooLarge, format!("longer than {limit} bytes")))
                }
                found => Ok(found.cloned()),
            },
        };
        let (partition, file) = (self.partition, file.to_owned());
        read.map_err(|source| NoBoot::Unreadable { partition, file, source })
    }

    /// What `start4.elf` does.
    fn boot(&self, config_name: &str, request: Request, mut notes: Vec<String>) -> Result<Boot, NoBoot> {
        self.needed(FIXUP, TEXT_MAX, "which the firmware needs beside start4.elf")?;
        let text = self.read(config_name, TEXT_MAX)?.unwrap_or_default();
        let (config, passed_over) = Config::parse(&text, request.board, request.tryboot);
        notes.extend(passed_over);
        self.load(request, config, notes)
    }

    fn needed(&self, file: &str, limit: usize, purpose: &'static str) -> Result<Vec<u8>, NoBoot> {
        let (partition, name) = (self.partition, file.to_owned());
        self.read(file, limit)?.ok_or(NoBoot::Missing { partition, file: name, purpose })
    }

    fn refuse(&self, problem: impl Into<String>) -> NoBoot {
        NoBoot::Refused { partition: self.partition, problem: problem.into() }
    }

    /// What the firmware does with config.txt.
    fn load(&self, request: Request, config: Config, notes: Vec<String>) -> Result<Boot, NoBoot> {
        for (key, what) in [("boot_ramdisk", "a boot.img"), ("include", "an included file")] {
            if config.is_set(key) {
                return Err(self.refuse(format!("config.txt asks for {what}, which the emulator does not follow")));
            }
        }
        if config.get("arm_64bit").is_some() && !config.is_set("arm_64bit") {
            return Err(self.refuse("config.txt says arm_64bit=0; this kernel is a 64-bit one"));
        }
        let prefix = config.get("os_prefix").unwrap_or("");
        let named = |name: &str| format!("{prefix}{name}");

        let kernel_name = named(config.get("kernel").unwrap_or(KERNEL));
        let kernel = self.needed(&kernel_name, KERNEL_MAX, "the kernel")?;
        if !is_arm64_image(&kernel) {
            return Err(self.refuse(format!("{kernel_name} is not an arm64 kernel image")));
        }
        let initramfs = match config.initramfs() {
            Some(name) => Some(self.needed(&named(name), KERNEL_MAX, "which config.txt names as the initramfs")?),
            None => None,
        };
        let device_tree_name = match (config.get("device_tree"), config.is_set("upstream_kernel")) {
            (Some(name), _) => named(name),
            (None, true) => named(request.board.device_tree()),
            (None, false) => named(request.board.own_device_tree()),
        };
        let device_tree = self.needed(&device_tree_name, DEVICE_TREE_MAX, "the device tree")?;
        if !device_tree.starts_with(&[0xd0, 0x0d, 0xfe, 0xed]) {
            return Err(self.refuse(format!("{device_tree_name} is not a device tree")));
        }
        let name = named(config.get("cmdline").unwrap_or(CMDLINE_TXT));
        let command_line = self.command_line(&name)?;
        let (partition, tryboot) = (self.partition, request.tryboot);
        Ok(Boot { partition, tryboot, kernel, initramfs, device_tree, command_line, config, notes })
    }

    fn command_line(&self, name: &str) -> Result<String, NoBoot> {
        let bytes = self.read(name, TEXT_MAX)?.unwrap_or_default();
        let text = String::from_utf8(bytes).map_err(|_| self.refuse(format!("{name} is not UTF-8")))?;
        let line = text.trim_end_matches(['\n', '\r', ' ']);
        if line.contains(['\n', '\r', '\0']) {
            return Err(self.refuse(format!("{name} has more than one line; the kernel would see only the first")));
        }
        if line.len() > COMMAND_LINE_MAX {
            return Err(self.refuse(format!("{name} has {} bytes; the kernel reads {COMMAND_LINE_MAX}", line.len())));
        }
        Ok(line.to_owned())
    }
}

/// Whether these bytes are an arm64 Image (Linux, Documentation/arch/arm64/booting.rst, section 4), raw or in gzip.
fn is_arm64_image(kernel: &[u8]) -> bool {
    let mut head = [0; 64];
    let read = if kernel.starts_with(&[0x1f, 0x8b]) {
        flate2::read::GzDecoder::new(kernel).read_exact(&mut head)
    } else {
        (&mut &*kernel).read_exact(&mut head)
    };
    read.is_ok() && &head[56..60] == b"ARM\x64"
}

#[cfg(test)]
mod tests;
