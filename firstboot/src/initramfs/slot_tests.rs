use super::*;
use contract::manifest::Manifest;
use contract::manifest::{self, BlockImage};
use contract::role::Role;
use contract::trailer::TrailerError;
use proptest::prelude::*;

fn wanted() -> Digest {
    Digest::of(b"wanted")
}

/// What a root partition may hold, as far as the choice is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Wanted,
    OtherBuild,
    HalfWritten,
    Forged,
}

const ALL: [Holds; 4] = [Holds::Wanted, Holds::OtherBuild, Holds::HalfWritten, Holds::Forged];

fn root(disk: &str, slot: Slot, holds: Holds) -> RootPartition {
    let signed = |root_hash| {
        let image = BlockImage { length: 4096, root_hash };
        let manifest = Manifest {
            format: manifest::FORMAT,
            role: Role::literal("router"),
            compatible: None,
            board: contract::names::BOARD.to_owned(),
            version: "1".parse().unwrap(),
            built: 0,
            rollback_index: 0,
            kernel: "6".parse().unwrap(),
            boot: image.clone(),
            root: image,
            supplied: Vec::new(),
        };
        Signed { manifest, digest: root_hash }
    };
    let content = match holds {
        Holds::Wanted => Ok(signed(wanted())),
        Holds::OtherBuild => Ok(signed(Digest::of(b"other"))),
        Holds::HalfWritten => Err(TrailerError::Empty.into()),
        Holds::Forged => Err(TrailerError::Damaged("its magic is wrong").into()),
    };
    RootPartition { disk: disk.to_owned(), slot, extent: Extent { offset: 0, length: 1 << 20 }, content }
}

fn firmware(slot: Option<Slot>, medium: Option<Medium>) -> Firmware {
    Firmware { slot, trial: false, medium }
}

fn chosen(firmware: &Firmware, roots: &[RootPartition]) -> Option<(String, Slot)> {
    choose(wanted(), firmware, roots).ok().map(|found| (found.disk, found.slot))
}

fn at(disk: &str, slot: Slot) -> Option<(String, Slot)> {
    Some((disk.to_owned(), slot))
}

#[test]
fn a_silent_firmware_leaves_the_choice_to_the_root_hash_and_a_comes_first() {
    for a in ALL {
        for b in ALL {
            let roots = [root("nvme0n1", Slot::B, b), root("nvme0n1", Slot::A, a)];
            let expected = match (a, b) {
                (Holds::Wanted, _) => at("nvme0n1", Slot::A),
                (_, Holds::Wanted) => at("nvme0n1", Slot::B),
                _ => None,
            };
            assert_eq!(chosen(&firmware(None, None), &roots), expected, "A {a:?}, B {b:?}");
        }
    }
}

#[test]
fn a_firmware_that_names_its_slot_gets_that_slot_or_none() {
    for named in Slot::BOTH {
        for own in ALL {
            for other in ALL {
                let roots = [root("nvme0n1", named, own), root("nvme0n1", named.other(), other)];
                let expected = if own == Holds::Wanted { at("nvme0n1", named) } else { None };
                assert_eq!(chosen(&firmware(Some(named), None), &roots), expected, "own {own:?}, other {other:?}");
            }
        }
    }
}

#[test]
fn of_two_disks_with_the_same_image_the_started_one_is_taken() {
    let mut roots = Vec::new();
    for disk in ["mmcblk0", "nvme0n1"] {
        roots.extend(Slot::BOTH.map(|slot| root(disk, slot, Holds::Wanted)));
    }
    for (medium, disk) in [(Medium::Mmc, "mmcblk0"), (Medium::Nvme, "nvme0n1")] {
        assert_eq!(chosen(&firmware(Some(Slot::B), Some(medium)), &roots), at(disk, Slot::B));
        assert_eq!(chosen(&firmware(None, Some(medium)), &roots), at(disk, Slot::A));
    }
    assert_eq!(chosen(&firmware(None, None), &roots), at("mmcblk0", Slot::A));
}

