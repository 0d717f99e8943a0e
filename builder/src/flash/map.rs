//! What of an image has to be written: the blocks that mean something, whatever stood on the disk before. Everything else
//! in a complete image is zero, and means nothing to who boots it.
//!
//! | part | what of it |
//! |---|---|
//! | before the partitions | all of it: the partition table |
//! | `bootsel` | all of it |
//! | a filled slot | the boot image; the root image with its hash tree |
//! | an empty slot | the first MiB of both partitions, so that nothing of an older system is taken for it |
//! | every root partition | its last MiB: the trailer, or its absence |
//! | behind the partitions | all of it: the backup of the partition table |
//!
//! Zeros inside the images count: the signed hash tree covers them.

use contract::layout::{ALIGN, BLOCK, Extent, ImageLayout, Partition, Slot, TRAILER_SIZE, trailer_offset};
use contract::manifest::Manifest;
use contract::trailer::{Trailer, TrailerError};
use contract::tree::{TreeError, tree_length};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// An image whose parts cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    #[error("reading the image: {0}")]
    Read(#[from] io::Error),
    #[error("slot {slot}: {source}")]
    Trailer { slot: Slot, source: TrailerError },
    #[error("slot {slot}: {source}")]
    Tree { slot: Slot, source: TreeError },
    #[error("slot {0}: what its manifest names does not fit into its partitions")]
    Room(Slot),
}

/// What has to be written of an image, in groups; each extent begins and ends at a block of 4 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    pub layout: ImageLayout,
    /// Everything that alone makes nothing bootable, in order.
    pub body: Vec<Extent>,
    /// The ends of the root partitions: the trailers.
    pub trailers: Vec<Extent>,
    /// Behind the partitions.
    pub tail: Extent,
    /// Before the partitions. Its first block is the last to be written.
    pub head: Extent,
}

/// Where a partition of the image lies. Only those that the node makes have no place, and they are never asked for.
pub(super) fn place(layout: ImageLayout, partition: Partition) -> Extent {
    layout.extent(partition).unwrap_or(Extent { offset: 0, length: 0 })
}

impl Map {
    /// The map of an image with this layout.
    ///
    /// # Errors
    /// When it cannot be read, or a slot has a trailer that says nothing.
    pub fn of(image: &File, layout: ImageLayout) -> Result<Map, MapError> {
        let mut body = vec![place(layout, Partition::Bootsel)];
        let mut trailers = Vec::new();
        let (mut boots, mut roots) = (Vec::new(), Vec::new());
        for slot in Slot::BOTH {
            let [boot, root] = [slot.boot(), slot.root()].map(|partition| place(layout, partition));
            let (in_boot, in_root) = lengths(image, slot, root)?;
            if in_boot > boot.length || in_root > root.length {
                return Err(MapError::Room(slot));
            }
            // What follows is written with the trailer.
            let in_root = in_root.min(root.length - ALIGN);
            boots.push(Extent { offset: boot.offset, length: in_boot });
            roots.push(Extent { offset: root.offset, length: in_root });
            trailers.push(Extent { offset: root.end() - ALIGN, length: ALIGN });
        }
        body.extend(boots.into_iter().chain(roots));
        let size = layout.image_size();
        Ok(Map {
            layout,
            body,
            trailers,
            tail: Extent { offset: size - ALIGN, length: ALIGN },
            head: Extent { offset: 0, length: ALIGN },
        })
    }

    /// All extents, in the order of their places; neighbours are one.
    #[must_use]
    pub fn extents(&self) -> Vec<Extent> {
        joined([&self.body[..], &self.trailers, &[self.tail, self.head]].concat())
    }

    /// Bytes in all of it.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.extents().iter().map(|extent| extent.length).sum()
    }
}

/// Extents in the order of their places; those that touch or overlap are one.
pub(super) fn joined(mut extents: Vec<Extent>) -> Vec<Extent> {
    extents.sort_by_key(|extent| extent.offset);
    let mut joined: Vec<Extent> = Vec::new();
    for extent in extents {
        match joined.last_mut() {
            Some(last) if last.end() >= extent.offset => last.length = extent.end().max(last.end()) - last.offset,
            _ => joined.push(extent),
        }
    }
    joined
}

/// How much of the two partitions of a slot has to be written, in bytes.
fn lengths(image: &File, slot: Slot, root: Extent) -> Result<(u64, u64), MapError> {
    let bad = |source| MapError::Trailer { slot, source };
    let at = trailer_offset(root.length).ok_or(MapError::Room(slot))?;
    let mut bytes = vec![0; TRAILER_SIZE as usize];
    image.read_exact_at(&mut bytes, root.offset + at)?;
    let trailer = match Trailer::parse(&bytes) {
        Err(TrailerError::Empty) => return Ok((ALIGN, ALIGN)),
        trailer => trailer.map_err(bad)?,
    };
    let manifest = Manifest::parse(&trailer.manifest).map_err(|error| bad(error.into()))?;
    let tree = tree_length(manifest.root.length).map_err(|source| MapError::Tree { slot, source })?;
    let blocks = |length: u64| length.checked_next_multiple_of(BLOCK).map(|length| length.max(ALIGN));
    let root = manifest.root.length.checked_add(tree).and_then(blocks);
    Ok((blocks(manifest.boot.length).ok_or(MapError::Room(slot))?, root.ok_or(MapError::Room(slot))?))
}
