//! The archive's indices, loaded on first use.
//!
//! `InRelease` is fetched again for every run that needs an index. The lists it vouches for are in the cache under
//! their digests, and so do their reduced forms.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Write as _};
use std::sync::{Arc, Mutex, PoisonError};

use contract::hash::Digest;

use super::http::{Client, FetchError, Wanted};
use super::keyring::Keyring;
use super::mirror::Mirror;
use super::packages::{self, PackageList, PackagesError};
use super::progress::Progress;
use super::release::{Expect, Release, ReleaseError};
use crate::cache::{Cache, CacheError, Key};

/// How an index cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    #[error("cannot fetch the index of {suite}: {source}")]
    Fetch { suite: String, source: FetchError },
    #[error(
        "the mirror has no suite {suite}: {url} is not there; check the suite's name, or name another mirror with --mirror"
    )]
    NoSuite { suite: String, url: String },
    #[error(transparent)]
    Release(#[from] ReleaseError),
    #[error("suite {suite} has no component {component:?} for {architecture}")]
    NoComponent { suite: String, component: String, architecture: String },
    #[error("the list of packages of {suite}/{component}: {source}")]
    Packages { suite: String, component: String, source: PackagesError },
    #[error("the list of packages of {suite}/{component} cannot be unpacked: {source}")]
    Unpack { suite: String, component: String, source: io::Error },
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// What is known of the archive's present state.
pub struct Indices<'a> {
    pub cache: &'a Cache,
    pub client: &'a Client,
    pub mirror: &'a Mirror,
    pub keyring: &'a Keyring,
    pub progress: &'a dyn Progress,
    pub architecture: &'a str,
    /// In seconds since 1970.
    pub now: u64,
    /// Suites whose expired index the operator takes.
    pub accept_expired: &'a [String],
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    releases: BTreeMap<String, Arc<Release>>,
    lists: BTreeMap<(String, String), Arc<PackageList>>,
}

const LARGEST_RELEASE: u64 = 8 << 20;
/// The largest of Debian's is about 60 MB.
const LARGEST_LIST: u64 = 512 << 20;
const XZ_MEMORY: u64 = 100 << 20;

