//! Claims on files that stand for disks, with the real tools of the host.

use super::detect::detect;
use super::plan;
use super::steps::{Claim, Taken};
use super::*;
use crate::disk::gpt::Table;
use crate::disk::gpt::tests::disk_with_image;
use crate::disk::io::DiskIo;
use crate::disk::layout;
use contract::layout::{Extent, MIB, Partition};
use contract::node::{DataKind, Serial};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const SIZE: u64 = 400 * MIB;
const TOOLS: Tools = Tools { watchdog: None };

fn serial(text: &str) -> Serial {
    Serial::try_from(text.to_owned()).unwrap()
}

fn request(node: &str, kind: DataKind) -> Request {
    Request {
        system: "mmcblk0".to_owned(),
        cluster: Some("rack".to_owned()),
        node: node.to_owned(),
        disks: Disks { data: kind, ..Disks::default() },
        limits: false,
    }
}

fn disk(folder: &tempfile::TempDir) -> (PathBuf, File) {
    let path = folder.path().join("disk");
    let file = File::options().create(true).truncate(true).read(true).write(true).open(&path).unwrap();
    file.set_len(SIZE).unwrap();
    (path, file)
}

/// A claim of the separate disk S1 by node n1, for ext4.
fn claim<'a, D>(disk: &'a mut D, path: &Path, block: u32) -> Claim<'a, D> {
    claim_as(disk, path, block, &request("n1", DataKind::Ext4), "S1")
}

fn claim_as<'a, D>(disk: &'a mut D, path: &Path, block: u32, request: &Request, number: &str) -> Claim<'a, D> {
    let plan = plan::separate(SIZE, block, &serial(number)).unwrap();
    let owner = request.owner(serial(number), &plan);
    Claim { disk, path: path.to_owned(), plan, owner, separate: true, tools: TOOLS }
}

/// Claims S1 to the end.
fn complete(file: &mut File, path: &Path, wipe: Option<&Serial>) {
    let mut claim = claim(file, path, 512);
    assert!(claim.take("nvme0n1", wipe).unwrap().new, "a new claim");
    claim.finish().unwrap();
}

fn refused(taken: anyhow::Result<Taken>) -> String {
    format!("{:#}", taken.expect_err("a refusal"))
}

fn run(program: &str, arguments: &[&str], path: &Path) -> String {
    let output =
        Command::new(program).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").args(arguments).arg(path).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program}: {said}");
    said
}

/// Superblock 1.2 (linux/raid/md_p.h, `struct mdp_superblock_1`).
fn md_raid() -> Vec<(u64, Vec<u8>)> {
    let mut superblock = vec![0; 256];
    let mut put = |at: usize, bytes: &[u8]| superblock[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &0xa92b_4efc_u32.to_le_bytes());
    put(4, &1u32.to_le_bytes());
    put(16, b"0123456789abcdef");
    put(32, b"vault:0");
    put(72, &1u32.to_le_bytes());
    put(80, &100_000u64.to_le_bytes());
    put(92, &2u32.to_le_bytes());
    put(128, &2048u64.to_le_bytes());
    put(136, &100_000u64.to_le_bytes());
    put(144, &8u64.to_le_bytes());
    let words = superblock.as_chunks::<4>().0.iter();
    let sum: u64 = words.map(|word| u64::from(u32::from_le_bytes(*word))).sum();
    let checksum = ((sum & 0xffff_ffff) + (sum >> 32)) as u32;
    superblock[216..220].copy_from_slice(&checksum.to_le_bytes());
    vec![(4096, superblock)]
}

#[test]
fn a_file_system_in_a_partition_place_of_an_older_disk_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut file) = disk(&folder);
    let part = folder.path().join("part");
    File::create(&part).unwrap().set_len(SIZE - 4 * MIB).unwrap();
    run("mkfs.xfs", &["-q"], &part);
    let mut head = vec![0; MIB as usize];
    File::open(&part).unwrap().read_exact_at(&mut head, 0).unwrap();
    file.write_all_at(&head, 2 * MIB).unwrap();
    let found = refused(claim(&mut file, &path, 512).take("nvme0n1", None));
    assert!(found.contains("an XFS file system"), "{found}");
}

