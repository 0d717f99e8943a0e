//! The hash tree over 4 KiB blocks, as dm-verity stores it (format 1, no superblock).
//!
//! Source: the kernel's Documentation/admin-guide/device-mapper/verity.rst and cryptsetup's `veritysetup format
//! --no-superblock`: a block's hash is SHA-256 of salt then block; a hash block holds 128 hashes, its unused rest is
//! zero; levels are stored from the top one down; the root hash is the hash of the only block of the top level.

use crate::hash::Digest;
use crate::layout::{BLOCK, trailer_offset};
use sha2::{Digest as _, Sha256};
use std::sync::LazyLock;

const BLOCK_LEN: usize = BLOCK as usize;
/// Hashes in one block of the tree.
pub const HASHES_PER_BLOCK: usize = BLOCK_LEN / 32;

/// The salt of every tree that microdc makes. One for all builds: equal blocks then have equal leaves everywhere, and
/// an update finds them again.
pub const SALT: [u8; 32] = *b"microdc hash tree, one salt: v1\n";

/// The hash of one block.
///
/// `block` must be [`BLOCK`] bytes long; a shorter one is hashed as it stands and matches nothing on a disk.
#[must_use]
pub fn leaf(block: &[u8]) -> Digest {
    let mut hasher = Sha256::new();
    hasher.update(SALT);
    hasher.update(block);
    Digest(hasher.finalize().into())
}

/// The leaf of a block of zeros.
pub fn zero_leaf() -> Digest {
    static ZERO: LazyLock<Digest> = LazyLock::new(|| leaf(&[0; BLOCK_LEN]));
    *ZERO
}

/// Data that cannot have a tree.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TreeError {
    #[error("{0} bytes are not a positive multiple of 4096-byte blocks")]
    Length(u64),
    #[error("a tree of {found} bytes instead of {expected}")]
    TreeLength { expected: u64, found: u64 },
    #[error("tree block {block} does not match the hash above it: expected {expected}, found {found}")]
    Mismatch { block: u64, expected: Digest, found: Digest },
}

/// Number of blocks on each level, from the leaves' level up to the single top block.
///
/// # Errors
/// When `data_length` (bytes) is zero or no multiple of [`BLOCK`].
pub fn levels(data_length: u64) -> Result<Vec<u64>, TreeError> {
    if data_length == 0 || !data_length.is_multiple_of(BLOCK) {
        return Err(TreeError::Length(data_length));
    }
    let mut blocks = data_length / BLOCK;
    let mut levels = Vec::new();
    loop {
        blocks = blocks.div_ceil(HASHES_PER_BLOCK as u64);
        levels.push(blocks);
        if blocks == 1 {
            return Ok(levels);
        }
    }
}

/// Length in bytes of the tree over `data_length` bytes.
///
/// # Errors
/// As [`levels`].
pub fn tree_length(data_length: u64) -> Result<u64, TreeError> {
    Ok(levels(data_length)?.iter().sum::<u64>() * BLOCK)
}

/// Bytes of a root partition of `partition_size` bytes that a root of `root_length` bytes, with its hash tree and the
/// trailer, leaves free; `None` when it does not fit.
#[must_use]
pub fn root_room(partition_size: u64, root_length: u64) -> Option<u64> {
    let tree = tree_length(root_length).ok()?;
    trailer_offset(partition_size)?.checked_sub(root_length.checked_add(tree)?)
}

/// A whole tree: what is on the disk behind the data, and its root hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HashTree {
    pub root_hash: Digest,
    /// Top level first, as dm-verity reads it.
    pub bytes: Vec<u8>,
}

