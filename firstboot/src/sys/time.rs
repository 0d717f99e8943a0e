//! The system clock.

use rustix::time::{ClockId, Timespec, clock_settime};
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970 by the system clock; 0 when it stands before that.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Sets the clock to `seconds` since 1970, unless it is there or later. Says whether it was set.
///
/// # Errors
/// What the kernel says.
pub fn advance_to(seconds: u64) -> io::Result<bool> {
    if now() >= seconds {
        return Ok(false);
    }
    let tv_sec = i64::try_from(seconds).map_err(|_| io::Error::other("a time beyond what the kernel can hold"))?;
    clock_settime(ClockId::Realtime, Timespec { tv_sec, tv_nsec: 0 })?;
    Ok(true)
}

/// Whether whoever keeps the clock says that it follows a time server (adjtimex(2), `STA_UNSYNC`).
#[must_use]
pub fn is_true() -> bool {
    // SAFETY: all fields are numbers, for which zero is a value; with `modes` 0 nothing is changed.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel fills the structure that this points to.
    let answer = unsafe { libc::adjtimex(&raw mut state) };
    answer >= 0 && answer != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0
}
