//! A [`Tree`] as an ext4 file system, just big enough and never to be written: no journal, no free blocks, no blocks of
//! zeros ([`holes`]).
//!
//! [`disk`] is what is on the disk and nothing else. A [`Plan`] is made in two passes: every name gets its inode,
//! then every block its place ([`space`]); [`write`] puts the bytes there, hashed on the way.

mod disk;
mod holes;
mod inodes;
mod space;
mod write;

use super::derive::Seed;
use crate::tree::{Content, Tree};
use contract::layout::BLOCK;
use disk::{BLOCKS_PER_GROUP, Body, Descriptor, EXTENTS_IN_BLOCK, EXTENTS_IN_INODE, FIRST_INODE, INODE_LEN};
use inodes::{Data, File, Numbered};
use space::{Run, Space};
use std::io;

/// Inodes whose bits fit into one block.
const MOST_INODES_PER_GROUP: u64 = BLOCK * 8;
const INODES_PER_BLOCK: u64 = BLOCK / INODE_LEN as u64;

/// A tree that cannot be made into a file system, or not be written.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    #[error("cannot add /{path} to the root file system: {why}")]
    Path { path: String, why: String },
    #[error("the root file system cannot be laid out: {0}")]
    Layout(String),
    #[error("writing /{path} into the root file system: {source}")]
    File { path: String, source: io::Error },
    #[error("writing the root file system: {0}")]
    Write(#[from] io::Error),
}

/// A file system whose every block has its place; only the content of files is still to come.
pub struct Plan {
    blocks: u64,
    files: Vec<(String, Content)>,
    /// What is written, by ascending block.
    pieces: Vec<Piece>,
}

struct Piece {
    block: u64,
    source: Source,
}

enum Source {
    /// A whole number of blocks.
    Bytes(Vec<u8>),
    /// `blocks` from block `from` of a file; its last one may end early.
    File { file: usize, from: u64, blocks: u64 },
}

/// Longest label, in bytes (`s_volume_name`).
pub const LABEL: usize = 16;

/// Lays out `tree`: label at most [`LABEL`] bytes, every time stamp `built` (seconds since 1970).
///
/// # Errors
/// When something in the tree cannot be in an ext4 file system (a missing parent, a bad name, a link to nowhere), or
/// cannot be read.
pub fn plan(tree: &Tree, seed: &Seed, label: &str, built: u64) -> Result<Plan, Ext4Error> {
    let built =
        u32::try_from(built).map_err(|_| Ext4Error::Layout(format!("time {built} is after the year 2106")))?;
    if label.len() > LABEL {
        return Err(Ext4Error::Layout(format!("the label {label:?} is longer than {LABEL} bytes")));
    }
    let numbered = inodes::number(tree)?;
    let inodes = u64::from(FIRST_INODE) - 1 + numbered.files.len() as u64 - 1;
    let mut groups = inodes.div_ceil(MOST_INODES_PER_GROUP);
    // More groups have more of their own to keep, never less: this ends at the least number that holds everything.
    let placed = loop {
        let placed = Placed::new(&numbered, groups, inodes);
        let needed = placed.space.end().div_ceil(BLOCKS_PER_GROUP);
        if needed <= groups {
            break placed;
        }
        groups = needed;
    };
    placed.finish(numbered, seed, label, built)
}

impl Plan {
    /// Length of the file system in bytes, a whole number of blocks.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.blocks * BLOCK
    }

    /// Bytes of all files' content.
    #[must_use]
    pub fn content_length(&self) -> u64 {
        self.files.iter().map(|(_, content)| content.len()).sum()
    }
}

/// Where everything stands, in a file system of so many groups.
struct Placed {
    space: Space,
    inodes_per_group: u64,
    block_bitmaps: Vec<u64>,
    inode_bitmaps: Vec<u64>,
    inode_tables: Vec<u64>,
    /// By the place in `Numbered::files`.
    files: Vec<PlacedFile>,
}

#[derive(Default)]
struct PlacedFile {
    extents: Vec<disk::Extent>,
    /// Blocks of extents.
    leaves: Vec<Run>,
    attributes: Option<u64>,
}

