//! A whole image: what is written verifies, and nothing in it can change unnoticed.

use crate::format_support::*;
use contract::hash::Digest;
use contract::layout::{BLOCK, Extent, Partition, Slot};
use contract::role::Role;
use contract::trailer::TrailerError;
use contract::tree::SALT;
use microdc::image::{self, ImageSpec};
use microdc::slot::SlotError;
use microdc::verify::{Bootsel, Expect, VerifyError, verify};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

const ROUTER: Role = Role::literal("router");

struct Shared {
    _folder: tempfile::TempDir,
    path: PathBuf,
    summary: image::ImageSummary,
}

/// One image for the tests that only read it.
static IMAGE: LazyLock<Shared> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.img");
    let summary = write_image(&path, None);
    Shared { _folder: folder, path, summary }
});

fn expect() -> [contract::keys::PublicKey; 2] {
    [public(1), public(2)]
}

fn check(path: &Path) -> Result<microdc::verify::Verified, VerifyError> {
    verify(path, &Expect { trusted: &expect(), role: Some(&ROUTER), bootsel: Bootsel::AsBuilt })
}

fn extent(partition: Partition) -> Extent {
    layout().extent(partition).unwrap()
}

/// Copies a partition out of the image, for tools that want it alone.
fn partition(folder: &Path, partition: Partition, length: Option<u64>) -> PathBuf {
    let Extent { offset, length: whole } = extent(partition);
    let path = folder.join(partition.name());
    let mut bytes = vec![0; length.unwrap_or(whole) as usize];
    File::open(&IMAGE.path).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A copy of the image that keeps its holes.
fn copy(folder: &Path) -> PathBuf {
    let path = folder.join("copy.img");
    tool_ok("cp", &["--sparse=always", IMAGE.path.to_str().unwrap(), path.to_str().unwrap()]);
    path
}

#[test]
fn every_tool_is_content_with_the_parts_of_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let said = tool_ok("sgdisk", &["-v", IMAGE.path.to_str().unwrap()]);
    assert!(said.contains("No problems found"), "{said}");
    for part in [Partition::Bootsel, Partition::BootA] {
        let path = partition(folder.path(), part, None);
        tool_ok("fsck.fat", &["-n", path.to_str().unwrap()]);
    }
    let manifest = &IMAGE.summary.slot.manifest;
    let root = partition(folder.path(), Partition::RootA, Some(manifest.root.length));
    tool_ok("e2fsck", &["-fn", root.to_str().unwrap()]);
    let whole = partition(folder.path(), Partition::RootA, None);
    let whole = whole.to_str().unwrap();
    let (offset, blocks) = (manifest.root.length.to_string(), manifest.root.blocks().to_string());
    let salt = hex::encode(SALT);
    tool_ok(
        "veritysetup",
        &[
            "verify",
            "--no-superblock",
            "--data-blocks",
            &blocks,
            "--hash-offset",
            &offset,
            "--salt",
            &salt,
            whole,
            whole,
            &manifest.root.root_hash.to_string(),
        ],
    );
}

#[test]
fn a_fresh_image_verifies_with_slot_a_filled_and_b_empty() {
    let verified = check(&IMAGE.path).unwrap();
    assert_eq!(verified.default, Slot::A);
    assert_eq!(verified.slots.keys().copied().collect::<Vec<_>>(), [Slot::A]);
    let slot = &verified.slots[&Slot::A];
    assert_eq!(slot.manifest, IMAGE.summary.slot.manifest);
    assert_eq!(slot.key, public(1).id());
    assert!(slot.boot_files.contains_key("kernel8.img") && slot.boot_files.contains_key("cmdline.txt"));
}

#[test]
fn the_digest_is_that_of_the_whole_file_and_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.img");
    let again = write_image(&other, None);
    assert_eq!(again.digest, IMAGE.summary.digest);
    let said = tool_ok("sha256sum", &[other.to_str().unwrap()]);
    assert!(said.starts_with(&again.digest.to_string()), "{said}");
    assert_eq!(std::fs::metadata(&other).unwrap().len(), again.length);
    assert!(again.on_disk < again.length / 4, "{} bytes on the disk: the file is not sparse", again.on_disk);
}

#[test]
fn a_node_config_is_put_into_bootsel_and_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("with-config.img");
    write_image(&path, Some(b"name = \"r1\"\n".to_vec()));
    assert_eq!(check(&path).unwrap().node_config.as_deref(), Some(&b"name = \"r1\"\n"[..]));
}

