//! Release files by URL: from the cache, from mirrors, or from their origin; pinned by the lock, or by a list of
//! sums and a signature that their upstream publishes.
//!
//! A mirror is a template, `https://mirror.example/{host}/{path}`, or a folder that holds `HOST/PATH` as `wget -x` makes
//! it. Mirrors are tried in order, then the origin; offline, only the folders.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use contract::hash::Digest;

use super::checksums::{self, ChecksumError};
use super::http::{Client, FetchError, Fetched, FileRequest, Wanted};
use super::percent::decoded;
use super::progress::Progress;
use super::signer::{LARGEST_SIGNATURE, Signer, SignerError};
use crate::cache::{Cache, CacheError};

/// The largest release file that is taken when the lock does not say how large it is, in bytes.
pub const LARGEST: u64 = 2 << 30;

/// A place that has copies of release files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlMirror {
    /// A URL with `{host}` and `{path}` in it.
    Template(String),
    /// A folder.
    Folder(PathBuf),
}

/// What is known of a release file.
#[derive(Clone, Copy, Debug)]
pub enum Known<'a> {
    /// Size in bytes, and SHA-256: what the lock says.
    Locked(u64, Digest),
    /// The URL of a list of sums that names it, and who signed the list.
    Checksums(&'a str, Option<Signed<'a>>),
    /// Who signed the file itself.
    Signed(Signed<'a>),
    /// What comes is trusted, and locked.
    Nothing,
}

/// A signature beside a release file, or beside a list of sums.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// The signature's URL.
    pub signature: &'a str,
    pub signer: &'a Signer,
}

/// A release file that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum UrlError {
    #[error("{url} cannot be fetched:\n{}\n{}", lines(.tried), advice(*.offline))]
    Nowhere { url: String, tried: Vec<(String, String)>, offline: bool },
    #[error("the list of sums {url}: {source}; set `checksums` to the list that names the file of `url`")]
    Checksums { url: String, source: ChecksumError },
    #[error(
        "the signature {signature} of {of}: {source}; check that upstream signs with `key`, and that `signature` \
            belongs to this release"
    )]
    Signature { signature: String, of: String, source: SignerError },
    #[error("{0:?} is not a mirror: write a URL with {{host}} and {{path}} in it, or the path of a folder")]
    Mirror(String),
    #[error(transparent)]
    Fetch(FetchError),
    #[error(transparent)]
    Cache(#[from] CacheError),
}

fn lines(tried: &[(String, String)]) -> String {
    tried.iter().map(|(place, why)| format!("  {place}: {why}")).collect::<Vec<_>>().join("\n")
}

fn advice(offline: bool) -> &'static str {
    if offline {
        "With --offline only the cache and folders of `mirrors` ([sources] in microdc.toml) are used; or pass it with \
            --supply"
    } else {
        "Check the network, name `mirrors` under [sources] in microdc.toml, or pass it with --supply"
    }
}

impl UrlMirror {
    /// Reads a mirror as it is in `microdc.toml`; folders are meant from `base`.
    ///
    /// # Errors
    /// When it is neither a URL with both placeholders nor a path.
    pub fn parse(text: &str, base: &Path) -> Result<UrlMirror, UrlError> {
        let wrong = || UrlError::Mirror(text.to_owned());
        if text.starts_with("http://") || text.starts_with("https://") {
            let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
            let whole = text.contains("{host}") && text.contains("{path}");
            return if plain && whole { Ok(UrlMirror::Template(text.to_owned())) } else { Err(wrong()) };
        }
        if text.is_empty() || text.contains("://") || text.contains(['{', '}', '\0']) {
            return Err(wrong());
        }
        Ok(UrlMirror::Folder(base.join(text)))
    }
}

/// Where a file may be.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    File(PathBuf),
    Url(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}", path.display()),
            Place::Url(url) => f.write_str(url),
        }
    }
}

/// Brings release files into the cache.
#[derive(Clone, Copy)]
pub struct UrlSource<'a> {
    pub cache: &'a Cache,
    pub client: &'a Client,
    pub mirrors: &'a [UrlMirror],
    /// Only the cache and folders.
    pub offline: bool,
    /// In seconds since 1970, for signatures.
    pub now: u64,
    pub progress: &'a dyn Progress,
}

