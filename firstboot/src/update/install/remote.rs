//! A bundle on servers that support ranges: only what the node lacks is fetched.

use super::blueprint::{Blueprint, Unit, pick, pick_mut};
use super::disk::{BLOCK_LEN, Pair, hash_block};
use super::error::InstallError;
use super::fetch::Fetcher;
use super::order::Order;
use super::own::{Own, Place};
use super::tally::Tally;
use super::target::Target;
use super::web::{Piece, Web};
use contract::bundle::{Head, SHORT, leaf_block, short};
use contract::hash::Digest;
use contract::layout::BLOCK;
use contract::manifest::Which;
use contract::tree;
use contract::update::{Release, UpdateEvent};

/// Shorts that lie this near to wanted ones come with them, in bytes: less than a request costs.
const NEAR: u64 = 1024;
/// Most bytes of shorts in one request.
const PIECE: u64 = 1 << 20;

/// Where a block comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pick {
    InPlace,
    Zero,
    Copy(Place),
    Fetch,
}

/// Installs from `web`, of whose file `front` is the beginning.
pub(super) fn install(
    order: &Order,
    standby: &Pair,
    running: &Pair,
    web: &mut Web,
    front: Vec<u8>,
    tally: &mut Tally<'_>,
) -> Result<Release, InstallError> {
    let mut blueprint = check(order, standby, web, front, tally)?;
    let sections = blueprint.sections;
    let uppers = sections.boot.upper.length + sections.root.upper.length;
    let mut upper = web.piece(sections.boot.upper.offset, uppers, tally)?.bytes;
    let root = upper.split_off(usize::try_from(sections.boot.upper.length).unwrap_or(usize::MAX).min(upper.len()));
    blueprint.prove(Which::Boot, upper)?;
    blueprint.prove(Which::Root, root)?;

    let mut own = Own::at_place(standby, running, [sections.boot.blocks, sections.root.blocks])?;
    let missing = |unit: &Unit| {
        let here = own.here_all(unit.which, blueprint.blocks(*unit));
        Some(tree::leaf(&leaf_block(here))) != blueprint.expected(*unit)
    };
    if !blueprint.units().any(|unit| missing(&unit)) && Target::is_whole(standby, &blueprint)? {
        tell_plan(&blueprint, order, &Picks::default(), 0, tally);
        if !order.dry_run {
            tally.add(tally.blocks);
            tally.installed(&blueprint.release);
        }
        return Ok(blueprint.release);
    }
    own.index_slots(order.running.as_ref());
    let mut picks = Picks::of(&blueprint, &own, web, tally)?;
    let mut fetcher = Fetcher::new(blueprint.sections, blueprint.head.length);
    let bytes = if picks.fetched > 0 { fetcher.plan(picks.wanted(&blueprint), web, tally)? } else { 0 };
    tell_plan(&blueprint, order, &picks, bytes, tally);
    if order.dry_run {
        return Ok(blueprint.release);
    }
    let mut work = Work { blueprint: &blueprint, own: &own, fetcher, web, tally };
    let mut target = Target::begin(standby, &blueprint)?;
    for unit in blueprint.units() {
        work.unit(unit, picks.of_unit(&blueprint, unit), &mut target)?;
    }
    target.finish(&blueprint)?;
    tally.installed(&blueprint.release);
    Ok(blueprint.release)
}

/// Head and manifest, however little of them the first answer had.
fn check(
    order: &Order,
    standby: &Pair,
    web: &mut Web,
    mut front: Vec<u8>,
    tally: &mut Tally<'_>,
) -> Result<Blueprint, InstallError> {
    let whole = Head::length_of(&front)?;
    let found = web.length().unwrap_or(0);
    if whole > found {
        return Err(contract::bundle::BundleError::Short { what: "head", needed: whole, found }.into());
    }
    if let Some(left) = whole.checked_sub(front.len() as u64).filter(|left| *left > 0) {
        let more = web.piece(front.len() as u64, left, tally)?;
        front.extend(more.bytes);
    }
    let blueprint = Blueprint::check(Head::parse(&front)?, order, standby)?;
    if blueprint.head.length != found {
        return Err(InstallError::Length { found, said: blueprint.head.length });
    }
    if blueprint.sections.frames > found {
        let what = "part before the frames";
        return Err(contract::bundle::BundleError::Short { what, needed: blueprint.sections.frames, found }.into());
    }
    Ok(blueprint)
}

fn tell_plan(blueprint: &Blueprint, order: &Order, picks: &Picks, fetch_bytes: u64, tally: &mut Tally<'_>) {
    tally.blocks = blueprint.all_blocks();
    let (copied, fetched) = (picks.copied, picks.fetched);
    tally.tell(UpdateEvent::Plan {
        release: blueprint.release.clone(),
        slot: order.slot,
        blocks: tally.blocks,
        in_place: tally.blocks.saturating_sub(copied + fetched),
        copied,
        fetched,
        fetch_bytes,
        dry_run: order.dry_run,
    });
}

