//! A bundle that comes front to back: over the client's connection, or from a server that does not support ranges. Its
//! leaves say which blocks are wanted; what is already in place is read and skipped.

use super::blueprint::{Blueprint, pick, pick_mut};
use super::disk::{BLOCK_LEN, Pair, hash_block};
use super::error::InstallError;
use super::frame::unpack;
use super::order::Order;
use super::own::Own;
use super::tally::Tally;
use super::target::Target;
use contract::bundle::{Frames, HEAD, Head};
use contract::hash::Digest;
use contract::layout::{BLOCK, Extent};
use contract::manifest::Which;
use contract::tree::{self, HASHES_PER_BLOCK};
use contract::update::{Release, UpdateEvent};
use std::io::{ErrorKind, Read};
use std::ops::Range;

/// Reads a bundle to its end.
pub(super) fn install(
    order: &Order,
    standby: &Pair,
    running: &Pair,
    reader: &mut dyn Read,
    tally: &mut Tally<'_>,
) -> Result<Release, InstallError> {
    let mut front = StreamReader { reader, at: 0 };
    let Described { blueprint, leaves, frames } = front.described(order, standby, tally)?;
    let sections = blueprint.sections;
    let own = Own::at_place(standby, running, [sections.boot.blocks, sections.root.blocks])?;
    let missing = |which, block: u64| own.here(which, block) != leaf(&leaves, which, block);
    let blocks = blueprint.all_blocks();
    let missing_blocks = Which::BOTH
        .map(|which| (0..sections.image(which).blocks).filter(|&block| missing(which, block)).count() as u64);
    let fetched = missing_blocks.iter().sum::<u64>();
    tally.blocks = blocks;
    tally.tell(UpdateEvent::Plan {
        release: blueprint.release.clone(),
        slot: order.slot,
        blocks,
        in_place: blocks.saturating_sub(fetched),
        copied: 0,
        fetched,
        fetch_bytes: blueprint.head.length,
        dry_run: order.dry_run,
    });
    if order.dry_run {
        return Ok(blueprint.release);
    }
    let whole = fetched == 0 && Target::is_whole(standby, &blueprint)?;
    let mut target = if whole { None } else { Some(Target::begin(standby, &blueprint)?) };
    for which in Which::BOTH {
        for frame in 0..sections.image(which).frames {
            let Some(Extent { length, .. }) = frames.extent(which, frame) else { continue };
            let stored = front.take("frames", length, tally)?;
            let blocks = sections.blocks_of(which, frame);
            if let Some(target) = target.as_mut()
                && blocks.clone().any(|block| missing(which, block))
            {
                let data = proven(&stored, &leaves, which, frame, blocks.clone())?;
                target.put(which, blocks.start, &data, tally)?;
            }
            tally.add(blocks.end - blocks.start);
        }
    }
    front.end()?;
    if let Some(target) = target {
        finish(target, &blueprint, &leaves)?;
    }
    tally.installed(&blueprint.release);
    Ok(blueprint.release)
}

/// What stands before the frames of a bundle; the signed root hashes prove the leaves.
struct Described {
    blueprint: Blueprint,
    leaves: Leaves,
    frames: Frames,
}

/// The blocks of leaves of both images.
type Leaves = [Vec<u8>; 2];

fn leaf(leaves: &Leaves, which: Which, block: u64) -> Option<Digest> {
    let at = usize::try_from(block).ok()?;
    pick(leaves, which).as_chunks::<32>().0.get(at).map(|leaf| Digest(*leaf))
}

/// The blocks that a frame holds, each as its leaf says.
fn proven(
    stored: &[u8],
    leaves: &Leaves,
    which: Which,
    frame: u64,
    blocks: Range<u64>,
) -> Result<Vec<u8>, InstallError> {
    let length = (blocks.end - blocks.start) as usize * BLOCK_LEN;
    let data = unpack(stored, length).map_err(|source| InstallError::Unpack { image: which, frame, source })?;
    for (block, bytes) in blocks.zip(data.as_chunks::<BLOCK_LEN>().0) {
        if Some(hash_block(bytes)) != leaf(leaves, which, block) {
            return Err(InstallError::Frame { image: which, frame, block });
        }
    }
    Ok(data)
}

