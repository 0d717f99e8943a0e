//! Fetching what may be the same as before.

use super::exchange::Question;
use super::{Attempt, Client, refusal};
use crate::cache::CacheError;
use crate::source::fetch_error::FetchError;
use crate::source::progress::Progress;
use std::fs::File;
use std::io::{Seek as _, Write as _};

/// Whether something is still what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    No,
    /// It was fetched; its entity tag (RFC 9110, section 8.8.3), when it has one.
    Yes {
        etag: Option<String>,
    },
}

impl Client {
    /// Writes what is at `url` into an empty file, at most `limit` bytes, unless it still has the tag `etag`. It may travel
    /// packed, and of that the length is not known: its form must say where it ends.
    ///
    /// # Errors
    /// When it cannot be had, is larger, or the file cannot be written.
    pub fn changed(
        &self,
        url: &str,
        etag: Option<&str>,
        limit: u64,
        into: &mut File,
        progress: &dyn Progress,
    ) -> Result<Changed, FetchError> {
        let io = || CacheError::io("write", "what comes from the network into a temporary file");
        let mut changed = Changed::No;
        self.attempts(url, None, progress, || {
            let question = Question { packed: true, if_none_match: etag, ..Question::whole(url) };
            let answer = match self.ask(question)? {
                Ok(answer) => answer,
                Err(what) => return Ok((Attempt::Broken(what), 0)),
            };
            if answer.status == 304 && etag.is_some() {
                return Ok((Attempt::Whole, 0));
            }
            if let Some(attempt) = refusal(url, answer.status)? {
                return Ok((attempt, 0));
            }
            into.set_len(0).and_then(|()| into.rewind()).map_err(io())?;
            let mut have = 0;
            loop {
                match self.next(&answer.body)? {
                    Ok(chunk) if chunk.is_empty() => break,
                    Ok(chunk) if have + chunk.len() as u64 > limit => {
                        return Err(FetchError::TooLarge { url: url.to_owned(), limit });
                    }
                    Ok(chunk) => {
                        into.write_all(&chunk).map_err(io())?;
                        have += chunk.len() as u64;
                    }
                    Err(what) => return Ok((Attempt::Broken(what), 0)),
                }
            }
            if answer.length.is_some_and(|length| length != have) {
                return Ok((Attempt::Broken(format!("the answer ended after {have} bytes")), 0));
            }
            changed = Changed::Yes { etag: answer.etag };
            Ok((Attempt::Whole, 0))
        })?;
        Ok(changed)
    }
}
