//! A whole small archive for tests: its own key, indices, packages, and a server that can fail.

pub mod archive;
pub mod deb;
pub mod server;

use std::sync::Mutex;

use microdc::source::Progress;

/// Records what is reported to it.
#[derive(Default)]
pub struct RecordedProgress {
    pub notes: Mutex<Vec<String>>,
    pub total: Mutex<u64>,
    pub done: Mutex<u64>,
}

impl Progress for RecordedProgress {
    fn add_total(&self, bytes: u64) {
        *self.total.lock().unwrap() += bytes;
    }

    fn advance(&self, bytes: u64) {
        *self.done.lock().unwrap() += bytes;
    }

    fn note(&self, line: &str) {
        self.notes.lock().unwrap().push(line.to_owned());
    }
}

impl RecordedProgress {
    pub fn text(&self) -> String {
        self.notes.lock().unwrap().join("\n")
    }
}
