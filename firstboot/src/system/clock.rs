//! Stage: the clock is never earlier than the build of the image, nor before the time last saved on `state`. A CM4 has
//! no clock that runs without power; certificates and logs want a time that is not far off before NTP answers.

use super::events::Warnings;
use crate::config::store::{Access, write_atomic};
use crate::sys::time;
use contract::names::{STATE_CLOCK, STATE_MOUNT};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time between two saves.
pub const SAVE_EVERY: Duration = Duration::from_secs(600);

fn path() -> PathBuf {
    Path::new(STATE_MOUNT).join(STATE_CLOCK)
}

/// Sets the clock to `seconds` since 1970 unless it is there or later.
pub fn floor(seconds: u64, warnings: &mut Warnings) {
    if let Err(error) = time::advance_to(seconds) {
        warnings.add(format_args!("cannot set the clock to {}: {error}", contract::calendar::stamp(seconds)));
    }
}

/// The time last saved, in seconds since 1970; 0 when there is none.
#[must_use]
pub fn saved() -> u64 {
    parse(&std::fs::read(path()).unwrap_or_default())
}

fn parse(text: &[u8]) -> u64 {
    std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Saves the time.
///
/// # Errors
/// When `state` cannot be written.
pub fn save() -> std::io::Result<()> {
    write_atomic(&path(), format!("{}\n", time::now()).as_bytes(), Access::root(0o644))
}

/// The time, and whether a time server has confirmed it, as text.
pub struct Clock;

impl std::fmt::Display for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&contract::calendar::stamp(time::now()))?;
        f.write_str(if time::is_true() { "" } else { " (not confirmed by a time server)" })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_saved_time_that_cannot_be_read_counts_as_none() {
        assert_eq!(super::parse(b"1795248772\n"), 1_795_248_772);
        for text in [&b""[..], b"-1", b"\xff", b"99999999999999999999999", b"1 2"] {
            assert_eq!(super::parse(text), 0);
        }
    }
}
