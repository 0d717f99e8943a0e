//! Bundles: what xz and veritysetup find in them is the slot; the same slot gives the same bytes; a damaged image gives
//! none; and the commands say what is true.

use crate::format_support::*;
use contract::bundle::{DICTIONARY, FRAME_BLOCKS, Frames, Head, ImageSections, Sections};
use contract::layout::{BLOCK, Extent, Partition, Slot};
use contract::manifest::Which;
use contract::tree::SALT;
use microdc::bundle::{self, Progress, Request, Summary, WriteError};
use microdc::verify::VerifyError;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

struct Shared {
    folder: tempfile::TempDir,
    image: PathBuf,
    bundle: Summary,
}

/// One image and its bundle for the tests that only read them.
static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("router.img");
    write_image(&image, Some(b"name = \"r1\"\n".to_vec()));
    let bundle = bundle_of(&image, None, None).unwrap();
    std::fs::write(folder.path().join("one.pub"), public(1).to_text()).unwrap();
    std::fs::write(folder.path().join("nine.pub"), public(9).to_text()).unwrap();
    Shared { folder, image, bundle }
});

fn bundle_of(image: &Path, slot: Option<Slot>, output: Option<&Path>) -> Result<Summary, WriteError> {
    let trusted = [public(1)];
    let request = Request { image, slot, trusted: &trusted, frame_blocks: FRAME_BLOCKS };
    bundle::write(&request, output, &|_| Ok(()))
}

fn partition(image: &Path, partition: Partition, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; length as usize];
    let offset = layout().extent(partition).unwrap().offset;
    File::open(image).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    bytes
}

/// A copy of the image that keeps its holes.
fn copy(folder: &Path) -> PathBuf {
    let path = folder.join("copy.img");
    tool_ok("cp", &["--sparse=always", SHARED.image.to_str().unwrap(), path.to_str().unwrap()]);
    path
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 8], at).unwrap();
}

