//! States of a disk at a power cut, made from a record of its writes.

use super::log::{Entry, WriteLog};
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// How the writes since the last flush fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// There are none: the power goes right behind a flush, or when nothing was written yet.
    Flushed,
    /// All are there: the disk had no cache.
    InOrder,
    /// Some are lost.
    Lost,
    /// Some are lost, the others came in another order.
    Reordered,
    /// As before, and of each that came only some blocks.
    Torn,
}

/// The states that a record of writes leads to. The first ones are those behind each flush, in order; then come such that
/// are drawn by the seed: half of them anywhere in the record, half with the same number between each two flushes, since
/// what matters most is often written in small pieces.
#[derive(Debug)]
pub struct Cuts<'l> {
    entries: &'l [Entry],
    block: u64,
    count: u32,
    seed: u64,
    /// Numbers of entries behind which everything is on the medium: 0, and behind each flush.
    flushes: Vec<usize>,
}

/// One state: a moment, and what of the writes shortly before it is on the medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    pub(super) number: u32,
    pub(super) manner: Manner,
    /// Entries before the cut.
    pub(super) until: usize,
    of: usize,
    /// Everything before this entry is on the medium.
    pub(super) flushed: usize,
    /// Pieces of the entries from there on that are on the medium too: the entry, and bytes of it, in the order in which
    /// they came there.
    pub(super) pieces: Vec<(usize, Range<u64>)>,
}

