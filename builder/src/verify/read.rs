//! Reads an image block by block. Holes of the sparse file are known to be zeros without being read.

use super::VerifyError;
use crate::image::next_data;
use contract::hash::Digest;
use contract::layout::{BLOCK, Extent};
use contract::tree::{hash_blocks, zero_leaf};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// Bytes read at a time.
const CHUNK: u64 = 4 * 1024 * 1024;

/// The image being verified, and its length in bytes.
#[derive(Clone, Copy)]
pub(super) struct Blocks<'f> {
    pub file: &'f File,
    pub length: u64,
}

impl Blocks<'_> {
    pub fn read(self, offset: u64, length: u64) -> Result<Vec<u8>, VerifyError> {
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, offset).map_err(|source| VerifyError::Read { offset, source })?;
        Ok(bytes)
    }

    /// Gives each piece of `range` that is not a hole; both ends of the range are block boundaries or the image's.
    fn data(
        self,
        range: Range<u64>,
        mut each: impl FnMut(u64, &[u8]) -> Result<(), VerifyError>,
    ) -> Result<(), VerifyError> {
        let mut at = range.start;
        while at < range.end {
            let (data, end) = next_data(self.file, at, self.length);
            at = (data - data % BLOCK).max(at);
            let end = end.next_multiple_of(BLOCK).min(range.end);
            while at < end {
                let length = CHUNK.min(end - at);
                each(at, &self.read(at, length)?)?;
                at += length;
            }
            if data >= range.end {
                break;
            }
        }
        Ok(())
    }

    /// Hashes the blocks of `length` bytes from `offset` on and gives them with the number of the first. Blocks in holes
    /// are given, too.
    pub fn hashed(
        self,
        offset: u64,
        length: u64,
        mut each: impl FnMut(u64, &[Digest]) -> Result<(), VerifyError>,
    ) -> Result<(), VerifyError> {
        let hole = |from: u64, to: u64| vec![zero_leaf(); to.saturating_sub(from) as usize];
        let mut next = 0;
        self.data(offset..offset + length, |at, bytes| {
            let first = (at - offset) / BLOCK;
            each(next, &hole(next, first))?;
            next = first + bytes.len() as u64 / BLOCK;
            each(first, &hash_blocks(bytes))
        })?;
        each(next, &hole(next, length / BLOCK))
    }

    /// Demands zeros. `start` is where the partition begins, for the number of a block that is not zero.
    pub fn zero(self, place: &'static str, start: u64, range: Range<u64>) -> Result<(), VerifyError> {
        let bounds = range.clone();
        self.data(range, |at, bytes| {
            // Eight bytes at a time: this goes over hundreds of megabytes.
            let words = bytes.as_chunks::<8>();
            if words.0.iter().all(|word| *word == [0; 8]) && words.1.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            let offsets = (at..).zip(bytes).filter(|(offset, byte)| bounds.contains(offset) && **byte != 0);
            match offsets.map(|(offset, _)| offset).next() {
                None => Ok(()),
                Some(offset) => {
                    let what = "it must be zero, but is not".to_owned();
                    Err(VerifyError::Damage { place, block: (offset - start) / BLOCK, offset, what })
                }
            }
        })
    }

    /// Demands that a partition holds `wanted` and then zeros.
    pub fn same(self, place: &'static str, extent: Extent, wanted: &[u8]) -> Result<(), VerifyError> {
        let found = self.read(extent.offset, wanted.len() as u64)?;
        if let Some(byte) = (0..found.len()).find(|&byte| found[byte] != wanted[byte]) {
            let offset = extent.offset + byte as u64;
            let what = "it is not what the build writes there".to_owned();
            return Err(VerifyError::Damage { place, block: byte as u64 / BLOCK, offset, what });
        }
        self.zero(place, extent.offset, extent.offset + wanted.len() as u64..extent.end())
    }
}
