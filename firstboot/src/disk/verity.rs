//! From a signed manifest to a block device on which every block is checked when it is read.

use super::node;
use crate::sys::dm;
use anyhow::{Context as _, ensure};
use contract::layout::{BLOCK, Extent, Slot, TRAILER_SIZE};
use contract::manifest::{BlockImage, Manifest};
use contract::names::VERITY_NAME;
use contract::role::Role;
use contract::tree;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// A signed manifest that does not fit what is being started.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Mismatch {
    #[error("the manifest is for the role {found}, and this initramfs belongs to the role {expected}")]
    Role { expected: Role, found: Role },
    #[error("root file system, tree and trailer take {needed} bytes, and the partition has {available}")]
    Size { needed: u64, available: u64 },
    #[error("the manifest's lengths are out of range")]
    Overflow,
}

/// Makes the verified device of the root of a slot, which is at `extent` of a disk. `role` is whose it must be.
///
/// # Errors
/// When the manifest is for another role or does not fit the partition, or the kernel refuses.
pub fn open(disk: &str, slot: Slot, extent: Extent, manifest: &Manifest, role: &Role) -> anyhow::Result<PathBuf> {
    check(manifest, role, extent.length)?;
    let partition = node::partition(disk, slot.root().number(), extent)?;
    let file = File::open(&partition).with_context(|| format!("opening {partition}"))?;
    check_tree(&file, &manifest.root).with_context(|| format!("checking the hash tree on {partition}"))?;
    let verity = dm::Verity {
        name: VERITY_NAME,
        device: &partition,
        blocks: manifest.root.blocks(),
        block_size: BLOCK,
        root_hash: manifest.root.root_hash.to_string(),
        salt: tree::SALT.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    let device = verity.create().with_context(|| format!("making the dm-verity device over {partition}"))?;
    node::wait_for(&device)?;
    Ok(device)
}

/// Checks what a signature does not: that the manifest is meant for this node's role and that all fits.
fn check(manifest: &Manifest, role: &Role, available: u64) -> Result<(), Mismatch> {
    if manifest.role != *role {
        return Err(Mismatch::Role { expected: role.clone(), found: manifest.role.clone() });
    }
    let tree = tree::tree_length(manifest.root.length).map_err(|_| Mismatch::Overflow)?;
    let needed = [tree, TRAILER_SIZE].into_iter().try_fold(manifest.root.length, u64::checked_add);
    match needed {
        Some(needed) if needed <= available => Ok(()),
        Some(needed) => Err(Mismatch::Size { needed, available }),
        None => Err(Mismatch::Overflow),
    }
}

/// Checks the whole tree and the first block of data, the superblock. dm-verity checks every block when it is read; but
/// what is not read today would be found tomorrow, and this way the message names the slot.
fn check_tree(partition: &impl FileExt, root: &BlockImage) -> anyhow::Result<()> {
    let length = tree::tree_length(root.length)?;
    let mut bytes = vec![0; usize::try_from(length)?];
    partition.read_exact_at(&mut bytes, root.length)?;
    let leaves = tree::checked_leaves(&bytes, root.length, root.root_hash)?;
    let mut first = vec![0; BLOCK as usize];
    partition.read_exact_at(&mut first, 0)?;
    ensure!(leaves.first() == Some(&tree::leaf(&first)), "the superblock does not match the tree");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTER: Role = Role::literal("router");
    const MINIO: Role = Role::literal("minio");
    use contract::hash::Digest;
    use contract::manifest;
    use std::io::Write as _;

    fn manifest(root_blocks: u64) -> Manifest {
        let image = |blocks| BlockImage { length: blocks * BLOCK, root_hash: Digest::of(b"x") };
        Manifest {
            format: manifest::FORMAT,
            role: ROUTER,
            compatible: None,
            board: contract::names::BOARD.to_owned(),
            version: "1".parse().unwrap(),
            built: 0,
            rollback_index: 0,
            kernel: "6".parse().unwrap(),
            boot: image(1),
            root: image(root_blocks),
            supplied: Vec::new(),
        }
    }

    #[test]
    fn a_manifest_for_another_role_is_refused() {
        let misfit = Mismatch::Role { expected: MINIO, found: ROUTER };
        assert_eq!(check(&manifest(16), &MINIO, 1 << 30), Err(misfit));
    }

    #[test]
    fn a_flipped_bit_in_the_tree_or_the_superblock_is_found_before_anything_is_mounted() {
        let data: Vec<u8> = (0..300 * BLOCK).map(|at| (at / 7) as u8).collect();
        let tree = tree::HashTree::over(&data).unwrap();
        let root = BlockImage { length: data.len() as u64, root_hash: tree.root_hash };
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[&data[..], &tree.bytes].concat()).unwrap();
        check_tree(&file, &root).unwrap();
        let places =
            [0, BLOCK - 1].into_iter().chain((root.length..root.length + tree.bytes.len() as u64).step_by(511));
        for at in places {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ 16], at).unwrap();
            assert!(check_tree(&file, &root).is_err(), "byte {at}");
            file.write_all_at(&byte, at).unwrap();
        }
    }

    #[test]
    fn a_root_that_just_fits_is_taken_and_one_block_more_is_not() {
        let available = 16 * BLOCK + BLOCK + TRAILER_SIZE;
        assert_eq!(check(&manifest(16), &ROUTER, available), Ok(()));
        let misfit = Mismatch::Size { needed: available + BLOCK, available };
        assert_eq!(check(&manifest(17), &ROUTER, available), Err(misfit));
        assert_eq!(check(&manifest(u64::MAX / BLOCK), &ROUTER, available), Err(Mismatch::Overflow));
    }
}