impl<'l> Cuts<'l> {
    /// A state for each flush, and `drawn` more. Blocks of `block` bytes come whole or not at all.
    #[must_use]
    pub fn new(log: &'l WriteLog, block: u64, drawn: u32, seed: u64) -> Cuts<'l> {
        let entries = log.entries();
        let behind = entries.iter().enumerate().filter(|(_, entry)| **entry == Entry::Flush).map(|(at, _)| at + 1);
        let mut flushes: Vec<usize> = std::iter::once(0).chain(behind).collect();
        // Two flushes with nothing between them lead to one state.
        flushes.dedup_by(|later, earlier| entries[*earlier..*later].iter().all(|entry| *entry == Entry::Flush));
        let count = drawn.saturating_add(u32::try_from(flushes.len()).unwrap_or(u32::MAX));
        Cuts { entries, block, count, seed, flushes }
    }

    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// How many of them, from 0 on, are those behind flushes.
    #[must_use]
    pub fn flushes(&self) -> u32 {
        self.flushes.len() as u32
    }

    /// The end of the record, with every write there.
    #[must_use]
    pub fn whole(&self) -> Cut {
        self.at(self.count, self.entries.len(), Manner::InOrder)
    }

    /// State `number`, from 0.
    #[must_use]
    pub fn cut(&self, number: u32) -> Cut {
        if let Some(&until) = self.flushes.get(number as usize) {
            return self.at(number, until, Manner::Flushed);
        }
        let mut dice = self.dice(number);
        let (all, turn) = (self.entries.len() as u64, number / 4);
        let until = if turn.is_multiple_of(2) {
            dice.roll() % (all + 1)
        } else {
            let part = (dice.roll() % self.flushes.len() as u64) as usize;
            let first = self.flushes[part] as u64;
            let end = self.flushes.get(part + 1).map_or(all, |end| *end as u64);
            first + dice.roll() % (end - first + 1)
        };
        let manner = [Manner::InOrder, Manner::Lost, Manner::Reordered, Manner::Torn][number as usize % 4];
        self.at(number, until as usize, manner)
    }

    fn dice(&self, number: u32) -> Rng {
        Rng(Rng(self.seed).roll() ^ u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn at(&self, number: u32, until: usize, manner: Manner) -> Cut {
        // Other rolls than those that chose the moment.
        let mut dice = Rng(self.dice(number).roll());
        let before = &self.entries[..until];
        let flushed = before.iter().rposition(|entry| *entry == Entry::Flush).map_or(0, |at| at + 1);
        let mut pieces = Vec::new();
        for (index, entry) in before.iter().enumerate().skip(flushed) {
            let (length, through) = match *entry {
                Entry::Write { length, through, .. } => (length, through),
                Entry::Discard { length, .. } => (length, false),
                Entry::Flush => continue,
            };
            // What was written through counts as done: it is there, if it is not the very last.
            let sure = manner == Manner::InOrder || (through && index + 1 < until);
            if !sure && dice.roll().is_multiple_of(2) {
                continue;
            }
            if sure || manner != Manner::Torn {
                pieces.push((index, 0..length));
                continue;
            }
            // Long writes are torn into larger parts now and then, so that there are not too many.
            let part = if length > 64 * self.block { self.block << (dice.roll() % 8) } else { self.block };
            let mut at = 0;
            while at < length {
                let end = (at + part).min(length);
                if dice.roll().is_multiple_of(2) {
                    pieces.push((index, at..end));
                }
                at = end;
            }
        }
        if matches!(manner, Manner::Reordered | Manner::Torn) {
            for at in (1..pieces.len()).rev() {
                pieces.swap(at, (dice.roll() % (at as u64 + 1)) as usize);
            }
        }
        Cut { number, manner, until, of: self.entries.len(), flushed, pieces }
    }
}

impl Cut {
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    #[must_use]
    pub fn manner(&self) -> Manner {
        self.manner
    }

    /// Entries of the record before the cut.
    #[must_use]
    pub fn until(&self) -> usize {
        self.until
    }

    /// So many entries, from the first on, are on the medium without doubt.
    #[must_use]
    pub fn flushed(&self) -> usize {
        self.flushed
    }

    /// Whether nothing was written yet.
    #[must_use]
    pub fn is_before_everything(&self) -> bool {
        self.flushed == 0 && self.pieces.is_empty()
    }

    /// Makes `disk`, which holds what it held when the record began, into this state.
    ///
    /// # Errors
    /// When the record cannot be read or the disk cannot be written.
    pub fn apply(&self, log: &WriteLog, disk: &File) -> io::Result<()> {
        for entry in &log.entries()[..self.flushed] {
            put(log, disk, *entry, 0..entry.length())?;
        }
        for (index, bytes) in &self.pieces {
            put(log, disk, log.entries()[*index], bytes.clone())?;
        }
        Ok(())
    }
}

/// Puts some bytes of a write on the disk. Zeros become a hole, so that the disk stays sparse.
pub(super) fn put(log: &WriteLog, disk: &File, entry: Entry, bytes: Range<u64>) -> io::Result<()> {
    let (offset, length) = match entry {
        Entry::Write { offset, .. } | Entry::Discard { offset, .. } => {
            (offset + bytes.start, bytes.end - bytes.start)
        }
        Entry::Flush => return Ok(()),
    };
    if let Entry::Write { at, .. } = entry {
        let content = log.read(at + bytes.start, usize::try_from(length).map_err(io::Error::other)?)?;
        if content.iter().any(|&byte| byte != 0) {
            return disk.write_all_at(&content, offset);
        }
    }
    let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(rustix::fs::fallocate(disk, hole, offset, length)?)
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cut { number, manner, until, of, flushed, pieces } = self;
        write!(
            f,
            "state {number} ({manner:?}): power cut after entry {until} of {of}, flushed up to {flushed}, {} pieces behind it",
            pieces.len()
        )
    }
}

/// Numbers that look random, the same at each run (SplitMix64).
struct Rng(u64);

impl Rng {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::tests::record;
    use super::*;
    use std::collections::BTreeSet;

    const FLUSH: u64 = 1;
    const FUA: u64 = 2;

    /// Four sectors each: A at 0, flushed; then B at 4, C at 8 written through, D over B.
    fn log() -> (tempfile::NamedTempFile, WriteLog) {
        let write = |letter: u8| vec![letter; 2048];
        let file = record(&[
            (0, 0, write(b'A')),
            (0, FLUSH, vec![]),
            (4, 0, write(b'B')),
            (8, FUA, write(b'C')),
            (4, 0, write(b'D')),
        ]);
        let log = WriteLog::open(file.path()).unwrap();
        (file, log)
    }

    /// A letter for each sector.
    fn state(log: &WriteLog, cut: &Cut) -> String {
        let disk = tempfile::tempfile().unwrap();
        disk.set_len(12 * 512).unwrap();
        cut.apply(log, &disk).unwrap();
        let mut bytes = vec![0; 12 * 512];
        disk.read_exact_at(&mut bytes, 0).unwrap();
        bytes.as_chunks::<512>().0.iter().map(|sector| if sector[0] == 0 { '.' } else { sector[0] as char }).collect()
    }

    #[test]
    fn what_was_flushed_is_there_and_the_rest_in_every_mixture() {
        let (_file, log) = log();
        let cuts = Cuts::new(&log, 512, 4000, 7);
        let mut late = BTreeSet::new();
        for number in 0..cuts.count() {
            let cut = cuts.cut(number);
            let state = state(&log, &cut);
            if cut.until > 1 {
                assert!(state.starts_with("AAAA"), "{cut}: {state}");
            }
            if cut.until > 4 {
                assert!(state.ends_with("CCCC"), "{cut}: {state}");
                late.insert(state);
            }
        }
        for wanted in ["AAAA....CCCC", "AAAABBBBCCCC", "AAAADDDDCCCC"] {
            assert!(late.contains(wanted), "{wanted} in {late:?}");
        }
        assert!(late.iter().any(|state| state.contains("BD") || state.contains("DB")), "torn: {late:?}");
    }

    #[test]
    fn the_first_states_are_those_behind_the_flushes() {
        let (_file, log) = log();
        let cuts = Cuts::new(&log, 512, 0, 7);
        assert_eq!((cuts.count(), cuts.flushes()), (2, 2));
        assert!(cuts.cut(0).is_before_everything());
        assert_eq!(state(&log, &cuts.cut(1)), "AAAA........");
        assert_eq!(state(&log, &cuts.whole()), "AAAADDDDCCCC");
    }

    #[test]
    fn a_state_is_the_same_at_every_run_with_one_seed_and_another_with_another() {
        let (_file, log) = log();
        let cuts = |seed| Cuts::new(&log, 512, 100, seed);
        assert!((0..102).all(|number| cuts(1).cut(number) == cuts(1).cut(number)));
        assert!((2..102).any(|number| cuts(1).cut(number) != cuts(2).cut(number)));
    }

    #[test]
    fn every_gap_between_flushes_gets_states_however_long_the_others_are() {
        let write = |_| (0, 0, vec![1; 512]);
        let mut entries: Vec<_> = (0..300).map(write).collect();
        entries.extend([(0, FLUSH, vec![]), (0, 0, vec![2; 512]), (0, FLUSH, vec![]), (0, 0, vec![3; 512])]);
        let file = record(&entries);
        let log = WriteLog::open(file.path()).unwrap();
        let cuts = Cuts::new(&log, 512, 200, 3);
        let in_gap = (0..200).filter(|&number| (302..303).contains(&cuts.cut(number).until)).count();
        assert!(in_gap > 10, "{in_gap}");
    }
}
