//! What a person, or a machine with `--json`, sees of a build.

mod progress;
mod summary;

pub use progress::{Reporter, Stage};
pub use summary::{StageTime, Summary, human_bytes, room};
