//! Which disk the installer takes. Its words are those of the claim.

use crate::disk::list::{self, in_words};
use contract::layout::SECTOR;
use contract::names::OPT_DISK;
use contract::node::Serial;
use contract::storage::Disk;
use std::path::Path;
use std::time::Duration;

/// How long another disk may take after the first, when none is named.
const SETTLE: Duration = Duration::from_secs(2);

/// Waits until disks have come up, for no longer than `timeout`.
pub fn wait(named: Option<&Serial>, timeout: Duration) -> Vec<Disk> {
    list::wait(named, SETTLE, timeout, || {
        let mut disks = list::all("");
        disks.retain(|disk| disk.size > 0 && Path::new("/dev").join(&disk.name).exists());
        disks
    })
}

/// The disk that is named; else the only NVMe disk; else, where there is none, the only eMMC or SD card (the emulated one is
/// a virtio disk). A disk on USB may be there for a moment only: it must be named.
///
/// # Errors
/// What was found, and what to do.
pub fn choose(disks: Vec<Disk>, named: Option<&Serial>) -> Result<Disk, String> {
    let all = disks.iter().map(in_words).collect::<Vec<_>>().join(", ");
    let all = if all.is_empty() { "none".to_owned() } else { all };
    let of = |kinds: &[&str]| {
        let kind = |disk: &&Disk| kinds.iter().any(|kind| disk.name.starts_with(kind));
        disks.iter().filter(kind).cloned().collect::<Vec<Disk>>()
    };
    let mut fitting = match named {
        Some(serial) => disks.iter().filter(|disk| disk.serial.as_ref() == Some(serial)).cloned().collect(),
        None => Some(of(&["nvme"])).filter(|found| !found.is_empty()).unwrap_or_else(|| of(&["mmcblk", "vd"])),
    };
    let disk = match (fitting.pop(), fitting.is_empty(), named) {
        (Some(disk), true, _) => disk,
        (None, _, Some(serial)) => {
            return Err(format!("there is no disk with the serial number {serial}; found: {all}"));
        }
        (None, _, None) => {
            return Err(format!("there is no NVMe disk, eMMC or SD card to install onto; found: {all}"));
        }
        (Some(_), false, Some(serial)) => {
            return Err(format!("more than one disk has the serial number {serial}: {all}; all are left alone"));
        }
        (Some(_), false, None) => {
            return Err(format!(
                "more than one disk could be meant: {all}; all are left alone. To choose one, put {OPT_DISK}= and its serial \
                 number on the kernel command line"
            ));
        }
    };
    if disk.read_only {
        return Err(format!("{} is read-only, as eMMC becomes when it is worn out: replace it", in_words(&disk)));
    }
    if u64::from(disk.block) != SECTOR {
        return Err(format!(
            "the logical blocks of {} have {} bytes, not {SECTOR}: an image cannot boot from it",
            in_words(&disk),
            disk.block
        ));
    }
    Ok(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(name: &str, number: &str) -> Disk {
        let serial = Serial::try_from(number.to_owned()).ok();
        Disk { serial, size: 1 << 33, block: 512, read_only: false, ..list::disk(name, "") }
    }

    fn chosen(disks: &[Disk], named: Option<&str>) -> Result<String, String> {
        let named = named.map(|text| Serial::try_from(text.to_owned()).unwrap());
        choose(disks.to_vec(), named.as_ref()).map(|disk| disk.name)
    }

    #[test]
    fn the_only_nvme_disk_comes_before_an_emmc_and_a_usb_disk_is_taken_only_when_it_is_named() {
        let (nvme, emmc, usb) = (disk("nvme0n1", "S1"), disk("mmcblk0", "0x1"), disk("sda", "U1"));
        assert_eq!(chosen(&[emmc.clone(), nvme.clone(), usb.clone()], None).unwrap(), "nvme0n1");
        assert_eq!(chosen(&[emmc.clone(), usb.clone()], None).unwrap(), "mmcblk0");
        assert!(chosen(std::slice::from_ref(&usb), None).unwrap_err().contains("found: sda (serial number U1)"));
        assert_eq!(chosen(&[nvme.clone(), usb], Some("U1")).unwrap(), "sda");
        assert_eq!(chosen(&[nvme, emmc], Some("0x1")).unwrap(), "mmcblk0");
        assert!(chosen(&[], None).unwrap_err().ends_with("found: none"));
    }

    #[test]
    fn of_two_disks_none_is_taken_unless_one_is_named() {
        let disks = [disk("nvme0n1", "S1"), disk("nvme1n1", "S2")];
        let error = chosen(&disks, None).unwrap_err();
        assert!(error.contains("left alone") && error.contains("microdc.disk=") && error.contains("S2"), "{error}");
        assert_eq!(chosen(&disks, Some("S2")).unwrap(), "nvme1n1");
        assert!(chosen(&disks, Some("S9")).unwrap_err().contains("no disk with the serial number S9"));
        let twins = [disk("nvme0n1", "S1"), disk("nvme0n2", "S1")];
        assert!(chosen(&twins, Some("S1")).unwrap_err().contains("more than one disk has"));
    }

    #[test]
    fn a_worn_out_disk_and_one_of_other_blocks_are_not_begun() {
        let worn = Disk { read_only: true, ..disk("mmcblk0", "0x1") };
        assert!(chosen(&[worn], None).unwrap_err().contains("read-only"));
        let large = Disk { block: 4096, ..disk("nvme0n1", "S1") };
        assert!(chosen(&[large], None).unwrap_err().contains("4096 bytes, not 512"));
    }
}