#[test]
fn a_claimed_disk_is_recognised_and_its_data_kept_even_where_wipe_still_stands() {
    for block in [512, 4096] {
        let folder = tempfile::tempdir().unwrap();
        let (path, mut file) = disk(&folder);
        let mut new = claim(&mut file, &path, block);
        assert!(new.take("nvme0n1", None).unwrap().new);
        new.finish().unwrap();
        file.write_all_at(b"precious", 2 * MIB).unwrap();
        for wipe in [None, Some(serial("S1"))] {
            assert!(!claim(&mut file, &path, block).take("nvme0n1", wipe.as_ref()).unwrap().new);
        }
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, 2 * MIB).unwrap();
        assert_eq!(&bytes, b"precious");
    }
}

#[test]
fn a_disk_of_another_node_cluster_serial_number_or_kind_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut file) = disk(&folder);
    complete(&mut file, &path, None);
    let other_cluster = Request { cluster: Some("lab".to_owned()), ..request("n1", DataKind::Ext4) };
    for (request, number, words) in [
        (request("n2", DataKind::Ext4), "S1", "data of node \"n1\" of the cluster \"rack\" (as ext4, disk S1)"),
        (other_cluster, "S1", "data of node \"n1\" of the cluster \"rack\""),
        (request("n1", DataKind::Ext4), "S2", "disk S1"),
        (request("n1", DataKind::Xfs), "S1", "data of this node, made as ext4"),
    ] {
        let found = refused(claim_as(&mut file, &path, 512, &request, number).take("nvme0n1", None));
        assert!(found.contains(words) && found.contains(&format!("wipe = \"{number}\"")), "{found}");
    }
}

#[test]
fn a_claim_that_was_not_finished_is_not_gone_on_with_over_data_that_came_since() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut file) = disk(&folder);
    assert!(claim(&mut file, &path, 512).take("nvme0n1", None).unwrap().new);
    assert!(claim(&mut file, &path, 512).take("nvme0n1", None).unwrap().new, "nothing came");
    // What leaves the sector of the marker as it is: a RAID over the whole disk, and a table with partitions.
    for raid in [true, false] {
        if raid {
            md_raid().iter().for_each(|(at, bytes)| file.write_all_at(bytes, *at).unwrap());
        } else {
            run("sgdisk", &["-o", "-n", "1:4096:0"], &path);
        }
        let found = refused(claim(&mut file, &path, 512).take("nvme0n1", None));
        assert!(found.contains("or newer data") && found.contains("wipe = \"S1\""), "{found}");
        assert!(claim(&mut file, &path, 512).take("nvme0n1", Some(&serial("S1"))).unwrap().new);
    }
}

#[test]
fn one_damaged_copy_of_the_table_is_restored_and_a_foreign_table_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut file) = disk(&folder);
    complete(&mut file, &path, None);
    file.write_all_at(&[0xff; 2000], 512).unwrap();
    assert!(!claim(&mut file, &path, 512).take("nvme0n1", None).unwrap().new);
    let report = run("sgdisk", &["-v"], &path);
    assert!(report.contains("No problems found"), "{report}");
    run("sgdisk", &["-o", "-n", "1:0:0"], &path);
    let found = refused(claim(&mut file, &path, 512).take("nvme0n1", None));
    assert!(found.contains("is not the one that microdc made"), "{found}");
}

#[test]
fn small_disks_and_odd_blocks_are_refused() {
    for (size, block, words) in [(256 * MIB, 512, "too few"), (0, 512, "too few"), (SIZE, 520, "520 bytes")] {
        let found = format!("{:#}", plan::separate(size, block, &serial("S1")).unwrap_err());
        assert!(found.contains(words), "{found}");
    }
}

