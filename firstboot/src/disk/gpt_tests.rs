use super::*;
use crate::disk::layout::{Plan, plan};
use contract::layout::{ImageLayout, MIB, Partition};
use proptest::prelude::*;
use std::fs::File;
use std::io::Cursor;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Size of the test disk, in bytes: image, state, and some room.
const DISK: u64 = 2048 * MIB;

/// An image's partition table, as another program (the `gpt` crate) writes it; then the disk is larger than the image.
pub(crate) fn disk_with_image(folder: &Path, size: u64) -> PathBuf {
    let path = folder.join("disk");
    let layout = ImageLayout::new(8 * MIB).unwrap();
    let mut file = File::options().create_new(true).read(true).write(true).open(&path).unwrap();
    file.set_len(layout.image_size()).unwrap();
    let sectors = u32::try_from(layout.image_size() / SECTOR).unwrap();
    ::gpt::mbr::ProtectiveMBR::with_lb_size(sectors - 1).overwrite_lba0(&mut file).unwrap();
    let guid = Uuid::from_u128(0x1234);
    let mut table = ::gpt::GptConfig::new().writable(true).create_from_device(file, Some(guid)).unwrap();
    for partition in Partition::IN_IMAGE {
        let extent = layout.extent(partition).unwrap();
        let kind = partition.type_guid().parse().unwrap();
        let (first, length) = (extent.offset / SECTOR, extent.length / SECTOR);
        table.add_partition_at(partition.name(), partition.number(), first, length, kind, 0).unwrap();
    }
    table.write().unwrap();
    File::options().write(true).open(&path).unwrap().set_len(size).unwrap();
    path
}

fn sgdisk(arguments: &[&str], path: &Path) -> String {
    let output = Command::new("sgdisk").args(arguments).arg(path).output().expect("sgdisk (package gdisk)");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn assert_clean(path: &Path) {
    let report = sgdisk(&["-v"], path);
    assert!(report.contains("No problems found") && !report.to_lowercase().contains("warning"), "{report}");
}

/// The table that the node would write, and the writes for it.
fn planned(path: &Path) -> (Table, Vec<Write>) {
    let mut file = File::open(path).unwrap();
    let table = Table::read(&mut file, DISK).unwrap();
    let Plan::Add(entry) = plan(&table, DISK).unwrap() else { panic!("state already exists") };
    let table = table.with(&entry, DISK).unwrap();
    let mut head = vec![0; Table::HEAD_LEN];
    file.read_exact_at(&mut head, 0).unwrap();
    let writes = table.writes(DISK, &head);
    (table, writes)
}

fn apply(path: &Path, writes: &[Write]) {
    let file = File::options().write(true).open(path).unwrap();
    for write in writes {
        file.write_all_at(&write.bytes, write.offset).unwrap();
    }
}

#[test]
fn a_table_of_another_program_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = disk_with_image(folder.path(), DISK);
    let table = Table::read(&mut File::open(&path).unwrap(), DISK).unwrap();
    assert_eq!(table.disk_guid, Uuid::from_u128(0x1234));
    assert_eq!(table.copy, Copy::Primary);
    assert!(!table.is_in_place(DISK));
    let layout = ImageLayout::new(8 * MIB).unwrap();
    for partition in Partition::IN_IMAGE {
        let entry = table.find(partition).unwrap();
        assert_eq!(Some(entry.extent), layout.extent(partition));
        assert_eq!(entry.type_guid, Uuid::parse_str(partition.type_guid()).unwrap());
    }
    assert_eq!(table.find(Partition::State), None);
}

#[test]
fn state_is_added_and_two_other_programs_find_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = disk_with_image(folder.path(), DISK);
    let (table, writes) = planned(&path);
    apply(&path, &writes);
    assert_clean(&path);

    let read = Table::read(&mut File::open(&path).unwrap(), DISK).unwrap();
    assert!(read.is_in_place(DISK));
    assert_eq!(read.find(Partition::State), table.find(Partition::State));
    let state = read.find(Partition::State).unwrap();
    assert_eq!(state.extent.offset, ImageLayout::new(8 * MIB).unwrap().image_size());
    assert!(sgdisk(&["-i", "6"], &path).contains("Partition name: 'state'"));

    let other = ::gpt::GptConfig::new().only_valid_headers(true).open(&path).unwrap();
    let entry = &other.partitions()[&6];
    assert_eq!((entry.name.as_str(), entry.first_lba * SECTOR), ("state", state.extent.offset));
    assert_eq!(entry.part_guid, state.guid);
    assert_eq!(other.partitions().len(), 6);
}

#[test]
fn doing_it_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = disk_with_image(folder.path(), DISK);
    apply(&path, &planned(&path).1);
    let mut file = File::open(&path).unwrap();
    let ends = |file: &File| {
        let mut bytes = vec![0; Table::HEAD_LEN + Table::TAIL_LEN as usize];
        let (head, tail) = bytes.split_at_mut(Table::HEAD_LEN);
        file.read_exact_at(head, 0).unwrap();
        file.read_exact_at(tail, DISK - Table::TAIL_LEN).unwrap();
        bytes
    };
    let before = ends(&file);
    let table = Table::read(&mut file, DISK).unwrap();
    apply(&path, &table.writes(DISK, &before[..Table::HEAD_LEN]));
    assert!(ends(&file) == before);
}

