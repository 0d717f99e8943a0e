//! The disks that the kernel shows.

use contract::node::Serial;
use contract::storage::Disk;
use std::path::Path;

/// The kernel's folder of block devices.
pub const SYS_BLOCK: &str = "/sys/block";
/// Block devices that are no disks, or parts of an eMMC that hold no partition table.
const NO_DISKS: [&str; 7] = ["loop", "ram", "zram", "dm-", "md", "sr", "nbd"];

/// Whether a block device is a disk: a whole one, and no part of an eMMC beside its main one.
pub fn may_be_disk(name: &str) -> bool {
    let part_of_emmc = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
    !part_of_emmc && !NO_DISKS.iter().any(|prefix| name.starts_with(prefix))
}

/// All disks, by their names.
pub fn all(system: &str) -> Vec<Disk> {
    names().iter().filter(|name| may_be_disk(name)).map(|name| disk(name, system)).collect()
}

/// A disk by its kernel name.
pub fn disk(name: &str, system: &str) -> Disk {
    let folder = Path::new(SYS_BLOCK).join(name);
    let text = |files: &[&str]| {
        let text = files.iter().find_map(|file| std::fs::read_to_string(folder.join(file)).ok())?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let number = |file: &str| text(&[file]).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    Disk {
        name: name.to_owned(),
        // NVMe controllers, SCSI disks and eMMC have the first, virtio disks the second.
        serial: text(&["device/serial", "serial"]).and_then(|text| Serial::try_from(text).ok()),
        model: text(&["device/model", "device/name"]),
        // In units of 512 bytes, whatever the disk's own.
        size: number("size").saturating_mul(512),
        block: u32::try_from(number("queue/logical_block_size")).unwrap_or(0),
        read_only: number("ro") != 0,
        system: name == system,
        found: None,
    }
}

/// Without those that the kernel hides: `nvme0c0n1` is one path to the disk `nvme0n1`.
pub fn names() -> Vec<String> {
    let entries = std::fs::read_dir(SYS_BLOCK).into_iter().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    let hidden = |name: &str| std::fs::read_to_string(Path::new(SYS_BLOCK).join(name).join("hidden"));
    names.retain(|name| !hidden(name).is_ok_and(|flag| flag.trim() == "1"));
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_told_from_other_block_devices() {
        for disk in ["nvme0n1", "mmcblk0", "vda", "sda"] {
            assert!(may_be_disk(disk), "{disk}");
        }
        for other in ["loop0", "ram3", "zram0", "dm-0", "mmcblk0boot0", "mmcblk0boot1", "mmcblk0rpmb", "sr0"] {
            assert!(!may_be_disk(other), "{other}");
        }
    }
}
