//! The bundle: one slot's content as a signed update file, to be read in pieces from any server that knows ranges, or
//! front to back from a stream.
//!
//! All numbers are little-endian. Sections follow each other without gaps; where each lies follows from the manifest and
//! the number of blocks in a frame ([`Sections`]), so that no offset in the file has to be trusted:
//!
//! | section | holds |
//! |---|---|
//! | head | see below |
//! | upper levels, boot then root | the hash tree without its lowest level, as dm-verity stores it, top first |
//! | leaves, boot then root | the lowest level: a hash for each block, [`HASHES_PER_BLOCK`] in each 4 KiB |
//! | shorts, boot then root | the first [`SHORT`] bytes of each block's hash |
//! | index, boot then root | for each frame its stored length less one (2 bytes) |
//! | frames, boot then root | a frame holds so many blocks, the last one of an image what is left: packed, or the blocks as they are when that is not longer |
//!
//! | offset | length | field of the head |
//! |---|---|---|
//! | 0 | 8 | magic `microdcB` |
//! | 8 | 4 | format: 1 |
//! | 12 | 4 | blocks in a frame: 1 to [`MAX_FRAME_BLOCKS`] |
//! | 16 | 8 | length of the whole file |
//! | 24 | 4 | length of the manifest |
//! | 28 | 4 | CRC-32 (IEEE 802.3) of all that follows the head |
//! | 32 | 8 | id of the key that signed |
//! | 40 | 64 | ed25519 signature |
//! | 104 | | the manifest |
//!
//! Packed blocks went through xz's ARM64 filter, from position 0, and are one LZMA2 stream up to its end marker, with a
//! dictionary of at most [`DICTIONARY`] bytes: what `xz --format=raw --arm64 --lzma2=dict=64KiB` reads.
//!
//! A node needs the head and the upper levels, which the signed root hashes prove. For each 128 blocks (one block of the
//! leaves) the shorts say which blocks it may have already; the others it fetches. The hashes of what it then holds must
//! give the proven hash above them. Only where they do not does it need the leaves, to learn which block is wrong. So a
//! short is a hint, and never trusted. A reader of a stream passes over the shorts and takes the leaves.
//!
//! The CRC is for people who keep the file: with it `microdc verify` finds a bit that has flipped where no node would
//! notice, in a short or in a part of a frame that no decompressor looks at. Nodes ignore it.

use crate::hash::Digest;
use crate::keys::{KeyId, ManifestSignature, PublicKey};
use crate::layout::{BLOCK, Extent, TRAILER_SIZE};
use crate::manifest::{BlockImage, Manifest, Which};
use crate::trailer::{Trailer, TrailerError};
use crate::tree::{self, HASHES_PER_BLOCK, TreeError};
use std::ops::Range;

const MAGIC: [u8; 8] = *b"microdcB";
const FORMAT: u32 = 1;
/// Length of the head without the manifest, in bytes.
pub const HEAD: usize = 104;
/// How much a reader asks for first, in bytes: enough for the head of any usual bundle.
pub const FIRST_READ: u64 = 4096;
/// Longest manifest, in bytes: what fits into a trailer.
pub const MAX_MANIFEST: usize = TRAILER_SIZE as usize - 88;
/// Bytes of a hash that are in the shorts. With 50,000 blocks on the node, about one update in fifty meets two blocks
/// with the same short hash; it then fetches 4 KiB more.
pub const SHORT: usize = 4;
/// Most blocks in a frame, so that a stored length fits into two bytes.
pub const MAX_FRAME_BLOCKS: u32 = 16;
/// Blocks in a frame of the bundles that microdc makes. Of 1, 2, 4, 8 and 16 this one came out least or next to it when
/// a node fetched a changed package and a new kernel (`cargo bench -p microdc --bench update`): with less LZMA2 finds
/// less, and the index is longer; with more a node fetches more blocks that it has.
pub const FRAME_BLOCKS: u32 = 8;
/// Dictionary of a packed frame, in bytes: all of the longest one.
pub const DICTIONARY: u32 = MAX_FRAME_BLOCKS * BLOCK as u32;
/// Extension of a bundle's file name.
pub const EXTENSION: &str = "bundle";

