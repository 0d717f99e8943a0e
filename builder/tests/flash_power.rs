//! Power goes, a cable is pulled, a process is killed: at every moment the disk boots what it had, or nothing, or the whole
//! new image; and the next run brings it to its end.

use crate::flash::Plain;
use crate::flash_kit::*;
use crate::format_support::{boot_files, key, layout, noise, slot_spec, tool_ok, tree};
use contract::layout::{Extent, MIB};
use microdc::flash::engine::{self, Job, Must};
use microdc::flash::mark::{Erase, Mark};
use microdc::flash::medium::{Medium, Target};
use microdc::image::{self, ImageSpec};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A disk whose power goes during a write: of that one, the first part arrives; none of those that follow.
struct Cut {
    disk: Target,
    /// Writes so far.
    count: AtomicU64,
    at: u64,
    /// How much of the last write arrives, in 256ths.
    part: u64,
}

impl Cut {
    /// How much of a write of this length arrives; an error when it is not all of it.
    fn arrives(&self, length: u64) -> (u64, io::Result<()>) {
        match self.count.fetch_add(1, Ordering::SeqCst).cmp(&self.at) {
            std::cmp::Ordering::Less => (length, Ok(())),
            std::cmp::Ordering::Equal => (length * self.part / 256 / 512 * 512, Err(gone())),
            std::cmp::Ordering::Greater => (0, Err(gone())),
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("the power is gone")
}

impl Medium for Cut {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let (length, result) = self.arrives(bytes.len() as u64);
        self.disk.write(offset, &bytes[..length as usize])?;
        result
    }
    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        let (length, result) = self.arrives(length);
        if length > 0 {
            self.disk.zero(offset, length)?;
        }
        result
    }
    fn zero_quickly(&self, offset: u64, length: u64) -> io::Result<bool> {
        self.zero(offset, length).map(|()| true)
    }
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, bytes)
    }
    fn sync(&self) -> io::Result<()> {
        if self.count.load(Ordering::SeqCst) > self.at { Err(gone()) } else { self.disk.sync() }
    }
}

const SIZE: u64 = GIB;

/// Flashes until the power goes; gives the number of writes that were tried.
fn cut(path: &Path, at: u64, part: u64) -> u64 {
    let map = &SHARED.map;
    let source = Plain(File::open(&SHARED.image).unwrap());
    let medium = Cut { disk: Target::open(path, false).unwrap(), count: AtomicU64::new(0), at, part };
    let mark = Mark { erase: Erase::Ends, root_size: map.layout.root_size() };
    let clear = [Extent { offset: 700 * MIB, length: MIB }, Extent { offset: SIZE - MIB, length: MIB }];
    let empty = [(Extent { offset: 800 * MIB, length: MIB }, Must::BeEmpty)];
    let job = Job { source: &source, map, mark, clear: &clear, empty: &empty, resume: false };
    let result = engine::run(&job, &medium, &quiet);
    let count = medium.count.load(Ordering::SeqCst);
    assert_eq!(result.is_ok(), count <= at, "{result:?}");
    count
}

/// A disk with an older system, whose files, version and node config are others.
fn older(path: &Path) -> File {
    static OLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let path = SHARED.folder.path().join("older.img");
        let (tree, mut boot, key) = (tree(), boot_files(), key(1));
        boot.last_mut().unwrap().bytes = noise(120_000, 99).into();
        let mut slot = slot_spec(&tree, &boot, &key);
        slot.version = "1.2.2".parse().unwrap();
        slot.built -= 1000;
        let config = Some(b"name = \"older\"\n".to_vec());
        image::write(&ImageSpec { slot, layout: layout(), node_config: config }, &path, &|_| Ok(())).unwrap();
        path
    });
    let file = blank(path, SIZE);
    tool_ok("cp", &["--sparse=always", OLDER.to_str().unwrap(), path.to_str().unwrap()]);
    file.set_len(SIZE).unwrap();
    file
}

/// The disk starts a whole system or none; gives which.
fn starts(file: &File, path: &Path, moment: &str) -> bool {
    let boots = boots(file);
    assert!(!boots || is_whole(path), "{moment}: it boots what is not whole");
    boots
}

#[test]
fn whenever_the_power_goes_nothing_half_written_boots_and_the_next_run_makes_it_whole() {
    let folder = folder();
    let path = folder.path().join("disk");
    blank(&path, SIZE);
    let all = cut(&path, u64::MAX, 0);
    assert!(all > 20, "{all} writes");
    assert!(is_whole(&path));
    let mut random = StdRng::seed_from_u64(18);
    // The last writes are those that make it bootable: each of them, and fifty others.
    let last = all.saturating_sub(12)..all;
    let moments: Vec<u64> = last.chain((0..50).map(|_| random.gen_range(0..all))).collect();
    let (mut old, mut nothing, mut new) = (0, 0, 0);
    for (number, at) in moments.into_iter().enumerate() {
        let over_older = number % 2 == 0;
        let file = if over_older { older(&path) } else { blank(&path, SIZE) };
        let part = random.gen_range(0..256);
        cut(&path, at, part);
        let moment = format!("write {at} of {all}, {part}/256 of it");
        match starts(&file, &path, &moment) {
            true if at < 6 => old += 1,
            true => new += 1,
            false => nothing += 1,
        }
        let outcome = flashed(&request(&path)).unwrap_or_else(|error| panic!("{moment}: {error}"));
        assert!(outcome.done.there_already == 0 || outcome.resumed, "{moment}");
        assert_holds_image(&path);
        assert!(is_whole(&path) && boots(&file), "{moment}");
        // No trace of the mark: what is not the image's is zero.
        let mut block = [1; 4096];
        file.read_exact_at(&mut block, 512 * 1024).unwrap();
        assert_eq!(block, [0; 4096], "{moment}");
    }
    assert!(nothing > 20 && new > 0, "{old} times the old system, {nothing} times nothing, {new} times the new one");
}

#[test]
fn a_killed_process_leaves_a_disk_that_the_same_command_completes() {
    let folder = folder();
    let path = folder.path().join("disk");
    let arguments = [SHARED.image.to_str().unwrap(), "--to", path.to_str().unwrap()];
    let mut resumed = 0;
    for number in 0..12u64 {
        let file = older(&path);
        let mut child = microdc_flash(folder.path(), &arguments);
        let mut child =
            child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 + number * 35));
        child.kill().unwrap();
        child.wait().unwrap();
        starts(&file, &path, &format!("kill {number}"));
        let outcome = flashed(&request(&path)).unwrap();
        resumed += u32::from(outcome.resumed);
        assert_holds_image(&path);
        assert!(is_whole(&path) && boots(&file));
    }
    println!("{resumed} of 12 kills came while it was written");
}
