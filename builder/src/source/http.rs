//! Downloads: bounded, verified while they stream, retried and resumed.
//!
//! A blob is fetched to `<name>.part` in the cache under a file lock, so two builds do not write the same one, and the
//! next build resumes what a killed one left. Only a file whose size and SHA-256 are those expected gets its name.

mod changed;
mod exchange;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use contract::hash::Digest;
use ureq::http::StatusCode;
use ureq::tls::{RootCerts, TlsConfig};

use exchange::Question;

pub use super::fetch_error::FetchError;
use super::partial::Partial;
use super::progress::Progress;
use super::trust::Trust;
use crate::cache::{Cache, CacheError};
pub use changed::Changed;

/// How patient a [`Client`] is.
#[derive(Clone, Debug)]
pub struct Patience {
    /// A connection on which nothing arrives for so long is broken.
    pub stall: Duration,
    /// Attempts in a row that bring nothing, before giving up.
    pub attempts: u32,
    /// Before the second attempt; doubled for each further one.
    pub first_wait: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { stall: Duration::from_secs(15), attempts: 5, first_wait: Duration::from_millis(300) }
    }
}

/// A blob to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub url: String,
    /// In bytes.
    pub size: u64,
    pub sha256: Digest,
}

/// A file to fetch of which less is known beforehand than of a blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRequest {
    pub url: String,
    /// The most that is taken for it, in bytes.
    pub limit: u64,
    /// Without it, what comes is trusted, when it comes in one piece.
    pub sha256: Option<Digest>,
}

/// A file that was fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// In the cache.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    pub sha256: Digest,
}

/// What a download aims at.
struct Goal<'w> {
    url: &'w str,
    /// Of the whole file: known beforehand, or learned from the first answer.
    size: Option<u64>,
    /// Whether another size than the one known beforehand is refused.
    fixed: bool,
    limit: u64,
    sha256: Option<Digest>,
    /// What the first answer says of the version of the file (RFC 9110, section 8.8): only more of the same version is
    /// taken when nothing but this tells one version from another.
    validator: Option<String>,
}

/// Downloads into a cache.
#[derive(Clone)]
pub struct Client {
    /// One for each set of authorities; they share nothing.
    agents: Vec<ureq::Agent>,
    /// Which of them was believed last.
    believed: Arc<AtomicUsize>,
    patience: Patience,
    cancel: Arc<AtomicBool>,
}

/// More breaks than this in one file, and the mirror is not worth it even if each attempt brings something.
const MOST_ATTEMPTS: u32 = 100;

/// What one attempt came to.
enum Attempt {
    Whole,
    /// Worth another try: what happened.
    Broken(String),
    /// What is here cannot be resumed.
    Restart(String),
}

impl Client {
    /// A client that stops, with [`FetchError::Cancelled`], soon after `cancel` becomes true.
    #[must_use]
    pub fn new(patience: Patience, cancel: Arc<AtomicBool>) -> Client {
        Client::trusting(patience, &Trust::default(), cancel)
    }

    /// A client that believes the certificates of these authorities.
    #[must_use]
    pub fn trusting(patience: Patience, trust: &Trust, cancel: Arc<AtomicBool>) -> Client {
        let agent = |roots: &RootCerts| {
            let config = ureq::Agent::config_builder()
                .http_status_as_error(false)
                .timeout_connect(Some(patience.stall))
                .timeout_recv_response(Some(patience.stall))
                .timeout_per_read(Some(patience.stall))
                .timeout_per_write(Some(patience.stall))
                .user_agent(concat!("microdc/", env!("CARGO_PKG_VERSION")))
                .tls_config(TlsConfig::builder().root_certs(roots.clone()).build());
            config.build().into()
        };
        let agents = trust.sets().iter().map(agent).collect();
        Client { agents, believed: Arc::default(), patience, cancel }
    }