/// A bundle that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("this is not a bundle: it does not begin with microdcB")]
    Magic,
    #[error("the bundle has format {0}; this program reads format {FORMAT}")]
    Format(u32),
    #[error("the bundle is truncated: its {what} needs {needed} bytes, and there are {found}")]
    Short { what: &'static str, needed: u64, found: u64 },
    #[error("the bundle's header is damaged: {0}")]
    Head(&'static str),
    #[error("the bundle is {said} bytes long according to its header, but {reckoned} according to its index")]
    Length { said: u64, reckoned: u64 },
    #[error("frame {frame} of the {image} image has {stored} bytes, more than the {limit} bytes that it contains")]
    Frame { image: Which, frame: u64, stored: u64, limit: u64 },
    #[error(transparent)]
    Trailer(#[from] TrailerError),
    #[error("the {image} image of the manifest")]
    Tree { image: Which, source: TreeError },
    #[error("the lengths in the bundle are out of range")]
    Overflow,
}

/// The head of a bundle. Nothing in it is to be trusted before [`Head::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub frame_blocks: u32,
    /// Of the whole file, in bytes.
    pub length: u64,
    /// CRC-32 of all that follows the head. Nodes ignore it.
    pub checksum: u32,
    /// Manifest and signature, as the slot's trailer will have them.
    pub trailer: Trailer,
}

impl Head {
    /// The bytes at the front of the file.
    ///
    /// # Errors
    /// When the manifest is too long.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        let manifest = &self.trailer.manifest;
        let length = u32::try_from(manifest.len()).ok().filter(|_| manifest.len() <= MAX_MANIFEST);
        let length = length.ok_or(TrailerError::TooLong(manifest.len()))?;
        let mut bytes = Vec::with_capacity(HEAD + manifest.len());
        bytes.extend(MAGIC);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(self.frame_blocks.to_le_bytes());
        bytes.extend(self.length.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(self.checksum.to_le_bytes());
        bytes.extend(self.trailer.signature.key.0);
        bytes.extend(self.trailer.signature.bytes);
        bytes.extend(manifest);
        Ok(bytes)
    }

    /// Length of the whole head in bytes, by its first [`HEAD`] bytes.
    ///
    /// # Errors
    /// When they are not the head of a bundle.
    pub fn length_of(first: &[u8]) -> Result<u64, BundleError> {
        let mut at = 0;
        if take::<8>(first, &mut at)? != MAGIC {
            return Err(BundleError::Magic);
        }
        match u32::from_le_bytes(take(first, &mut at)?) {
            FORMAT => (),
            other => return Err(BundleError::Format(other)),
        }
        at = 24;
        let manifest = u32::from_le_bytes(take(first, &mut at)?) as usize;
        if manifest > MAX_MANIFEST {
            return Err(TrailerError::TooLong(manifest).into());
        }
        Ok((HEAD + manifest) as u64)
    }

    /// Reads the head from the front of a bundle; what follows it is ignored.
    ///
    /// # Errors
    /// What is wrong with its shape.
    pub fn parse(bytes: &[u8]) -> Result<Head, BundleError> {
        let whole = Head::length_of(bytes)?;
        let mut at = 12;
        let frame_blocks = u32::from_le_bytes(take(bytes, &mut at)?);
        if !(1..=MAX_FRAME_BLOCKS).contains(&frame_blocks) {
            return Err(BundleError::Head("a frame has 1 to 16 blocks"));
        }
        let length = u64::from_le_bytes(take(bytes, &mut at)?);
        at = 28;
        let checksum = u32::from_le_bytes(take(bytes, &mut at)?);
        let key = KeyId(take(bytes, &mut at)?);
        let signature = take(bytes, &mut at)?;
        let manifest = bytes.get(HEAD..whole as usize);
        let short = || BundleError::Short { what: "head", needed: whole, found: bytes.len() as u64 };
        let manifest = manifest.ok_or_else(short)?.to_vec();
        let trailer = Trailer { manifest, signature: ManifestSignature { key, bytes: signature } };
        Ok(Head { frame_blocks, length, checksum, trailer })
    }

    /// The manifest and where everything lies, after the signature was checked.
    ///
    /// # Errors
    /// When no trusted key signed it, or it is not a manifest for this program.
    pub fn verify(&self, trusted: &[PublicKey]) -> Result<(Manifest, Sections), BundleError> {
        let manifest = self.trailer.verify(trusted)?;
        let sections = Sections::of((HEAD + self.trailer.manifest.len()) as u64, self.frame_blocks, &manifest)?;
        Ok((manifest, sections))
    }
}

fn take<const N: usize>(bytes: &[u8], at: &mut usize) -> Result<[u8; N], BundleError> {
    let field = bytes.get(*at..).and_then(|rest| rest.first_chunk::<N>());
    let short = BundleError::Short { what: "head", needed: HEAD as u64, found: bytes.len() as u64 };
    *at += N;
    field.copied().ok_or(short)
}

/// Where the sections about one of the two images are in the file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSections {
    /// Blocks of the image, and frames that hold them.
    pub blocks: u64,
    pub frames: u64,
    pub upper: Extent,
    pub leaves: Extent,
    pub shorts: Extent,
    pub index: Extent,
}