impl Placed {
    fn new(numbered: &Numbered, groups: u64, inodes: u64) -> Placed {
        let inodes_per_group = inodes.div_ceil(groups).next_multiple_of(INODES_PER_BLOCK);
        let mut space = Space::new(groups);
        let block_bitmaps = (0..groups).map(|_| space.take_whole(1)).collect();
        let inode_bitmaps = (0..groups).map(|_| space.take_whole(1)).collect();
        let inode_tables = (0..groups).map(|_| space.take_whole(inodes_per_group / INODES_PER_BLOCK)).collect();
        let mut files: Vec<PlacedFile> = numbered.files.iter().map(|_| PlacedFile::default()).collect();
        // Directories and links first: they are read on the way to everything else.
        for content in [false, true] {
            for (file, placed) in numbered.files.iter().zip(&mut files) {
                if file.data.is_content() == content {
                    placed.place(file, &mut space);
                }
            }
        }
        if space.end().div_ceil(BLOCKS_PER_GROUP) < groups {
            space.reach_every_group();
        }
        Placed { space, inodes_per_group, block_bitmaps, inode_bitmaps, inode_tables, files }
    }

    fn finish(self, numbered: Numbered, seed: &Seed, label: &str, built: u32) -> Result<Plan, Ext4Error> {
        let blocks = self.space.end();
        let small = |number: u64, what: &str| {
            u32::try_from(number).map_err(|_| Ext4Error::Layout(format!("it has {number} {what}, too many for ext4")))
        };
        let (groups, per_group) = (self.space.groups, self.inodes_per_group);
        let mut pieces = Vec::new();
        let mut tables = vec![0; (groups * per_group) as usize * INODE_LEN];
        let mut taken = vec![false; (groups * per_group) as usize];
        taken[..FIRST_INODE as usize - 1].fill(true);
        let mut directories = vec![0u16; groups as usize];
        for (file, placed) in numbered.files.iter().zip(&self.files) {
            let index = file.inode as usize - 1;
            tables[index * INODE_LEN..][..INODE_LEN].copy_from_slice(&placed.inode(file, built).to_bytes());
            taken[index] = true;
            directories[index / per_group as usize] += u16::from(matches!(file.data, Data::Directory(_)));
        }

        let mut descriptors = Vec::new();
        let (mut free_blocks, mut free_inodes) = (0, 0);
        for group in 0..groups {
            let at = group as usize;
            let (bitmap, free) = self.space.bitmap(group);
            let own = &taken[at * per_group as usize..][..per_group as usize];
            let free_here = own.iter().filter(|&&taken| !taken).count() as u64;
            let table = &tables[at * per_group as usize * INODE_LEN..][..per_group as usize * INODE_LEN];
            let descriptor = Descriptor {
                block_bitmap: small(self.block_bitmaps[at], "blocks")?,
                inode_bitmap: small(self.inode_bitmaps[at], "blocks")?,
                inode_table: small(self.inode_tables[at], "blocks")?,
                // At most 32,768.
                free_blocks: free as u16,
                free_inodes: free_here as u16,
                directories: directories[at],
            };
            descriptors.extend(descriptor.to_bytes());
            pieces.push(Piece { block: self.block_bitmaps[at], source: Source::Bytes(bitmap) });
            pieces.push(Piece { block: self.inode_bitmaps[at], source: Source::Bytes(inode_bitmap(own)) });
            pieces.push(Piece { block: self.inode_tables[at], source: Source::Bytes(table.to_vec()) });
            (free_blocks, free_inodes) = (free_blocks + free, free_inodes + free_here);
        }
        descriptors.resize(descriptors.len().next_multiple_of(BLOCK as usize), 0);

        let superblock = disk::Superblock {
            blocks: small(blocks, "blocks")?,
            free_blocks: small(free_blocks, "blocks")?,
            inodes: small(groups * per_group, "inodes")?,
            free_inodes: small(free_inodes, "inodes")?,
            inodes_per_group: small(per_group, "inodes")?,
            built,
            uuid: *seed.uuid("root file system").as_bytes(),
            hash_seed: *seed.uuid("root directory hashes").as_bytes(),
            label: label.as_bytes().to_vec(),
        };
        for group in (0..groups).filter(|&group| Space::has_superblock(group)) {
            // A processor's boot block may stand before the first one.
            let mut bytes = vec![0; if group == 0 { 1024 } else { 0 }];
            bytes.extend(superblock.to_bytes(group as u16));
            bytes.resize(BLOCK as usize, 0);
            bytes.extend(&descriptors);
            pieces.push(Piece { block: group * BLOCKS_PER_GROUP, source: Source::Bytes(bytes) });
        }
        let files = self.contents(numbered, &mut pieces);
        pieces.sort_by_key(|piece| piece.block);
        Ok(Plan { blocks, files, pieces })
    }