    /// Fetches a small file whose size is not known beforehand, of at most `limit` bytes.
    ///
    /// # Errors
    /// When it cannot be had, or is larger.
    pub fn small(&self, url: &str, limit: u64, progress: &dyn Progress) -> Result<Vec<u8>, FetchError> {
        let mut bytes = Vec::new();
        self.attempts(url, None, progress, || {
            bytes.clear();
            let answer = match self.ask(Question::whole(url))? {
                Ok(answer) => answer,
                Err(what) => return Ok((Attempt::Broken(what), 0)),
            };
            if let Some(attempt) = refusal(url, answer.status)? {
                return Ok((attempt, 0));
            }
            let length = answer.length;
            loop {
                match self.next(&answer.body)? {
                    Ok(chunk) if chunk.is_empty() => break,
                    Ok(chunk) if bytes.len() as u64 + chunk.len() as u64 > limit => {
                        return Err(FetchError::TooLarge { url: url.to_owned(), limit });
                    }
                    Ok(chunk) => bytes.extend_from_slice(&chunk),
                    Err(what) => return Ok((Attempt::Broken(what), 0)),
                }
            }
            match length {
                Some(length) if length != bytes.len() as u64 => {
                    Ok((Attempt::Broken(format!("the answer ended after {} of {length} bytes", bytes.len())), 0))
                }
                _ => Ok((Attempt::Whole, 0)),
            }
        })?;
        Ok(bytes)
    }

    /// Fetches a blob into the cache, unless it is there. `progress` is advanced by the blob's size in all.
    ///
    /// # Errors
    /// When it cannot be had, or is not what was expected.
    pub fn blob(&self, cache: &Cache, wanted: &Wanted, progress: &dyn Progress) -> Result<PathBuf, FetchError> {
        self.check_cancelled()?;
        if let Some(path) = cache.blob(wanted.sha256, wanted.size) {
            progress.advance(wanted.size);
            return Ok(path);
        }
        let goal = Goal {
            url: &wanted.url,
            size: Some(wanted.size),
            fixed: true,
            limit: wanted.size,
            sha256: Some(wanted.sha256),
            validator: None,
        };
        let there = || cache.blob(wanted.sha256, wanted.size).is_some();
        match self.fetch(cache, goal, wanted.sha256, there, progress)? {
            Some(fetched) => Ok(fetched.path),
            None => {
                progress.advance(wanted.size);
                Ok(cache.blob_path(wanted.sha256))
            }
        }
    }

    /// Fetches a file whose size is not known into the cache, under the SHA-256 that it has. `progress` learns its size
    /// on the way.
    ///
    /// # Errors
    /// When it cannot be had, is larger than the limit, or is not what was expected.
    pub fn file(&self, cache: &Cache, wanted: &FileRequest, progress: &dyn Progress) -> Result<Fetched, FetchError> {
        self.check_cancelled()?;
        let goal = Goal {
            url: &wanted.url,
            size: None,
            fixed: false,
            limit: wanted.limit,
            sha256: wanted.sha256,
            validator: None,
        };
        let name = wanted.sha256.unwrap_or_else(|| Digest::of(format!("url {}", wanted.url).as_bytes()));
        let there = || wanted.sha256.is_some_and(|sha256| cache.blob_path(sha256).is_file());
        match self.fetch(cache, goal, name, there, progress)? {
            Some(fetched) => Ok(fetched),
            // Another build brought it.
            None => {
                let path = cache.blob_path(name);
                let size = std::fs::metadata(&path).map_err(CacheError::io("read", &path))?.len();
                Ok(Fetched { path, size, sha256: name })
            }
        }
    }