impl HashTree {
    /// The tree over data whose block hashes are given, in order.
    ///
    /// # Errors
    /// When there are no leaves.
    pub fn from_leaves(leaves: &[Digest]) -> Result<HashTree, TreeError> {
        if leaves.is_empty() {
            return Err(TreeError::Length(0));
        }
        let mut stored: Vec<Vec<u8>> = Vec::new();
        let mut hashes = leaves.to_vec();
        loop {
            let mut level = vec![0; hashes.len().div_ceil(HASHES_PER_BLOCK) * BLOCK_LEN];
            for (slot, hash) in level.chunks_exact_mut(32).zip(&hashes) {
                slot.copy_from_slice(&hash.0);
            }
            hashes = hash_blocks(&level);
            stored.push(level);
            if let [root_hash] = hashes[..] {
                stored.reverse();
                return Ok(HashTree { root_hash, bytes: stored.concat() });
            }
        }
    }

    /// The tree over `data`.
    ///
    /// # Errors
    /// When `data` is empty or no whole number of blocks.
    pub fn over(data: &[u8]) -> Result<HashTree, TreeError> {
        levels(data.len() as u64)?;
        HashTree::from_leaves(&hash_blocks(data))
    }
}

/// The leaves of a stored tree, after every block of it was checked against the hash above it.
///
/// # Errors
/// When the tree's length does not fit the data's, or any block does not match: the first one, counted from the top.
pub fn checked_leaves(tree: &[u8], data_length: u64, root_hash: Digest) -> Result<Vec<Digest>, TreeError> {
    let expected = tree_length(data_length)?;
    if tree.len() as u64 != expected {
        return Err(TreeError::TreeLength { expected, found: tree.len() as u64 });
    }
    let mut wanted = vec![root_hash];
    let mut at = 0;
    for blocks in levels(data_length)?.into_iter().rev() {
        let length = blocks as usize * BLOCK_LEN;
        let level = &tree[at..at + length];
        for (index, (block, &hash)) in level.chunks_exact(BLOCK_LEN).zip(&wanted).enumerate() {
            let found = leaf(block);
            if found != hash {
                return Err(TreeError::Mismatch { block: (at / BLOCK_LEN + index) as u64, expected: hash, found });
            }
        }
        wanted = level.as_chunks::<32>().0.iter().map(|bytes| Digest(*bytes)).collect();
        at += length;
    }
    let leaves = (data_length / BLOCK) as usize;
    // What follows the last hash of a level is covered by the hash above it, so it needs no check of its own.
    wanted.truncate(leaves);
    Ok(wanted)
}

/// The hashes of the lowest level's blocks, by the levels above it, after every block of these was checked.
///
/// # Errors
/// As [`checked_leaves`].
pub fn checked_upper(upper: &[u8], data_length: u64, root_hash: Digest) -> Result<Vec<Digest>, TreeError> {
    let mut levels = levels(data_length)?;
    let lowest = levels.first().copied().unwrap_or(0);
    levels.remove(0);
    let expected = levels.iter().sum::<u64>() * BLOCK;
    if upper.len() as u64 != expected {
        return Err(TreeError::TreeLength { expected, found: upper.len() as u64 });
    }
    let mut wanted = vec![root_hash];
    let mut blocks = upper.as_chunks::<BLOCK_LEN>().0.iter().enumerate();
    for level in levels.into_iter().rev() {
        let mut below = Vec::with_capacity(wanted.len() * HASHES_PER_BLOCK);
        for (hash, (index, block)) in wanted.iter().zip(blocks.by_ref().take(level as usize)) {
            let found = leaf(block);
            if found != *hash {
                return Err(TreeError::Mismatch { block: index as u64, expected: *hash, found });
            }
            below.extend(block.as_chunks::<32>().0.iter().map(|bytes| Digest(*bytes)));
        }
        wanted = below;
    }
    wanted.truncate(usize::try_from(lowest).unwrap_or(usize::MAX));
    Ok(wanted)
}