/// Power goes after `whole` writes and `torn` bytes of the next one.
fn cut(path: &Path, writes: &[Write], whole: usize, torn: usize) {
    apply(path, &writes[..whole]);
    if let Some(next) = writes.get(whole) {
        let bytes = next.bytes[..torn.min(next.bytes.len())].to_vec();
        apply(path, &[Write { offset: next.offset, bytes }]);
    }
}

#[test]
fn power_may_go_in_the_middle_of_every_write() {
    let folder = tempfile::tempdir().unwrap();
    let path = disk_with_image(folder.path(), DISK);
    let (wanted, writes) = planned(&path);
    assert_eq!(writes.len(), 2, "backup, then the first 4 KiB: the rest of the entries does not change");
    let mut original = vec![0; 4096];
    File::open(&path).unwrap().read_exact_at(&mut original, 0).unwrap();
    for whole in 0..=writes.len() {
        for torn in (0..writes.get(whole).map_or(1, |write| write.bytes.len())).step_by(SECTOR as usize) {
            // Start from the image again: nothing at the end, the first 4 KiB as they were.
            apply(
                &path,
                &[
                    Write { offset: 0, bytes: original.clone() },
                    Write { offset: DISK - Table::TAIL_LEN, bytes: vec![0; Table::TAIL_LEN as usize] },
                ],
            );
            cut(&path, &writes, whole, torn);
            let table = Table::read(&mut File::open(&path).unwrap(), DISK)
                .unwrap_or_else(|error| panic!("cut after {whole} writes and {torn} bytes: {error}"));
            for partition in Partition::IN_IMAGE {
                assert_eq!(table.find(partition), wanted.find(partition), "{whole} {torn}");
            }
            if whole == 0 {
                assert_eq!(table.copy, Copy::Primary, "before the backup is whole the primary copy is not touched");
                assert_eq!(table.find(Partition::State), None);
            }
            // The next boot finishes the work.
            let next = match plan(&table, DISK).unwrap() {
                Plan::Exists(_) => table,
                Plan::Add(entry) => table.with(&entry, DISK).unwrap(),
            };
            let mut head = vec![0; Table::HEAD_LEN];
            File::open(&path).unwrap().read_exact_at(&mut head, 0).unwrap();
            apply(&path, &next.writes(DISK, &head));
            assert_clean(&path);
            assert_eq!(next.find(Partition::State), wanted.find(Partition::State));
        }
    }
}

/// The disk's first 4 KiB after a write of which some sectors arrived, in whatever order the disk took them.
fn mixed(before: &[u8], after: &[u8], arrived: u32) -> Vec<u8> {
    let sectors = before.chunks(SECTOR as usize).zip(after.chunks(SECTOR as usize)).enumerate();
    sectors.flat_map(|(at, (old, new))| if arrived >> at & 1 == 1 { new } else { old }).copied().collect()
}

#[test]
fn whichever_sectors_of_the_primary_table_arrive_no_entries_are_believed_without_their_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = disk_with_image(folder.path(), DISK);
    let (wanted, writes) = planned(&path);
    let [backup, head] = writes.as_slice() else { panic!("{} writes", writes.len()) };
    let mut before = vec![0; 4096];
    File::open(&path).unwrap().read_exact_at(&mut before, 0).unwrap();
    apply(&path, std::slice::from_ref(backup));
    for arrived in 0..1 << 8 {
        let bytes = mixed(&before, &head.bytes, arrived);
        // Who looks at no checksum finds the partitions of the image all the same: their entries do not change.
        assert_eq!(bytes[1024..][..5 * ENTRY_LEN], head.bytes[1024..][..5 * ENTRY_LEN], "{arrived:#b}");
        apply(&path, &[Write { offset: 0, bytes }]);
        let table = Table::read(&mut File::open(&path).unwrap(), DISK).unwrap();
        match table.copy {
            // Header and entries are of one table: the old one, or the new one.
            Copy::Primary => assert!(table.find(Partition::State).is_none() || table.array == wanted.array),
            Copy::Backup => assert_eq!(table.array, wanted.array, "{arrived:#b}"),
        }
        for partition in Partition::IN_IMAGE {
            assert_eq!(table.find(partition), wanted.find(partition), "{arrived:#b}");
        }
    }
}