#[test]
fn a_node_config_dropped_by_other_tools_is_bootable_and_not_as_built() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy(folder.path());
    let config = folder.path().join("node.toml");
    std::fs::write(&config, "name = \"r2\"\n").unwrap();
    let place = format!("{}@@{}", path.display(), extent(Partition::Bootsel).offset);
    tool_ok("mcopy", &["-i", &place, config.to_str().unwrap(), "::node.toml"]);
    let error = check(&path).unwrap_err();
    assert!(matches!(error, VerifyError::Damage { place: "bootsel", .. }), "{error}");
    let relaxed = Expect { trusted: &expect(), role: None, bootsel: Bootsel::Bootable };
    let verified = verify(&path, &relaxed).unwrap();
    assert_eq!(verified.node_config.as_deref(), Some(&b"name = \"r2\"\n"[..]));
}

/// Flips one bit, looks, and flips it back.
fn flipped<T>(file: &File, offset: u64, bit: u8, look: impl FnOnce() -> T) -> T {
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << bit], offset).unwrap();
    let seen = look();
    file.write_all_at(&byte, offset).unwrap();
    seen
}

/// Positions that follow from a seed.
fn positions(count: usize, range: std::ops::Range<u64>, seed: u64) -> Vec<(u64, u8)> {
    let words = noise(count * 9, seed);
    let draw = |chunk: &[u8]| {
        let number = u64::from_le_bytes(chunk[..8].try_into().unwrap());
        (range.start + number % (range.end - range.start), chunk[8] % 8)
    };
    words.chunks_exact(9).map(draw).collect()
}

#[test]
fn three_hundred_flipped_bits_are_all_found_and_located() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy(folder.path());
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let manifest = &IMAGE.summary.slot.manifest;
    let (boot, root) = (extent(Partition::BootA), extent(Partition::RootA));
    let tree = root.offset + manifest.root.length..root.offset + manifest.root.length + IMAGE.summary.slot.root_tree;
    let trailer = root.end() - contract::layout::TRAILER_SIZE;
    let places = [
        ("root-a", 90, root.offset..tree.start),
        ("root-a", 50, tree),
        ("root-a", 30, trailer..root.end()),
        ("root-a", 20, trailer..trailer + 600),
        ("boot-a", 40, boot.offset..boot.offset + manifest.boot.length),
        ("", 50, 0..IMAGE.summary.length),
        ("bootsel", 10, extent(Partition::Bootsel).offset..extent(Partition::Bootsel).offset + 20_000),
        ("partition table", 10, 0..34 * 512),
    ];
    for (seed, (place, count, range)) in places.into_iter().enumerate() {
        for (offset, bit) in positions(count, range.clone(), seed as u64) {
            let error =
                flipped(&file, offset, bit, || check(&path)).expect_err(&format!("{place}: bit {bit} at {offset}"));
            let text = error.to_string();
            assert!(text.starts_with(place), "bit {bit} at {offset}: {text}");
            if let VerifyError::Damage { place, block, offset: found, .. } = error {
                assert_eq!(found / BLOCK, offset / BLOCK, "{text}");
                let start = Partition::IN_IMAGE
                    .into_iter()
                    .find(|part| part.name() == place)
                    .map_or(0, |part| extent(part).offset);
                assert_eq!(block, (offset - start) / BLOCK, "{text}");
            }
        }
    }
    check(&path).unwrap();
}

#[test]
fn an_image_cut_off_anywhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy(folder.path());
    let file = File::options().write(true).open(&path).unwrap();
    for length in [IMAGE.summary.length - 512, IMAGE.summary.length / 2, 3 << 20, 1 << 20, 100, 0] {
        file.set_len(length).unwrap();
        let error = check(&path).unwrap_err();
        assert!(matches!(error, VerifyError::Length(_) | VerifyError::Table { .. }), "{length}: {error}");
    }
}

#[test]
fn an_unknown_signer_is_named_and_refused() {
    let trusted = [public(8), public(9)];
    let error =
        verify(&IMAGE.path, &Expect { trusted: &trusted, role: None, bootsel: Bootsel::AsBuilt }).unwrap_err();
    assert!(
        matches!(&error, VerifyError::Trailer { place: "root-a", source: TrailerError::Signature(_), .. }),
        "{error}"
    );
    assert!(error.to_string().contains(&public(1).id().to_string()), "{error}");
}

#[test]
fn an_image_for_another_role_is_refused() {
    let minio = Role::literal("minio");
    let expect = Expect { trusted: &expect(), role: Some(&minio), bootsel: Bootsel::AsBuilt };
    let error = verify(&IMAGE.path, &expect).unwrap_err();
    assert_eq!(error.to_string(), "slot A is for the role router, not for minio");
}

