//! An image on a file that stands for a disk: it is the image, what an older system left is gone, what a node keeps stays,
//! and what a disk does not keep is noticed.

use crate::end_to_end::said;
use crate::flash_kit::*;
use crate::format_support::{boot_files, key, slot_spec, tool_ok, tree};
use contract::layout::{Extent, MIB, Partition};
use contract::node::Serial;
use firstboot::dry_run::{Claimant, Outcome as Claimed};
use microdc::flash::engine::{self, EngineError, Job};
use microdc::flash::found::Found;
use microdc::flash::mark::{Erase, Mark};
use microdc::flash::medium::{Medium, Target};
use microdc::flash::{FlashError, Request};
use microdc::image::{self, ImageSpec};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

#[test]
fn a_blank_disk_becomes_the_image_followed_by_zeros() {
    let folder = folder();
    let disk = folder.path().join("disk");
    blank(&disk, 2 * GIB + 512);
    let outcome = flashed(&request(&disk)).unwrap();
    assert_eq!((outcome.found, outcome.erase, outcome.resumed), (Found::Blank, Erase::Ends, false));
    assert_eq!(outcome.done.written, SHARED.map.length());
    assert!(outcome.done.written < SHARED.size / 4, "only what means something is written");
    // cmp reads both to the end of the image; the rest of the disk has no data at all.
    let size = SHARED.size.to_string();
    tool_ok("cmp", &["-n", &size, SHARED.image.to_str().unwrap(), disk.to_str().unwrap()]);
    let rest = rustix::fs::seek(File::open(&disk).unwrap(), rustix::fs::SeekFrom::Data(SHARED.size));
    assert_eq!(rest, Err(rustix::io::Errno::NXIO), "data behind the image");
    assert!(is_whole(&disk) && boots(&File::open(&disk).unwrap()));
}

#[test]
fn bmaptool_makes_the_same_disk_with_the_map_that_a_build_writes() {
    let folder = folder();
    let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
    flashed(&request(&ours)).unwrap();
    blank(&theirs, SHARED.size);
    let bmap = microdc::flash::bmap::beside(&SHARED.image);
    let copy = ["copy", "--bmap", bmap.to_str().unwrap(), SHARED.image.to_str().unwrap(), theirs.to_str().unwrap()];
    tool_ok("bmaptool", &copy);
    tool_ok("cmp", &[ours.to_str().unwrap(), theirs.to_str().unwrap()]);
    // And what bmaptool says of an image is read here.
    let made = folder.path().join("made.bmap");
    tool_ok("bmaptool", &["create", "-o", made.to_str().unwrap(), SHARED.image.to_str().unwrap()]);
    flashed(&Request { bmap: Some(&made), erase: Some("ours"), ..request(&ours) }).unwrap();
}