/// Where everything before the frames lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sections {
    pub frame_blocks: u32,
    pub boot: ImageSections,
    pub root: ImageSections,
    /// Where the frames begin.
    pub frames: u64,
}

impl Sections {
    /// The sections behind a head of `head` bytes.
    ///
    /// # Errors
    /// When an image has a length that no tree can cover, or that no file can hold.
    pub fn of(head: u64, frame_blocks: u32, manifest: &Manifest) -> Result<Sections, BundleError> {
        let frame_blocks = frame_blocks.clamp(1, MAX_FRAME_BLOCKS);
        let mut lengths = Vec::new();
        for image in Which::BOTH {
            let BlockImage { length, .. } = manifest.image(image);
            // Beyond this the sums below could overflow; no disk is that long.
            if *length >= 1 << 56 {
                return Err(BundleError::Overflow);
            }
            let levels = tree::levels(*length).map_err(|source| BundleError::Tree { image, source })?;
            let leaves = levels.first().copied().unwrap_or(0);
            let upper = levels.iter().sum::<u64>() - leaves;
            let blocks = length / BLOCK;
            let frames = blocks.div_ceil(frame_blocks.into());
            lengths.push((blocks, frames, [upper * BLOCK, leaves * BLOCK, blocks * SHORT as u64, frames * 2]));
        }
        let mut at = head;
        let mut places = [[Extent { offset: 0, length: 0 }; 2]; 4];
        for (section, place) in places.iter_mut().enumerate() {
            for (place, (_, _, lengths)) in place.iter_mut().zip(&lengths) {
                let length = lengths.get(section).copied().unwrap_or(0);
                *place = Extent { offset: at, length };
                at = at.checked_add(length).ok_or(BundleError::Overflow)?;
            }
        }
        let [upper, leaves, shorts, index] = places;
        let of = |n: usize| {
            let (blocks, frames) = lengths.get(n).map_or((0, 0), |(blocks, frames, _)| (*blocks, *frames));
            let pick = |places: [Extent; 2]| if n == 0 { places[0] } else { places[1] };
            ImageSections {
                blocks,
                frames,
                upper: pick(upper),
                leaves: pick(leaves),
                shorts: pick(shorts),
                index: pick(index),
            }
        };
        Ok(Sections { frame_blocks, boot: of(0), root: of(1), frames: at })
    }

    #[must_use]
    pub fn image(&self, image: Which) -> &ImageSections {
        match image {
            Which::Boot => &self.boot,
            Which::Root => &self.root,
        }
    }

    /// The blocks that a frame holds.
    #[must_use]
    pub fn blocks_of(&self, image: Which, frame: u64) -> Range<u64> {
        let (each, all) = (u64::from(self.frame_blocks), self.image(image).blocks);
        let first = frame.saturating_mul(each).min(all);
        first..first.saturating_add(each).min(all)
    }

    /// The frame that holds a block.
    #[must_use]
    pub fn frame_of(&self, block: u64) -> u64 {
        block / u64::from(self.frame_blocks.max(1))
    }
}

