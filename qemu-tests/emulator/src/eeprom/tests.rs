//! Claims about what boots, on small images made here.

use super::*;
use crate::fixture::{AB, CONFIG, Content, bootsel, disk, image_of, normal, slot, start, with, without};
use contract::layout::{MIB, SECTOR};
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

const CM4: Request =
    Request { board: Board::Cm4, eeprom: Eeprom::of(Release::R2025_11), tryboot: false, partition: 0 };
const TRIAL: Request = Request { tryboot: true, ..CM4 };

fn model(boot: &Boot) -> Vec<u8> {
    crate::devicetree::Tree::parse(&boot.device_tree).unwrap().get("/", "model").unwrap().to_vec()
}

fn booted(contents: &[Content], request: Request) -> (u32, u8) {
    let boot = decide(&disk(contents), request).unwrap();
    (boot.partition, *boot.kernel.last().unwrap())
}

fn refused(contents: &[Content]) -> String {
    decide(&disk(contents), CM4).unwrap_err().to_string()
}

#[test]
fn the_default_slot_boots_with_its_own_files() {
    let boot = decide(&disk(&normal()), CM4).unwrap();
    assert_eq!((boot.partition, boot.tryboot), (2, false));
    assert_eq!(boot.kernel, image_of(b'A'));
    assert_eq!(boot.initramfs.clone().unwrap(), vec![b'A'; 100]);
    assert_eq!(boot.command_line, "console=ttyAMA0 panic=10");
    assert_eq!(model(&boot), b"cm4");
    assert_eq!(boot.notes, Vec::<String>::new());
}

#[test]
fn a_trial_boots_the_other_slot() {
    let boot = decide(&disk(&normal()), TRIAL).unwrap();
    assert_eq!((boot.partition, boot.tryboot, boot.kernel[4095]), (3, true, b'B'));
}

#[test]
fn without_a_b_a_trial_takes_tryboot_txt_of_the_same_partition() {
    let slot_a =
        with(with(slot(b'A'), "tryboot.txt", "kernel=new.img\nupstream_kernel=1\n"), "new.img", image_of(b'N'));
    let contents = [bootsel("boot_partition=2\n"), slot_a, slot(b'B')];
    assert_eq!(booted(&contents, CM4), (2, b'A'));
    assert_eq!(booted(&contents, TRIAL), (2, b'N'));
}

#[test]
fn without_autoboot_txt_the_first_bootable_partition_boots() {
    assert_eq!(booted(&[Content::new(), slot(b'A'), slot(b'B')], CM4), (2, b'A'));
}

#[test]
fn an_autoboot_txt_of_garbage_still_boots_a_slot() {
    let garbage = with(Content::new(), "autoboot.txt", vec![0xff; 300]);
    assert_eq!(booted(&[garbage, slot(b'A'), slot(b'B')], CM4), (2, b'A'));
}

#[test]
fn an_autoboot_txt_of_a_whole_sector_counts_as_none() {
    let long = format!("{AB}boot_partition=3\n{}", "#".repeat(512 - AB.len() - 17));
    let contents = [bootsel(&long), slot(b'A'), slot(b'B')];
    let boot = decide(&disk(&contents), CM4).unwrap();
    assert_eq!(boot.partition, 2);
    assert!(boot.notes[0].contains("512 bytes"), "{:?}", boot.notes);
}

#[test]
fn the_walk_goes_on_from_a_partition_that_is_not_bootable() {
    let hollow = without(slot(b'A'), FIRMWARE);
    let contents = [bootsel(AB), hollow, slot(b'B')];
    let boot = decide(&disk(&contents), CM4).unwrap();
    assert_eq!(boot.partition, 3);
    assert!(boot.notes[0].contains("partition 2 is not bootable"), "{:?}", boot.notes);
}

#[test]
fn the_walk_goes_in_a_circle() {
    let contents = [bootsel("boot_partition=3\n"), slot(b'A'), without(slot(b'B'), FIRMWARE)];
    assert_eq!(booted(&contents, CM4), (2, b'A'));
}

#[test]
fn a_partition_that_does_not_exist_leads_to_the_walk() {
    let contents = [bootsel("boot_partition=9\n"), slot(b'A'), slot(b'B')];
    let boot = decide(&disk(&contents), CM4).unwrap();
    assert_eq!(boot.partition, 2);
    assert!(boot.notes[0].contains("9 does not exist"), "{:?}", boot.notes);
}