/// A disk that had a RAID, LVM, file systems and both kinds of tables.
fn used_by_others(path: &Path) -> (File, Vec<Extent>) {
    let disk = blank(path, 4 * GIB);
    let extent = |offset, length| Extent { offset, length };
    // Noise over the parts of the image, and here and there behind it.
    let mut places = vec![extent(0, 20 * MIB), extent(GIB, 2 * MIB), extent(4 * GIB - 2 * MIB, 2 * MIB)];
    places.extend(SHARED.map.body[1..].iter().map(|part| extent(part.offset, 3 * MIB)));
    places.extend(&SHARED.map.trailers);
    scribble(&disk, &places);
    let script = "label: gpt\nstart=4096, size=200000, name=root\nstart=1048576, size=2097152, name=home\n";
    let mut sfdisk = Command::new("sfdisk");
    sfdisk.args(["-q", "--wipe", "never"]).arg(path).stdin(std::process::Stdio::piped());
    sfdisk.env("PATH", format!("/usr/sbin:/sbin:{}", std::env::var("PATH").unwrap_or_default()));
    let mut child = sfdisk.spawn().unwrap();
    io::Write::write_all(&mut child.stdin.take().unwrap(), script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
    let home = extent(512 * MIB, GIB);
    // LVM in a partition, md 1.0 and 0.90 at the end of the disk.
    disk.write_all_at(b"LABELONE", home.offset + 512).unwrap();
    let md = b"\xfc\x4e\x2b\xa9";
    let size = 4 * GIB;
    disk.write_all_at(md, (size - 8192) / 4096 * 4096).unwrap();
    disk.write_all_at(md, size - 65_536).unwrap();
    let ends = [extent(home.offset, MIB), extent(home.end() - MIB, MIB), extent(size - MIB, MIB)];
    (disk, ends.to_vec())
}

#[test]
fn a_disk_of_someone_else_is_left_alone_until_it_is_named_and_then_nothing_of_it_is_found() {
    let folder = folder();
    let path = folder.path().join("disk");
    let (disk, ends) = used_by_others(&path);
    let before = digest(&path);
    let error = flashed(&request(&path)).unwrap_err().to_string();
    for part in ["a partition table with root, home", "a member of a Linux RAID", "--yes-erase \"disk\""] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let other = flashed(&Request { erase: Some("S1"), ..request(&path) }).unwrap_err().to_string();
    assert!(other.contains("names \"S1\"") && other.contains("\"disk\""), "{other}");
    assert_eq!(digest(&path), before, "not a byte was written");

    let outcome = flashed(&Request { erase: Some("disk"), ..request(&path) }).unwrap();
    assert_eq!(outcome.erase, Erase::All);
    assert_holds_image(&path);
    assert!(is_whole(&path) && boots(&disk));
    for extent in ends {
        assert!(bytes_at(&disk, extent).iter().all(|&byte| byte == 0), "{extent:?} is not erased");
    }
    // Others see one table, the image's, and no signature.
    let said = tool_ok("wipefs", &["-n", path.to_str().unwrap()]);
    assert!(!said.contains("raid") && !said.contains("LVM"), "{said}");
    // The node finds nothing that it would not claim.
    let claimed = claimant(folder.path()).system(&path).unwrap();
    assert_eq!(claimed, (Claimed::Made, Claimed::Made));
}

fn claimant(scratch: &Path) -> Claimant {
    let serial = Serial::try_from("S1".to_owned()).unwrap();
    Claimant { cluster: None, node: "r1".to_owned(), serial, wipe: None, scratch: scratch.to_owned() }
}

#[test]
fn what_a_node_keeps_stays_when_it_is_flashed_again_and_goes_when_the_disk_is_named() {
    let folder = folder();
    let path = folder.path().join("disk");
    let disk = blank(&path, 3 * GIB);
    flashed(&request(&path)).unwrap();
    assert_eq!(claimant(folder.path()).system(&path).unwrap(), (Claimed::Made, Claimed::Made));

    let again = flashed(&request(&path)).unwrap();
    assert_eq!(again.erase, Erase::Image);
    assert!(matches!(again.found, Found::Ours { is_used: true, .. }), "{:?}", again.found);
    assert_holds_image(&path);
    // Once more before it has started.
    assert_eq!(flashed(&request(&path)).unwrap().erase, Erase::Image);
    assert_eq!(claimant(folder.path()).system(&path).unwrap(), (Claimed::Found, Claimed::Found));

    // An image with larger roots would lie over it.
    let larger = folder.path().join("larger.img");
    let (tree, boot, key) = (tree(), boot_files(), key(1));
    let spec = ImageSpec { slot: slot_spec(&tree, &boot, &key), layout: other_layout(), node_config: None };
    image::write(&spec, &larger, &|_| Ok(())).unwrap();
    let before = digest(&path);
    let error = flashed(&Request { image: &larger, ..request(&path) }).unwrap_err().to_string();
    assert!(error.contains("partitions lie elsewhere") && error.contains("--yes-erase"), "{error}");
    assert_eq!(digest(&path), before);

    flashed(&Request { image: &larger, erase: Some("disk"), ..request(&path) }).unwrap();
    assert!(is_whole(&path) && boots(&disk));
    assert_eq!(claimant(folder.path()).system(&path).unwrap(), (Claimed::Made, Claimed::Made));
}

#[test]
fn the_node_config_is_on_bootsel_and_an_older_one_is_gone() {
    let folder = folder();
    let path = folder.path().join("disk");
    let secret = "name = \"r1\"\n# the-old-secret\n";
    for config in [secret, "name = \"r2\"\n"] {
        flashed(&Request { node_config: Some(config.as_bytes()), ..request(&path) }).unwrap();
        let place = format!("{}@@{MIB}", path.display());
        assert_eq!(tool_ok("mtype", &["-i", &place, "::node.toml"]), config);
        assert!(is_whole(&path) && boots(&File::open(&path).unwrap()));
    }
    let bootsel = crate::format_support::layout().extent(Partition::Bootsel).unwrap();
    let bytes = bytes_at(&File::open(&path).unwrap(), bootsel);
    assert!(!String::from_utf8_lossy(&bytes).contains("the-old-secret"));
}

/// A disk that does not keep one bit of what is written to a place.
struct Liar {
    disk: Target,
    place: u64,
}

impl Medium for Liar {
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.write(offset, bytes)
    }
    fn zero(&self, offset: u64, length: u64) -> io::Result<()> {
        self.disk.zero(offset, length)
    }
    fn zero_quickly(&self, offset: u64, length: u64) -> io::Result<bool> {
        self.disk.zero_quickly(offset, length)
    }
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.disk.read(offset, bytes)?;
        let at = self.place.checked_sub(offset).filter(|at| *at < bytes.len() as u64);
        at.into_iter().for_each(|at| bytes[at as usize] ^= 0x10);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }
}