#[test]
fn a_damaged_slot_is_not_replaced_by_the_same_slot_of_another_disk() {
    let roots = [root("mmcblk0", Slot::A, Holds::Wanted), root("nvme0n1", Slot::A, Holds::Forged)];
    assert_eq!(chosen(&firmware(Some(Slot::A), Some(Medium::Nvme)), &roots), None);
}

#[test]
fn a_disk_of_no_known_kind_will_do_when_the_named_kind_is_not_there() {
    let roots = [root("vda", Slot::A, Holds::Wanted)];
    let found = choose(wanted(), &firmware(Some(Slot::A), Some(Medium::Nvme)), &roots).unwrap();
    assert!(!found.certain, "an NVMe disk may still come up");
    let roots = [root("nvme0n1", Slot::A, Holds::Wanted)];
    assert!(choose(wanted(), &firmware(None, Some(Medium::Nvme)), &roots).unwrap().certain);
}

#[test]
fn an_nvme_disk_that_started_and_is_not_there_is_named_with_the_trouble_that_carriers_have() {
    let error = choose(wanted(), &firmware(Some(Slot::A), Some(Medium::Nvme)), &[]).unwrap_err().to_string();
    assert!(error.contains("CLKREQ#") && error.contains("pcie_aspm=off"), "{error}");
    let error = choose(wanted(), &firmware(Some(Slot::A), Some(Medium::Mmc)), &[]).unwrap_err().to_string();
    assert!(!error.contains("CLKREQ#"), "{error}");
}

#[test]
fn a_refusal_names_the_slot_and_what_is_wrong_with_it() {
    let roots = [root("nvme0n1", Slot::A, Holds::HalfWritten), root("nvme0n1", Slot::B, Holds::OtherBuild)];
    let error = choose(wanted(), &firmware(Some(Slot::A), None), &roots).unwrap_err();
    assert_eq!((error.slot, error.disk.as_deref()), (Some(Slot::A), Some("nvme0n1")));
    assert_eq!(error.to_string(), "there is no trailer: the slot is empty or half written");
    assert_eq!((error.stage(), error.certain), ("verifying the slot", false));
    assert!(choose(wanted(), &firmware(Some(Slot::A), Some(Medium::Nvme)), &roots).unwrap_err().certain);

    let error = choose(wanted(), &firmware(None, None), &roots).unwrap_err();
    assert_eq!((error.slot, error.disk.as_deref()), (None, Some("nvme0n1")));
    let text = error.to_string();
    assert!(text.contains("A on nvme0n1: there is no trailer"), "{text}");
    assert!(
        text.contains(&format!("B on nvme0n1: its manifest names the root hash {}", Digest::of(b"other"))),
        "{text}"
    );

    let error = choose(wanted(), &firmware(None, None), &[]).unwrap_err();
    assert_eq!((error.slot, error.disk.as_deref()), (None, None));
    assert_eq!(
        (error.to_string().as_str(), error.stage()),
        ("no disk has a root partition of a slot", "finding the slot")
    );
}

proptest! {
    #[test]
    fn nothing_but_the_wanted_root_is_ever_chosen(
        described in prop::collection::vec((0usize..3, any::<bool>(), 0usize..4), 0..6),
        named in prop::option::of(any::<bool>()),
        medium in 0usize..4,
    ) {
        let slot = |b| if b { Slot::B } else { Slot::A };
        let roots: Vec<_> = described
            .iter()
            .map(|&(disk, b, holds)| root(["nvme0n1", "mmcblk0", "vda"][disk], slot(b), ALL[holds]))
            .collect();
        let medium = [None, Some(Medium::Mmc), Some(Medium::Usb), Some(Medium::Nvme)][medium];
        let firmware = firmware(named.map(slot), medium);
        if let Ok(found) = choose(wanted(), &firmware, &roots) {
            prop_assert_eq!(found.signed.manifest.root.root_hash, wanted());
            prop_assert!(firmware.slot.is_none_or(|slot| slot == found.slot));
        }
    }
}