#[test]
fn a_slot_whose_file_system_is_gone_is_walked_past() {
    let file = disk(&normal());
    file.write_all_at(&[0; 512], start(2)).unwrap();
    assert_eq!(decide(&file, CM4).unwrap().partition, 3);
}

#[test]
fn a_bootsel_whose_file_system_is_gone_still_boots_slot_a() {
    let file = disk(&normal());
    file.write_all_at(&[0; 512], start(1)).unwrap();
    assert_eq!(decide(&file, CM4).unwrap().partition, 2);
}

#[test]
fn without_any_firmware_nothing_boots_and_every_partition_is_named() {
    let error = refused(&[bootsel(AB), Content::new()]);
    assert!(error.contains("1 (part1), 2 (part2)") && error.contains(FIRMWARE), "{error}");
}

#[test]
fn each_missing_file_is_named() {
    for name in [FIXUP, KERNEL, "initramfs.img", "bcm2711-rpi-cm4-io.dtb"] {
        let error = refused(&[bootsel(AB), without(slot(b'A'), name), slot(b'B')]);
        assert!(error.contains(&format!("partition 2: {name} is missing")), "{error}");
    }
}

#[test]
fn a_kernel_of_another_kind_is_refused() {
    let error = refused(&[bootsel(AB), with(slot(b'A'), KERNEL, b"MZ a 32-bit one".to_vec())]);
    assert!(error.contains("not an arm64 kernel image"), "{error}");
}

#[test]
fn a_compressed_kernel_boots_and_a_damaged_one_does_not() {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&image_of(b'Z')).unwrap();
    let packed = packed.finish().unwrap();
    let boot = decide(&disk(&[bootsel(AB), with(slot(b'A'), KERNEL, packed.clone())]), CM4).unwrap();
    assert_eq!(boot.kernel, packed);
    let error = refused(&[bootsel(AB), with(slot(b'A'), KERNEL, packed[..12].to_vec())]);
    assert!(error.contains("not an arm64 kernel image"), "{error}");
}

#[test]
fn a_32_bit_config_is_refused() {
    let error = refused(&[bootsel(AB), with(slot(b'A'), CONFIG_TXT, "arm_64bit=0\n")]);
    assert!(error.contains("arm_64bit=0"), "{error}");
}

#[test]
fn a_ramdisk_image_is_refused_and_not_passed_over() {
    let error = refused(&[bootsel(AB), with(slot(b'A'), CONFIG_TXT, "boot_ramdisk=1\n")]);
    assert!(error.contains("boot.img"), "{error}");
}

#[test]
fn without_upstream_kernel_the_firmware_looks_for_its_own_name_of_the_device_tree() {
    let error = refused(&[bootsel(AB), with(slot(b'A'), CONFIG_TXT, "kernel=kernel8.img\n")]);
    assert!(error.contains("bcm2711-rpi-cm4.dtb is missing"), "{error}");
    let named = with(slot(b'A'), CONFIG_TXT, "device_tree=bcm2711-rpi-cm4-io.dtb\n");
    assert_eq!(booted(&[bootsel(AB), named], CM4), (2, b'A'));
}

#[test]
fn the_prefix_stands_before_every_file() {
    let error = refused(&[bootsel(AB), with(slot(b'A'), CONFIG_TXT, "os_prefix=new-\n")]);
    assert!(error.contains("new-kernel8.img is missing"), "{error}");
}

#[test]
fn a_config_for_trials_only_applies_to_trials_only() {
    let config = format!("{CONFIG}[tryboot]\nkernel=trial.img\n");
    let slot_b = with(with(slot(b'B'), CONFIG_TXT, config), "trial.img", image_of(b'T'));
    assert_eq!(booted(&[bootsel(AB), slot(b'A'), slot_b.clone()], TRIAL), (3, b'T'));
    let b_by_default = bootsel("tryboot_a_b=1\nboot_partition=3\n");
    assert_eq!(booted(&[b_by_default, slot(b'A'), slot_b], CM4), (3, b'B'));
}

#[test]
fn a_command_line_of_two_lines_is_refused() {
    let error = refused(&[bootsel(AB), with(slot(b'A'), CMDLINE_TXT, "quiet\nmicrodc.root=00\n")]);
    assert!(error.contains("more than one line"), "{error}");
}

#[test]
fn a_command_line_that_the_kernel_would_cut_is_refused() {
    let long = "x".repeat(COMMAND_LINE_MAX);
    assert_eq!(booted(&[bootsel(AB), with(slot(b'A'), CMDLINE_TXT, long.clone())], CM4), (2, b'A'));
    let error = refused(&[bootsel(AB), with(slot(b'A'), CMDLINE_TXT, format!("{long}x"))]);
    assert!(error.contains("2048 bytes"), "{error}");
}

