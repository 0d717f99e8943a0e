//! What the benchmarks share.

use anyhow::{Context as _, Result};

/// The machine's load over the last minute, as the kernel writes it.
#[must_use]
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}

/// How often to measure: what `--runs` says, else as usual.
///
/// # Errors
/// When `--runs` is not followed by a whole number from 1 on.
pub fn runs(arguments: &[String], usual: usize) -> Result<usize> {
    match arguments.iter().position(|argument| argument == "--runs") {
        None => Ok(usual),
        Some(at) => {
            let number = arguments.get(at + 1).and_then(|text| text.parse().ok()).filter(|runs| *runs > 0);
            number.context("--runs wants a whole number from 1 on")
        }
    }
}
