//! Changes to a service's mounts, in order.

use crate::sys::process::{Change, attribute};
use std::ffi::NulError;

/// For memory that holds data and nothing else.
pub(super) const MEMORY: u64 = attribute::NO_SETUID | attribute::NO_DEVICES | attribute::NO_PROGRAMS;

/// Changes in their order.
#[derive(Debug, Default)]
pub struct Changes(Vec<Change>);

impl Changes {
    pub fn add(&mut self, change: Change) {
        self.0.push(change);
    }

    /// Makes a place in memory to mount something at: the folders from `root` on, and `path` itself, which is a file where one is
    /// shown. What is there stays; nothing is made for a path that is not below `root`.
    ///
    /// # Errors
    /// A zero byte in the path.
    pub fn place(&mut self, root: &str, path: &str, file: bool) -> Result<(), NulError> {
        let Some(inside) = path.strip_prefix(root).map(|inside| inside.trim_matches('/')) else { return Ok(()) };
        let mut at = root.trim_end_matches('/').to_owned();
        let mut names = inside.split('/').filter(|name| !name.is_empty()).peekable();
        while let Some(name) = names.next() {
            at.push('/');
            at.push_str(name);
            let made = if file && names.peek().is_none() { Change::file(&at)? } else { Change::folder(&at)? };
            self.add(made.or_not());
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn into_inner(self) -> Vec<Change> {
        self.0
    }
}
