//! The tracker's data by HTTP. A copy is kept in the cache, packed, with what the server said of its version: what has not
//! changed is not fetched again.

use super::tracker::LARGEST;
use crate::cache::{Cache, CacheError, Key};
use crate::source::http::{Changed, Client, FetchError};
use crate::source::progress::Progress;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _, Write as _};

/// Where Debian publishes it.
pub const URL: &str = "https://security-tracker.debian.org/tracker/data/json";
/// How hard the copy is packed.
const LEVEL: i32 = 3;

/// Data that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error("{0}\nPass the data with --data FILE, or use the cached copy with --offline")]
    Fetch(#[from] FetchError),
    #[error("--offline is set, and {url} is not in the cache: pass the data with --data FILE")]
    Offline { url: String },
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// What stands before the packed data of a copy, as one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    etag: Option<String>,
    /// In seconds since 1970.
    fetched: u64,
}

/// The data, open for reading.
pub enum Data {
    /// A copy of an earlier run, and when it was fetched.
    Kept { reader: Box<dyn Read>, fetched: u64 },
    /// It came just now. [`Fresh::keep`] makes it the copy, once it has proved to be what it should be.
    Fresh(Fresh),
}

pub struct Fresh {
    file: File,
    etag: Option<String>,
    url: String,
}

/// Fetches what is at `url`, unless the copy is still the same. With `offline` the copy is taken as it is.
///
/// # Errors
/// When it cannot be had.
pub fn data(
    cache: &Cache,
    client: &Client,
    url: &str,
    offline: bool,
    progress: &dyn Progress,
) -> Result<Data, DownloadError> {
    let kept = kept(cache, url);
    if offline {
        let (head, reader) = kept.ok_or_else(|| DownloadError::Offline { url: url.to_owned() })?;
        return Ok(Data::Kept { reader, fetched: head.fetched });
    }
    let temp = cache.root().join("temp");
    let mut file = tempfile::tempfile_in(&temp).map_err(CacheError::io("make a file in", &temp))?;
    let etag = kept.as_ref().and_then(|(head, _)| head.etag.clone());
    match (client.changed(url, etag.as_deref(), LARGEST, &mut file, progress)?, kept) {
        (Changed::No, Some((head, reader))) => Ok(Data::Kept { reader, fetched: head.fetched }),
        // A server that says so of what it was not asked has nothing to give.
        (Changed::No, None) => Err(FetchError::Status { url: url.to_owned(), status: 304 }.into()),
        (Changed::Yes { etag }, _) => {
            file.rewind().map_err(CacheError::io("read", &temp))?;
            Ok(Data::Fresh(Fresh { file, etag, url: url.to_owned() }))
        }
    }
}

impl Fresh {
    pub fn reader(&self) -> &File {
        &self.file
    }

    /// Makes it the copy.
    ///
    /// # Errors
    /// When the cache cannot be written.
    pub fn keep(&self, cache: &Cache, now: u64) -> Result<(), DownloadError> {
        let head = Head { etag: self.etag.clone(), fetched: now };
        cache.put("tracker", key(&self.url), |copy| {
            let mut from = &self.file;
            from.rewind()?;
            let mut line = serde_json::to_vec(&head)?;
            line.push(b'\n');
            copy.write_all(&line)?;
            let mut encoder = zstd::Encoder::new(copy, LEVEL)?;
            io::copy(&mut from, &mut encoder)?;
            encoder.finish().map(drop)
        })?;
        Ok(())
    }
}

fn key(url: &str) -> Key {
    Key::of_stage("tracker", 1).with("url", url).finish()
}

/// The copy of an earlier run. A damaged one is as good as none, and is found out at the latest when it is read.
fn kept(cache: &Cache, url: &str) -> Option<(Head, Box<dyn Read>)> {
    let mut file = BufReader::new(File::open(cache.get("tracker", key(url))?).ok()?);
    let mut line = Vec::new();
    (&mut file).take(4096).read_until(b'\n', &mut line).ok()?;
    let head = serde_json::from_slice(&line).ok()?;
    Some((head, Box::new(zstd::Decoder::with_buffer(file).ok()?)))
}