/// Where each frame lies, by the index.
#[derive(Clone, Debug)]
pub struct Frames {
    sections: Sections,
    images: [Index; 2],
}

/// Stored lengths of an image's frames, and where every [`STRIDE`]th begins.
#[derive(Clone, Debug)]
struct Index {
    lengths: Vec<u16>,
    begins: Vec<u64>,
}

const STRIDE: usize = 64;

impl Frames {
    /// Reads both parts of the index.
    ///
    /// # Errors
    /// When they are cut off, a frame is longer than what it holds, or all of them do not end where the head says that the
    /// file ends.
    pub fn parse(sections: Sections, boot: &[u8], root: &[u8], length: u64) -> Result<Frames, BundleError> {
        let mut at = sections.frames;
        let mut read = |image, bytes: &[u8]| -> Result<Index, BundleError> {
            let ImageSections { frames, index, .. } = *sections.image(image);
            if bytes.len() as u64 != index.length {
                return Err(BundleError::Short { what: "index", needed: index.length, found: bytes.len() as u64 });
            }
            let lengths: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|two| u16::from_le_bytes(*two)).collect();
            let mut begins = Vec::with_capacity(lengths.len() / STRIDE + 1);
            for (frame, stored) in (0..frames).zip(&lengths) {
                if (frame as usize).is_multiple_of(STRIDE) {
                    begins.push(at);
                }
                let stored = u64::from(*stored) + 1;
                let blocks = sections.blocks_of(image, frame);
                let limit = (blocks.end - blocks.start) * BLOCK;
                if stored > limit {
                    return Err(BundleError::Frame { image, frame, stored, limit });
                }
                at = at.checked_add(stored).ok_or(BundleError::Overflow)?;
            }
            Ok(Index { lengths, begins })
        };
        let images = [read(Which::Boot, boot)?, read(Which::Root, root)?];
        if at != length {
            return Err(BundleError::Length { said: length, reckoned: at });
        }
        Ok(Frames { sections, images })
    }

    #[must_use]
    pub fn sections(&self) -> &Sections {
        &self.sections
    }

    /// Where a frame is in the file; `None` beyond the last one.
    #[must_use]
    pub fn extent(&self, image: Which, frame: u64) -> Option<Extent> {
        let index = match image {
            Which::Boot => &self.images[0],
            Which::Root => &self.images[1],
        };
        let frame = usize::try_from(frame).ok()?;
        let length = u64::from(*index.lengths.get(frame)?) + 1;
        let first = frame - frame % STRIDE;
        let before = index.lengths.get(first..frame)?.iter().map(|stored| u64::from(*stored) + 1).sum::<u64>();
        Some(Extent { offset: index.begins.get(frame / STRIDE)? + before, length })
    }
}

/// The short of a hash.
#[must_use]
pub fn short(leaf: &Digest) -> [u8; SHORT] {
    let [a, b, c, d, ..] = leaf.0;
    [a, b, c, d]
}

