//! The machine's clock, in seconds.

/// Seconds since 1970; 0 on a machine that thinks it is earlier.
#[must_use]
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
