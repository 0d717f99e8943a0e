//! A bundle in which anything has changed is damaged, and the reason says what.

use contract::bundle::{BundleError, Frames, HEAD, Head, ImageSections, Sections};
use contract::hash::Digest;
use contract::keys::{PrivateKey, PublicKey};
use contract::layout::{BLOCK, Extent};
use contract::manifest::{BlockImage, FORMAT, Manifest, Which};
use contract::names::BOARD;
use contract::role::Role;
use contract::trailer::Trailer;
use contract::tree::HashTree;
use microdc::bundle::{ReadError, Reader, Source, is_bundle, pack};
use pack_as_documented::lzma2;
use proptest::prelude::*;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::LazyLock;

const ROUTER: Role = Role::literal("router");

#[path = "../../firstboot/tests/node/pack.rs"]
mod pack_as_documented;

/// Blocks of a small slot; more than 128, so that its trees have two levels.
const BLOCKS: [u64; 2] = [131, 134];

fn key() -> PrivateKey {
    PrivateKey::from_seed(&[1; 32])
}

fn trusted() -> [PublicKey; 1] {
    [key().public()]
}

/// Blocks of all kinds: zeros, text, noise, and runs that a compressor refers back to.
fn content(blocks: u64, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::new();
    for block in 0..blocks {
        let line = format!("block {block} of {seed}\n");
        bytes.extend((0..BLOCK as usize).map(|at| {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            match block % 8 {
                0..4 => 0,
                4 => line.as_bytes()[at % line.len()],
                5 => (state >> 60) as u8,
                6 => (at % 64) as u8 ^ block as u8,
                _ if block < 16 => (state >> 40) as u8,
                _ => b'x',
            }
        }));
    }
    bytes
}

/// A small bundle.
static BUNDLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let [boot, root] = [content(BLOCKS[0], 5), content(BLOCKS[1], 6)];
    let image =
        |bytes: &[u8]| BlockImage { length: bytes.len() as u64, root_hash: HashTree::over(bytes).unwrap().root_hash };
    let manifest = Manifest {
        format: FORMAT,
        role: ROUTER,
        compatible: None,
        board: BOARD.to_owned(),
        version: "1".parse().unwrap(),
        built: 1_790_000_000,
        rollback_index: 1,
        kernel: "6.12".parse().unwrap(),
        boot: image(&boot),
        root: image(&root),
        supplied: Vec::new(),
    };
    let manifest = manifest.to_bytes().unwrap();
    let trailer = Trailer { signature: key().sign(&manifest), manifest };
    let folder = tempfile::tempdir().unwrap();
    let slot = folder.path().join("slot");
    std::fs::write(&slot, [&boot[..], &root].concat()).unwrap();
    let file = File::open(&slot).unwrap();
    let extents = [(0, boot.len()), (boot.len(), root.len())];
    let [boot, root] = extents.map(|(offset, length)| Extent { offset: offset as u64, length: length as u64 });
    let path = folder.path().join("small.bundle");
    pack(&Source { file: &file, trailer, boot, root }, 4, &path, &|_| Ok(())).unwrap();
    std::fs::read(&path).unwrap()
});

fn check(bytes: &[u8]) -> Result<(), ReadError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    check_file(file.path())
}

fn check_file(path: &Path) -> Result<(), ReadError> {
    Reader::open(path)?.check(&trusted(), &|_| Ok(())).map(drop)
}

fn sections() -> (Sections, Frames) {
    let (_, sections) = Head::parse(&BUNDLE).unwrap().verify(&trusted()).unwrap();
    let index = |image| {
        let Extent { offset, length } = sections.image(image).index;
        &BUNDLE[offset as usize..(offset + length) as usize]
    };
    let frames = Frames::parse(sections, index(Which::Boot), index(Which::Root), BUNDLE.len() as u64).unwrap();
    (sections, frames)
}

/// The bundle with a right checksum, so that what stands before it must find the damage.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let head = Head::parse(&bytes).unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(&bytes[HEAD + head.trailer.manifest.len()..]);
    let head = Head { checksum: crc.sum(), length: bytes.len() as u64, ..head }.to_bytes().unwrap();
    bytes[..head.len()].copy_from_slice(&head);
    bytes
}

#[test]
fn the_undamaged_bundle_is_whole() {
    check(&BUNDLE).unwrap();
    assert_eq!(sealed(BUNDLE.clone()), *BUNDLE);
    let (sections, frames) = sections();
    let kinds: Vec<bool> = (0..sections.boot.frames)
        .map(|frame| frames.extent(Which::Boot, frame).unwrap().length == 4 * BLOCK)
        .collect();
    assert!(kinds.contains(&false), "no compressed frame: {kinds:?}");
    assert!(sections.boot.upper.length > 0 && sections.root.upper.length > 0);
}

#[test]
fn every_single_flipped_bit_of_the_head_is_found() {
    let head = HEAD + Head::parse(&BUNDLE).unwrap().trailer.manifest.len();
    let mut bytes = BUNDLE.clone();
    for bit in 0..head * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&bytes).is_err(), "bit {bit} unnoticed");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_single_flipped_bit_is_found(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = BUNDLE.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(check(&bytes).is_err(), "byte {at}, bit {bit}");
    }
}

