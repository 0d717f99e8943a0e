//! Download errors, and what the parts of a download share.

use crate::cache::CacheError;
use contract::hash::Digest;

/// Bytes read at a time.
pub(super) const CHUNK: usize = 128 * 1024;

/// How a download fails.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server says that it is not there (404 or 410).
    #[error("{url} is not on the mirror (HTTP {status})")]
    Gone { url: String, status: u16 },
    #[error("{url}: the mirror answered HTTP {status}; check the mirror, or name another with --mirror")]
    Status { url: String, status: u16 },
    #[error(
        "{url}: gave up after {attempts} attempts, with {have} bytes{} downloaded: {last}; the next build continues \
            from there; check the network, or name another mirror with --mirror",
        of(*.size)
    )]
    Unreachable { url: String, attempts: u32, have: u64, size: Option<u64>, last: String },
    #[error(
        "{url} has {found} bytes, expected {expected}; the mirror is out of sync with its index: try again later, or \
            name another with --mirror"
    )]
    Size { url: String, expected: u64, found: u64 },
    #[error("{url} is larger than the limit of {limit} bytes; check the mirror")]
    TooLarge { url: String, limit: u64 },
    #[error(
        "{url}: its SHA-256 is {found}, expected {expected}; it was discarded; the mirror or something in between \
            altered it: try again, or name another with --mirror"
    )]
    Digest { url: String, expected: Digest, found: Digest },
    #[error(
        "{url}: the server's certificate is not trusted: {what}; where a site has a certificate authority of its own, name its \
         file with SSL_CERT_FILE, or with `ca` under [sources] in microdc.toml"
    )]
    Certificate { url: String, what: String },
    #[error("{url}: the server sent no Content-Length, so a truncated download could not be detected")]
    NoLength { url: String },
    #[error("stopped; what was downloaded is kept")]
    Cancelled,
    #[error(transparent)]
    Cache(#[from] CacheError),
}

pub(super) fn of(size: Option<u64>) -> String {
    size.map_or_else(String::new, |size| format!(" of {size}"))
}

impl FetchError {
    /// Whether the mirror said that this file is not there.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, FetchError::Gone { .. })
    }
}
