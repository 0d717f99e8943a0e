//! What the builder tells the initramfs.

use anyhow::{Context as _, ensure};
use contract::initramfs::InitramfsSpec;
use std::path::Path;

/// The kernel's command line, as it shows it.
pub const COMMAND_LINE: &str = "/proc/cmdline";

/// Reads it.
///
/// # Errors
/// When it is not there, cannot be parsed, or names no key.
pub fn read(path: &Path) -> anyhow::Result<InitramfsSpec> {
    let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let spec: InitramfsSpec =
        serde_json::from_slice(&bytes).with_context(|| format!("parsing {}", path.display()))?;
    ensure!(!spec.keys.is_empty(), "{} names no release key: no slot could be verified", path.display());
    Ok(spec)
}