/// The 4 KiB of the leaves that cover up to [`HASHES_PER_BLOCK`] blocks, as the tree stores them.
#[must_use]
pub fn leaf_block(leaves: &[Digest]) -> Vec<u8> {
    let mut bytes: Vec<u8> = leaves.iter().take(HASHES_PER_BLOCK).flat_map(|leaf| leaf.0).collect();
    bytes.resize(BLOCK as usize, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PrivateKey;
    use crate::manifest::example;
    use proptest::prelude::*;

    fn head() -> (Head, Vec<PublicKey>) {
        let key = PrivateKey::from_seed(&[3; 32]);
        let manifest = example().to_bytes().unwrap();
        let trailer = Trailer { signature: key.sign(&manifest), manifest };
        (Head { frame_blocks: 4, length: 99_999, checksum: 7, trailer }, vec![key.public()])
    }

    #[test]
    fn a_head_is_read_back_and_verifies() {
        let (head, trusted) = head();
        let mut bytes = head.to_bytes().unwrap();
        assert_eq!(Head::length_of(&bytes).unwrap(), bytes.len() as u64);
        bytes.extend([7; 100]);
        assert_eq!(Head::parse(&bytes).unwrap(), head);
        assert_eq!(head.verify(&trusted).unwrap().0, example());
        assert!(matches!(head.verify(&[]), Err(BundleError::Trailer(TrailerError::Signature(_)))));
    }

    #[test]
    fn sections_follow_each_other_in_the_documented_order() {
        let mut manifest = example();
        manifest.root.length = (128 * 128 + 1) * BLOCK;
        let sections = Sections::of(1000, 16, &manifest).unwrap();
        let mut at = 1000;
        let pick: [fn(&ImageSections) -> Extent; 4] =
            [|image| image.upper, |image| image.leaves, |image| image.shorts, |image| image.index];
        for section in pick {
            for image in Which::BOTH {
                let extent = section(sections.image(image));
                assert_eq!(extent.offset, at);
                at = extent.end();
            }
        }
        assert_eq!(sections.frames, at);
        for image in Which::BOTH {
            let ImageSections { blocks, frames, upper, leaves, shorts, index } = *sections.image(image);
            assert_eq!(upper.length + leaves.length, tree::tree_length(blocks * BLOCK).unwrap());
            assert_eq!((shorts.length, index.length), (blocks * 4, frames * 2));
            assert_eq!(sections.blocks_of(image, frames - 1).end, blocks);
            assert_eq!(sections.frame_of(blocks - 1), frames - 1);
        }
    }

    #[test]
    fn frames_lie_back_to_back() {
        let manifest = example();
        let sections = Sections::of(500, 3, &manifest).unwrap();
        let index = |image| -> Vec<u8> {
            (0..sections.image(image).frames as u16).flat_map(|frame| (frame % 4000).to_le_bytes()).collect()
        };
        let [boot, root] = Which::BOTH.map(index);
        let stored = [boot.as_slice(), root.as_slice()].concat();
        let total: u64 = stored.as_chunks::<2>().0.iter().map(|two| u64::from(u16::from_le_bytes(*two)) + 1).sum();
        let frames = Frames::parse(sections, &boot, &root, sections.frames + total).unwrap();
        let mut at = sections.frames;
        for image in Which::BOTH {
            for frame in 0..sections.image(image).frames {
                let extent = frames.extent(image, frame).unwrap();
                assert_eq!(extent, Extent { offset: at, length: frame % 4000 + 1 });
                at = extent.end();
            }
            assert_eq!(frames.extent(image, sections.image(image).frames), None);
        }
        let error = Frames::parse(sections, &boot, &root, at + 1).unwrap_err();
        assert!(matches!(error, BundleError::Length { .. }), "{error}");
        assert!(Frames::parse(sections, &boot[2..], &root, at).is_err());
    }

    #[test]
    fn a_frame_longer_than_what_it_holds_is_refused() {
        let sections = Sections::of(500, 1, &example()).unwrap();
        let mut boot = vec![0; sections.boot.index.length as usize];
        let root = vec![0; sections.root.index.length as usize];
        boot[..2].copy_from_slice(&4096_u16.to_le_bytes());
        let error = Frames::parse(sections, &boot, &root, 0).unwrap_err().to_string();
        assert!(error.contains("frame 0 of the boot image has 4097 bytes"), "{error}");
    }

    proptest! {
        #[test]
        fn any_flipped_bit_of_the_signed_part_is_noticed(at in 32usize..200, bit in 0u8..8) {
            let (head, trusted) = head();
            let mut bytes = head.to_bytes().unwrap();
            bytes[at] ^= 1 << bit;
            prop_assert!(Head::parse(&bytes).and_then(|head| head.verify(&trusted)).is_err());
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), ours: bool) {
            let bytes = if ours { [&MAGIC[..], &FORMAT.to_le_bytes(), &bytes].concat() } else { bytes };
            let _ = Head::parse(&bytes).and_then(|head| head.verify(&[]));
        }

        #[test]
        fn no_lengths_make_the_sections_overflow(boot: u64, root: u64, frame: u32, head: u32) {
            let mut manifest = example();
            (manifest.boot.length, manifest.root.length) = (boot & !4095, root & !4095);
            if let Ok(sections) = Sections::of(head.into(), frame, &manifest) {
                let _ = Frames::parse(sections, &[], &[], 0);
            }
        }
    }
}
