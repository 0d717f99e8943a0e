//! Packs a slot: blocks are hashed and compressed in order, and the sections before them follow.

use super::{Packer, Progress, Report, Summary, WriteError, pack_frame};
use crate::image::file_digest;
use crate::unfinished::Unfinished;
use contract::bundle::{HEAD, Head, ImageSections, MAX_FRAME_BLOCKS, Sections, short};
use contract::hash::Digest;
use contract::layout::{BLOCK, Extent, ImageLayout, Slot, TRAILER_SIZE, trailer_offset};
use contract::manifest::{BlockImage, Manifest, Which};
use contract::trailer::{Trailer, TrailerError};
use contract::tree::{HashTree, hash_blocks};
use flate2::Crc;
use rayon::prelude::*;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Frames that are compressed at a time, on every core.
const BATCH: u64 = 256;

/// A slot in a file: where its two partitions lie, and what its trailer says.
#[derive(Debug)]
pub struct Source<'f> {
    pub file: &'f File,
    pub trailer: Trailer,
    pub boot: Extent,
    pub root: Extent,
}

impl<'f> Source<'f> {
    /// A slot of an image file.
    ///
    /// # Errors
    /// When its trailer cannot be read, or is none.
    pub fn of(file: &'f File, layout: ImageLayout, slot: Slot) -> io::Result<Source<'f>> {
        let extent = |partition| layout.extent(partition).unwrap_or(Extent { offset: 0, length: 0 });
        let (boot, root) = (extent(slot.boot()), extent(slot.root()));
        let mut bytes = vec![0; TRAILER_SIZE as usize];
        let offset = trailer_offset(root.length).unwrap_or(0);
        file.read_exact_at(&mut bytes, root.offset + offset)?;
        let damaged = |error: TrailerError| io::Error::new(io::ErrorKind::InvalidData, error);
        Ok(Source { file, trailer: Trailer::parse(&bytes).map_err(damaged)?, boot, root })
    }

    fn offset(&self, image: Which) -> u64 {
        match image {
            Which::Boot => self.boot.offset,
            Which::Root => self.root.offset,
        }
    }
}

/// What is known of an image when its frames are written.
struct Packed {
    leaves: Vec<Digest>,
    tree: HashTree,
    /// The index: two bytes for each frame.
    index: Vec<u8>,
}

/// Writes a slot as a bundle to `output`, in place of what is there. The blocks must be those of the manifest; whether
/// anyone trusts its signature, and whether it would boot, is not asked.
///
/// # Errors
/// When the blocks are not those of the manifest, or the bundle cannot be written: its folder is then as it was.
pub fn pack(
    source: &Source<'_>,
    frame_blocks: u32,
    output: &Path,
    report: Report<'_>,
) -> Result<Summary, WriteError> {
    pack_by(&pack_frame, source, frame_blocks, output, report)
}

/// As [`pack`], with frames from elsewhere.
///
/// # Errors
/// As [`pack`], and what `packer` says.
pub fn pack_by(
    packer: Packer<'_>,
    source: &Source<'_>,
    frame_blocks: u32,
    output: &Path,
    report: Report<'_>,
) -> Result<Summary, WriteError> {
    if !(1..=MAX_FRAME_BLOCKS).contains(&frame_blocks) {
        return Err(WriteError::FrameBlocks(frame_blocks));
    }
    let manifest = Manifest::parse(&source.trailer.manifest)?;
    let head_length = HEAD + source.trailer.manifest.len();
    let sections = Sections::of(head_length as u64, frame_blocks, &manifest)?;
    let failed = |what| move |source| WriteError::Io { path: output.to_owned(), what, source };

    let unfinished = Unfinished::create(output)?;
    let file = unfinished.file();
    let mut frames = Frames { file, packer, at: sections.frames, crc: Crc::new(), done: 0, total: 0 };
    frames.total = manifest.boot.length + manifest.root.length;
    let mut packed = Vec::new();
    for image in Which::BOTH {
        packed.push(frames.of(source, image, &manifest, &sections, output, report)?);
    }

    let mut front = Vec::with_capacity(sections.frames as usize - head_length);
    let upper = |image: Which| sections.image(image).upper.length as usize;
    for (part, image) in packed.iter().zip(Which::BOTH) {
        front.extend(&part.tree.bytes[..upper(image)]);
    }
    for (part, image) in packed.iter().zip(Which::BOTH) {
        front.extend(&part.tree.bytes[upper(image)..]);
    }
    for part in &packed {
        front.extend(part.leaves.iter().flat_map(short));
    }
    for part in &packed {
        front.extend(&part.index);
    }
    let mut crc = Crc::new();
    crc.update(&front);
    crc.combine(&frames.crc);
    let length = frames.at;
    let head = Head { frame_blocks, length, checksum: crc.sum(), trailer: source.trailer.clone() };
    file.write_all_at(&[head.to_bytes()?, front].concat(), 0).map_err(failed("writing it"))?;

    let telling = |done| report(Progress::Digest { done, total: length });
    let (synced, digest) = rayon::join(|| file.sync_all(), || file_digest(file, length, &telling));
    synced.map_err(failed("writing it to the disk"))?;
    let digest = digest.map_err(failed("reading it back"))?;
    unfinished.finish()?;
    Ok(Summary {
        path: output.to_owned(),
        manifest_digest: Digest::of(&source.trailer.manifest),
        key: source.trailer.signature.key,
        manifest,
        length,
        frames: sections.boot.frames + sections.root.frames,
        digest,
    })
}

/// The part of the file that holds the frames, as far as it is written.
struct Frames<'f> {
    file: &'f File,
    packer: Packer<'f>,
    /// Where the next frame goes.
    at: u64,
    crc: Crc,
    /// Bytes packed, of so many.
    done: u64,
    total: u64,
}

