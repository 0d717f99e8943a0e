//! Counts progress, and reports it at a limited rate.

use contract::layout::Slot;
use contract::update::{Release, UpdateEvent};
use std::time::{Duration, Instant};

/// Time between two words of progress.
const OFTEN: Duration = Duration::from_millis(250);

/// How far the installation is.
pub(super) struct Tally<'t> {
    tell: &'t mut dyn FnMut(UpdateEvent),
    started: Instant,
    told: Instant,
    pub slot: Slot,
    /// Blocks of both images.
    pub blocks: u64,
    /// Of these, verified and in their place.
    pub done: u64,
    /// Blocks that were written.
    pub written: u64,
    /// Bytes that came from servers or the stream.
    pub fetched: u64,
}

impl<'t> Tally<'t> {
    pub fn new(slot: Slot, tell: &'t mut dyn FnMut(UpdateEvent)) -> Tally<'t> {
        let now = Instant::now();
        Tally { tell, started: now, told: now, slot, blocks: 0, done: 0, written: 0, fetched: 0 }
    }

    pub fn tell(&mut self, event: UpdateEvent) {
        self.told = Instant::now();
        (self.tell)(event);
    }

    /// So many more blocks are verified and in their place.
    pub fn add(&mut self, blocks: u64) {
        self.done += blocks;
        if self.told.elapsed() >= OFTEN || (self.done == self.blocks && blocks > 0) {
            self.tell(UpdateEvent::Progress { done: self.done, blocks: self.blocks, fetched_bytes: self.fetched });
        }
    }

    pub fn installed(&mut self, release: &Release) {
        let (written, fetched_bytes) = (self.written, self.fetched);
        let seconds = self.started.elapsed().as_secs_f64();
        let (release, slot) = (release.clone(), self.slot);
        self.tell(UpdateEvent::Installed { release, slot, written, fetched_bytes, seconds });
    }
}
