//! What the node has already: what is in the standby slot, and where a block can be found in either slot by its short
//! hash. Nothing here is trusted: every copied block is hashed.

use super::blueprint::{Unit, pick};
use super::disk::{BLOCK_LEN, Pair, hash_block};
use super::error::InstallError;
use contract::bundle::{SHORT, leaf_block, short};
use contract::hash::Digest;
use contract::layout::BLOCK;
use contract::manifest::{Manifest, Which};
use contract::tree::{self, HASHES_PER_BLOCK};
use std::collections::HashMap;

/// Bits of a [`Place`] that number the block.
const BLOCK_BITS: u32 = 30;

/// Where a block is: slot, image, number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u32);

impl Place {
    fn new(running: bool, which: Which, block: u64) -> Option<Place> {
        let block = u32::try_from(block).ok().filter(|block| block >> BLOCK_BITS == 0)?;
        // The running slot sorts first: it does not change while blocks are copied.
        let slot = u32::from(!running) << (BLOCK_BITS + 1);
        Some(Place(slot | u32::from(which == Which::Root) << BLOCK_BITS | block))
    }

    fn parts(self) -> (bool, Which, u64) {
        let which = if self.0 >> BLOCK_BITS & 1 == 1 { Which::Root } else { Which::Boot };
        (self.0 >> (BLOCK_BITS + 1) == 0, which, u64::from(self.0 & ((1 << BLOCK_BITS) - 1)))
    }
}

/// Both slots.
pub(super) struct Own<'s> {
    standby: &'s Pair,
    running: &'s Pair,
    /// What the standby slot has at each block's place.
    here: [Vec<Digest>; 2],
    /// Where blocks may be, by their shorts.
    index: Vec<(u32, Place)>,
    /// Blocks of the running slot's lowest levels by their hashes: then all 128 leaves are known.
    lowest: HashMap<Digest, (Which, u64)>,
    /// Leaves of the running boot image, whose tree is on no disk.
    boot: Vec<Digest>,
    /// Where the leaves of the running root image stand, and how many blocks it has.
    root: Option<(u64, u64)>,
}