    /// Fetches a file under the partial name `name`. `None`: someone else brought it meanwhile.
    fn fetch(
        &self,
        cache: &Cache,
        mut goal: Goal<'_>,
        name: Digest,
        there: impl Fn() -> bool,
        progress: &dyn Progress,
    ) -> Result<Option<Fetched>, FetchError> {
        let Some(mut part) = Partial::open(cache, name, there, || self.check_cancelled())? else {
            return Ok(None);
        };
        // Without a SHA-256 nothing says that what lies here is of the version that comes now.
        match goal.sha256 {
            Some(_) => part.take_up(goal.url, goal.size, goal.limit, progress)?,
            None => part.restart()?,
        }
        let mut fresh = part.have == 0;
        loop {
            if goal.size != Some(part.have) {
                let (url, size) = (goal.url, goal.size);
                self.attempts(url, size, progress, || {
                    if goal.sha256.is_none() && goal.validator.is_none() {
                        part.restart()?;
                    }
                    let before = part.have;
                    let attempt = self.attempt(&mut goal, &mut part, progress)?;
                    if matches!(attempt, Attempt::Restart(_)) {
                        fresh = true;
                    }
                    Ok((attempt, part.have.saturating_sub(before)))
                })
                .map_err(|error| part.explain(error))?;
            }
            let found = part.digest();
            let Some(expected) = goal.sha256.filter(|expected| *expected != found) else {
                let target = cache.blob_path(found);
                part.finish(&target)?;
                return Ok(Some(Fetched { path: target, size: part.have, sha256: found }));
            };
            part.restart()?;
            if fresh {
                part.remove();
                return Err(FetchError::Digest { url: goal.url.to_owned(), expected, found });
            }
            progress.note(&format!("{}: what an earlier build left of it was damaged; fetched again", goal.url));
            fresh = true;
        }
    }

