//! The disks that the kernel shows.

use contract::node::Serial;
use contract::storage::Disk;
use std::path::Path;
use std::time::{Duration, Instant};

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
        // NVMe controllers, SD cards and eMMC have the first, virtio disks the second.
        serial: text(&["device/serial", "serial"])
            .or_else(|| scsi_serial(&folder.join("device")))
            .and_then(|text| Serial::try_from(text).ok()),
        model: text(&["device/model", "device/name"]),
        // In units of 512 bytes, whatever the disk's own.
        size: number("size").saturating_mul(512),
        block: u32::try_from(number("queue/logical_block_size")).unwrap_or(0),
        read_only: number("ro") != 0,
        system: name == system,
        found: None,
    }
}

/// The serial number of a SCSI disk, whose folder in sysfs this is: that of the USB device that it is a part of, which does
/// not depend on the driver; else the disk's own (SCSI Primary Commands, vital product data, page 0x80: a head of four bytes,
/// of which the last two are the length of the text behind it).
fn scsi_serial(folder: &Path) -> Option<String> {
    let device = folder.canonicalize().ok()?;
    let usb = device.ancestors().find(|above| above.join("idVendor").is_file());
    let text = match usb {
        Some(usb) => std::fs::read_to_string(usb.join("serial")).ok()?,
        None => {
            let page = std::fs::read(device.join("vpd_pg80")).ok()?;
            let length = u16::from_be_bytes(page.get(2..4)?.try_into().ok()?);
            String::from_utf8_lossy(page.get(4..4 + usize::from(length))?).into_owned()
        }
    };
    Some(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned()).filter(|text| !text.is_empty())
}

/// Waits for disks, which `find` lists: for the one that is named, or until no more come, for `settle` after the first. For no
/// longer than `timeout` in all.
pub fn wait(named: Option<&Serial>, settle: Duration, timeout: Duration, find: impl Fn() -> Vec<Disk>) -> Vec<Disk> {
    let started = Instant::now();
    let mut first = None;
    loop {
        let disks = find();
        if !disks.is_empty() {
            first.get_or_insert_with(Instant::now);
        }
        let there = match named {
            Some(serial) => disks.iter().any(|disk| disk.serial.as_ref() == Some(serial)),
            None => first.is_some_and(|since| since.elapsed() >= settle),
        };
        if there || started.elapsed() >= timeout {
            return disks;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A disk as a person knows it.
pub fn in_words(disk: &Disk) -> String {
    match &disk.serial {
        Some(serial) => format!("{} (serial number {serial})", disk.name),
        None => format!("{} (without a serial number)", disk.name),
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
    fn a_usb_disk_has_the_serial_number_of_its_device_and_another_scsi_disk_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("usb1/1-1/1-1:1.0/host0/target0:0:0/0:0:0:0");
        std::fs::create_dir_all(&disk).unwrap();
        assert_eq!(scsi_serial(&disk), None);
        for (page, serial) in [
            (&b"\x00\x80\x00\x06  S1 \0"[..], Some("S1")),
            (b"\x00\x80\x00\x00", None),
            (b"\x00\x80\x00\x09S1", None),
            (b"\x00\x80", None),
        ] {
            std::fs::write(disk.join("vpd_pg80"), page).unwrap();
            assert_eq!(scsi_serial(&disk).as_deref(), serial, "{page:?}");
        }
        std::fs::write(folder.path().join("usb1/1-1/idVendor"), "152d\n").unwrap();
        assert_eq!(scsi_serial(&disk), None, "a device that has none is not known by what its driver says");
        std::fs::write(folder.path().join("usb1/1-1/serial"), "0123456789AB\n").unwrap();
        assert_eq!(scsi_serial(&disk).as_deref(), Some("0123456789AB"));
    }

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
