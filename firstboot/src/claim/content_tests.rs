use super::*;
use proptest::prelude::*;
use std::io::Cursor;

const DISK: Uuid = Uuid::from_u128(1);
const LENGTH: u64 = 2 * MIB;

fn found(bytes: &[u8]) -> Content {
    inspect(&mut Cursor::new(bytes), Extent { offset: 0, length: LENGTH }, &DISK).unwrap()
}

fn blank() -> Vec<u8> {
    vec![0; LENGTH as usize]
}

fn with_record(mut bytes: Vec<u8>, phase: Phase, disk: &Uuid) -> Vec<u8> {
    write_record(&mut Cursor::new(&mut bytes), LENGTH, phase, disk).unwrap();
    bytes
}

#[test]
fn zeros_are_blank_and_the_records_are_told_apart() {
    assert_eq!(found(&blank()), Content::Blank);
    assert_eq!(found(&with_record(blank(), Phase::Making, &DISK)), Content::Unfinished);
    assert_eq!(found(&with_record(blank(), Phase::Made, &DISK)), Content::Ours);
}

#[test]
fn a_file_system_that_was_being_made_is_begun_anew_whatever_it_looks_like() {
    let mut bytes = blank();
    bytes[..MIB as usize].fill(0x5a);
    assert_eq!(found(&with_record(bytes, Phase::Making, &DISK)), Content::Unfinished);
}

#[test]
fn a_record_of_another_disk_or_with_a_flipped_bit_is_foreign() {
    assert!(matches!(found(&with_record(blank(), Phase::Making, &Uuid::from_u128(2))), Content::Foreign(_)));
    let record = (LENGTH - RESERVED) as usize;
    for byte in (0..RECORD).step_by(7) {
        let mut bytes = with_record(blank(), Phase::Making, &DISK);
        bytes[record + byte] ^= 1;
        assert!(matches!(found(&bytes), Content::Foreign(_)), "byte {byte}");
    }
}

#[test]
fn one_byte_at_either_end_is_foreign() {
    for at in [0, MIB as usize - 1, (LENGTH - MIB) as usize, LENGTH as usize - 1] {
        let mut bytes = blank();
        bytes[at] = 1;
        assert_eq!(found(&bytes), Content::Foreign("data of an unknown kind".to_owned()), "byte {at}");
    }
}

#[test]
fn what_other_tools_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let make = |program: &str, arguments: &[&str], size: u64| {
        let path = folder.path().join("fs");
        std::fs::File::create(&path).unwrap().set_len(size).unwrap();
        let output = std::process::Command::new(program).args(arguments).arg(&path).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        inspect(&mut std::fs::File::open(&path).unwrap(), Extent { offset: 0, length: size }, &DISK).unwrap()
    };
    let ext4 = |label| make("/usr/sbin/mke2fs", &["-q", "-F", "-t", "ext4", "-L", label], 16 * MIB);
    assert_eq!(ext4(LABEL), Content::Ours);
    assert_eq!(ext4("photos"), Content::Foreign("an ext file system with the label \"photos\"".to_owned()));
    let fat = make("/usr/sbin/mkfs.vfat", &[], 16 * MIB);
    assert_eq!(fat, Content::Foreign("a FAT file system".to_owned()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_bytes_make_the_judge_panic(first: Vec<u8>, last: Vec<u8>, record: Vec<u8>) {
        let _ = judge(&first, &last, &record, &DISK);
    }

    #[test]
    fn only_zeros_and_records_of_ours_are_ever_written_over(at in 0..MIB as usize, value in 1u8..) {
        let mut bytes = blank();
        bytes[at] = value;
        let foreign = matches!(found(&bytes), Content::Foreign(_));
        prop_assert!(foreign);
    }
}