#[test]
fn the_only_copy_that_holds_is_not_written_before_another_one_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = disk_with_image(folder.path(), DISK);
    // The image's own table with a backup at the disk's end, then a damaged primary: no state yet.
    let mut file = File::open(&path).unwrap();
    let mut head = vec![0; Table::HEAD_LEN];
    file.read_exact_at(&mut head, 0).unwrap();
    let table = Table::read(&mut file, DISK).unwrap();
    apply(&path, &table.writes(DISK, &head));
    apply(&path, &[Write { offset: SECTOR, bytes: vec![0x5a; SECTOR as usize] }]);
    let damaged =
        [(0, Table::HEAD_LEN), (DISK - Table::TAIL_LEN, Table::TAIL_LEN as usize)].map(|(offset, length)| {
            let mut bytes = vec![0; length];
            File::open(&path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
            Write { offset, bytes }
        });
    let (wanted, writes) = planned(&path);
    assert_eq!(wanted.copy, Copy::Backup);
    for whole in 0..=writes.len() {
        for torn in (0..writes.get(whole).map_or(1, |write| write.bytes.len())).step_by(SECTOR as usize) {
            apply(&path, &damaged);
            cut(&path, &writes, whole, torn);
            let found = Table::read(&mut File::open(&path).unwrap(), DISK)
                .unwrap_or_else(|error| panic!("cut after {whole} writes and {torn} bytes: {error}"));
            for partition in Partition::IN_IMAGE {
                assert_eq!(found.find(partition), wanted.find(partition), "{whole} {torn}");
            }
        }
    }
}

#[test]
fn a_disk_no_larger_than_the_image_is_too_small() {
    let folder = tempfile::tempdir().unwrap();
    let size = ImageLayout::new(8 * MIB).unwrap().image_size();
    let path = disk_with_image(folder.path(), size);
    let table = Table::read(&mut File::open(&path).unwrap(), size).unwrap();
    let error = plan(&table, size).unwrap_err().to_string();
    assert!(error.starts_with("the disk is too small"), "{error}");
}

#[test]
fn a_foreign_table_is_not_taken_for_ours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("foreign");
    File::create(&path).unwrap().set_len(DISK).unwrap();
    sgdisk(&["-n", "1:2048:+10M", "-c", "1:bootsel", "-n", "2:0:+10M", "-c", "2:root"], &path);
    let table = Table::read(&mut File::open(&path).unwrap(), DISK).unwrap();
    let error = plan(&table, DISK).unwrap_err().to_string();
    assert!(error.contains("lacks boot-a"), "{error}");
}

#[test]
fn an_overlap_or_a_taken_number_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = disk_with_image(folder.path(), DISK);
    let table = Table::read(&mut File::open(&path).unwrap(), DISK).unwrap();
    let Plan::Add(entry) = plan(&table, DISK).unwrap() else { panic!() };
    let root_b = table.find(Partition::RootB).unwrap().extent;
    let overlapping = Entry { extent: root_b, ..entry.clone() };
    assert!(matches!(table.with(&overlapping, DISK), Err(GptError::Taken(5))));
    assert!(matches!(table.with(&Entry { number: 2, ..entry.clone() }, DISK), Err(GptError::Taken(2))));
    for number in [0, 129] {
        assert!(matches!(table.with(&Entry { number, ..entry.clone() }, DISK), Err(GptError::NoRoom { .. })));
    }
    let last = Extent { offset: DISK - MIB, length: MIB };
    assert!(matches!(table.with(&Entry { extent: last, ..entry }, DISK), Err(GptError::NoRoom { .. })));
}

#[test]
fn an_empty_disk_has_no_table() {
    let error = Table::read(&mut Cursor::new(vec![0; 1 << 20]), 1 << 20).unwrap_err().to_string();
    assert!(error.starts_with("there is no partition table (GPT): no signature"), "{error}");
    assert!(Table::read(&mut Cursor::new(vec![0; 10]), 10).is_err());
}

#[test]
fn the_checksum_is_the_common_one() {
    assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(header in prop::collection::vec(any::<u8>(), 0..80), entry: [u8; 32], fix: bool) {
        let mut disk = vec![0u8; 1 << 20];
        disk[512..520].copy_from_slice(SIGNATURE);
        disk[520..][..4].copy_from_slice(&REVISION.to_le_bytes());
        disk[524..][..4].copy_from_slice(&92u32.to_le_bytes());
        disk[536..][..header.len()].copy_from_slice(&header);
        disk[1024..][..32].copy_from_slice(&entry);
        disk[1056..][..32].copy_from_slice(&entry);
        if fix {
            // A header that adds up, so that the fields behind the checksum are reached.
            disk[536..][..8].copy_from_slice(&1u64.to_le_bytes());
            disk[584..][..8].copy_from_slice(&2u64.to_le_bytes());
            disk[592..][..8].copy_from_slice(&[128, 0, 0, 0, 128, 0, 0, 0]);
            let array = crc32fast::hash(&disk[1024..][..128 * 128]);
            disk[600..][..4].copy_from_slice(&array.to_le_bytes());
            disk[528..][..4].fill(0);
            let crc = crc32fast::hash(&disk[512..][..92]);
            disk[528..][..4].copy_from_slice(&crc.to_le_bytes());
        }
        if let Ok(table) = Table::read(&mut Cursor::new(disk), 1 << 20) {
            let _ = plan(&table, 1 << 20);
            for entry in table.entries() { let _ = table.with(&entry, 1 << 20); }
            let _ = table.writes(1 << 20, &[]);
        }
    }
}