#[test]
fn a_bundle_that_is_cut_off_or_too_long_is_not_whole() {
    let (sections, _) = sections();
    let of = |image| {
        let ImageSections { upper, leaves, shorts, index, .. } = *sections.image(image);
        [upper, leaves, shorts, index].map(|extent| extent.offset)
    };
    let ends = [of(Which::Boot), of(Which::Root)].concat();
    for end in ends.into_iter().chain([0, 7, 50, 104, 200, sections.frames, BUNDLE.len() as u64 - 1]) {
        let cut = &BUNDLE[..end as usize];
        assert!(check(cut).is_err(), "cut at {end}");
        // A head that owns to it does not help.
        if Head::parse(cut).is_ok() {
            assert!(check(&sealed(cut.to_vec())).is_err(), "cut at {end}, sealed");
        }
    }
    let longer = [&BUNDLE[..], b"x"].concat();
    assert!(matches!(check(&longer), Err(ReadError::Length { .. })));
    assert!(matches!(check(&sealed(longer)), Err(ReadError::Bundle(BundleError::Length { .. }))));
}

#[test]
fn damage_is_named_by_its_place_even_when_the_checksum_is_right() {
    let (sections, frames) = sections();
    let flipped = |at: u64| {
        let mut bytes = BUNDLE.clone();
        bytes[at as usize] ^= 1;
        check(&sealed(bytes)).unwrap_err()
    };
    for image in Which::BOTH {
        let ImageSections { upper, leaves, shorts, index, .. } = *sections.image(image);
        for (extent, name) in [(upper, "upper"), (leaves, "leaves")] {
            let error = flipped(extent.offset + 5);
            let right = matches!(&error, ReadError::Tree { image: found, extent: at, .. }
                if *found == image && *at == extent);
            assert!(right, "{name}: {error}");
        }
        let error = flipped(shorts.offset + 4 * 9 + 2);
        assert!(matches!(error, ReadError::Short { image: found, block: 9, .. } if found == image), "{error}");
        let error = flipped(index.offset);
        assert!(matches!(error, ReadError::Bundle(_)), "{error}");
        let extent = frames.extent(image, 1).unwrap();
        let error = flipped(extent.end() - 1);
        assert!(matches!(error, ReadError::Frame { image: found, frame: 1, .. } if found == image), "{error}");
    }
}

/// The bundle with another frame in place of one of the boot image; index, length and checksum fit.
fn with_frame(frame: u64, stored: &[u8]) -> Vec<u8> {
    let (sections, frames) = sections();
    let old = frames.extent(Which::Boot, frame).unwrap();
    let mut bytes = BUNDLE.clone();
    let index = (sections.boot.index.offset + 2 * frame) as usize;
    bytes[index..index + 2].copy_from_slice(&((stored.len() - 1) as u16).to_le_bytes());
    bytes.splice(old.offset as usize..old.end() as usize, stored.iter().copied());
    sealed(bytes)
}

#[test]
fn a_frame_holds_its_blocks_and_nothing_else() {
    let (_, frames) = sections();
    let Extent { offset, length } = frames.extent(Which::Boot, 1).unwrap();
    let good = BUNDLE[offset as usize..(offset + length) as usize].to_vec();
    let content = content(BLOCKS[0], 5)[4 * BLOCK as usize..8 * BLOCK as usize].to_vec();
    // Another compression of the same blocks is as good.
    check(&with_frame(1, &lzma2(&content))).unwrap();
    check(&with_frame(1, &content)).unwrap();
    let cases = [
        ("half of its blocks", lzma2(&content[..content.len() / 2])),
        ("one byte more", lzma2(&[&content[..], b"x"].concat())),
        ("a bomb", lzma2(&vec![0; 64 << 20])),
        ("two frames", [lzma2(&content[..4096]), lzma2(&content[4096..])].concat()),
        ("something behind it", [&good[..], b"x"].concat()),
        ("another block", lzma2(&vec![7; content.len()])),
        ("no LZMA2", vec![7; 300]),
        ("nothing", vec![0]),
        ("a part of it", good[..good.len() - 1].to_vec()),
        ("other blocks as they are", vec![7; content.len()]),
    ];
    for (what, stored) in cases {
        let error = check(&with_frame(1, &stored)).expect_err(what);
        assert!(matches!(error, ReadError::Frame { image: Which::Boot, frame: 1, .. }), "{what}: {error}");
    }
}

#[test]
fn only_what_begins_like_a_bundle_is_taken_for_one() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    assert!(!is_bundle(file.path()).unwrap());
    file.write_all(&BUNDLE[..8]).unwrap();
    assert!(!is_bundle(file.path()).unwrap());
    file.write_all(&BUNDLE[8..]).unwrap();
    assert!(is_bundle(file.path()).unwrap());
    let said = Reader::open(file.path()).unwrap().contents().unwrap();
    assert_eq!(said.manifest_digest, Digest::of(&Head::parse(&BUNDLE).unwrap().trailer.manifest));
    assert!(check_file(file.path()).is_ok());
}