pub struct Plain(pub File);

impl engine::Source for Plain {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(bytes, offset)
    }
}

#[test]
fn a_disk_that_gives_back_another_bit_is_named_and_never_bootable() {
    let folder = folder();
    let path = folder.path().join("disk");
    let file = blank(&path, 2 * GIB);
    let map = &SHARED.map;
    let clear = [Extent { offset: 2 * GIB - MIB, length: MIB }];
    let source = Plain(File::open(&SHARED.image).unwrap());
    let places = [
        0,
        600,
        MIB + 77,
        map.body[1].offset + 9,
        map.trailers[0].end() - 65_000,
        map.tail.offset + 5000,
        2 * GIB - 1,
    ];
    for place in places {
        let liar = Liar { disk: Target::open(&path, false).unwrap(), place };
        let mark = Mark { erase: Erase::Ends, root_size: map.layout.root_size() };
        let job = Job { source: &source, map, mark, clear: &clear, empty: &[], resume: false };
        match engine::run(&job, &liar, &quiet) {
            Err(EngineError::Differs { offset }) => assert!(offset <= place && place - offset < 4 * MIB, "{place}"),
            other => panic!("byte {place}: {other:?}"),
        }
        assert!(!boots(&file) && !is_whole(&path), "byte {place}");
    }
}

#[test]
fn a_disk_that_is_full_says_where_and_the_next_run_goes_on() {
    let folder = folder();
    let disk = folder.path().join("disk");
    // A limit on the length of files stands for a disk that fails in its midst.
    let mut limited = Command::new("bash");
    let blocks = (SHARED.map.body[3].offset + 2 * MIB) / 1024;
    let flash = microdc_flash(folder.path(), &[]);
    blank(&disk, SHARED.size);
    let line = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    limited.args(["-c", &line, "bash"]).arg(flash.get_program()).arg("flash").arg(&SHARED.image).arg("--to");
    limited.arg(&disk).arg("--key").arg(&SHARED.key).current_dir(folder.path());
    let text = said(&run(limited), 1);
    assert!(text.contains(disk.to_str().unwrap()) && text.contains("writing at byte "), "{text}");
    assert!(!boots(&File::open(&disk).unwrap()));
    let outcome = flashed(&request(&disk)).unwrap();
    assert!(outcome.resumed && outcome.done.there_already > 0, "{outcome:?}");
    tool_ok("cmp", &[SHARED.image.to_str().unwrap(), disk.to_str().unwrap()]);
}

#[test]
fn an_image_that_is_not_ours_or_not_signed_by_a_trusted_key_is_not_written() {
    let folder = folder();
    let disk = folder.path().join("disk");
    let flash = |image: &Path| flashed(&Request { image, ..request(&disk) }).unwrap_err().to_string();
    let copy = folder.path().join("copy.img");
    tool_ok("cp", &["--sparse=always", SHARED.image.to_str().unwrap(), copy.to_str().unwrap()]);
    let file = File::options().read(true).write(true).open(&copy).unwrap();
    let root = SHARED.map.body.iter().find(|extent| extent.offset == root_a()).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, root.offset + MIB).unwrap();
    file.write_all_at(&[byte[0] ^ 1], root.offset + MIB).unwrap();
    assert!(flash(&copy).contains("root-a, block 256"), "{}", flash(&copy));
    file.set_len(SHARED.size - 512).unwrap();
    assert!(flash(&copy).contains("cannot be flashed"), "{}", flash(&copy));
    file.set_len(0).unwrap();
    assert!(flash(&copy).contains("truncated, or not an image"), "{}", flash(&copy));

    let other = [crate::format_support::public(9)];
    let error = flashed(&Request { trusted: Some(&other), ..request(&disk) }).unwrap_err();
    assert!(matches!(error, FlashError::Image { .. }), "{error}");
    assert!(!disk.exists(), "the target is not even made");
}

fn root_a() -> u64 {
    crate::format_support::layout().extent(Partition::RootA).unwrap().offset
}
