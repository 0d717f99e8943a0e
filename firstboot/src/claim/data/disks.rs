//! Which disk is meant for `data`.

use crate::disk::list::{self, disk, in_words};
use contract::node::{Disks, Serial};
use contract::storage::Disk;
use std::path::Path;
use std::time::Duration;

/// How long a disk may take to come up.
const APPEAR: Duration = Duration::from_secs(10);
/// How long another one may take after the first, when none is named.
const SETTLE: Duration = Duration::from_secs(1);

/// Whether `data` belongs on a disk of its own: on the one that is named, if that is not the system disk; and without a name
/// when the node boots from an eMMC or SD card, which wear out (the emulated eMMC is a virtio disk).
pub fn is_separate(system: &Disk, wanted: &Disks) -> bool {
    match &wanted.serial {
        Some(serial) => system.serial.as_ref() != Some(serial),
        None => !["nvme", "sd"].iter().any(|kind| system.name.starts_with(kind)),
    }
}

/// Waits for disks besides the system disk: for the one that is named, of whatever kind, or until no more NVMe disks come. A
/// USB disk may be there for a moment only, so it is not taken without being named.
pub fn wait_for_others(system: &str, wanted: Option<&Serial>) -> Vec<Disk> {
    list::wait(wanted, SETTLE, APPEAR, || others(system, wanted.is_some()))
}

fn others(system: &str, any_kind: bool) -> Vec<Disk> {
    let mut names = list::names();
    names.retain(|name| {
        let kind = if any_kind { list::may_be_disk(name) } else { name.starts_with("nvme") };
        kind && name != system && Path::new("/dev").join(name).exists()
    });
    let disks = names.iter().map(|name| disk(name, system));
    // A card reader without a card has no size.
    disks.filter(|disk| disk.size > 0).collect()
}

/// The disk with the wanted serial number; without one, the only disk there is besides the system disk.
///
/// # Errors
/// What was found.
pub fn named(disks: Vec<Disk>, wanted: Option<&Serial>, system: &Disk) -> Result<Disk, String> {
    let all = disks.iter().map(in_words).collect::<Vec<_>>().join(", ");
    let mut fitting: Vec<Disk> = match wanted {
        Some(serial) => disks.into_iter().filter(|disk| disk.serial.as_ref() == Some(serial)).collect(),
        None => disks,
    };
    match (fitting.pop(), fitting.is_empty(), wanted) {
        (Some(disk), true, _) => Ok(disk),
        (None, _, None) => Err(no_other(system)),
        (None, _, Some(serial)) if all.is_empty() => Err(format!(
            "there is no disk with the serial number {serial}; no disk was found besides the system disk, {}",
            in_words(system)
        )),
        (None, _, Some(serial)) => Err(format!("there is no disk with the serial number {serial}; found: {all}")),
        (Some(_), false, Some(serial)) => {
            Err(format!("more than one disk has the serial number {serial}: {all}; all are left alone"))
        }
        (Some(_), false, None) => Err(format!("more than one disk could hold data: {all}; all are left alone")),
    }
}

/// There is the system disk alone: to be written to by services it must be named.
fn no_other(system: &Disk) -> String {
    let words = "there is no NVMe disk for data besides the system disk";
    match &system.serial {
        Some(serial) => format!(
            "{words}. To use the rest of the system disk, {}, put this into node.toml, under [disks]:\nserial = \"{serial}\"",
            in_words(system)
        ),
        None => words.to_owned(),
    }
}

/// How a disk stands to a claim that did not name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Claimed by this node, or begun to be.
    Ours(String),
    Blank(String),
    /// Contains someone's data.
    Holds(String),
    /// Nothing can be done with it.
    Unusable(String),
}

impl Standing {
    pub fn words(&self) -> &str {
        let (Standing::Ours(words) | Standing::Blank(words) | Standing::Holds(words) | Standing::Unusable(words)) =
            self;
        words
    }
}

/// A candidate disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    pub disk: Disk,
    pub standing: Standing,
}