/// Where every block comes from, as far as shorts can say.
#[derive(Default)]
struct Picks {
    each: [Vec<Pick>; 2],
    copied: u64,
    fetched: u64,
}

impl Picks {
    fn of(blueprint: &Blueprint, own: &Own<'_>, web: &mut Web, tally: &mut Tally<'_>) -> Result<Picks, InstallError> {
        let mut picks = Picks::default();
        let mut shorts = Shorts::wanted(blueprint, own, web, tally)?;
        for unit in blueprint.units() {
            let blocks = blueprint.blocks(unit);
            let expected = blueprint.expected(unit);
            let each = pick_mut(&mut picks.each, unit.which);
            let here = own.here_all(unit.which, blocks.clone());
            if Some(tree::leaf(&leaf_block(here))) == expected {
                each.extend(blocks.map(|_| Pick::InPlace));
                continue;
            }
            if let Some((leaves, there)) = expected.and_then(|expected| own.leaves(&expected)) {
                for ((nth, block), leaf) in (0..).zip(blocks).zip(leaves) {
                    let place = Own::running_place(there, nth).map_or(Pick::Fetch, Pick::Copy);
                    let zero = leaf == tree::zero_leaf();
                    each.push(match own.here(unit.which, block) {
                        Some(here) if here == leaf => Pick::InPlace,
                        _ if zero => Pick::Zero,
                        _ => place,
                    });
                }
                continue;
            }
            for (nth, block) in (0..).zip(blocks) {
                let wanted = shorts.next(unit, nth);
                each.push(match (wanted, own.here(unit.which, block)) {
                    (None, _) => Pick::Fetch,
                    (Some(wanted), Some(here)) if short(&here) == wanted => Pick::InPlace,
                    (Some(wanted), _) if short(&tree::zero_leaf()) == wanted => Pick::Zero,
                    (Some(wanted), _) => own.find(wanted).map_or(Pick::Fetch, Pick::Copy),
                });
            }
        }
        for pick in picks.each.iter().flatten() {
            match pick {
                Pick::InPlace => {}
                Pick::Zero | Pick::Copy(_) => picks.copied += 1,
                Pick::Fetch => picks.fetched += 1,
            }
        }
        Ok(picks)
    }

    fn of_unit(&mut self, blueprint: &Blueprint, unit: Unit) -> Vec<Pick> {
        let range = blueprint.blocks(unit);
        let from = usize::try_from(range.start).unwrap_or(usize::MAX);
        let to = usize::try_from(range.end).unwrap_or(usize::MAX);
        pick(&self.each, unit.which).get(from..to).unwrap_or_default().to_vec()
    }

    /// Frames that must be fetched, in their order in the file.
    fn wanted(&self, blueprint: &Blueprint) -> Vec<(Which, u64)> {
        let mut wanted = Vec::new();
        for which in Which::BOTH {
            for (block, pick) in (0..).zip(pick(&self.each, which)) {
                let frame = (which, blueprint.sections.frame_of(block));
                if *pick == Pick::Fetch && wanted.last() != Some(&frame) {
                    wanted.push(frame);
                }
            }
        }
        wanted
    }
}

/// The shorts of those units whose leaves the node cannot know otherwise.
struct Shorts {
    pieces: Vec<(Which, u64, Vec<u8>)>,
}

impl Shorts {
    fn wanted(
        blueprint: &Blueprint,
        own: &Own<'_>,
        web: &mut Web,
        tally: &mut Tally<'_>,
    ) -> Result<Shorts, InstallError> {
        // Ranges of blocks, joined where they are near.
        let mut ranges: Vec<(Which, u64, u64)> = Vec::new();
        for unit in blueprint.units() {
            let blocks = blueprint.blocks(unit);
            let here = own.here_all(unit.which, blocks.clone());
            let expected = blueprint.expected(unit);
            let known = Some(tree::leaf(&leaf_block(here))) == expected
                || expected.is_some_and(|expected| own.leaves(&expected).is_some());
            if known {
                continue;
            }
            match ranges.last_mut() {
                Some((which, from, to))
                    if *which == unit.which
                        && (blocks.start - *to) * SHORT as u64 <= NEAR
                        && (blocks.end - *from) * SHORT as u64 <= PIECE =>
                {
                    *to = blocks.end;
                }
                _ => ranges.push((unit.which, blocks.start, blocks.end)),
            }
        }
        let mut pieces = Vec::new();
        for (which, from, to) in ranges {
            let offset = blueprint.sections.image(which).shorts.offset + from * SHORT as u64;
            pieces.push((which, from, web.piece(offset, (to - from) * SHORT as u64, tally)?.bytes));
        }
        pieces.reverse();
        Ok(Shorts { pieces })
    }

