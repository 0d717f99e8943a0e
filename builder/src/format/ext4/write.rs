//! Puts a planned file system into its place in the image, on every core, and hashes each block on the way.

use super::{Ext4Error, Piece, Plan, Source};
use crate::tree::Content;
use contract::hash::Digest;
use contract::layout::BLOCK;
use contract::tree::{hash_blocks, zero_leaf};
use rayon::prelude::*;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Blocks that one core reads, hashes and writes at a time.
const CHUNK: u64 = 256;
/// Chunks between two words about progress.
const BATCH: usize = 64;

/// Part of a piece.
struct Chunk<'p> {
    block: u64,
    source: Part<'p>,
}

enum Part<'p> {
    Bytes(&'p [u8]),
    File { path: &'p str, content: &'p Content, from: u64, blocks: u64 },
}

impl Plan {
    /// Writes the file system to `offset` of `file`, where zeros must stand, and returns the hash of every block.
    /// `wrote` receives the bytes of file content written so far, and may stop the work with an error.
    ///
    /// # Errors
    /// When a file's content cannot be read, or the file system cannot be written.
    pub fn write(
        &self,
        file: &File,
        offset: u64,
        wrote: &dyn Fn(u64) -> io::Result<()>,
    ) -> Result<Vec<Digest>, Ext4Error> {
        let mut leaves = vec![zero_leaf(); self.blocks as usize];
        let chunks: Vec<Chunk<'_>> = self.pieces.iter().flat_map(|piece| self.chunks(piece)).collect();
        let mut done = 0;
        for batch in chunks.chunks(BATCH) {
            let hashed: Vec<Vec<Digest>> =
                batch.par_iter().map(|chunk| chunk.write(file, offset)).collect::<Result<_, _>>()?;
            for (chunk, hashes) in batch.iter().zip(hashed) {
                leaves[chunk.block as usize..][..hashes.len()].copy_from_slice(&hashes);
                done += chunk.content();
            }
            wrote(done)?;
        }
        Ok(leaves)
    }

    fn chunks<'p>(&'p self, piece: &'p Piece) -> Vec<Chunk<'p>> {
        match &piece.source {
            Source::Bytes(bytes) => {
                let parts = bytes.chunks((CHUNK * BLOCK) as usize).enumerate();
                let chunk =
                    |(index, part)| Chunk { block: piece.block + index as u64 * CHUNK, source: Part::Bytes(part) };
                parts.map(chunk).collect()
            }
            Source::File { file, from, blocks } => {
                let (path, content) = &self.files[*file];
                let starts = (0..*blocks).step_by(CHUNK as usize);
                let chunk = |at| Chunk {
                    block: piece.block + at,
                    source: Part::File { path, content, from: from + at, blocks: CHUNK.min(blocks - at) },
                };
                starts.map(chunk).collect()
            }
        }
    }
}

impl Chunk<'_> {
    /// Bytes of a file's content in it.
    fn content(&self) -> u64 {
        match &self.source {
            Part::Bytes(_) => 0,
            Part::File { content, from, blocks, .. } => (content.len() - from * BLOCK).min(blocks * BLOCK),
        }
    }

    fn write(&self, file: &File, offset: u64) -> Result<Vec<Digest>, Ext4Error> {
        let mut buffer;
        let bytes = match &self.source {
            Part::Bytes(bytes) => *bytes,
            Part::File { path, content, from, blocks } => {
                buffer = vec![0; (blocks * BLOCK) as usize];
                let inside = &mut buffer[..self.content() as usize];
                let failed = |source| Ext4Error::File { path: (*path).to_owned(), source };
                content.read_exact_at(inside, from * BLOCK).map_err(failed)?;
                &buffer
            }
        };
        file.write_all_at(bytes, offset + self.block * BLOCK)?;
        Ok(hash_blocks(bytes))
    }
}