impl Frames<'_> {
    /// Writes the frames of an image.
    fn of(
        &mut self,
        source: &Source<'_>,
        image: Which,
        manifest: &Manifest,
        sections: &Sections,
        output: &Path,
        report: Report<'_>,
    ) -> Result<Packed, WriteError> {
        let BlockImage { root_hash: wanted, .. } = *manifest.image(image);
        let ImageSections { blocks, frames, .. } = *sections.image(image);
        let frame_length = sections.frame_blocks as usize * BLOCK as usize;
        let (mut leaves, mut index) = (Vec::with_capacity(blocks as usize), Vec::with_capacity(2 * frames as usize));
        let mut first = 0;
        while first < frames {
            let last = (first + BATCH).min(frames);
            let range = sections.blocks_of(image, first).start..sections.blocks_of(image, last - 1).end;
            let mut bytes = vec![0; ((range.end - range.start) * BLOCK) as usize];
            let offset = source.offset(image) + range.start * BLOCK;
            let read = source.file.read_exact_at(&mut bytes, offset);
            read.map_err(|source| WriteError::Read { image, source })?;

            let compress = || bytes.par_chunks(frame_length).map(self.packer).collect::<io::Result<Vec<_>>>();
            let (stored, hashes) = rayon::join(compress, || hash_blocks(&bytes));
            leaves.extend(hashes);
            let stored = stored.map_err(WriteError::Compress)?;
            for frame in &stored {
                // A frame has 1 to 65,536 bytes, see [`pack_frame`] and [`MAX_FRAME_BLOCKS`].
                index.extend(((frame.len() - 1) as u16).to_le_bytes());
            }
            let stored = stored.concat();
            let failed = |what| move |source| WriteError::Io { path: output.to_owned(), what, source };
            self.file.write_all_at(&stored, self.at).map_err(failed("writing it"))?;
            self.crc.update(&stored);
            self.at += stored.len() as u64;
            self.done += bytes.len() as u64;
            report(Progress::Blocks { done: self.done, total: self.total }).map_err(failed("writing it"))?;
            first = last;
        }
        let tree = HashTree::from_leaves(&leaves).map_err(|source| WriteError::Tree { image, source })?;
        if tree.root_hash != wanted {
            return Err(WriteError::Damaged { image, wanted, found: tree.root_hash });
        }
        Ok(Packed { leaves, tree, index })
    }
}
