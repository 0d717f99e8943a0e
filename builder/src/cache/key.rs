//! Cache keys of build stages: the digest of everything that their output depends on.

use contract::hash::Digest;
use sha2::{Digest as _, Sha256};

/// The digest of labelled inputs: what an output of a stage depends on.
///
/// Each label and value goes in with its length, so no two lists of inputs give the same bytes to the hash.
#[derive(Clone)]
pub struct KeyBuilder(Sha256);

/// The name of an output of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub Digest);

impl Key {
    /// Starts a key. `stage` and `version` separate the stages, and the versions of one stage's code.
    #[must_use]
    pub fn of_stage(stage: &str, version: u32) -> KeyBuilder {
        KeyBuilder(Sha256::new()).with("stage", stage).with("version", version.to_le_bytes())
    }
}

impl KeyBuilder {
    /// Adds one input.
    #[must_use]
    pub fn with(mut self, label: &str, value: impl AsRef<[u8]>) -> KeyBuilder {
        self.add(label, value);
        self
    }

    /// Adds one input, in place.
    pub fn add(&mut self, label: &str, value: impl AsRef<[u8]>) {
        for part in [label.as_bytes(), value.as_ref()] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
    }

    #[must_use]
    pub fn finish(self) -> Key {
        Key(Digest(self.0.finalize().into()))
    }
}
