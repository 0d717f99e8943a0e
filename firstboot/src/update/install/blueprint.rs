//! What is to be installed: everything that can be checked before a block is written.

use super::disk::Pair;
use super::error::InstallError;
use super::order::Order;
use contract::bundle::{Head, Sections};
use contract::hash::Digest;
use contract::layout::{BLOCK, TRAILER_SIZE};
use contract::manifest::{BlockImage, Manifest, Which};
use contract::tree::{self, HASHES_PER_BLOCK};
use contract::update::Release;
use std::ops::Range;

/// The blocks that one block of the lowest level of a tree covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub which: Which,
    /// Its number in the lowest level.
    pub index: u64,
}

/// A bundle whose manifest is signed, wanted here, and fits.
pub(super) struct Blueprint {
    pub head: Head,
    pub manifest: Manifest,
    pub sections: Sections,
    pub release: Release,
    /// Upper levels of both trees, as they are stored, and the hashes of the lowest level's blocks.
    upper: [Vec<u8>; 2],
    lowest: [Vec<Digest>; 2],
}

impl Blueprint {
    /// Checks signature, whether it is what runs, role and profile, board, rollback index, the memory of failures, and the
    /// partitions' sizes.
    pub fn check(head: Head, order: &Order, standby: &Pair) -> Result<Blueprint, InstallError> {
        let (manifest, sections) = head.verify(&order.keys)?;
        let release = Release {
            version: manifest.version.to_string(),
            manifest: Digest::of(&head.trailer.manifest),
            rollback_index: manifest.rollback_index,
        };
        // What runs was taken once: nothing below concerns it, and there is nothing to force.
        if order.runs == Some(release.manifest) {
            let blocks = sections.boot.blocks.saturating_add(sections.root.blocks);
            return Err(InstallError::AlreadyRunning { release, blocks });
        }
        order.node_is.takes(&manifest.compatible(), order.force)?;
        if !order.force {
            if manifest.rollback_index < order.rollback_index {
                let (found, lowest) = (manifest.rollback_index, order.rollback_index);
                return Err(InstallError::Rollback { found, lowest });
            }
            if let Some(failed) = order.refused.iter().find(|failed| failed.release.manifest == release.manifest) {
                let reason = failed.reason.clone();
                return Err(InstallError::FailedBefore { version: release.version, reason });
            }
        }
        for image in Which::BOTH {
            let found = standby.size(image)?;
            let length = manifest.image(image).length;
            let behind = match image {
                Which::Boot => 0,
                Which::Root => {
                    let sections = sections.image(image);
                    sections.upper.length.saturating_add(sections.leaves.length).saturating_add(TRAILER_SIZE)
                }
            };
            let needed = length.saturating_add(behind);
            if needed > found {
                return Err(InstallError::TooLarge { image, needed, found });
            }
        }
        Ok(Blueprint { head, manifest, sections, release, upper: Default::default(), lowest: Default::default() })
    }

    /// Checks and takes the upper levels of one tree.
    pub fn prove(&mut self, image: Which, upper: Vec<u8>) -> Result<(), InstallError> {
        let BlockImage { length, root_hash } = *self.manifest.image(image);
        let lowest =
            tree::checked_upper(&upper, length, root_hash).map_err(|source| InstallError::Upper { image, source })?;
        *pick_mut(&mut self.upper, image) = upper;
        *pick_mut(&mut self.lowest, image) = lowest;
        Ok(())
    }

    pub fn upper(&self, image: Which) -> &[u8] {
        pick::<Vec<u8>>(&self.upper, image)
    }

    /// The proven hash of a unit's leaves.
    pub fn expected(&self, unit: Unit) -> Option<Digest> {
        pick(&self.lowest, unit.which).get(usize::try_from(unit.index).ok()?).copied()
    }

    pub fn units(&self) -> impl Iterator<Item = Unit> + use<> {
        let counts = Which::BOTH.map(|which| (which, pick(&self.lowest, which).len() as u64));
        counts.into_iter().flat_map(|(which, count)| (0..count).map(move |index| Unit { which, index }))
    }

    /// The blocks of a unit.
    pub fn blocks(&self, unit: Unit) -> Range<u64> {
        let (each, all) = (HASHES_PER_BLOCK as u64, self.sections.image(unit.which).blocks);
        let first = (unit.index * each).min(all);
        first..(first + each).min(all)
    }

    /// Blocks of both images.
    pub fn all_blocks(&self) -> u64 {
        self.sections.boot.blocks.saturating_add(self.sections.root.blocks)
    }

    /// Where in the root partition the tree begins, and its lowest level.
    pub fn tree_at(&self) -> (u64, u64) {
        let at = self.manifest.root.length;
        (at, at + self.upper(Which::Root).len() as u64)
    }

    /// Where the leaves of a unit are in the bundle.
    pub fn leaves_at(&self, unit: Unit) -> u64 {
        self.sections.image(unit.which).leaves.offset + unit.index * BLOCK
    }
}

pub(super) fn pick<T>(both: &[T; 2], which: Which) -> &T {
    let [boot, root] = both;
    match which {
        Which::Boot => boot,
        Which::Root => root,
    }
}

pub(super) fn pick_mut<T>(both: &mut [T; 2], which: Which) -> &mut T {
    let [boot, root] = both;
    match which {
        Which::Boot => boot,
        Which::Root => root,
    }
}
