//! Reads a bundle without trusting it: checks the signature, both trees, every short hash, every frame, and the
//! checksum.

use super::frame::unpack;
use super::{Progress, Report};
use contract::bundle::{BundleError, FIRST_READ, Frames, HEAD, Head, ImageSections, Sections, short};
use contract::hash::Digest;
use contract::keys::{KeyId, PublicKey};
use contract::layout::{BLOCK, Extent};
use contract::manifest::{Manifest, ManifestError, Which};
use contract::tree::{TreeError, checked_leaves, hash_blocks};
use flate2::Crc;
use rayon::prelude::*;
use serde::Serialize;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes read at a time where the order does not matter.
const CHUNK: u64 = 1024 * 1024;
/// Frames that are decompressed at a time, on every core.
const BATCH: u64 = 256;

/// What is wrong with a bundle.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("opening it: {0}")]
    Open(#[source] io::Error),
    #[error("reading it at byte {offset}: {source}")]
    Read { offset: u64, source: io::Error },
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("its manifest: {0}")]
    Manifest(#[from] ManifestError),
    #[error("its header says {said} bytes, but it has {found}: it is truncated, or other data follows it")]
    Length { said: u64, found: u64 },
    #[error("the tree of the {image} image (bytes {} to {}): {source}", extent.offset, extent.end())]
    Tree { image: Which, extent: Extent, source: TreeError },
    #[error("the short hash of block {block} of the {image} image (byte {offset}) is not the beginning of its hash")]
    Short { image: Which, block: u64, offset: u64 },
    #[error("frame {frame} of the {image} image (bytes {} to {}): {what}", extent.offset, extent.end())]
    Frame { image: Which, frame: u64, extent: Extent, what: String },
    #[error("its header gives the checksum {said:08x}, but it is {found:08x}: the bundle is corrupt")]
    Checksum { said: u32, found: u32 },
    #[error("stopped: {0}")]
    Stopped(#[source] io::Error),
}

/// Whether a file begins like a bundle.
///
/// # Errors
/// When it cannot be read.
pub fn is_bundle(path: &Path) -> io::Result<bool> {
    let mut first = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(File::open(path)?, HEAD as u64), &mut first)?;
    Ok(!matches!(Head::length_of(&first), Err(BundleError::Magic | BundleError::Short { .. })))
}

/// An open bundle, of which only the head was read.
#[derive(Debug)]
pub struct Reader {
    file: File,
    length: u64,
    head: Head,
}

/// A bundle that is complete.
#[derive(Clone, Debug)]
pub struct Checked {
    pub manifest: Manifest,
    /// Of the manifest's bytes.
    pub manifest_digest: Digest,
    pub key: KeyId,
}

/// What a bundle says that it holds. Sizes in bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Contents {
    pub length: u64,
    pub frame_blocks: u32,
    pub checksum: String,
    pub manifest: Manifest,
    /// Of the manifest's bytes.
    pub manifest_digest: Digest,
    /// Id of the key that signed, if the signature is to be trusted.
    pub key: String,
    /// In their order in the file.
    pub sections: Vec<Section>,
    pub frames: [FramesOf; 2],
}

/// Where a section lies.
#[derive(Clone, Debug, Serialize)]
pub struct Section {
    pub name: &'static str,
    pub image: Option<Which>,
    pub offset: u64,
    pub length: u64,
}

/// The frames of an image.
#[derive(Clone, Debug, Serialize)]
pub struct FramesOf {
    pub image: Which,
    pub blocks: u64,
    pub frames: u64,
    /// Frames that hold their blocks as they are.
    pub uncompressed: u64,
    /// Bytes of the blocks, and of the frames.
    pub content: u64,
    pub stored: u64,
}

