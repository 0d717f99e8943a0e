//! The partitions of a slot, as files: block devices on the node, ordinary files in tests.

use super::error::{Doing as _, InstallError};
use contract::hash::Digest;
use contract::layout::{BLOCK, TRAILER_SIZE};
use contract::manifest::Which;
use contract::tree;
use rustix::fs::{Advice, SeekFrom};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

pub(super) const BLOCK_LEN: usize = BLOCK as usize;
/// How much is read at a time while hashing, in bytes.
const CHUNK: usize = 1 << 20;
/// Threads that hash at the same time.
const THREADS: usize = 4;

/// The two partitions of one slot.
#[derive(Debug)]
pub struct Pair {
    pub boot: File,
    pub root: File,
}

impl Pair {
    #[must_use]
    pub fn file(&self, which: Which) -> &File {
        match which {
            Which::Boot => &self.boot,
            Which::Root => &self.root,
        }
    }

    /// Size of a partition in bytes.
    pub(super) fn size(&self, which: Which) -> Result<u64, InstallError> {
        rustix::fs::seek(self.file(which), SeekFrom::End(0)).map_err(Into::into).doing("measure a partition")
    }

    /// Where the trailer is in the root partition.
    pub(super) fn trailer_at(&self) -> Result<u64, InstallError> {
        let size = self.size(Which::Root)?;
        Ok(size.saturating_sub(TRAILER_SIZE))
    }

    pub(super) fn read(&self, which: Which, at: u64, bytes: &mut [u8]) -> Result<(), InstallError> {
        self.file(which).read_exact_at(bytes, at).doing("read from a slot")
    }

    pub(super) fn write(&self, which: Which, at: u64, bytes: &[u8]) -> Result<(), InstallError> {
        self.file(which).write_all_at(bytes, at).doing("write to the standby slot")
    }

    pub(super) fn flush(&self, which: Which) -> Result<(), InstallError> {
        self.file(which).sync_data().doing("flush the standby slot")
    }

    /// Reads what the disk has, not what the kernel remembers.
    pub(super) fn read_anew(&self, which: Which, at: u64, bytes: &mut [u8]) -> Result<(), InstallError> {
        let _ = rustix::fs::fadvise(self.file(which), at, None, Advice::DontNeed);
        self.read(which, at, bytes)
    }

    /// The hash of each of the first `blocks` blocks; of those that the partition has.
    pub(super) fn hash(&self, which: Which, blocks: u64) -> Result<Vec<Digest>, InstallError> {
        let blocks = blocks.min(self.size(which)? / BLOCK) as usize;
        let mut hashes = vec![tree::zero_leaf(); blocks];
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(THREADS);
        let share = blocks.div_ceil(threads).max(CHUNK / BLOCK_LEN);
        let file = self.file(which);
        let results: Vec<std::io::Result<()>> = std::thread::scope(|scope| {
            let parts = hashes.chunks_mut(share).enumerate();
            let threads: Vec<_> = parts
                .map(|(part, hashes)| scope.spawn(move || hash_part(file, (part * share) as u64, hashes)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(std::io::Error::other("a panic"))))
                .collect()
        });
        results.into_iter().collect::<std::io::Result<()>>().doing("read a slot")?;
        Ok(hashes)
    }
}

fn hash_part(file: &File, first: u64, hashes: &mut [Digest]) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = first * BLOCK;
    for hashes in hashes.chunks_mut(CHUNK / BLOCK_LEN) {
        let bytes = buffer.get_mut(..hashes.len() * BLOCK_LEN).unwrap_or_default();
        file.read_exact_at(bytes, at)?;
        at += bytes.len() as u64;
        for (hash, block) in hashes.iter_mut().zip(bytes.as_chunks::<BLOCK_LEN>().0) {
            *hash = hash_block(block);
        }
    }
    // What was only inspected does not push the role's own files out of memory.
    let _ = rustix::fs::fadvise(file, first * BLOCK, std::num::NonZeroU64::new(at - first * BLOCK), Advice::DontNeed);
    Ok(())
}

/// As [`tree::leaf`], quick for zeros.
pub(super) fn hash_block(block: &[u8]) -> Digest {
    if block.len() == BLOCK_LEN && block.iter().all(|&byte| byte == 0) {
        tree::zero_leaf()
    } else {
        tree::leaf(block)
    }
}
