//! The dm-verity tree behind a file system: the bytes that `veritysetup format --no-superblock` would write.

use contract::hash::Digest;
use contract::manifest::BlockImage;
use contract::tree::{HashTree, TreeError};
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// A tree that cannot be made or written.
#[derive(Debug, thiserror::Error)]
pub enum VerityError {
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("writing the hash tree: {0}")]
    Write(#[from] std::io::Error),
}

/// Writes the tree over blocks with these `leaves` to `offset` of `file`.
///
/// # Errors
/// When there are no leaves, or the tree cannot be written.
pub fn write(leaves: &[Digest], file: &File, offset: u64) -> Result<(BlockImage, u64), VerityError> {
    let tree = HashTree::from_leaves(leaves)?;
    file.write_all_at(&tree.bytes, offset)?;
    let length = leaves.len() as u64 * contract::layout::BLOCK;
    Ok((BlockImage { length, root_hash: tree.root_hash }, tree.bytes.len() as u64))
}