#[test]
fn the_pi_4_takes_its_own_device_tree() {
    let config =
        format!("{CONFIG}[pi4]\ndevice_tree=bcm2711-rpi-4-b.dtb\n[cm4]\ndevice_tree=bcm2711-rpi-cm4-io.dtb\n");
    let contents = [bootsel(AB), with(slot(b'A'), CONFIG_TXT, config)];
    assert_eq!(model(&decide(&disk(&contents), CM4).unwrap()), b"cm4");
    let boot = decide(&disk(&contents), Request { board: Board::Pi4b, ..CM4 }).unwrap();
    assert_eq!(model(&boot), b"4b");
}

#[test]
fn names_of_files_are_found_in_any_case() {
    let config = CONFIG.replace("kernel8.img", "KERNEL8.IMG");
    assert_eq!(booted(&[bootsel(AB), with(slot(b'A'), CONFIG_TXT, config)], CM4), (2, b'A'));
}

#[test]
fn a_disk_without_a_partition_table_says_so() {
    let file = tempfile::tempfile().unwrap();
    assert!(decide(&file, CM4).unwrap_err().to_string().contains("too short"));
    file.set_len(MIB).unwrap();
    assert!(decide(&file, CM4).unwrap_err().to_string().contains("no GPT header"));
}

#[test]
fn a_damaged_partition_table_is_not_believed() {
    for at in [SECTOR + 40, SECTOR + 72, 2 * SECTOR + 33] {
        let file = disk(&normal());
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        let error = decide(&file, CM4).unwrap_err();
        assert!(matches!(error, NoBoot::Table(_)), "offset {at}: {error}");
    }
}

#[test]
fn a_table_with_entries_of_another_size_is_refused() {
    let file = disk(&normal());
    file.write_all_at(&256_u32.to_le_bytes(), SECTOR + 84).unwrap();
    assert!(decide(&file, CM4).unwrap_err().to_string().contains("of 256 bytes"));
}

#[test]
fn a_disk_that_ends_inside_a_partition_is_refused() {
    let file = disk(&normal());
    file.set_len(start(3) + MIB).unwrap();
    assert!(decide(&file, CM4).unwrap_err().to_string().contains("partition 3 does not lie on the disk"));
}

#[test]
fn growing_the_disk_changes_nothing() {
    let file = disk(&normal());
    file.set_len(8192 * MIB).unwrap();
    assert_eq!(decide(&file, CM4).unwrap().partition, 2);
}

#[test]
fn deciding_writes_nothing() {
    let file = disk(&normal());
    let all = || {
        let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    };
    let before = all();
    decide(&file, TRIAL).unwrap();
    assert!(before == all());
}

/// What boots, as the last byte of the slot's kernel; `-` when nothing does.
fn outcome(contents: &[Content], request: Request) -> char {
    decide(&disk(contents), request).map_or('-', |boot| char::from(boot.kernel[4095]))
}

/// The table of profiles/BOARD.md: releases by what happens to a node.
#[test]
fn each_release_of_the_eeprom_boots_what_its_table_says() {
    let lost = [Content::new(), slot(b'A'), slot(b'B')];
    let damaged_a = [bootsel(AB), without(slot(b'A'), FIRMWARE), slot(b'B')];
    let damaged_b = [bootsel(AB), slot(b'A'), without(slot(b'B'), FIRMWARE)];
    // Good, lost autoboot.txt, damaged slot A, and of a damaged slot B: its trial, and the boot after that.
    for (release, walk, boots) in [
        (Release::R2022_12, None, "A---A"),
        (Release::R2022_12, Some(true), "A---A"),
        (Release::R2025_02, None, "A---A"),
        (Release::R2025_02, Some(true), "AABAA"),
        (Release::R2025_08, None, "A---A"),
        (Release::R2025_11, None, "AABAA"),
        (Release::R2025_11, Some(false), "A---A"),
    ] {
        let eeprom = Eeprom { partition_walk: walk, ..Eeprom::of(release) };
        let (normally, trial) = (Request { eeprom, ..CM4 }, Request { eeprom, ..TRIAL });
        let found = [
            outcome(&normal(), normally),
            outcome(&lost, normally),
            outcome(&damaged_a, normally),
            outcome(&damaged_b, trial),
            outcome(&damaged_b, normally),
        ];
        assert_eq!(String::from_iter(found), boots, "{release}, PARTITION_WALK {walk:?}");
        // A kernel that hangs in its trial is config.txt's affair: the firmware resets, and the flag is gone.
        assert_eq!((outcome(&normal(), trial), outcome(&normal(), normally)), ('B', 'A'), "{release}");
    }
}