    /// Fetches blobs with `jobs` connections. Stops at the first that fails.
    ///
    /// # Errors
    /// The first failure.
    pub fn blobs(
        &self,
        cache: &Cache,
        wanted: &[Wanted],
        jobs: usize,
        progress: &dyn Progress,
    ) -> Result<(), FetchError> {
        progress.add_total(wanted.iter().map(|wanted| wanted.size).sum());
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let work = || {
            while !failed.load(Ordering::Relaxed) {
                let Some(wanted) = wanted.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                if let Err(error) = self.blob(cache, wanted, progress) {
                    failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..jobs.clamp(1, wanted.len().max(1))).map(|_| scope.spawn(work)).collect();
            let mut joined = threads.into_iter().map(|thread| thread.join());
            joined.try_for_each(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }

    pub(crate) fn check_cancelled(&self) -> Result<(), FetchError> {
        if self.cancel.load(Ordering::Relaxed) { Err(FetchError::Cancelled) } else { Ok(()) }
    }

    /// Runs `attempt` until it is complete, waiting longer after each that brings nothing. `attempt` returns what it came
    /// to and how many bytes it brought.
    fn attempts(
        &self,
        url: &str,
        size: Option<u64>,
        progress: &dyn Progress,
        mut attempt: impl FnMut() -> Result<(Attempt, u64), FetchError>,
    ) -> Result<(), FetchError> {
        let mut fruitless = 0;
        let mut restarts = 0;
        for count in 1..=MOST_ATTEMPTS {
            self.check_cancelled()?;
            let last = match attempt()? {
                (Attempt::Whole, _) => return Ok(()),
                (Attempt::Broken(what), brought) => {
                    fruitless = if brought > 0 { 0 } else { fruitless + 1 };
                    what
                }
                (Attempt::Restart(what), _) => {
                    restarts += 1;
                    fruitless = fruitless.max(restarts);
                    what
                }
            };
            if fruitless >= self.patience.attempts || count == MOST_ATTEMPTS {
                return Err(FetchError::Unreachable { url: url.to_owned(), attempts: count, have: 0, size, last });
            }
            progress.note(&format!("{url}: {last}; trying again"));
            self.wait(fruitless)?;
        }
        unreachable!("the last attempt returns")
    }

    /// Sleeps in small pieces, to notice a cancel.
    fn wait(&self, fruitless: u32) -> Result<(), FetchError> {
        let mut left = self.patience.first_wait * 2_u32.pow(fruitless.saturating_sub(1).min(6));
        while !left.is_zero() {
            self.check_cancelled()?;
            let piece = left.min(Duration::from_millis(50));
            thread::sleep(piece);
            left -= piece;
        }
        self.check_cancelled()
    }

    /// One request, for what is still missing.
    fn attempt(
        &self,
        goal: &mut Goal<'_>,
        part: &mut Partial,
        progress: &dyn Progress,
    ) -> Result<Attempt, FetchError> {
        let if_range = goal.validator.as_deref();
        let question = Question { from: part.have, if_range, ..Question::whole(goal.url) };
        let answer = match self.ask(question)? {
            Ok(answer) => answer,
            Err(what) => return Ok(Attempt::Broken(what)),
        };
        match answer.status {
            StatusCode::PARTIAL_CONTENT if part.have > 0 => {
                if answer.from != Some(part.have) {
                    part.restart()?;
                    return Ok(Attempt::Restart("the mirror answered with another range than asked".to_owned()));
                }
                self.learn(goal, answer.total, progress)?;
            }
            StatusCode::OK => {
                if part.have > 0 {
                    progress.note(&format!("{}: the mirror cannot resume; starting over", goal.url));
                    part.restart()?;
                }
                if !goal.fixed {
                    goal.size = None;
                    goal.validator = answer.validator;
                    if goal.sha256.is_none() && answer.length.is_none() {
                        return Err(FetchError::NoLength { url: goal.url.to_owned() });
                    }
                }
                self.learn(goal, answer.length, progress)?;
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {
                part.restart()?;
                return Ok(Attempt::Restart("the mirror refused to resume (HTTP 416)".to_owned()));
            }
            status => {
                if let Some(attempt) = refusal(goal.url, status)? {
                    return Ok(attempt);
                }
                return Err(FetchError::Status { url: goal.url.to_owned(), status: status.as_u16() });
            }
        }
        loop {
            match self.next(&answer.body)? {
                Ok(chunk) if chunk.is_empty() && goal.size.is_none_or(|size| part.have == size) => {
                    return Ok(Attempt::Whole);
                }
                Ok(chunk) if chunk.is_empty() => {
                    let size = goal.size.unwrap_or_default();
                    let what = format!("the answer ended after {} of {size} bytes", part.have);
                    return Ok(Attempt::Broken(what));
                }
                Ok(chunk) if part.have + chunk.len() as u64 > goal.size.unwrap_or(goal.limit) => {
                    let found = part.have + chunk.len() as u64;
                    part.restart()?;
                    let url = goal.url.to_owned();
                    return Err(match goal.size {
                        Some(expected) => FetchError::Size { url, expected, found },
                        None => FetchError::TooLarge { url, limit: goal.limit },
                    });
                }
                Ok(chunk) => part.append(&chunk, progress)?,
                Err(what) => return Ok(Attempt::Broken(what)),
            }
        }
    }

    /// Compares the size that an answer tells with the one known, or takes it.
    fn learn(&self, goal: &mut Goal<'_>, found: Option<u64>, progress: &dyn Progress) -> Result<(), FetchError> {
        let Some(found) = found else { return Ok(()) };
        let url = || goal.url.to_owned();
        match goal.size {
            Some(expected) if expected != found => Err(FetchError::Size { url: url(), expected, found }),
            Some(_) => Ok(()),
            None if found > goal.limit => Err(FetchError::TooLarge { url: url(), limit: goal.limit }),
            None => {
                progress.add_total(found);
                goal.size = Some(found);
                Ok(())
            }
        }
    }
}

/// What a status other than success comes to: `None` for success.
fn refusal(url: &str, status: StatusCode) -> Result<Option<Attempt>, FetchError> {
    match status.as_u16() {
        200..=299 => Ok(None),
        status @ (404 | 410) => Err(FetchError::Gone { url: url.to_owned(), status }),
        status @ (408 | 425 | 429 | 500..=599) => Ok(Some(Attempt::Broken(format!("HTTP {status}")))),
        status => Err(FetchError::Status { url: url.to_owned(), status }),
    }
}