/// All blocks are there: the root's tree, then what lets the slot be started.
fn finish(mut target: Target<'_>, blueprint: &Blueprint, leaves: &Leaves) -> Result<(), InstallError> {
    for unit in blueprint.units().filter(|unit| unit.which == Which::Root) {
        let first = usize::try_from(unit.index).unwrap_or(usize::MAX).saturating_mul(HASHES_PER_BLOCK);
        let all = pick(leaves, unit.which).as_chunks::<32>().0;
        let of_unit: Vec<Digest> = all.iter().skip(first).take(HASHES_PER_BLOCK).map(|leaf| Digest(*leaf)).collect();
        target.put_leaves(blueprint, unit, &of_unit)?;
    }
    target.finish(blueprint)
}

/// A stream, read from the front.
struct StreamReader<'r> {
    reader: &'r mut dyn Read,
    at: u64,
}

/// Most bytes that are asked of memory at a time for what a stream only claims to have.
const STEP: u64 = 64 * 1024;

impl StreamReader<'_> {
    /// Everything before the frames.
    fn described(&mut self, order: &Order, standby: &Pair, tally: &mut Tally<'_>) -> Result<Described, InstallError> {
        let mut head = self.take("head", HEAD as u64, tally)?;
        let length = Head::length_of(&head)?;
        head.extend(self.take("manifest", length - HEAD as u64, tally)?);
        let mut blueprint = Blueprint::check(Head::parse(&head)?, order, standby)?;
        let sections = blueprint.sections;
        for which in Which::BOTH {
            let upper = self.take("upper levels", sections.image(which).upper.length, tally)?;
            blueprint.prove(which, upper)?;
        }
        let mut leaves = Leaves::default();
        for unit in blueprint.units() {
            let block = self.take("leaves", BLOCK, tally)?;
            if Some(tree::leaf(&block)) != blueprint.expected(unit) {
                return Err(InstallError::Leaves { image: unit.which, block: unit.index });
            }
            pick_mut(&mut leaves, unit.which).extend(block);
        }
        for which in Which::BOTH {
            self.pass("shorts", sections.image(which).shorts.length, tally)?;
        }
        let [boot, root] = [sections.boot.index, sections.root.index];
        let boot = self.take("index", boot.length, tally)?;
        let root = self.take("index", root.length, tally)?;
        let frames = Frames::parse(sections, &boot, &root, blueprint.head.length)?;
        Ok(Described { blueprint, leaves, frames })
    }

    /// The next `length` bytes. Memory grows with what comes, not with what is promised.
    fn take(&mut self, what: &'static str, length: u64, tally: &mut Tally<'_>) -> Result<Vec<u8>, InstallError> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < length {
            let from = bytes.len();
            bytes.resize(from + (length - from as u64).min(STEP) as usize, 0);
            let part = bytes.get_mut(from..).unwrap_or_default();
            self.fill(what, part, tally)?;
        }
        Ok(bytes)
    }

    fn pass(&mut self, what: &'static str, length: u64, tally: &mut Tally<'_>) -> Result<(), InstallError> {
        let mut buffer = vec![0; STEP as usize];
        let mut left = length;
        while left > 0 {
            let part = buffer.get_mut(..left.min(STEP) as usize).unwrap_or_default();
            self.fill(what, part, tally)?;
            left -= part.len() as u64;
        }
        Ok(())
    }

    fn fill(&mut self, what: &'static str, bytes: &mut [u8], tally: &mut Tally<'_>) -> Result<(), InstallError> {
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read(what, rest)? {
                0 => return Err(InstallError::Ended { what, bytes: self.at }),
                length => {
                    filled += length;
                    self.at += length as u64;
                    tally.fetched += length as u64;
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, what: &'static str, bytes: &mut [u8]) -> Result<usize, InstallError> {
        loop {
            match self.reader.read(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(InstallError::Broken { what, bytes: self.at, source }),
                Ok(length) => return Ok(length),
            }
        }
    }

    /// Nothing must follow.
    fn end(&mut self) -> Result<(), InstallError> {
        match self.read("end", &mut [0])? {
            0 => Ok(()),
            _ => Err(InstallError::Longer(self.at)),
        }
    }
}