impl UrlSource<'_> {
    /// Brings the file of a URL.
    ///
    /// # Errors
    /// When no place has it as it must be, with what each place said.
    pub fn bring(&self, url: &str, known: Known<'_>) -> Result<Fetched, UrlError> {
        let (size, sha256) = match known {
            Known::Locked(size, sha256) => (Some(size), Some(sha256)),
            Known::Checksums(list, signed) => (None, Some(self.sum(list, signed, url)?)),
            Known::Signed(_) | Known::Nothing => (None, None),
        };
        if let Some(sha256) = sha256
            && let Some(there) = self.cached(sha256, size)
        {
            return Ok(there);
        }
        let fetched = self.ask_each(url, |place| match place {
            Place::File(path) => self.copy(path, size, sha256),
            Place::Url(url) => match (size, sha256) {
                (Some(size), Some(sha256)) => {
                    self.progress.add_total(size);
                    let wanted = Wanted { url: url.clone(), size, sha256 };
                    let path = self.client.blob(self.cache, &wanted, self.progress).map_err(refused)?;
                    Ok(Fetched { path, size, sha256 })
                }
                _ => {
                    let wanted = FileRequest { url: url.clone(), limit: LARGEST, sha256 };
                    self.client.file(self.cache, &wanted, self.progress).map_err(refused)
                }
            },
        })?;
        if let Known::Signed(signed) = known {
            self.check(signed, url, || File::open(&fetched.path))?;
        }
        Ok(fetched)
    }

    /// Whether a signature beside `of` is the signer's, and of this content.
    fn check<R: Read>(
        &self,
        signed: Signed<'_>,
        of: &str,
        content: impl Fn() -> std::io::Result<R>,
    ) -> Result<(), UrlError> {
        let bytes = self.small(signed.signature, LARGEST_SIGNATURE)?;
        let who = signed.signer.check(&bytes, content, self.now).map_err(|source| UrlError::Signature {
            signature: signed.signature.to_owned(),
            of: of.to_owned(),
            source,
        })?;
        self.progress.note(&format!("{of}: signed by {who}"));
        Ok(())
    }

    /// A file that is small enough to be held in memory.
    fn small(&self, url: &str, limit: u64) -> Result<Vec<u8>, UrlError> {
        self.ask_each(url, |place| match place {
            Place::File(path) => {
                let mut bytes = Vec::new();
                let file = open(path, limit)?;
                file.take(limit).read_to_end(&mut bytes).map_err(|error| Refusal::Next(error.to_string()))?;
                Ok(bytes)
            }
            Place::Url(url) => self.client.small(url, limit, self.progress).map_err(refused),
        })
    }

    /// The sum that a list has of the file of `url`.
    fn sum(&self, list: &str, signed: Option<Signed<'_>>, url: &str) -> Result<Digest, UrlError> {
        let bytes = self.small(list, checksums::LARGEST)?;
        if let Some(signed) = signed {
            self.check(signed, list, || Ok(bytes.as_slice()))?;
        }
        let name = decoded(split(url).1.rsplit('/').next().unwrap_or_default());
        checksums::find(&bytes, &name).map_err(|source| UrlError::Checksums { url: list.to_owned(), source })
    }

    fn cached(&self, sha256: Digest, size: Option<u64>) -> Option<Fetched> {
        let path = self.cache.blob_path(sha256);
        let there = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?.len();
        let size = size.unwrap_or(there);
        self.cache.blob(sha256, size).map(|path| Fetched { path, size, sha256 })
    }

    /// Asks each place in turn.
    fn ask_each<T>(&self, url: &str, mut ask: impl FnMut(&Place) -> Result<T, Refusal>) -> Result<T, UrlError> {
        let mut tried = Vec::new();
        for place in self.places(url) {
            match ask(&place) {
                Ok(found) => {
                    if !tried.is_empty() {
                        self.progress.note(&format!("{url}: taken from {place}"));
                    }
                    return Ok(found);
                }
                Err(Refusal::Stop(error)) => return Err(error),
                Err(Refusal::Next(why)) => {
                    self.progress.note(&format!("{place}: {why}"));
                    tried.push((place.to_string(), why));
                }
            }
        }
        if tried.is_empty() {
            tried.push((url.to_owned(), "not asked".to_owned()));
        }
        Err(UrlError::Nowhere { url: url.to_owned(), tried, offline: self.offline })
    }

    fn places(&self, url: &str) -> Vec<Place> {
        let (host, path) = split(url);
        let mut places = Vec::new();
        for mirror in self.mirrors {
            match mirror {
                UrlMirror::Folder(folder) => places.extend(below(folder, host, path).map(Place::File)),
                UrlMirror::Template(_) if self.offline => {}
                UrlMirror::Template(template) => {
                    places.push(Place::Url(template.replace("{host}", host).replace("{path}", path)));
                }
            }
        }
        if !self.offline {
            places.push(Place::Url(url.to_owned()));
        }
        places
    }

    /// Copies a file of a folder into the cache.
    fn copy(&self, path: &Path, size: Option<u64>, sha256: Option<Digest>) -> Result<Fetched, Refusal> {
        let limit = size.unwrap_or(LARGEST);
        let file = open(path, limit)?;
        // It may grow meanwhile.
        let (found, length, copy) =
            self.cache.add_stream(&mut file.take(limit + 1)).map_err(|error| Refusal::Stop(error.into()))?;
        if size.is_some_and(|size| size != length) || length > limit {
            return Err(Refusal::Next(format!("it has {length} bytes, expected {limit}")));
        }
        match sha256 {
            Some(expected) if expected != found => {
                Err(Refusal::Next(format!("its SHA-256 is {found}, expected {expected}")))
            }
            _ => Ok(Fetched { path: copy, size: length, sha256: found }),
        }
    }
}