/// What is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// What the program `xz` makes of a frame.
fn unxz(frame: &[u8]) -> Vec<u8> {
    let mut child = Command::new("xz")
        .args(["-d", "-c", "--format=raw", "--arm64", &format!("--lzma2=dict={DICTIONARY}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("xz cannot be started ({error}): install xz-utils"));
    // A frame and what it holds fit into the pipes.
    child.stdin.take().unwrap().write_all(frame).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn by_xz_and_veritysetup_a_bundle_holds_the_slot() {
    let bytes = std::fs::read(&SHARED.bundle.path).unwrap();
    let head = Head::parse(&bytes).unwrap();
    let (manifest, sections) = head.verify(&[public(1)]).unwrap();
    let part = |extent: Extent| &bytes[extent.offset as usize..extent.end() as usize];
    let index = |image| part(sections.image(image).index);
    let frames = Frames::parse(sections, index(Which::Boot), index(Which::Root), bytes.len() as u64).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (image, place) in [(Which::Boot, Partition::BootA), (Which::Root, Partition::RootA)] {
        let ImageSections { blocks, upper, leaves, .. } = *sections.image(image);
        let wanted = partition(&SHARED.image, place, blocks * BLOCK);
        let (mut packed, mut plain) = (0, 0);
        for frame in 0..sections.image(image).frames {
            let stored = part(frames.extent(image, frame).unwrap());
            let range = sections.blocks_of(image, frame);
            let held = &wanted[(range.start * BLOCK) as usize..(range.end * BLOCK) as usize];
            if stored.len() == held.len() {
                assert!(stored == held, "{image}, frame {frame}");
                plain += 1;
            } else {
                assert!(unxz(stored) == held, "{image}, frame {frame}");
                packed += 1;
            }
        }
        assert!(plain > 0 && packed > 0, "the {image} image should have frames of both kinds");

        let [data, tree] = ["data", "tree"].map(|name| folder.path().join(name));
        std::fs::write(&data, &wanted).unwrap();
        std::fs::write(&tree, [part(upper), part(leaves)].concat()).unwrap();
        let (data, tree) = (data.to_str().unwrap(), tree.to_str().unwrap());
        let (count, salt) = (blocks.to_string(), hex::encode(SALT));
        let hash = manifest.image(image).root_hash.to_string();
        let options = ["verify", "--no-superblock", "--data-blocks", &count, "--salt", &salt];
        tool_ok("veritysetup", &[&options[..], &[data, tree, &hash]].concat());
    }
    assert_eq!(bytes.len() as u64, SHARED.bundle.length);
}

#[test]
fn the_same_slot_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let image = copy(folder.path());
    // The other slot with the same content.
    let file = File::options().read(true).write(true).open(&image).unwrap();
    for (from, to) in [(Partition::BootA, Partition::BootB), (Partition::RootA, Partition::RootB)] {
        let [from, to] = [from, to].map(|partition| layout().extent(partition).unwrap());
        let mut bytes = vec![0; from.length as usize];
        file.read_exact_at(&mut bytes, from.offset).unwrap();
        file.write_all_at(&bytes, to.offset).unwrap();
    }
    let output = folder.path().join("again.bundle");
    let again = bundle_of(&image, Some(Slot::B), Some(&output)).unwrap();
    assert_eq!(again.digest, SHARED.bundle.digest);
    assert!(std::fs::read(output).unwrap() == std::fs::read(&SHARED.bundle.path).unwrap());
}

#[test]
fn a_damaged_image_makes_no_bundle_and_leaves_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let image = copy(folder.path());
    let output = folder.path().join("router.bundle");
    std::fs::write(&output, "the old one").unwrap();
    let root = layout().extent(Partition::RootA).unwrap();
    let boot = layout().extent(Partition::BootA).unwrap();
    for at in [boot.offset + 600_000, root.offset + 70_000, root.end() - 60_000] {
        flip(&image, at);
        let error = bundle_of(&image, None, Some(&output)).unwrap_err();
        flip(&image, at);
        assert!(matches!(error, WriteError::Image { .. }), "byte {at}: {error}");
        assert_eq!(std::fs::read(&output).unwrap(), b"the old one");
        assert_eq!(names(folder.path()), ["copy.img", "router.bundle"]);
    }
    bundle_of(&image, None, Some(&output)).unwrap();
}

#[test]
fn a_strangers_image_an_empty_slot_and_odd_frames_make_no_bundle() {
    let image = &SHARED.image;
    let trusted = [public(9)];
    let request = Request { image, slot: None, trusted: &trusted, frame_blocks: 4 };
    let error = bundle::write(&request, None, &|_| Ok(())).unwrap_err();
    assert!(
        matches!(&error, WriteError::Image { source, .. } if matches!(**source, VerifyError::Trailer { .. })),
        "{error}"
    );
    let error = bundle_of(image, Some(Slot::B), None).unwrap_err();
    assert!(error.to_string().ends_with("slot B is empty"), "{error}");
    for frame_blocks in [0, 17] {
        let request = Request { trusted: &[public(1)], frame_blocks, ..request };
        let error = bundle::write(&request, None, &|_| Ok(())).unwrap_err();
        assert!(matches!(error, WriteError::FrameBlocks(_)), "{error}");
    }
}

#[test]
fn work_that_is_stopped_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("router.bundle");
    let trusted = [public(1)];
    let request = Request { image: &SHARED.image, slot: None, trusted: &trusted, frame_blocks: 16 };
    let stop_at = |stop: fn(Progress) -> bool| {
        let error = bundle::write(&request, Some(&output), &|step| match stop(step) {
            true => Err(io::Error::other("interrupted")),
            false => Ok(()),
        });
        assert!(error.unwrap_err().to_string().contains("interrupted"));
        assert!(names(folder.path()).is_empty());
    };
    stop_at(|step| step == Progress::Verify);
    stop_at(|step| matches!(step, Progress::Blocks { done, .. } if done > 8 << 20));
    stop_at(|step| matches!(step, Progress::Digest { .. }));
}

fn microdc(arguments: &[&str], status: i32) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_microdc"))
        .args(arguments)
        .current_dir(SHARED.folder.path())
        .output()
        .unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert_eq!(output.status.code(), Some(status), "{arguments:?}:\n{out}{err}");
    if status == 0 { out } else { err }
}

