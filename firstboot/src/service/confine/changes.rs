//! Changes to a service's mounts, in order.

use crate::sys::process::{Change, attribute};

/// For memory that holds data and nothing else.
pub(super) const MEMORY: u64 = attribute::NO_SETUID | attribute::NO_DEVICES | attribute::NO_PROGRAMS;

/// Changes in their order.
#[derive(Debug, Default)]
pub struct Changes(Vec<Change>);

impl Changes {
    pub fn add(&mut self, change: Change) {
        self.0.push(change);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn into_inner(self) -> Vec<Change> {
        self.0
    }
}