#[test]
fn ext4_and_xfs_are_made_by_debians_tools() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, words) in [(DataKind::Ext4, "a file system of type ext4"), (DataKind::Xfs, "an XFS file system")] {
        let (path, _) = disk(&folder);
        kind::make(kind, path.to_str().unwrap(), SIZE, &uuid::Uuid::from_u128(7), TOOLS).unwrap();
        let found = detect(TOOLS, &path, Extent { offset: 0, length: SIZE }, SIZE).unwrap().unwrap();
        assert_eq!(found, format!("{words} with the label \"microdc-data\""));
    }
}

/// A disk that remembers what was written, and fails when it should.
struct Recorder<'a> {
    file: &'a File,
    at: u64,
    /// Reads behind this byte fail.
    reads_until: u64,
    epochs: Vec<Vec<(u64, Vec<u8>)>>,
}

impl<'a> Recorder<'a> {
    fn new(file: &'a File) -> Recorder<'a> {
        Recorder { file, at: 0, reads_until: u64::MAX, epochs: vec![Vec::new()] }
    }
}

impl Read for Recorder<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        if self.at + bytes.len() as u64 > self.reads_until {
            return Err(std::io::Error::from_raw_os_error(libc::EIO));
        }
        let count = self.file.read_at(bytes, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Recorder<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let SeekFrom::Start(at) = to else { unreachable!("only absolute seeks are used") };
        self.at = at;
        Ok(at)
    }
}

impl Write for Recorder<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.file.write_all_at(bytes, self.at)?;
        self.epochs.last_mut().unwrap().push((self.at, bytes.to_vec()));
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl DiskIo for Recorder<'_> {
    fn flush_to_disk(&mut self) -> std::io::Result<()> {
        self.epochs.push(Vec::new());
        Ok(())
    }
}

#[test]
fn a_disk_that_fails_is_said_and_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = disk(&folder);
    for reads_until in [0, 2 * MIB, 300 * MIB] {
        let mut failing = Recorder { reads_until, ..Recorder::new(&file) };
        let found = refused(claim(&mut failing, &path, 512).take("nvme0n1", Some(&serial("S1"))));
        assert!(found.contains("inspecting nvme0n1") && found.contains("os error 5"), "{found}");
        assert!(failing.epochs.concat().is_empty());
    }
}

/// Numbers that look random, the same at each run (xorshift64).
struct Rng(u64);

impl Rng {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn a_power_cut_with_lost_and_reordered_writes_ends_in_a_good_claim() {
    for foreign in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let start = |file: &File| {
            if foreign {
                md_raid().iter().for_each(|(offset, bytes)| file.write_all_at(bytes, *offset).unwrap());
                file.write_all_at(&[7; 9000], SIZE - 9000).unwrap();
            }
        };
        let wipe = foreign.then(|| serial("S1"));
        let (path, file) = disk(&folder);
        start(&file);
        let mut recorder = Recorder::new(&file);
        let mut whole = claim(&mut recorder, &path, 512);
        assert!(whole.take("nvme0n1", wipe.as_ref()).unwrap().new);
        whole.finish().unwrap();
        let epochs = std::mem::take(&mut recorder.epochs);
        assert_eq!(epochs.len(), 6, "marker, erasure, two copies of the table, marker, and nothing after it");

        let mut dice = Rng(0x9e37_79b9_7f4a_7c15);
        for cut in 0..30 {
            let (path, mut file) = disk(&folder);
            start(&file);
            let dying = cut % 5;
            for epoch in &epochs[..dying] {
                epoch.iter().for_each(|(offset, bytes)| file.write_all_at(bytes, *offset).unwrap());
            }
            // Of the epoch in which power went, any sectors arrived.
            for (offset, bytes) in &epochs[dying] {
                let keep = dice.roll() % 4;
                for (sector, bytes) in (0..).zip(bytes.chunks(512)) {
                    if keep == 3 || (keep > 0 && bytes.len() == 512 && dice.roll().is_multiple_of(2)) {
                        file.write_all_at(bytes, offset + sector * 512).unwrap();
                    }
                }
            }
            let mut resumed = claim(&mut file, &path, 512);
            let new = resumed.take("nvme0n1", wipe.as_ref()).unwrap_or_else(|error| panic!("cut {cut}: {error:#}"));
            let new = new.new;
            assert!(new || dying == 4, "cut {cut}: only the last marker says that all is done");
            if cut % 10 < 5 {
                if new {
                    resumed.finish().unwrap();
                }
                assert!(!claim(&mut file, &path, 512).take("nvme0n1", None).unwrap().new, "cut {cut}");
                assert!(run("sgdisk", &["-v"], &path).contains("No problems found"), "cut {cut}");
            }
        }
    }
}