    /// What is in the blocks of directories, links and files.
    fn contents(self, numbered: Numbered, pieces: &mut Vec<Piece>) -> Vec<(String, Content)> {
        let mut files = Vec::new();
        for (file, placed) in numbered.files.into_iter().zip(self.files) {
            placed.leaf_pieces(pieces);
            if let (Some(block), Some(bytes)) = (placed.attributes, file.attribute_block) {
                pieces.push(Piece { block, source: Source::Bytes(bytes) });
            }
            match file.data {
                Data::Directory(bytes) | Data::Link(bytes) => {
                    for extent in &placed.extents {
                        let from = extent.logical as usize * BLOCK as usize;
                        let end = from + usize::from(extent.length) * BLOCK as usize;
                        let mut part = bytes[from..end.min(bytes.len())].to_vec();
                        part.resize(end - from, 0);
                        pieces.push(Piece { block: extent.start.into(), source: Source::Bytes(part) });
                    }
                }
                Data::Content { content, .. } => {
                    pieces.extend(placed.extents.iter().map(|extent| {
                        let (from, blocks) = (extent.logical.into(), extent.length.into());
                        let source = Source::File { file: files.len(), from, blocks };
                        Piece { block: extent.start.into(), source }
                    }));
                    files.push((file.path, content));
                }
                Data::Plain(_) => (),
            }
        }
        files
    }
}

impl PlacedFile {
    fn place(&mut self, file: &File, space: &mut Space) {
        for (logical, count) in file.data.runs() {
            let runs = space.take(count);
            space::extend(&mut self.extents, logical, &runs);
        }
        if self.extents.len() > EXTENTS_IN_INODE {
            self.leaves = space.take(self.extents.len().div_ceil(EXTENTS_IN_BLOCK) as u64);
        }
        self.attributes = file.attribute_block.is_some().then(|| space.take_whole(1));
    }

    /// Numbers of the blocks of extents.
    fn leaf_blocks(&self) -> impl Iterator<Item = u64> {
        self.leaves.iter().flat_map(|&(start, count)| start..start + count)
    }

    fn leaf_pieces(&self, pieces: &mut Vec<Piece>) {
        for (block, extents) in self.leaf_blocks().zip(self.extents.chunks(EXTENTS_IN_BLOCK)) {
            let mut bytes = disk::extents(extents, EXTENTS_IN_BLOCK);
            bytes.resize(BLOCK as usize, 0);
            pieces.push(Piece { block, source: Source::Bytes(bytes) });
        }
    }

    fn inode<'f>(&self, file: &'f File, built: u32) -> disk::Inode<'f> {
        let stored: u64 = self.extents.iter().map(|extent| u64::from(extent.length)).sum();
        let blocks = stored + self.leaf_blocks().count() as u64 + u64::from(self.attributes.is_some());
        let body = match &file.data {
            Data::Plain(bytes) => Body::Plain(bytes.clone()),
            _ if self.leaves.is_empty() => Body::Extents(disk::extents(&self.extents, EXTENTS_IN_INODE)),
            _ => {
                let firsts = self.extents.chunks(EXTENTS_IN_BLOCK).map(|extents| extents[0].logical);
                let leaves: Vec<_> = firsts.zip(self.leaf_blocks().map(|block| block as u32)).collect();
                Body::Extents(disk::extent_index(&leaves))
            }
        };
        disk::Inode {
            mode: file.mode,
            uid: file.owner.uid,
            gid: file.owner.gid,
            size: file.size,
            links: file.links,
            blocks,
            body,
            attributes: &file.attributes,
            attribute_block: self.attributes.unwrap_or(0) as u32,
            time: built,
        }
    }
}

fn inode_bitmap(taken: &[bool]) -> Vec<u8> {
    // Bits that stand for no inode count as taken.
    let mut bytes = vec![0xff; BLOCK as usize];
    for (bit, _) in taken.iter().enumerate().filter(|(_, taken)| !**taken) {
        bytes[bit / 8] &= !(1 << (bit % 8));
    }
    bytes
}
