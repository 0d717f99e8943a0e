//! One disk that is brought from state to state of a record. What only one state has is taken back after it was inspected.

use super::cut::{Cut, put};
use super::log::WriteLog;
use crate::storage::{Disk, DiskError};
use contract::hash::Digest;
use contract::layout::Extent;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A state that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum MediumError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("making a state of a disk: {0}")]
    Io(#[from] io::Error),
    #[error("{wanted} lies before what is on the medium already (entry {done}): states go forward only")]
    Backward { wanted: Box<Cut>, done: usize },
}

/// The disk.
#[derive(Debug)]
pub struct Medium<'l> {
    log: &'l WriteLog,
    disk: Disk,
    /// So many entries of the record are on it for good.
    done: usize,
}

impl<'l> Medium<'l> {
    /// A copy of `before`, which is what the disk held when the record began.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn new(log: &'l WriteLog, before: &Path) -> Result<Medium<'l>, MediumError> {
        Ok(Medium { log, disk: Disk::copy_of(before, 0)?, done: 0 })
    }

    /// Makes the disk into a state, lets `look` see it, and takes back what other states may not have. `look` changes nothing.
    /// From call to call [`Cut::flushed`] never falls.
    ///
    /// # Errors
    /// When the record cannot be read or the disk cannot be written.
    pub fn at<T>(&mut self, cut: &Cut, look: impl FnOnce(&Disk) -> T) -> Result<T, MediumError> {
        let entries = self.log.entries();
        if cut.flushed < self.done {
            return Err(MediumError::Backward { wanted: Box::new(cut.clone()), done: self.done });
        }
        let disk = self.disk.raw();
        for entry in &entries[self.done..cut.flushed] {
            put(self.log, disk, *entry, 0..entry.length())?;
        }
        self.done = cut.flushed;
        let mut before = Vec::with_capacity(cut.pieces.len());
        for (index, bytes) in &cut.pieces {
            let entry = entries[*index];
            let at = entry.offset() + bytes.start;
            let mut old = vec![0; usize::try_from(bytes.end - bytes.start).map_err(io::Error::other)?];
            disk.read_exact_at(&mut old, at)?;
            before.push((at, old));
            put(self.log, disk, entry, bytes.clone())?;
        }
        let found = look(&self.disk);
        for (at, old) in before.iter().rev() {
            disk.write_all_at(old, *at)?;
        }
        Ok(found)
    }
}

impl Cut {
    /// What was written to these bytes of the disk in this state. Two states of one record in which it is the same hold the
    /// same bytes there.
    #[must_use]
    pub fn history(&self, log: &WriteLog, extent: Extent) -> Digest {
        let mut summary = Vec::new();
        let mut add = |index: usize, bytes: Range<u64>| {
            let entry = log.entries()[index];
            let (start, end) = (entry.offset() + bytes.start, entry.offset() + bytes.end);
            if start < extent.end() && extent.offset < end {
                summary.extend([index as u64, bytes.start, bytes.end].map(u64::to_le_bytes).as_flattened());
            }
        };
        for index in 0..self.flushed {
            add(index, 0..log.entries()[index].length());
        }
        for (index, bytes) in &self.pieces {
            add(*index, bytes.clone());
        }
        Digest::of(&summary)
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::tests::record;
    use super::*;
    use crate::powercut::Cuts;
    use std::collections::BTreeMap;

    /// Made step by step or again, a state is the same; and where the history of some bytes is the same, so are they.
    #[test]
    fn a_disk_that_goes_from_state_to_state_holds_what_one_made_anew_holds() {
        const FLUSH: u64 = 1;
        let mut entries = Vec::new();
        for number in 0_u64..60 {
            let first = number * 7 % 40;
            entries.push((
                first,
                if number % 9 == 0 { 2 } else { 0 },
                vec![number as u8; 512 * (1 + number as usize % 4)],
            ));
            if number % 5 == 4 {
                entries.push((0, FLUSH, vec![]));
            }
        }
        // Discarded sectors are zeros.
        entries.push((3, 4, vec![0; 2048]));
        let file = record(&entries);
        let log = WriteLog::open(file.path()).unwrap();
        let before = Disk::blank(65_536).unwrap();
        before.raw().write_all_at(&[0xee; 30_000], 0).unwrap();
        let cuts = Cuts::new(&log, 512, 400, 5);
        let mut all: Vec<Cut> = (0..cuts.count()).map(|number| cuts.cut(number)).collect();
        all.sort_by_key(Cut::flushed);
        let mut medium = Medium::new(&log, before.path()).unwrap();
        let place = Extent { offset: 4096, length: 3000 };
        let mut seen: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
        for cut in &all {
            let anew = Disk::copy_of(before.path(), 0).unwrap();
            cut.apply(&log, anew.raw()).unwrap();
            let stepped = medium.at(cut, |disk| disk.digest().unwrap()).unwrap();
            assert!(stepped == anew.digest().unwrap(), "{cut}");
            let mut bytes = vec![0; place.length as usize];
            anew.raw().read_exact_at(&mut bytes, place.offset).unwrap();
            let known = seen.entry(cut.history(&log, place)).or_insert_with(|| bytes.clone());
            assert!(*known == bytes, "{cut}");
        }
        assert!(seen.len() < all.len(), "states share what they did not change");
        assert!(matches!(medium.at(&cuts.cut(0), |_| ()), Err(MediumError::Backward { .. })));
    }
}