#[test]
fn a_signed_manifest_of_another_root_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy(folder.path());
    let (mut tree, boot, key) = (tree(), boot_files(), key(1));
    tree.insert("etc/other", file(b"other".to_vec(), 0o644, (0, 0))).unwrap();
    let other_path = folder.path().join("other.img");
    let spec = ImageSpec { slot: slot_spec(&tree, &boot, &key), layout: layout(), node_config: None };
    image::write(&spec, &other_path, &|_| Ok(())).unwrap();
    let at = extent(Partition::RootA).end() - contract::layout::TRAILER_SIZE;
    let mut trailer = vec![0; contract::layout::TRAILER_SIZE as usize];
    File::open(&other_path).unwrap().read_exact_at(&mut trailer, at).unwrap();
    File::options().write(true).open(&path).unwrap().write_all_at(&trailer, at).unwrap();
    let error = check(&path).unwrap_err();
    assert!(error.to_string().starts_with("root-a"), "{error}");
}

#[test]
fn a_slot_b_with_the_content_of_slot_a_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let path = copy(folder.path());
    let file = File::options().read(true).write(true).open(&path).unwrap();
    for (from, to) in [(Partition::BootA, Partition::BootB), (Partition::RootA, Partition::RootB)] {
        let mut bytes = vec![0; extent(from).length as usize];
        file.read_exact_at(&mut bytes, extent(from).offset).unwrap();
        file.write_all_at(&bytes, extent(to).offset).unwrap();
    }
    let verified = check(&path).unwrap();
    assert_eq!(verified.slots.len(), 2);
    assert_eq!(verified.slots[&Slot::A].manifest_digest, verified.slots[&Slot::B].manifest_digest);
}

#[test]
fn a_build_that_is_stopped_leaves_nothing_and_the_old_image_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.img");
    std::fs::write(&path, "the old image").unwrap();
    let (tree, boot, key) = (tree(), boot_files(), key(1));
    let spec = ImageSpec { slot: slot_spec(&tree, &boot, &key), layout: layout(), node_config: None };
    let stopped = image::write(&spec, &path, &|_| Err(io::ErrorKind::StorageFull.into()));
    assert!(stopped.is_err());
    let mut digest_only = image::write(&spec, &path, &|progress| match progress {
        image::Progress::Root { .. } => Ok(()),
        image::Progress::Digest { .. } => Err(io::ErrorKind::Interrupted.into()),
    });
    assert!(digest_only.as_mut().is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "the old image");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "something was left behind");
}

#[test]
fn a_full_disk_is_said_plainly() {
    let (tree, boot, key) = (tree(), boot_files(), key(1));
    let full = File::options().read(true).write(true).open("/dev/full").unwrap();
    let spec = slot_spec(&tree, &boot, &key);
    let [boot, root] = [extent(Partition::BootA), extent(Partition::RootA)];
    let error = microdc::slot::write(&spec, &full, boot, root, &|_, _| Ok(())).unwrap_err();
    assert!(error.to_string().contains("No space left on device"), "{error}");
}

#[test]
fn a_root_that_does_not_fit_is_refused_with_both_figures() {
    let (mut tree, boot, key) = (tree(), boot_files(), key(1));
    tree.insert("usr/share/too-large", file(noise(24 << 20, 1), 0o644, (0, 0))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let spec = ImageSpec { slot: slot_spec(&tree, &boot, &key), layout: layout(), node_config: None };
    let error = image::write(&spec, &folder.path().join("x.img"), &|_| Ok(())).unwrap_err();
    assert!(
        matches!(&error, image::ImageError::Slot { source, .. } if matches!(**source, SlotError::RootFull { .. })),
        "{error}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn two_builds_do_not_write_one_image_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("router.img");
    let part = File::create(folder.path().join(".router.img.part")).unwrap();
    part.lock().unwrap();
    let (tree, boot, key) = (tree(), boot_files(), key(1));
    let spec = ImageSpec { slot: slot_spec(&tree, &boot, &key), layout: layout(), node_config: None };
    let busy = image::write(&spec, &path, &|_| Ok(())).unwrap_err();
    assert!(busy.to_string().contains("another microdc is writing this file"), "{busy}");
    drop(part);
    // A test beside this one that is starting a program keeps a copy of the lock until the program runs.
    let begun = std::time::Instant::now();
    while let Err(error) = image::write(&spec, &path, &|_| Ok(())) {
        assert!(error.to_string().contains("another microdc is writing this file"), "{error}");
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{error}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_ne!(image::file_digest(&File::open(&path).unwrap(), 512, &|_| Ok(())).unwrap(), Digest::of(&[]));
}