/// The hash of each block of `data`; on every core with the feature `parallel`.
#[must_use]
pub fn hash_blocks(data: &[u8]) -> Vec<Digest> {
    let hash = |block: &[u8]| {
        if block.iter().all(|&byte| byte == 0) && block.len() == BLOCK_LEN { zero_leaf() } else { leaf(block) }
    };
    #[cfg(feature = "parallel")]
    {
        use rayon::prelude::*;
        data.par_chunks(BLOCK_LEN).map(hash).collect()
    }
    #[cfg(not(feature = "parallel"))]
    {
        data.chunks(BLOCK_LEN).map(hash).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_room_of_a_root_is_what_root_tree_and_trailer_leave() {
        let data = 128 * BLOCK;
        let needed = data + BLOCK + crate::layout::TRAILER_SIZE;
        assert_eq!(root_room(needed, data), Some(0));
        assert_eq!(root_room(needed + 5, data), Some(5));
        assert_eq!(root_room(needed - 1, data), None);
        assert_eq!(root_room(0, u64::MAX), None);
    }

    #[test]
    fn one_block_has_a_tree_of_one_block() {
        let tree = HashTree::over(&[7; BLOCK_LEN]).unwrap();
        assert_eq!(tree.bytes.len(), BLOCK_LEN);
        assert_eq!(tree.bytes[..32], leaf(&[7; BLOCK_LEN]).0);
        assert_eq!(tree.root_hash, leaf(&tree.bytes));
    }

    #[test]
    fn lengths_that_are_no_whole_blocks_are_refused() {
        for length in [0, 1, BLOCK - 1, BLOCK + 1] {
            assert_eq!(levels(length), Err(TreeError::Length(length)));
        }
    }

    #[test]
    fn levels_grow_with_the_data() {
        assert_eq!(levels(128 * BLOCK).unwrap(), [1]);
        assert_eq!(levels(129 * BLOCK).unwrap(), [2, 1]);
        assert_eq!(levels(128 * 128 * BLOCK + BLOCK).unwrap(), [129, 2, 1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_stored_tree_gives_its_leaves_back(blocks in 1usize..300, seed: u8) {
            let data: Vec<u8> = (0..blocks * BLOCK_LEN).map(|i| (i / 97) as u8 ^ seed).collect();
            let tree = HashTree::over(&data).unwrap();
            let leaves = checked_leaves(&tree.bytes, data.len() as u64, tree.root_hash).unwrap();
            prop_assert_eq!(leaves, hash_blocks(&data));
        }

        #[test]
        fn the_upper_levels_give_the_hashes_of_the_lowest(blocks in 1usize..300, at: prop::sample::Index, bit in 0u8..8) {
            let data: Vec<u8> = (0..blocks * BLOCK_LEN).map(|i| (i / 89) as u8).collect();
            let length = data.len() as u64;
            let HashTree { root_hash, bytes } = HashTree::over(&data).unwrap();
            let lowest = levels(length).unwrap()[0] as usize * BLOCK_LEN;
            let (upper, leaves) = bytes.split_at(bytes.len() - lowest);
            let found = checked_upper(upper, length, root_hash).unwrap();
            prop_assert_eq!(found, leaves.chunks(BLOCK_LEN).map(leaf).collect::<Vec<_>>());
            if !upper.is_empty() {
                let mut upper = upper.to_vec();
                let at = at.index(upper.len());
                upper[at] ^= 1 << bit;
                prop_assert!(checked_upper(&upper, length, root_hash).is_err());
            }
            prop_assert!(checked_upper(&bytes, length, root_hash).is_err());
        }

        #[test]
        fn any_flipped_bit_of_a_tree_is_found(blocks in 1usize..300, at: prop::sample::Index, bit in 0u8..8) {
            let data = vec![5; blocks * BLOCK_LEN];
            let mut tree = HashTree::over(&data).unwrap();
            let at = at.index(tree.bytes.len());
            tree.bytes[at] ^= 1 << bit;
            let found = checked_leaves(&tree.bytes, data.len() as u64, tree.root_hash);
            let noticed = matches!(found, Err(TreeError::Mismatch { .. }));
            prop_assert!(noticed);
        }
    }
}