#[test]
fn the_commands_make_verify_and_describe_a_bundle() {
    let said = microdc(&["bundle", "router.img", "--key", "one.pub", "-o", "other.bundle", "--json"], 0);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(json["digest"], SHARED.bundle.digest.to_string());
    assert_eq!(json["bundle"], "other.bundle");
    // The usual name is beside the image; `verify` knows a bundle by its first bytes.
    assert_eq!(SHARED.bundle.path, SHARED.folder.path().join("router-1.2.3.bundle"));
    let said = microdc(&["verify", "router-1.2.3.bundle", "--key", "one.pub", "--role", "router"], 0);
    assert!(said.contains("every bit matches its signature") && said.contains("router 1.2.3"), "{said}");
    let said = microdc(&["verify", "router-1.2.3.bundle", "--key", "one.pub", "--role", "minio"], 1);
    assert!(said.contains("is for the role router, not for minio"), "{said}");
    let said = microdc(&["verify", "router-1.2.3.bundle", "--key", "nine.pub"], 1);
    assert!(said.contains("signed by the unknown key"), "{said}");
    let said = microdc(&["bundle", "router.img", "--key", "nine.pub"], 1);
    assert!(said.contains("no bundle was written") && said.contains("signed by the unknown key"), "{said}");
    let said = microdc(&["inspect", "one.pub"], 1);
    assert!(said.contains("it is not an image, disk, root partition or bundle"), "{said}");
}

#[test]
fn inspect_says_what_is_true() {
    let json = microdc(&["inspect", "router-1.2.3.bundle", "--key", "one.pub", "--json"], 0);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["signature"], "good");
    assert_eq!(json["key"], public(1).id().to_string());
    assert_eq!(json["manifest"], serde_json::to_value(&SHARED.bundle.manifest).unwrap());
    assert_eq!(json["length"], std::fs::metadata(&SHARED.bundle.path).unwrap().len());
    // The sections fill the file without a gap, and lie where the contract says.
    let head = Head::parse(&std::fs::read(&SHARED.bundle.path).unwrap()).unwrap();
    let wanted =
        Sections::of(json["sections"][0]["length"].as_u64().unwrap(), head.frame_blocks, &SHARED.bundle.manifest);
    let wanted = wanted.unwrap();
    let mut at = 0;
    for section in json["sections"].as_array().unwrap() {
        assert_eq!(section["offset"], at, "{section}");
        at += section["length"].as_u64().unwrap();
        let of = if section["image"] == "boot" { wanted.boot } else { wanted.root };
        let place = match section["name"].as_str().unwrap() {
            "upper levels" => of.upper,
            "leaves" => of.leaves,
            "shorts" => of.shorts,
            "index" => of.index,
            _ => continue,
        };
        assert_eq!(section["offset"], place.offset, "{section}");
    }
    assert_eq!(json["length"], at);
    let text = microdc(&["inspect", "router-1.2.3.bundle", "--key", "one.pub"], 0);
    for fact in ["router 1.2.3 for", "6.12.1-test", &public(1).id().to_string(), "2026-09-21"] {
        assert!(text.contains(fact), "{fact}: {text}");
    }
    assert!(text.contains(&SHARED.bundle.manifest.root.root_hash.to_string()), "{text}");
    let text = microdc(&["inspect", "router-1.2.3.bundle", "--key", "nine.pub"], 0);
    assert!(text.contains("not signed by a key that is trusted here"), "{text}");
}
