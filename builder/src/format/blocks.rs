//! A sink that writes a file system into its place in the image and hashes every block on the way, so that the bytes
//! are touched once.

use contract::hash::Digest;
use contract::layout::BLOCK;
use contract::tree::{hash_blocks, zero_leaf};
use mkext4::RegionSink;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Bytes gathered before they are hashed, on every core, and written.
const BATCH: usize = 4 * 1024 * 1024;

/// Blocks that arrive in ascending runs. What never arrives, or arrives as zeros, is left as a hole: the place in the
/// file must be one already.
pub struct BlockSink<'f> {
    file: &'f File,
    /// Where the file system begins in the file, in bytes.
    base: u64,
    leaves: Vec<Digest>,
    /// What is gathered, and where in the file system it begins.
    pending: Vec<u8>,
    at: u64,
}

impl<'f> BlockSink<'f> {
    /// A sink for `length` bytes, a whole number of blocks, at `base` of `file`.
    #[must_use]
    pub fn new(file: &'f File, base: u64, length: u64) -> BlockSink<'f> {
        let leaves = vec![zero_leaf(); (length / BLOCK) as usize];
        BlockSink { file, base, leaves, pending: Vec::with_capacity(2 * BATCH), at: 0 }
    }

    /// The hash of every block, in order.
    ///
    /// # Errors
    /// When the last bytes cannot be written.
    pub fn finish(mut self) -> io::Result<Vec<Digest>> {
        self.flush()?;
        Ok(self.leaves)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let first = (self.at / BLOCK) as usize;
        let blocks = self.pending.len() / BLOCK as usize;
        if !self.pending.len().is_multiple_of(BLOCK as usize) || first + blocks > self.leaves.len() {
            return Err(io::Error::other(format!("{} odd bytes at {}", self.pending.len(), self.at)));
        }
        let (file, at, pending) = (self.file, self.base + self.at, &self.pending);
        let (written, hashes) = rayon::join(|| file.write_all_at(pending, at), || hash_blocks(pending));
        written?;
        self.leaves[first..first + blocks].copy_from_slice(&hashes);
        self.pending.clear();
        Ok(())
    }

    fn end(&self) -> u64 {
        self.at + self.pending.len() as u64
    }
}

impl RegionSink for BlockSink<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset != self.end() || self.pending.is_empty() {
            self.flush()?;
            if !offset.is_multiple_of(BLOCK) {
                return Err(io::Error::other(format!("data at {offset} does not begin on a block")));
            }
            self.at = offset;
        }
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= BATCH && self.pending.len().is_multiple_of(BLOCK as usize) {
            self.flush()?;
        }
        Ok(())
    }

    fn zeros(&mut self, offset: u64, length: u64) -> io::Result<()> {
        let odd = self.pending.len() % BLOCK as usize;
        if odd != 0 && offset == self.end() {
            let padding = length.min(BLOCK - odd as u64);
            self.pending.resize(self.pending.len() + padding as usize, 0);
        }
        Ok(())
    }
}