/// Why a place did not give a file.
enum Refusal {
    /// Another may.
    Next(String),
    Stop(UrlError),
}

fn refused(error: FetchError) -> Refusal {
    let why = match error {
        FetchError::Cache(error) => return Refusal::Stop(error.into()),
        FetchError::Cancelled => return Refusal::Stop(UrlError::Fetch(error)),
        // The place stands before it, and what to do behind.
        FetchError::Gone { status, .. } => format!("not there (HTTP {status})"),
        FetchError::Status { status, .. } => format!("HTTP {status}"),
        FetchError::Unreachable { attempts, have, last, .. } => {
            format!("gave up after {attempts} attempts with {have} bytes, which are kept: {last}")
        }
        FetchError::Size { expected, found, .. } => format!("it has {found} bytes, expected {expected}"),
        FetchError::TooLarge { limit, .. } => format!("it is larger than the limit of {limit} bytes"),
        FetchError::Digest { expected, found, .. } => {
            format!("its SHA-256 is {found}, expected {expected}; it was discarded")
        }
        FetchError::Certificate { what, .. } => format!(
            "its certificate is not trusted: {what}; a site's own authority is named with SSL_CERT_FILE, or with `ca` under \
             [sources] in microdc.toml"
        ),
        FetchError::NoLength { .. } => {
            "the server does not send its length; name a list of checksums with `checksums`".to_owned()
        }
    };
    Refusal::Next(why)
}

fn open(path: &Path, limit: u64) -> Result<File, Refusal> {
    let next = |error: std::io::Error| Refusal::Next(error.to_string());
    let file = File::open(path).map_err(next)?;
    let metadata = file.metadata().map_err(next)?;
    if !metadata.is_file() {
        return Err(Refusal::Next("it is not a file".to_owned()));
    }
    if metadata.len() > limit {
        return Err(Refusal::Next(format!("it has {} bytes; the limit is {limit}", metadata.len())));
    }
    Ok(file)
}

/// Host and path of a URL, without what is asked of the server behind `?`.
fn split(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split('?').next().unwrap_or(rest);
    rest.split_once('/').unwrap_or((rest, ""))
}

/// The file below a folder that stands for a URL, if no part of its path means another place.
fn below(folder: &Path, host: &str, path: &str) -> Option<PathBuf> {
    let mut file = folder.to_owned();
    for part in std::iter::once(host).chain(path.split('/')) {
        let part = decoded(part);
        if matches!(part.as_str(), "" | "." | "..") || part.contains(['/', '\0']) {
            return None;
        }
        file.push(part);
    }
    Some(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_are_urls_with_both_places_or_folders() {
        let base = Path::new("/base");
        let parse = |text| UrlMirror::parse(text, base);
        let template = "https://m.example/{host}/{path}";
        assert_eq!(parse(template).unwrap(), UrlMirror::Template(template.to_owned()));
        assert_eq!(parse("/srv/mirror").unwrap(), UrlMirror::Folder("/srv/mirror".into()));
        assert_eq!(parse("mirror").unwrap(), UrlMirror::Folder("/base/mirror".into()));
        for wrong in
            ["", "https://m.example/", "https://m.example/{path}", "ftp://m.example/{host}/{path}", "/srv/{host}"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_url_never_means_a_file_outside_the_folder() {
        let folder = Path::new("/srv");
        let file = |url| {
            let (host, path) = split(url);
            below(folder, host, path)
        };
        assert_eq!(file("https://h:80/a/v1%2Bk/b?x=1"), Some("/srv/h:80/a/v1+k/b".into()));
        for url in [
            "https://h/../b",
            "https://h/%2e%2e/b",
            "https://h/a%2f..%2fb",
            "https://../b",
            "https://h//b",
            "https://h/%00",
        ] {
            assert_eq!(file(url), None, "{url}");
        }
        assert_eq!(decoded("100%"), "100%");
        assert_eq!(decoded("%zz%4"), "%zz%4");
    }
}
