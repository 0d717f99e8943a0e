//! microdc's own bundles: what an installer reads of them, in runs of bytes as it asks a server for them.
//!
//! - The first [`FIRST_READ`] bytes. An image whose root hash is that of an image in the node's slots needs no more.
//! - The upper levels. 128 blocks whose block of leaves stands in a slot already need no more.
//! - For other 128 blocks their shorts; for all that is then not known, the index and the frames.
//! - Where a short is that of another block, the block of leaves, and the frame.

use super::FRAMES;
use super::slot::{Slot, signer};
use anyhow::{Context as _, Result};
use contract::bundle::{FIRST_READ, Frames, Head, ImageSections, SHORT, Sections, leaf_block, short};
use contract::hash::Digest;
use contract::layout::{BLOCK, Extent};
use contract::manifest::{Manifest, Which};
use contract::tree::{HASHES_PER_BLOCK, checked_leaves, leaf, zero_leaf};
use microdc::bundle::{self, Request};
use std::collections::{BTreeSet, HashSet};
use std::path::Path;

/// The new slot with frames of one length.
pub struct Bundle {
    manifest: Manifest,
    sections: Sections,
    frames: Frames,
    leaves: [Vec<Digest>; 2],
    length: u64,
}

/// Bytes that are fetched, by section.
#[derive(Default)]
pub struct Cost {
    head: u64,
    leaves: u64,
    shorts: u64,
    index: u64,
    frames: u64,
    /// Runs of bytes that follow each other.
    requests: u64,
}

impl Cost {
    pub fn total(&self) -> u64 {
        self.head + self.leaves + self.shorts + self.index + self.frames
    }
}

/// Packs the new image with each of [`FRAMES`].
pub fn bundles(image: &Path, work: &Path) -> Result<Vec<Bundle>> {
    let trusted = [signer(image)?];
    FRAMES
        .iter()
        .map(|&frame_blocks| {
            let path = work.join(format!("{frame_blocks}.bundle"));
            bundle::write(&Request { image, slot: None, trusted: &trusted, frame_blocks }, Some(&path), &|_| Ok(()))?;
            let bytes = std::fs::read(&path)?;
            let (manifest, sections) = Head::parse(&bytes)?.verify(&trusted)?;
            let part = |extent: Extent| &bytes[extent.offset as usize..extent.end() as usize];
            let leaves = |which: Which| {
                let ImageSections { upper, leaves, .. } = *sections.image(which);
                let of = manifest.image(which);
                checked_leaves(&[part(upper), part(leaves)].concat(), of.length, of.root_hash)
            };
            let leaves = [leaves(Which::Boot)?, leaves(Which::Root)?];
            let length = bytes.len() as u64;
            let frames = Frames::parse(sections, part(sections.boot.index), part(sections.root.index), length)?;
            Ok(Bundle { manifest, sections, frames, leaves, length })
        })
        .collect()
}

/// What of an image must be read.
#[derive(Default)]
struct Need {
    upper: bool,
    /// 128 blocks each.
    shorts: Vec<u64>,
    leaves: Vec<u64>,
    frames: BTreeSet<u64>,
}

impl Bundle {
    /// What an update of a node with `old` fetches.
    pub fn update(&self, old: &Slot) -> Result<Cost> {
        let needs = Which::BOTH.map(|which| self.need(which, old));
        let mut runs = Runs::default();
        let mut cost =
            Cost { head: runs.add(Extent { offset: 0, length: FIRST_READ.min(self.length) }), ..Cost::default() };
        let images = || Which::BOTH.into_iter().zip(&needs).map(|(which, need)| (self.sections.image(which), need));
        for (of, _) in images().filter(|(_, need)| need.upper) {
            cost.head += runs.add(of.upper);
        }
        for (of, need) in images() {
            for unit in &need.leaves {
                cost.leaves += runs.add(Extent { offset: of.leaves.offset + unit * BLOCK, length: BLOCK });
            }
        }
        for (of, need) in images() {
            let each = (HASHES_PER_BLOCK * SHORT) as u64;
            for unit in &need.shorts {
                let offset = of.shorts.offset + unit * each;
                cost.shorts += runs.add(Extent { offset, length: each.min(of.shorts.end() - offset) });
            }
        }
        if needs.iter().any(|need| !need.frames.is_empty()) {
            for (of, _) in images() {
                cost.index += runs.add(of.index);
            }
        }
        for (which, need) in Which::BOTH.into_iter().zip(&needs) {
            for frame in &need.frames {
                cost.frames += runs.add(self.frames.extent(which, *frame).context("a frame's place")?);
            }
        }
        cost.requests = runs.count;
        Ok(cost)
    }

    fn need(&self, which: Which, old: &Slot) -> Need {
        let mut need = Need::default();
        if Which::BOTH.iter().any(|other| old.manifest.image(*other) == self.manifest.image(which)) {
            return need;
        }
        let known: HashSet<Digest> = old.leaves.iter().flatten().copied().chain([zero_leaf()]).collect();
        let shorts: HashSet<[u8; SHORT]> = known.iter().map(short).collect();
        let units = |leaves: &Vec<Digest>| -> Vec<Digest> {
            leaves.chunks(HASHES_PER_BLOCK).map(|unit| leaf(&leaf_block(unit))).collect()
        };
        let old_units: HashSet<Digest> = old.leaves.iter().flat_map(units).collect();
        need.upper = true;
        let number = if which == Which::Boot { 0 } else { 1 };
        for (unit, leaves) in (0..).zip(self.leaves[number].chunks(HASHES_PER_BLOCK)) {
            if old_units.contains(&leaf(&leaf_block(leaves))) {
                continue;
            }
            need.shorts.push(unit);
            let mut mistaken = false;
            for (block, leaf) in (unit * HASHES_PER_BLOCK as u64..).zip(leaves) {
                mistaken |= !known.contains(leaf) && shorts.contains(&short(leaf));
                if !known.contains(leaf) {
                    need.frames.insert(self.sections.frame_of(block));
                }
            }
            if mistaken {
                need.leaves.push(unit);
            }
        }
        need
    }
}

/// Adds up ranges that come in the order of the file.
#[derive(Default)]
struct Runs {
    end: u64,
    count: u64,
}

impl Runs {
    /// Bytes of a range that were not read before.
    fn add(&mut self, range: Extent) -> u64 {
        if range.offset > self.end || self.count == 0 {
            self.count += 1;
        }
        let fresh = range.end().saturating_sub(self.end.max(range.offset));
        self.end = self.end.max(range.end());
        fresh
    }
}

pub fn describe(pairs: &[(&str, Vec<Cost>)]) {
    println!("| | blocks a frame | head, upper levels | shorts | leaves | index | frames | requests |");
    println!("|---|---:|---:|---:|---:|---:|---:|---:|");
    for (name, costs) in pairs {
        for (frame_blocks, cost) in FRAMES.iter().zip(costs) {
            let Cost { head, leaves, shorts, index, frames, requests } = cost;
            println!("| {name} | {frame_blocks} | {head} | {shorts} | {leaves} | {index} | {frames} | {requests} |");
        }
    }
}
