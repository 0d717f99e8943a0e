use super::*;
use crate::disk::gpt::tests::disk_with_image;
use contract::layout::{ImageLayout, MIB, Partition};
use contract::names::{KEPT_DIRECTORIES, NODE_CONFIG, STATE_MACHINE_ID, STATE_UPDATES};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

const DISK: u64 = 2048 * MIB;

fn disk(folder: &tempfile::TempDir) -> (PathBuf, File) {
    let path = disk_with_image(folder.path(), DISK);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    (path, file)
}

/// Bytes that matter of a sparse disk: both ends of the table, and of state's place.
fn ends(file: &File) -> Vec<Vec<u8>> {
    let state = ImageLayout::new(8 * MIB).unwrap().image_size();
    [0, state, state + STATE_SIZE - MIB, DISK - MIB]
        .into_iter()
        .map(|offset| {
            let mut bytes = vec![0; MIB as usize];
            file.read_exact_at(&mut bytes, offset).unwrap();
            bytes
        })
        .collect()
}

#[test]
fn a_blank_place_is_prepared_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut file) = disk(&folder);
    let first = prepare(&mut file, DISK, "disk").unwrap();
    assert_eq!(first.content, Content::Blank);
    let table = Table::read(&mut file, DISK).unwrap();
    assert_eq!(table.find(Partition::State).unwrap().extent, first.extent);
    let before = ends(&file);
    let second = prepare(&mut file, DISK, "disk").unwrap();
    assert_eq!((second.extent, second.content), (first.extent, Content::Blank));
    assert!(ends(&file) == before, "what is in place is not written again");
}

#[test]
fn foreign_data_in_the_place_of_state_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut file) = disk(&folder);
    file.write_all_at(b"XFSB", ImageLayout::new(8 * MIB).unwrap().image_size()).unwrap();
    let before = ends(&file);
    let error = format!("{:#}", prepare(&mut file, DISK, "nvme0n1").err().unwrap());
    assert!(error.contains("nvme0n1") && error.contains("an XFS file system"), "{error}");
    assert!(ends(&file) == before);
}

#[test]
fn foreign_data_at_the_end_of_the_disk_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut file) = disk(&folder);
    file.write_all_at(b"somebody's", DISK - 4096).unwrap();
    let before = ends(&file);
    let error = format!("{:#}", prepare(&mut file, DISK, "nvme0n1").err().unwrap());
    assert!(error.starts_with("the end of nvme0n1 is left alone: its last 16896 bytes"), "{error}");
    assert!(ends(&file) == before);
}

#[test]
fn a_stale_backup_table_at_the_end_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut file) = disk(&folder);
    let mut stale = vec![0; 512];
    stale[..8].copy_from_slice(b"EFI PART");
    file.write_all_at(&stale, DISK - 512).unwrap();
    prepare(&mut file, DISK, "disk").unwrap();
    assert!(Table::read(&mut file, DISK).unwrap().is_in_place(DISK));
}

#[test]
fn a_lost_primary_table_is_restored_from_the_backup() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut file) = disk(&folder);
    let made = prepare(&mut file, DISK, "disk").unwrap();
    let before = ends(&file);
    file.write_all_at(&[0xff; 3000], 512).unwrap();
    assert_eq!(prepare(&mut file, DISK, "disk").unwrap().extent, made.extent);
    assert!(ends(&file) == before);
}

#[test]
fn foreign_data_in_the_midst_of_the_place_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut file) = disk(&folder);
    let place = ImageLayout::new(8 * MIB).unwrap().image_size();
    file.write_all_at(&vec![7; 5 * MIB as usize], place + 300 * MIB).unwrap();
    let before = ends(&file);
    let error = format!("{:#}", prepare(&mut file, DISK, "nvme0n1").err().unwrap());
    assert!(error.contains("unknown data (at byte "), "{error}");
    assert!(ends(&file) == before);
}

#[test]
fn what_is_set_aside_is_the_damaged_file_system_byte_by_byte() {
    let mut file = tempfile::tempfile().unwrap();
    let length = 9 * MIB;
    file.set_len(length).unwrap();
    let half = contract::layout::state_file_system(length);
    assert!(half == 4 * MIB && 2 * half < length);
    let bytes: Vec<u8> = (0..half).map(|at| (at * 7 / 512) as u8).collect();
    file.write_all_at(&bytes, 0).unwrap();
    // What was kept there before gives way.
    file.write_all_at(&[9; 1000], half + MIB).unwrap();
    let kept = set_aside(&mut file, length, || {}).unwrap();
    assert_eq!(kept, Extent { offset: half, length: half });
    for offset in [0, half] {
        let mut found = vec![0; half as usize];
        file.read_exact_at(&mut found, offset).unwrap();
        assert!(found == bytes);
    }
}

