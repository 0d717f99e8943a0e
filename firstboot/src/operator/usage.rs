//! Usage errors.

use contract::control::MAX_LINES;

/// Longest command line, in bytes, and longest one with addresses in it.
pub const LONGEST: usize = 512;
pub const LONGEST_UPDATE: usize = 2048;

/// What is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Usage {
    #[error("a command is missing")]
    Empty,
    #[error("a command line has at most {LONGEST} bytes ({LONGEST_UPDATE} for `update`)")]
    TooLong,
    #[error("a command consists of letters, digits, spaces and . _ @ - only; there is no shell")]
    Character,
    #[error("there is no command {0:?}")]
    Unknown(String),
    #[error("{verb} does not take {word:?}")]
    Excess { verb: &'static str, word: String },
    #[error("{0} needs a service: `services` lists them")]
    NoService(&'static str),
    #[error("kubeconfig needs the name or the address under which this node is reached")]
    NoAddress,
    #[error("k3s needs a second word: `help k3s` lists them")]
    NoK3s,
    #[error("k3s restore needs the name of a snapshot, then the name of this node")]
    NoSnapshot,
    #[error("{0} replaces the cluster's database: confirm it with the name of this node behind it")]
    NoConfirmation(&'static str),
    #[error("-n needs a number from 1 to {MAX_LINES}")]
    Lines,
    #[error("update needs the URL of a bundle (http:// or https://), or - for standard input")]
    NoSource,
    #[error("{0:?} is not a URL of a bundle: it must begin with http:// or https:// and name a host")]
    Url(String),
}
