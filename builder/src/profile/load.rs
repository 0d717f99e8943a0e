//! A profile with all its parts: read, merged, and checked against the types of node.toml.

use super::check;
use super::diagnostic::Sources;
use super::file::load_file;
use super::merge::{self, Profile};
use std::path::Path;

pub use super::file::{ProfileError, find};

/// Reads the profile at `path` with all its parts and merges them.
///
/// # Errors
/// Every mistake found, each with file, line and column.
pub fn load(path: &Path) -> Result<Profile, ProfileError> {
    let mut sources = Sources::default();
    let loaded = load_file(path, &mut sources, &mut Vec::new())?;
    let profile = merge::merge(&loaded, sources)?;
    let mistakes = check::written(&profile);
    if mistakes.is_empty() { Ok(profile) } else { Err(ProfileError::Mistakes(mistakes)) }
}