#[test]
fn files_are_taken_along_with_their_modes_and_as_far_as_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::create_dir_all(from.join("ssh")).unwrap();
    std::fs::create_dir(&to).unwrap();
    for (path, length) in [("ssh/key", 10), ("large", 1000)] {
        std::fs::write(from.join(path), vec![1; length]).unwrap();
    }
    std::fs::set_permissions(from.join("ssh/key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(copy_kept(&from, &to, &mut 500).unwrap(), 1);
    assert_eq!(to.join("ssh/key").metadata().unwrap().mode() & 0o7777, 0o600);
    assert!(!to.join("large").exists());
}

#[test]
fn logs_do_not_crowd_out_the_identity_that_a_worn_disk_still_holds() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let key = format!("{KEPT_DIRECTORIES}/var/lib/sshd/ssh_host_ed25519_key");
    // What a service keeps in a folder of that name is its own affair.
    let own = format!("{KEPT_DIRECTORIES}/var/lib/frr/{STATE_LOGS}/zebra");
    let logs: Vec<String> = (0..40).map(|at| format!("{STATE_LOGS}/service-{at}")).collect();
    let identity = [NODE_CONFIG, STATE_MACHINE_ID, STATE_UPDATES, &key, &own];
    for (path, length) in identity.into_iter().map(|path| (path, 10)).chain(logs.iter().map(|path| (&**path, 20))) {
        std::fs::create_dir_all(from.join(path).parent().unwrap()).unwrap();
        std::fs::write(from.join(path), vec![1; length]).unwrap();
    }
    std::fs::create_dir(&to).unwrap();
    // Room for the identity and for some of the logs, but not for both: in whatever order the folders are read.
    assert_eq!(copy_kept(&from, &to, &mut 60).unwrap(), identity.len());
    for path in identity {
        assert!(to.join(path).exists(), "{path}");
    }
    assert!(!to.join(STATE_LOGS).exists());
}

#[test]
fn what_is_small_is_taken_along_before_what_is_large() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::create_dir_all(from.join("a")).unwrap();
    std::fs::create_dir(&to).unwrap();
    for (path, length) in [("a/dump", 400), ("a/key", 40), (NODE_CONFIG, 60)] {
        std::fs::write(from.join(path), vec![1; length]).unwrap();
    }
    assert_eq!(copy_kept(&from, &to, &mut 450).unwrap(), 2);
    assert!(to.join(NODE_CONFIG).exists() && to.join("a/key").exists() && !to.join("a/dump").exists());
}

/// A disk that loses power after a number of writes.
struct Dying<'a> {
    file: &'a File,
    at: u64,
    writes_left: usize,
}

impl Read for Dying<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read_at(bytes, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Dying<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let SeekFrom::Start(at) = to else { unreachable!("only absolute seeks are used") };
        self.at = at;
        Ok(at)
    }
}

impl std::io::Write for Dying<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.writes_left = self.writes_left.checked_sub(1).ok_or_else(|| std::io::Error::other("no power"))?;
        // Whole sectors arrive, and not all that were handed over at once.
        let count = bytes.len().min(SECTORS_A_WRITE * 512);
        self.file.write_all_at(&bytes[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl DiskIo for Dying<'_> {
    fn flush_to_disk(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const SECTORS_A_WRITE: usize = 3;

#[test]
fn a_power_cut_after_any_write_is_made_good_by_the_next_boot() {
    let mut cuts = 0;
    loop {
        let folder = tempfile::tempdir().unwrap();
        let (_, mut file) = disk(&folder);
        let done = prepare(&mut Dying { file: &file, at: 0, writes_left: cuts }, DISK, "disk").is_ok();
        let place = prepare(&mut file, DISK, "disk").unwrap_or_else(|error| panic!("after {cuts} writes: {error:#}"));
        assert_eq!(place.content, Content::Blank, "after {cuts} writes");
        let table = Table::read(&mut file, DISK).unwrap();
        assert!(table.is_in_place(DISK) && table.find(Partition::State).is_some(), "after {cuts} writes");
        if done {
            break;
        }
        cuts += 1;
    }
    assert!(cuts > 10, "{cuts} writes");
}