#[test]
fn firmware_that_stands_still_is_reset_where_the_eeprom_is_told_to_and_can() {
    for release in Release::ALL {
        assert!(!Eeprom::of(release).watches(), "{release}: off unless it is set");
        let set = Eeprom { boot_watchdog_timeout: 60, ..Eeprom::of(release) };
        assert_eq!(set.watches(), release == Release::R2025_11, "{release}");
    }
}

#[test]
fn a_partition_number_that_a_reset_left_behind_comes_before_autoboot_txt() {
    let left = |partition| decide(&disk(&normal()), Request { partition, ..CM4 }).unwrap();
    assert_eq!((left(3).partition, left(0).partition), (3, 2));
    // The stray bit of some firmware: partition 32, which no one has.
    let stray = left(32);
    assert_eq!(stray.partition, 2);
    assert!(stray.notes[0].contains("partition 32"), "{:?}", stray.notes);
    let old = Request { partition: 32, eeprom: Eeprom::of(Release::R2022_12), ..CM4 };
    assert!(decide(&disk(&normal()), old).unwrap_err().to_string().contains("partition 32"));
}

#[test]
fn a_partition_of_another_type_is_not_looked_into() {
    let file = disk(&normal());
    let mut table = gpt::GptConfig::new()
        .writable(true)
        .logical_block_size(gpt::disk::LogicalBlockSize::Lb512)
        .open_from_device(Window::new(std::rc::Rc::new(file.try_clone().unwrap()), whole(&file)))
        .unwrap();
    let mut partitions = table.partitions().clone();
    partitions.get_mut(&2).unwrap().part_type_guid = gpt::partition_types::LINUX_FS;
    table.update_partitions(partitions).unwrap();
    table.write().unwrap();
    assert_eq!(decide(&file, CM4).unwrap().partition, 3);
}

fn whole(file: &File) -> contract::layout::Extent {
    contract::layout::Extent { offset: 0, length: file.metadata().unwrap().len() }
}

#[test]
fn the_ninth_partition_is_one_too_many() {
    let mut contents = vec![Content::new(); 8];
    contents.push(slot(b'A'));
    assert_eq!(outcome(&contents, CM4), '-');
    contents[7] = slot(b'B');
    assert_eq!(outcome(&contents, CM4), 'B');
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    /// Damage anywhere in the FAT's own tables: something boots, or an error says why not; no panic, no endless loop.
    #[test]
    fn damaged_file_systems_do_not_panic(damage in prop::collection::vec((0u64..40_000, any::<u8>()), 1..12), number in 1usize..=2) {
        static WHOLE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let whole = WHOLE.get_or_init(|| {
            let file = disk(&normal()[..2]);
            let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
            file.read_exact_at(&mut bytes, 0).unwrap();
            bytes
        });
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(whole, 0).unwrap();
        for (at, value) in damage {
            // Half of the damage to the boot sector, where it hurts most.
            let at = if at % 2 == 0 { at % 90 } else { at };
            file.write_all_at(&[value], start(number) + at).unwrap();
        }
        let _ = decide(&file, CM4);
    }

    #[test]
    fn damaged_tables_do_not_panic(damage in prop::collection::vec((512u64..2048, any::<u8>()), 1..6)) {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![0; 4 * MIB as usize], 0).unwrap();
        file.write_all_at(b"EFI PART\x00\x00\x01\x00\x5c\x00\x00\x00", SECTOR).unwrap();
        for (at, value) in damage {
            file.write_all_at(&[value], at).unwrap();
        }
        prop_assert!(decide(&file, CM4).is_err());
    }
}

#[test]
fn a_folder_on_the_network_boots_as_a_partition_does_and_not_without_its_firmware() {
    let mut tree: Tree = slot(b'N').into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
    let boot = decide_netboot(&tree, TRIAL).unwrap();
    assert_eq!((boot.partition, boot.tryboot, boot.kernel), (0, false, image_of(b'N')));
    assert_eq!(boot.command_line, "console=ttyAMA0 panic=10");
    for name in [KERNEL, FIXUP, FIRMWARE] {
        tree.remove(name);
        let error = decide_netboot(&tree, CM4).unwrap_err().to_string();
        assert!(error.contains(name), "{error}");
    }
}