/// Chooses among several disks of which none was named: the one that is ours already, else the one that may be wiped.
///
/// # Errors
/// What each of them holds, and what to put into node.toml.
pub fn choose(inspected: Vec<Inspected>, wipe: Option<&Serial>) -> Result<Disk, String> {
    let mut ours = inspected.iter().filter(|inspected| matches!(inspected.standing, Standing::Ours(_)));
    let mut to_wipe = inspected.iter().filter(|inspected| wipe.is_some() && inspected.disk.serial.as_ref() == wipe);
    match (ours.next(), ours.next(), to_wipe.next(), to_wipe.next()) {
        (Some(one), None, ..) | (None, _, Some(one), None) => return Ok(one.disk.clone()),
        _ => {}
    }
    let mut words = "more than one disk could hold data, and all are left alone:\n".to_owned();
    for Inspected { disk, standing } in &inspected {
        let verb = match standing {
            Standing::Unusable(_) => "cannot be used:",
            Standing::Blank(_) => "is",
            Standing::Ours(_) | Standing::Holds(_) => "holds",
        };
        words.push_str(&format!("{} {verb} {}\n", in_words(disk), standing.words()));
    }
    let example = inspected.iter().find_map(|inspected| inspected.disk.serial.as_ref()).map_or("...", Serial::as_str);
    words.push_str("To choose one, put its serial number under [disks] in node.toml, for example:\n");
    words.push_str(&format!("serial = \"{example}\""));
    Err(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nvme(name: &str, number: &str) -> Disk {
        Disk { serial: Serial::try_from(number.to_owned()).ok(), ..disk(name, "mmcblk0") }
    }

    fn serial(text: &str) -> Serial {
        Serial::try_from(text.to_owned()).unwrap()
    }

    fn inspected(name: &str, number: &str, standing: Standing) -> Inspected {
        Inspected { disk: nvme(name, number), standing }
    }

    fn blank() -> Standing {
        Standing::Blank("blank (all of it was read)".to_owned())
    }

    fn ours() -> Standing {
        Standing::Ours("data of this node".to_owned())
    }

    fn system() -> Disk {
        nvme("mmcblk0", "0xdeadbeef")
    }

    #[test]
    fn one_disk_is_taken_and_of_two_the_named_one() {
        let (one, two) = (nvme("nvme0n1", "S1"), nvme("nvme1n1", "S2"));
        assert_eq!(named(vec![one.clone()], None, &system()), Ok(one.clone()));
        assert_eq!(named(vec![one.clone(), two.clone()], Some(&serial("S1")), &system()), Ok(one));
    }

    #[test]
    fn a_disk_that_is_not_there_and_twins_are_refused() {
        let found = named(Vec::new(), None, &system()).unwrap_err();
        assert!(
            found.starts_with("there is no NVMe disk") && found.ends_with("\nserial = \"0xdeadbeef\""),
            "{found}"
        );
        let found = named(Vec::new(), Some(&serial("S9")), &system()).unwrap_err();
        assert!(found.contains("S9") && found.ends_with("mmcblk0 (serial number 0xdeadbeef)"), "{found}");
        let found = named(vec![nvme("nvme0n1", "S1")], Some(&serial("S9")), &system()).unwrap_err();
        assert!(found.contains("S9") && found.contains("found: nvme0n1 (serial number S1)"), "{found}");
        let twins = vec![nvme("nvme0n1", "S1"), nvme("nvme0n2", "S1")];
        assert!(named(twins, Some(&serial("S1")), &system()).unwrap_err().contains("more than one disk has"));
    }

    #[test]
    fn of_several_disks_the_one_that_is_ours_is_taken_whatever_wipe_says() {
        let disks = vec![inspected("nvme0n1", "S1", blank()), inspected("nvme1n1", "S2", ours())];
        for wipe in [None, Some(serial("S1")), Some(serial("S2")), Some(serial("S9"))] {
            assert_eq!(choose(disks.clone(), wipe.as_ref()), Ok(nvme("nvme1n1", "S2")), "{wipe:?}");
        }
    }

    #[test]
    fn of_several_disks_that_are_not_ours_the_one_to_wipe_is_taken() {
        let raid = Standing::Holds("a member of a Linux md RAID".to_owned());
        let disks = vec![inspected("nvme0n1", "S1", blank()), inspected("nvme1n1", "S2", raid)];
        assert_eq!(choose(disks.clone(), Some(&serial("S2"))), Ok(nvme("nvme1n1", "S2")));
        for wipe in [None, Some(serial("S9"))] {
            let found = choose(disks.clone(), wipe.as_ref()).unwrap_err();
            assert!(found.contains("nvme0n1 (serial number S1) is blank"), "{found}");
            assert!(found.contains("nvme1n1 (serial number S2) holds a member of a Linux md RAID"), "{found}");
            assert!(found.ends_with("\nserial = \"S1\""), "{found}");
        }
    }

    #[test]
    fn two_disks_of_ours_and_two_with_one_serial_number_are_left_alone() {
        let both = vec![inspected("nvme0n1", "S1", ours()), inspected("nvme1n1", "S2", ours())];
        assert!(choose(both, Some(&serial("S1"))).is_err());
        let twins = vec![inspected("nvme0n1", "S1", blank()), inspected("nvme1n1", "S1", blank())];
        assert!(choose(twins, Some(&serial("S1"))).is_err());
    }

    #[test]
    fn data_is_on_the_system_disk_when_it_is_named_or_no_flash_card_and_none_is_named() {
        let wanted = |name: Option<&str>| Disks { serial: name.map(serial), ..Disks::default() };
        for (system, named, separate) in [
            ("nvme0n1", None, false),
            ("sda", None, false),
            ("mmcblk0", None, true),
            ("vda", None, true),
            ("nvme0n1", Some("S1"), false),
            ("sda", Some("S1"), false),
            ("mmcblk0", Some("S1"), false),
            ("nvme0n1", Some("S2"), true),
            ("sda", Some("S2"), true),
            ("mmcblk0", Some("S2"), true),
        ] {
            assert_eq!(is_separate(&nvme(system, "S1"), &wanted(named)), separate, "{system}, {named:?}");
        }
        assert!(
            is_separate(&nvme("mmcblk0", ""), &wanted(Some("S1"))),
            "a disk without a serial number is not meant"
        );
    }
}