    /// The short of a unit's block. Units are asked for in their order.
    fn next(&mut self, unit: Unit, nth: u64) -> Option<[u8; SHORT]> {
        let block = unit.index * tree::HASHES_PER_BLOCK as u64 + nth;
        loop {
            let (which, from, bytes) = self.pieces.last()?;
            let at = usize::try_from(block.checked_sub(*from)?).ok()?;
            if *which == unit.which
                && let Some(short) = bytes.as_chunks::<SHORT>().0.get(at)
            {
                return Some(*short);
            }
            self.pieces.pop();
        }
    }
}

struct Work<'w, 't> {
    blueprint: &'w Blueprint,
    own: &'w Own<'w>,
    fetcher: Fetcher,
    web: &'w mut Web,
    tally: &'w mut Tally<'t>,
}

impl Work<'_, '_> {
    /// Brings the blocks of one unit to their place.
    fn unit(&mut self, unit: Unit, mut picks: Vec<Pick>, target: &mut Target<'_>) -> Result<(), InstallError> {
        let blocks = self.blueprint.blocks(unit);
        let count = picks.len();
        let mut data = vec![0; count * BLOCK_LEN];
        let mut leaves = vec![tree::zero_leaf(); count];
        // Which server sent a block.
        let mut sources = vec![None; count];
        let places = blocks.clone().zip(&mut picks).zip(data.as_chunks_mut::<BLOCK_LEN>().0).zip(&mut leaves);
        for ((((block, pick), bytes), leaf), source) in places.zip(&mut sources) {
            match *pick {
                Pick::InPlace => *leaf = self.own.here(unit.which, block).unwrap_or_else(tree::zero_leaf),
                Pick::Zero => {}
                Pick::Copy(place) => *leaf = self.own.read(place, bytes)?,
                Pick::Fetch => {
                    *leaf = self.fetch(unit.which, block, bytes)?;
                    *source = Some(self.fetcher.source());
                }
            }
        }
        if Some(tree::leaf(&leaf_block(&leaves))) != self.blueprint.expected(unit) {
            let right = self.true_leaves(unit)?;
            let places = blocks.clone().zip(&mut picks).zip(data.as_chunks_mut::<BLOCK_LEN>().0).zip(&mut leaves);
            for (((((block, pick), bytes), leaf), mut source), right) in places.zip(sources).zip(right) {
                // What the node had was another block with the same short, or has been overwritten; what was fetched is
                // the fault of the server that sent it.
                while *leaf != right {
                    if let Some(server) = source {
                        let frame = self.blueprint.sections.frame_of(block);
                        let error = InstallError::Frame { image: unit.which, frame, block };
                        if !self.web.blame(server, &error, self.tally) {
                            return Err(error);
                        }
                    }
                    *pick = Pick::Fetch;
                    *leaf = self.fetch(unit.which, block, bytes)?;
                    source = Some(self.fetcher.source());
                }
            }
        }
        // Neighbours are written together.
        let mut at = 0;
        while let Some(first) = picks.get(at..).and_then(|rest| rest.iter().position(|pick| *pick != Pick::InPlace)) {
            let from = at + first;
            let rest = picks.get(from..).unwrap_or_default();
            at = from + rest.iter().position(|pick| *pick == Pick::InPlace).unwrap_or(rest.len());
            let bytes = data.get(from * BLOCK_LEN..at * BLOCK_LEN).unwrap_or_default();
            target.put(unit.which, blocks.start + from as u64, bytes, self.tally)?;
        }
        target.put_leaves(self.blueprint, unit, &leaves)?;
        self.tally.add(count as u64);
        Ok(())
    }

    fn fetch(&mut self, which: Which, block: u64, bytes: &mut [u8]) -> Result<Digest, InstallError> {
        loop {
            match self.fetcher.block(which, block, self.web, self.tally) {
                Ok(found) => {
                    for (to, from) in bytes.iter_mut().zip(found) {
                        *to = *from;
                    }
                    return Ok(hash_block(bytes));
                }
                Err(error @ InstallError::Unpack { .. }) => {
                    if !self.web.blame(self.fetcher.source(), &error, self.tally) {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The leaves of a unit from the bundle: they say which block is wrong.
    fn true_leaves(&mut self, unit: Unit) -> Result<Vec<Digest>, InstallError> {
        loop {
            let Piece { bytes, from } = self.web.piece(self.blueprint.leaves_at(unit), BLOCK, self.tally)?;
            if Some(tree::leaf(&bytes)) == self.blueprint.expected(unit) {
                return Ok(bytes.as_chunks::<32>().0.iter().map(|leaf| Digest(*leaf)).collect());
            }
            let error = InstallError::Leaves { image: unit.which, block: unit.index };
            if !self.web.blame(from, &error, self.tally) {
                return Err(error);
            }
        }
    }
}