impl Reader {
    /// Opens a bundle and reads its head.
    ///
    /// # Errors
    /// When it cannot be read, or does not begin like a bundle.
    pub fn open(path: &Path) -> Result<Reader, ReadError> {
        let file = File::open(path).map_err(ReadError::Open)?;
        let length = file.metadata().map_err(ReadError::Open)?.len();
        let first = read(&file, 0, FIRST_READ.min(length))?;
        let whole = Head::length_of(&first)?;
        let head = Head::parse(&read(&file, 0, whole.min(length))?)?;
        Ok(Reader { file, length, head })
    }

    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Length of the file in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Where the frames lie, whoever signed the bundle.
    ///
    /// # Errors
    /// When that makes no sense.
    pub(super) fn index(&self) -> Result<Frames, ReadError> {
        let manifest = Manifest::parse(&self.head.trailer.manifest)?;
        let head = (HEAD + self.head.trailer.manifest.len()) as u64;
        self.frames(Sections::of(head, self.head.frame_blocks, &manifest)?)
    }

    /// Some bytes of the file.
    pub(super) fn bytes(&self, extent: Extent) -> Result<Vec<u8>, ReadError> {
        self.section(extent)
    }

    /// What it says that it holds, whoever signed it.
    ///
    /// # Errors
    /// When that makes no sense.
    pub fn contents(&self) -> Result<Contents, ReadError> {
        let trailer = &self.head.trailer;
        let manifest = Manifest::parse(&trailer.manifest)?;
        let head = (HEAD + trailer.manifest.len()) as u64;
        let parts = Sections::of(head, self.head.frame_blocks, &manifest)?;
        let index = self.frames(parts)?;
        let mut sections = vec![Section { name: "head", image: None, offset: 0, length: head }];
        for name in ["upper levels", "leaves", "shorts", "index"] {
            for image in Which::BOTH {
                let ImageSections { upper, leaves, shorts, index, .. } = *parts.image(image);
                let Extent { offset, length } = match name {
                    "upper levels" => upper,
                    "leaves" => leaves,
                    "shorts" => shorts,
                    _ => index,
                };
                sections.push(Section { name, image: Some(image), offset, length });
            }
        }
        let mut offset = parts.frames;
        let frames = Which::BOTH.map(|image| {
            let ImageSections { blocks, frames, .. } = *parts.image(image);
            let mut of = FramesOf { image, blocks, frames, uncompressed: 0, content: blocks * BLOCK, stored: 0 };
            for frame in 0..frames {
                let range = parts.blocks_of(image, frame);
                let length = index.extent(image, frame).map_or(0, |extent| extent.length);
                of.stored += length;
                of.uncompressed += u64::from(length == (range.end - range.start) * BLOCK);
            }
            sections.push(Section { name: "frames", image: Some(image), offset, length: of.stored });
            offset += of.stored;
            of
        });
        Ok(Contents {
            length: self.length,
            frame_blocks: self.head.frame_blocks,
            checksum: format!("{:08x}", self.head.checksum),
            manifest_digest: Digest::of(&trailer.manifest),
            key: trailer.signature.key.to_string(),
            manifest,
            sections,
            frames,
        })
    }