impl<'a> Indices<'a> {
    /// Indices of which none is loaded yet.
    #[must_use]
    pub fn new(
        cache: &'a Cache,
        client: &'a Client,
        mirror: &'a Mirror,
        keyring: &'a Keyring,
        progress: &'a dyn Progress,
        accept_expired: &'a [String],
        now: u64,
    ) -> Indices<'a> {
        let loaded = Mutex::default();
        Indices { cache, client, mirror, keyring, progress, architecture: "arm64", now, accept_expired, loaded }
    }

    /// The list of packages of a suite's component.
    ///
    /// # Errors
    /// When it cannot be fetched or is not trusted.
    pub fn list(&self, suite: &str, component: &str) -> Result<Arc<PackageList>, IndexError> {
        // Held while loading: who needs the same list waits for it.
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (suite.to_owned(), component.to_owned());
        if let Some(list) = loaded.lists.get(&key) {
            return Ok(list.clone());
        }
        let release = match loaded.releases.get(suite) {
            Some(release) => release.clone(),
            None => {
                let release = Arc::new(self.release(suite)?);
                loaded.releases.insert(suite.to_owned(), release.clone());
                release
            }
        };
        let list = Arc::new(self.load(&release, suite, component)?);
        loaded.lists.insert(key, list.clone());
        Ok(list)
    }

    /// When each suite was made whose index was used, in seconds since 1970.
    #[must_use]
    pub fn dates(&self) -> BTreeMap<String, u64> {
        let loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.releases.iter().map(|(suite, release)| (suite.clone(), release.date)).collect()
    }

    /// The URL of a package of a suite.
    #[must_use]
    pub fn url(&self, suite: &str, path: &str) -> String {
        format!("{}/{path}", self.mirror.base(suite))
    }

    fn release(&self, suite: &str) -> Result<Release, IndexError> {
        let url = self.url(suite, &format!("dists/{suite}/InRelease"));
        let message = self.client.small(&url, LARGEST_RELEASE, self.progress).map_err(|source| match source {
            FetchError::Gone { url, .. } => IndexError::NoSuite { suite: suite.to_owned(), url },
            source => IndexError::Fetch { suite: suite.to_owned(), source },
        })?;
        let accept_expired = self.accept_expired.iter().any(|accepted| accepted == suite);
        let expect = Expect { suite, url: &url, now: self.now, accept_expired };
        let release = Release::believe(&message, self.keyring, expect)?;
        if release.valid_until.is_some_and(|until| until < self.now) {
            self.progress.note(&format!(
                "the index of {suite} has expired and is used anyway, because of \
                --accept-expired"
            ));
        }
        Ok(release)
    }

    fn load(&self, release: &Release, suite: &str, component: &str) -> Result<PackageList, IndexError> {
        let folder = format!("{component}/binary-{}", self.architecture);
        let name = format!("{folder}/Packages.xz");
        let &(size, sha256) = release.files.get(&name).ok_or_else(|| IndexError::NoComponent {
            suite: suite.to_owned(),
            component: component.to_owned(),
            architecture: self.architecture.to_owned(),
        })?;
        let key = Key::of_stage("packages", packages::FORMAT)
            .with("list", sha256.0)
            .with("architecture", self.architecture)
            .finish();
        if let Some(path) = self.cache.get("packages", key)
            && let Some(text) = read_checked(&path)
        {
            return Ok(PackageList::new(suite, component, release.date, text));
        }
        let text = self.reduce(release, suite, component, &folder, size, sha256)?;
        let digest = Digest::of(text.as_bytes());
        self.cache.put("packages", key, |file| {
            file.write_all(text.as_bytes())?;
            file.write_all(&digest.0)
        })?;
        Ok(PackageList::new(suite, component, release.date, text))
    }

    fn reduce(
        &self,
        release: &Release,
        suite: &str,
        component: &str,
        folder: &str,
        size: u64,
        sha256: Digest,
    ) -> Result<String, IndexError> {
        let fetch = |name: &str| {
            let url = self.url(suite, &format!("dists/{suite}/{name}"));
            self.client.blob(self.cache, &Wanted { url, size, sha256 }, self.progress)
        };
        self.progress.add_total(size);
        let plain = || fetch(&format!("{folder}/Packages.xz"));
        let fetched = if release.by_hash {
            match fetch(&format!("{folder}/by-hash/SHA256/{sha256}")) {
                Err(error) if error.is_gone() => plain(),
                fetched => fetched,
            }
        } else {
            plain()
        };
        fetched.map_err(|source| IndexError::Fetch { suite: suite.to_owned(), source })?;
        let unpack = |source| IndexError::Unpack { suite: suite.to_owned(), component: component.to_owned(), source };
        let file = self
            .cache
            .verified_blob(sha256, size)?
            .ok_or_else(|| unpack(io::Error::other("it was changed in the cache in the meantime")))?;
        let stream = liblzma::stream::MtStreamBuilder::new()
            .threads(2)
            .memlimit_threading(XZ_MEMORY)
            .memlimit_stop(XZ_MEMORY)
            .decoder()
            .map_err(|error| unpack(error.into()))?;
        let decoder = liblzma::read::XzDecoder::new_stream(BufReader::with_capacity(1 << 18, file), stream);
        let mut text = BufReader::with_capacity(1 << 18, io::Read::take(decoder, LARGEST_LIST));
        let reduced = packages::reduce(&mut text, self.architecture).map_err(|source| IndexError::Packages {
            suite: suite.to_owned(),
            component: component.to_owned(),
            source,
        })?;
        // What was cut off here would be a list with packages missing.
        if text.get_ref().limit() == 0 {
            return Err(unpack(io::Error::other(format!("it has {LARGEST_LIST} bytes or more"))));
        }
        Ok(reduced)
    }
}

/// A reduced list, when its digest at the end is right.
fn read_checked(path: &std::path::Path) -> Option<String> {
    let mut bytes = std::fs::read(path).ok()?;
    let digest = bytes.split_off(bytes.len().checked_sub(32)?);
    if Digest::of(&bytes).0[..] != digest[..] {
        return None;
    }
    String::from_utf8(bytes).ok()
}