impl<'s> Own<'s> {
    /// Hashes the places in the standby slot that images of these numbers of blocks will take.
    pub fn at_place(standby: &'s Pair, running: &'s Pair, blocks: [u64; 2]) -> Result<Own<'s>, InstallError> {
        let [boot, root] = blocks;
        let here = [standby.hash(Which::Boot, boot)?, standby.hash(Which::Root, root)?];
        let (index, lowest) = (Vec::new(), HashMap::new());
        Ok(Own { standby, running, here, index, lowest, boot: Vec::new(), root: None })
    }

    /// Makes the index over both slots. A running slot that cannot be read is none to copy from.
    pub fn index_slots(&mut self, manifest: Option<&Manifest>) {
        for which in Which::BOTH {
            for (block, leaf) in (0..).zip(pick(&self.here, which)) {
                self.index.extend(entry(leaf, Place::new(false, which, block)));
            }
        }
        if let Some(manifest) = manifest {
            let _ = self.index_boot(manifest);
            let _ = self.index_root(manifest);
        }
        self.index.sort_unstable();
        // Of blocks that are the same one is enough.
        self.index.dedup_by_key(|(short, _)| *short);
        self.index.shrink_to_fit();
    }

    fn index_boot(&mut self, manifest: &Manifest) -> Result<(), InstallError> {
        self.boot = self.running.hash(Which::Boot, manifest.boot.blocks())?;
        for (block, leaf) in (0..).zip(&self.boot) {
            self.index.extend(entry(leaf, Place::new(true, Which::Boot, block)));
        }
        for (index, leaves) in (0..).zip(self.boot.chunks(HASHES_PER_BLOCK)) {
            self.lowest.insert(tree::leaf(&leaf_block(leaves)), (Which::Boot, index));
        }
        Ok(())
    }

    /// The tree that dm-verity uses has the leaves.
    fn index_root(&mut self, manifest: &Manifest) -> Result<(), InstallError> {
        let (length, blocks) = (manifest.root.length, manifest.root.blocks());
        let Ok(levels) = tree::levels(length) else { return Ok(()) };
        let (all, lowest) = (levels.iter().sum::<u64>(), levels.first().copied().unwrap_or(0));
        let size = self.running.size(Which::Root)?;
        if length.checked_add(all.saturating_mul(BLOCK)).is_none_or(|end| end > size) {
            return Ok(());
        }
        let at = length + (all - lowest) * BLOCK;
        let mut bytes = [0; BLOCK_LEN];
        for index in 0..lowest {
            self.running.read(Which::Root, at + index * BLOCK, &mut bytes)?;
            self.lowest.insert(tree::leaf(&bytes), (Which::Root, index));
            let first = index * HASHES_PER_BLOCK as u64;
            for (block, leaf) in (first..blocks).zip(bytes.as_chunks::<32>().0) {
                self.index.extend(entry(&Digest(*leaf), Place::new(true, Which::Root, block)));
            }
        }
        self.root = Some((at, blocks));
        Ok(())
    }

    /// The hash of what the standby slot has at a block's place.
    pub fn here(&self, which: Which, block: u64) -> Option<Digest> {
        pick(&self.here, which).get(usize::try_from(block).ok()?).copied()
    }

    /// The hashes of what is at the place of a unit's blocks.
    pub fn here_all(&self, which: Which, blocks: std::ops::Range<u64>) -> &[Digest] {
        let range =
            usize::try_from(blocks.start).unwrap_or(usize::MAX)..usize::try_from(blocks.end).unwrap_or(usize::MAX);
        pick(&self.here, which).get(range).unwrap_or_default()
    }

    /// Leaves whose hash is `expected`, when the running slot has them; and where it has their blocks.
    pub fn leaves(&self, expected: &Digest) -> Option<(Vec<Digest>, Unit)> {
        let (which, index) = *self.lowest.get(expected)?;
        let mut bytes = vec![0; BLOCK_LEN];
        match which {
            Which::Boot => {
                let first = usize::try_from(index).ok()? * HASHES_PER_BLOCK;
                bytes = leaf_block(self.boot.get(first..)?);
            }
            Which::Root => {
                let (at, _) = self.root?;
                self.running.read(Which::Root, at + index * BLOCK, &mut bytes).ok()?;
            }
        }
        if tree::leaf(&bytes) != *expected {
            return None;
        }
        Some((bytes.as_chunks::<32>().0.iter().map(|leaf| Digest(*leaf)).collect(), Unit { which, index }))
    }

    /// A block of the running slot.
    pub fn running_place(unit: Unit, nth: u64) -> Option<Place> {
        Place::new(true, unit.which, unit.index * HASHES_PER_BLOCK as u64 + nth)
    }

    /// Where there may be a block with this short.
    pub fn find(&self, wanted: [u8; SHORT]) -> Option<Place> {
        let wanted = u32::from_le_bytes(wanted);
        let found = self.index.binary_search_by_key(&wanted, |(short, _)| *short).ok()?;
        self.index.get(found).map(|(_, place)| *place)
    }

    /// Reads a block, and its hash as it is now.
    pub fn read(&self, place: Place, block: &mut [u8]) -> Result<Digest, InstallError> {
        let (running, which, number) = place.parts();
        let slot = if running { self.running } else { self.standby };
        slot.read(which, number * BLOCK, block)?;
        Ok(hash_block(block))
    }
}

fn entry(leaf: &Digest, place: Option<Place>) -> Option<(u32, Place)> {
    // Zeros are known without looking.
    if *leaf == tree::zero_leaf() {
        return None;
    }
    place.map(|place| (u32::from_le_bytes(short(leaf)), place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_says_what_it_was_told_and_the_running_slot_comes_first() {
        for (running, which, block) in
            [(true, Which::Boot, 0), (true, Which::Root, 7), (false, Which::Boot, 1 << 29), (false, Which::Root, 5)]
        {
            assert_eq!(Place::new(running, which, block).unwrap().parts(), (running, which, block));
        }
        assert!(Place::new(true, Which::Root, 1 << BLOCK_BITS).is_none());
        assert!(Place::new(true, Which::Root, 9) < Place::new(false, Which::Boot, 0));
    }
}