const SYSTEM: u64 = 2048 * MIB;

/// A system disk with `state`, as the first boot leaves it.
fn system_disk(folder: &Path) -> (PathBuf, File) {
    let path = disk_with_image(folder, SYSTEM);
    let mut file = File::options().read(true).write(true).open(&path).unwrap();
    let table = Table::read(&mut file, SYSTEM).unwrap();
    let layout::Plan::Add(entry) = layout::plan(&table, SYSTEM).unwrap() else { panic!("state is there") };
    let mut head = vec![0; Table::HEAD_LEN];
    file.read_exact_at(&mut head, 0).unwrap();
    for write in table.with(&entry, SYSTEM).unwrap().writes(SYSTEM, &head) {
        file.write_all_at(&write.bytes, write.offset).unwrap();
    }
    (path, file)
}

fn claim_rest<'a>(file: &'a mut File, path: &Path) -> Claim<'a, File> {
    let plan = plan::rest(file, SYSTEM).unwrap();
    let owner = request("n1", DataKind::Xfs).owner(serial("S1"), &plan);
    Claim { disk: file, path: path.to_owned(), plan, owner, separate: false, tools: TOOLS }
}

#[test]
fn the_rest_of_the_system_disk_is_claimed_and_recognised_after_a_new_installation() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut file) = system_disk(folder.path());
    let mut claim = claim_rest(&mut file, &path);
    assert!(claim.take("nvme0n1", None).unwrap().new);
    claim.finish().unwrap();
    let data = claim.plan.place.data;
    let table = Table::read(&mut file, SYSTEM).unwrap();
    assert_eq!(table.find(Partition::Data).unwrap().extent, data);
    assert!(run("sgdisk", &["-v"], &path).contains("No problems found"));
    file.write_all_at(b"precious", data.offset).unwrap();

    // The image is written again: its own table, without state and data.
    let other = tempfile::tempdir().unwrap();
    let (fresh, _) = system_disk(other.path());
    let mut head = vec![0; MIB as usize];
    File::open(fresh).unwrap().read_exact_at(&mut head, 0).unwrap();
    file.write_all_at(&head, 0).unwrap();
    assert_eq!(Table::read(&mut file, SYSTEM).unwrap().find(Partition::Data), None);
    assert!(!claim_rest(&mut file, &path).take("nvme0n1", None).unwrap().new);
    assert_eq!(Table::read(&mut file, SYSTEM).unwrap().find(Partition::Data).unwrap().extent, data);
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, data.offset).unwrap();
    assert_eq!(&bytes, b"precious");
}

#[test]
fn foreign_data_behind_state_is_refused_and_the_system_before_it_is_never_erased() {
    let folder = tempfile::tempdir().unwrap();
    let (path, mut file) = system_disk(folder.path());
    let place = plan::rest(&mut file, SYSTEM).unwrap().place;
    file.write_all_at(b"XFSB left over", place.extent.offset + 40 * MIB).unwrap();
    file.write_all_at(b"state's last bytes", place.extent.offset - 18).unwrap();
    file.write_all_at(&[5; 20_000], place.data.end() - 20_000).unwrap();
    let found = refused(claim_rest(&mut file, &path).take("nvme0n1", None));
    assert!(found.contains("unknown data"), "{found}");
    assert!(claim_rest(&mut file, &path).take("nvme0n1", Some(&serial("S1"))).unwrap().new);
    let mut bytes = [0; 18];
    file.read_exact_at(&mut bytes, place.extent.offset - 18).unwrap();
    assert_eq!(&bytes, b"state's last bytes");
}
