//! Writes the standby slot, in the one order in which no half-written slot can be started: the trailer goes first and comes
//! last, and the boot image's first block, without which no EEPROM takes the partition for a file system, comes just
//! before it.

use super::blueprint::{Blueprint, Unit};
use super::disk::{BLOCK_LEN, Pair};
use super::error::InstallError;
use super::tally::Tally;
use contract::bundle::leaf_block;
use contract::hash::Digest;
use contract::layout::{BLOCK, TRAILER_SIZE};
use contract::manifest::Which;
use contract::tree;

/// So many bytes may wait in memory before they are flushed: a flood of writes would push the role's files out of it.
const FLUSH: u64 = 16 << 20;

pub(super) struct Target<'t> {
    slot: &'t Pair,
    /// The boot image's first block, until it may be written.
    first: Vec<u8>,
    unflushed: u64,
}

impl<'t> Target<'t> {
    /// Whether the slot is complete already, down to its trailer. To be asked when every block is at its place.
    pub fn is_whole(slot: &Pair, blueprint: &Blueprint) -> Result<bool, InstallError> {
        let mut trailer = vec![0; TRAILER_SIZE as usize];
        slot.read(Which::Root, slot.trailer_at()?, &mut trailer)?;
        if trailer != trailer_bytes(blueprint)? {
            return Ok(false);
        }
        let (upper_at, leaves_at) = blueprint.tree_at();
        let mut upper = vec![0; blueprint.upper(Which::Root).len()];
        slot.read(Which::Root, upper_at, &mut upper)?;
        if upper != blueprint.upper(Which::Root) {
            return Ok(false);
        }
        let mut block = [0; BLOCK_LEN];
        for unit in blueprint.units().filter(|unit| unit.which == Which::Root) {
            slot.read(Which::Root, leaves_at + unit.index * BLOCK, &mut block)?;
            if Some(tree::leaf(&block)) != blueprint.expected(unit) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// From here on the slot cannot be started.
    pub fn begin(slot: &'t Pair, blueprint: &Blueprint) -> Result<Target<'t>, InstallError> {
        let mut first = vec![0; BLOCK_LEN];
        slot.read(Which::Boot, 0, &mut first)?;
        slot.write(Which::Root, slot.trailer_at()?, &vec![0; TRAILER_SIZE as usize])?;
        slot.flush(Which::Root)?;
        slot.write(Which::Boot, 0, &[0; BLOCK_LEN])?;
        slot.flush(Which::Boot)?;
        let (upper_at, _) = blueprint.tree_at();
        slot.write(Which::Root, upper_at, blueprint.upper(Which::Root))?;
        Ok(Target { slot, first, unflushed: 0 })
    }

    /// Writes verified blocks that follow each other.
    pub fn put(&mut self, which: Which, block: u64, bytes: &[u8], tally: &mut Tally<'_>) -> Result<(), InstallError> {
        let (mut at, mut rest) = (block * BLOCK, bytes);
        if which == Which::Boot
            && block == 0
            && let Some((first, behind)) = bytes.split_at_checked(BLOCK_LEN)
        {
            self.first = first.to_vec();
            (at, rest) = (BLOCK, behind);
        }
        self.slot.write(which, at, rest)?;
        tally.written += bytes.len() as u64 / BLOCK;
        self.unflushed += bytes.len() as u64;
        if self.unflushed >= FLUSH {
            self.unflushed = 0;
            self.slot.flush(which)?;
        }
        Ok(())
    }

    /// Writes the leaves of a unit whose blocks are in their place, for dm-verity.
    pub fn put_leaves(&mut self, blueprint: &Blueprint, unit: Unit, leaves: &[Digest]) -> Result<(), InstallError> {
        if unit.which == Which::Boot {
            return Ok(());
        }
        let wanted = leaf_block(leaves);
        let (_, leaves_at) = blueprint.tree_at();
        let at = leaves_at + unit.index * BLOCK;
        let mut found = [0; BLOCK_LEN];
        self.slot.read(Which::Root, at, &mut found)?;
        if found != wanted.as_slice() { self.slot.write(Which::Root, at, &wanted) } else { Ok(()) }
    }

    /// Everything else is on the disk: the first block, and the trailer that makes it a slot.
    pub fn finish(self, blueprint: &Blueprint) -> Result<(), InstallError> {
        let slot = self.slot;
        slot.flush(Which::Root)?;
        slot.flush(Which::Boot)?;
        slot.write(Which::Boot, 0, &self.first)?;
        slot.flush(Which::Boot)?;
        let (at, trailer) = (slot.trailer_at()?, trailer_bytes(blueprint)?);
        slot.write(Which::Root, at, &trailer)?;
        slot.flush(Which::Root)?;
        let mut found = vec![0; trailer.len()];
        slot.read_anew(Which::Root, at, &mut found)?;
        if found == trailer { Ok(()) } else { Err(InstallError::ReadBack) }
    }
}

fn trailer_bytes(blueprint: &Blueprint) -> Result<Vec<u8>, InstallError> {
    Ok(blueprint.head.trailer.to_bytes().map_err(contract::bundle::BundleError::from)?)
}