    /// Checks every bit.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, trusted: &[PublicKey], report: Report<'_>) -> Result<Checked, ReadError> {
        let (manifest, sections) = self.head.verify(trusted)?;
        let frames = self.frames(sections)?;
        let mut trees = Vec::new();
        for image in Which::BOTH {
            trees.push(self.leaves(image, &manifest, &sections)?);
        }
        let total = manifest.boot.length + manifest.root.length;
        let mut done = 0;
        for (image, leaves) in Which::BOTH.into_iter().zip(&trees) {
            let count = sections.image(image).frames;
            let mut first = 0;
            while first < count {
                let last = (first + BATCH).min(count);
                done += self.batch(image, first..last, &frames, leaves)?;
                report(Progress::Blocks { done, total }).map_err(ReadError::Stopped)?;
                first = last;
            }
        }
        self.checksum()?;
        let trailer = &self.head.trailer;
        Ok(Checked { manifest, manifest_digest: Digest::of(&trailer.manifest), key: trailer.signature.key })
    }

    /// Where the frames lie, in a file that is as long as its head says.
    fn frames(&self, sections: Sections) -> Result<Frames, ReadError> {
        if self.head.length != self.length {
            return Err(ReadError::Length { said: self.head.length, found: self.length });
        }
        if sections.frames > self.length {
            return Err(BundleError::Short {
                what: "part before the frames",
                needed: sections.frames,
                found: self.length,
            }
            .into());
        }
        let index = |image| self.section(sections.image(image).index);
        Ok(Frames::parse(sections, &index(Which::Boot)?, &index(Which::Root)?, self.head.length)?)
    }

    fn section(&self, extent: Extent) -> Result<Vec<u8>, ReadError> {
        read(&self.file, extent.offset, extent.length)
    }

    /// The hash of each block, after tree and shorts were checked.
    fn leaves(&self, image: Which, manifest: &Manifest, sections: &Sections) -> Result<Vec<Digest>, ReadError> {
        let of = sections.image(image);
        let tree = [self.section(of.upper)?, self.section(of.leaves)?].concat();
        let whole = manifest.image(image);
        let leaves = checked_leaves(&tree, whole.length, whole.root_hash).map_err(|source| {
            let upper = of.upper.length / BLOCK;
            let extent = match source {
                TreeError::Mismatch { block, .. } if block >= upper => of.leaves,
                _ => of.upper,
            };
            ReadError::Tree { image, extent, source }
        })?;
        let shorts = self.section(of.shorts)?;
        for ((block, leaf), found) in (0..).zip(&leaves).zip(shorts.as_chunks().0) {
            if short(leaf) != *found {
                let offset = of.shorts.offset + block * found.len() as u64;
                return Err(ReadError::Short { image, block, offset });
            }
        }
        Ok(leaves)
    }

    /// Checks some frames, and returns how many bytes they hold.
    fn batch(
        &self,
        image: Which,
        range: std::ops::Range<u64>,
        frames: &Frames,
        leaves: &[Digest],
    ) -> Result<u64, ReadError> {
        let extents: Vec<(u64, Extent)> =
            range.filter_map(|frame| Some((frame, frames.extent(image, frame)?))).collect();
        let (Some((_, first)), Some((_, last))) = (extents.first(), extents.last()) else { return Ok(0) };
        let from = first.offset;
        let bytes = read(&self.file, from, last.end() - from)?;
        let held = extents.into_par_iter().map(|(frame, extent)| {
            let wrong = |what: String| ReadError::Frame { image, frame, extent, what };
            let stored = &bytes[(extent.offset - from) as usize..(extent.end() - from) as usize];
            let blocks = frames.sections().blocks_of(image, frame);
            let length = ((blocks.end - blocks.start) * BLOCK) as usize;
            let plain = unpack(stored, length).map_err(wrong)?;
            for (block, found) in blocks.zip(hash_blocks(&plain)) {
                if leaves.get(block as usize) != Some(&found) {
                    return Err(wrong(format!("block {block} does not match its hash")));
                }
            }
            Ok(length as u64)
        });
        held.sum()
    }

    /// Checks the checksum of all that follows the head.
    fn checksum(&self) -> Result<(), ReadError> {
        let mut crc = Crc::new();
        let mut at = (HEAD + self.head.trailer.manifest.len()) as u64;
        while at < self.length {
            let bytes = read(&self.file, at, CHUNK.min(self.length - at))?;
            crc.update(&bytes);
            at += bytes.len() as u64;
        }
        let (said, found) = (self.head.checksum, crc.sum());
        if said == found { Ok(()) } else { Err(ReadError::Checksum { said, found }) }
    }
}

fn read(file: &File, offset: u64, length: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = vec![0; length as usize];
    file.read_exact_at(&mut bytes, offset).map_err(|source| ReadError::Read { offset, source })?;
    Ok(bytes)
}
