//! States of a disk at a power cut, made from a record of its writes.

use super::log::{Entry, WriteLog};
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;

/// How the writes since the last flush fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// All are there: the disk had no cache.
    InOrder,
    /// Some are lost.
    Lost,
    /// Some are lost, the others came in another order.
    Reordered,
    /// As before, and of each that came only some blocks.
    Torn,
}

/// The states that a record of writes leads to.
#[derive(Debug)]
pub struct Cuts<'l> {
    entries: &'l [Entry],
    block: u64,
    count: u32,
}

/// One state: a moment, and what of the writes shortly before it is on the medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    number: u32,
    manner: Manner,
    /// Entries before the cut.
    until: usize,
    of: usize,
    /// Everything before this entry is on the medium.
    flushed: usize,
    /// Pieces of the entries from there on that are on the medium too: the entry, and bytes of it, in the order in which
    /// they came there.
    pieces: Vec<(usize, Range<u64>)>,
}

impl<'l> Cuts<'l> {
    /// `count` states, the moments of which are spread evenly over the record. Blocks of `block` bytes come whole or not at
    /// all.
    #[must_use]
    pub fn new(log: &'l WriteLog, block: u64, count: u32) -> Cuts<'l> {
        Cuts { entries: log.entries(), block, count }
    }

    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// State `number`, from 0.
    #[must_use]
    pub fn cut(&self, number: u32) -> Cut {
        let mut dice = Dice::new(u64::from(number));
        let of = self.entries.len();
        // Each quarter of the states goes over the whole record, in its own manner.
        let steps = u64::from(self.count.div_ceil(4)).max(2) - 1;
        let until = ((u64::from(number / 4) * of as u64 + steps / 2) / steps) as usize;
        let until = until.min(of);
        let manner = [Manner::InOrder, Manner::Lost, Manner::Reordered, Manner::Torn][number as usize % 4];
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
            let mut at = 0;
            while at < length {
                let end = (at + self.block).min(length);
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
        Cut { number, manner, until, of, flushed, pieces }
    }
}

impl Cut {
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
            let length = match entry {
                Entry::Write { length, .. } | Entry::Discard { length, .. } => *length,
                Entry::Flush => continue,
            };
            put(log, disk, *entry, 0..length)?;
        }
        for (index, bytes) in &self.pieces {
            put(log, disk, log.entries()[*index], bytes.clone())?;
        }
        Ok(())
    }
}

/// Puts some bytes of a write on the disk. Zeros become a hole, so that the disk stays sparse.
fn put(log: &WriteLog, disk: &File, entry: Entry, bytes: Range<u64>) -> io::Result<()> {
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
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

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
        let cuts = Cuts::new(&log, 512, 4000);
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
    fn the_first_states_are_before_everything_and_the_last_in_order_is_the_whole() {
        let (_file, log) = log();
        let cuts = Cuts::new(&log, 512, 40);
        assert!(cuts.cut(0).is_before_everything());
        assert_eq!(state(&log, &cuts.cut(36)), "AAAADDDDCCCC");
    }

    #[test]
    fn a_state_is_the_same_at_every_run() {
        let (_file, log) = log();
        let (one, two) = (Cuts::new(&log, 512, 100), Cuts::new(&log, 512, 100));
        assert!((0..100).all(|number| one.cut(number) == two.cut(number)));
    }
}
