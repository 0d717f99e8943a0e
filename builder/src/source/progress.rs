//! Progress reporting of long work.

/// Receives progress from several threads at once.
pub trait Progress: Sync {
    /// So many more bytes of work are known of.
    fn add_total(&self, bytes: u64);
    /// So many bytes of it are done.
    fn advance(&self, bytes: u64);
    /// A line for the operator: something was retried, resumed, or resolved again.
    fn note(&self, line: &str);
}

/// Reports nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn add_total(&self, _bytes: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn note(&self, _line: &str) {}
}
