//! Resolves names of packages to exact versions, downloaded and unpacked.
//!
//! Locked packages are fetched by path, size and digest, without an index. An index is needed only for what the lock
//! lacks, for what is no longer on the mirror, and for everything when the lock is recreated. Which library packages a
//! role needs shows only when its programs are read, so packages are required one by one; the lock of the run is all
//! that was required.

mod elsewhere;
mod fetch;
mod libraries;
pub mod soname;

pub use elsewhere::Elsewhere;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::cache::{Cache, CacheError};
use crate::lock::{Lock, LockedPackage};
use crate::source::deb::{self, DebError, Effort};
use crate::source::http::{Client, FetchError, Patience};
use crate::source::index::{IndexError, Indices};
use crate::source::keyring::Keyring;
use crate::source::mirror::Mirror;
use crate::source::packages::compare_versions;
use crate::source::progress::Progress;
use crate::source::trust::Trust;
use crate::source::unpacked::Unpacked;

/// A package that a profile names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    /// Another suite than the group's.
    pub suite: Option<String>,
    /// Another component than `main`.
    pub component: Option<String>,
}

/// What a profile asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The suites that packages come from; the highest version among them is taken.
    pub suites: Vec<String>,
    pub packages: Vec<Wanted>,
}

impl Request {
    /// Packages of Debian 13 with its security and point updates.
    #[must_use]
    pub fn of(packages: Vec<Wanted>) -> Request {
        let suites = ["trixie", "trixie-security", "trixie-updates"].map(str::to_owned).to_vec();
        Request { suites, packages }
    }
}

impl Wanted {
    /// A package from the usual suites.
    #[must_use]
    pub fn named(name: &str) -> Wanted {
        Wanted { name: name.to_owned(), suite: None, component: None }
    }
}

/// What the lock is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LockMode {
    /// It is taken; what it lacks, or what has gone from the mirror, is resolved.
    #[default]
    Reuse,
    /// It must have everything (`--locked`).
    Locked,
    /// It is recreated from the indices.
    Update,
}

/// How to resolve.
#[derive(Clone, Debug)]
pub struct Options {
    pub mode: LockMode,
    /// Nothing is fetched (`--offline`).
    pub offline: bool,
    /// Packages fetched, and packages unpacked, at the same time.
    pub jobs: usize,
    /// Suites whose expired index is taken (`--accept-expired`).
    pub accept_expired: Vec<String>,
    /// In seconds since 1970.
    pub now: u64,
    pub patience: Patience,
}

impl Options {
    /// The usual: the lock is taken, two jobs, the clock's time.
    #[must_use]
    pub fn usual() -> Options {
        Options {
            mode: LockMode::Reuse,
            offline: false,
            jobs: 2,
            accept_expired: Vec::new(),
            now: crate::clock::now(),
            patience: Patience::default(),
        }
    }
}

/// Where packages come from and go to.
#[derive(Clone, Copy)]
pub struct Places<'a> {
    pub cache: &'a Cache,
    pub mirror: &'a Mirror,
    pub keyring: &'a Keyring,
    pub progress: &'a dyn Progress,
}

/// How a package cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("no package {name:?} in {places}{}", suggest(.near))]
    Unknown { name: String, places: String, near: Vec<String> },
    #[error("package {name} is not in the lock; build once without --locked to add it")]
    NotLocked { name: String },
    #[error(
        "package {name} {version} is locked, but no longer on the mirror: {url}\n\
         Without --locked, this package alone is resolved again; or use --mirror to name a mirror that still has it"
    )]
    Vanished { name: String, version: String, url: String },
    #[error("these are not in the cache, and --offline fetches nothing:\n{}\nBuild once without --offline", lines(.missing))]
    Offline { missing: Vec<String> },
    #[error("package {name} is not in the lock, and --offline reads no index; build once without --offline")]
    OfflineIndex { name: String },
    #[error("package {package} was not required before its dependencies were asked for")]
    NotRequired { package: String },
    #[error("package {name}: {source}")]
    Fetch { name: String, source: FetchError },
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Deb(#[from] DebError),
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl ResolveError {
    /// Whether it was stopped by the operator.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        matches!(
            self,
            ResolveError::Fetch { source: FetchError::Cancelled, .. }
                | ResolveError::Index(IndexError::Fetch { source: FetchError::Cancelled, .. })
        )
    }
}

fn suggest(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) }
}

fn lines(missing: &[String]) -> String {
    missing.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Resolves, fetches and unpacks the packages of one build.
pub struct Resolver<'a> {
    request: &'a Request,
    locked: Option<&'a Lock>,
    options: &'a Options,
    places: Places<'a>,
    client: &'a Client,
    indices: Indices<'a>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Unpacked and open, by name; also what was fetched ahead.
    open: BTreeMap<String, Arc<Unpacked>>,
    /// What was asked for in this run.
    required: BTreeMap<String, LockedPackage>,
    /// Virtual names, and the package taken for each.
    aliases: BTreeMap<String, String>,
    /// What is taken in place of what the lock says.
    replaced: BTreeMap<String, LockedPackage>,
}

/// A client with the patience of `options` that believes `trust`, for [`Resolver::new`].
#[must_use]
pub fn client(options: &Options, trust: &Trust, cancel: Arc<AtomicBool>) -> Client {
    Client::trusting(options.patience.clone(), trust, cancel)
}

impl<'a> Resolver<'a> {
    /// A resolver that has done nothing yet. Without a lock, or with [`LockMode::Update`], the indices are asked.
    #[must_use]
    pub fn new(
        request: &'a Request,
        lock: Option<&'a Lock>,
        options: &'a Options,
        places: Places<'a>,
        client: &'a Client,
    ) -> Resolver<'a> {
        let Places { cache, mirror, keyring, progress } = places;
        let indices = Indices::new(cache, client, mirror, keyring, progress, &options.accept_expired, options.now);
        let locked = lock.filter(|_| options.mode != LockMode::Update);
        Resolver { request, locked, options, places, client, indices, state: Mutex::default() }
    }

    /// Fetches and unpacks all that the lock lists, in parallel: the fast path, which asks no index. Without a lock it
    /// does the same for what the profile names.
    ///
    /// # Errors
    /// When a package cannot be had or is not well formed.
    pub fn prefetch(&self) -> Result<(), ResolveError> {
        let packages = match self.locked {
            Some(lock) => lock.packages.values().cloned().collect(),
            None => {
                let names = self.request.packages.iter();
                names.map(|wanted| self.choose(&wanted.name)).collect::<Result<Vec<_>, _>>()?
            }
        };
        self.load(packages)
    }

    /// The package of this name (or one that provides it), unpacked.
    ///
    /// # Errors
    /// When it is unknown, cannot be had, or is not well formed.
    pub fn require(&self, name: &str) -> Result<Arc<Unpacked>, ResolveError> {
        let chosen = self.choose(name)?;
        self.load(vec![chosen.clone()])?;
        let mut state = self.state();
        // What was loaded may be newer than what was chosen, when that had gone.
        let taken = state.replaced.get(&chosen.name).cloned().unwrap_or(chosen);
        let package = state.open.get(&taken.name).cloned();
        let package = package.ok_or_else(|| DebError::Missing { package: taken.name.clone() })?;
        if taken.name != name {
            state.aliases.insert(name.to_owned(), taken.name.clone());
        }
        state.required.insert(taken.name.clone(), taken);
        Ok(package)
    }

    /// [`Resolver::require`] for several, fetched and unpacked in parallel.
    ///
    /// # Errors
    /// As [`Resolver::require`].
    pub fn require_all(&self, names: &[&str]) -> Result<Vec<Arc<Unpacked>>, ResolveError> {
        let chosen = names.iter().map(|name| self.choose(name)).collect::<Result<Vec<_>, _>>()?;
        let unique: BTreeMap<String, LockedPackage> = chosen.into_iter().map(|one| (one.name.clone(), one)).collect();
        self.load(unique.into_values().collect())?;
        names.iter().map(|name| self.require(name)).collect()
    }

    /// Packages that may hold the library `soname` that something in `from` needs, most likely first: direct
    /// dependencies whose name fits the soname, other direct library packages, other direct ones, and then what the
    /// packages required so far depend on in turn. The order depends on nothing but what was required before.
    ///
    /// # Errors
    /// When `from` was not required before.
    pub fn candidates(&self, from: &str, soname: &str) -> Result<Vec<String>, ResolveError> {
        let state = self.state();
        let from = state.aliases.get(from).map_or(from, String::as_str);
        if !state.required.contains_key(from) {
            return Err(ResolveError::NotRequired { package: from.to_owned() });
        }
        let mut seen = BTreeSet::from([from.to_owned()]);
        let mut queue = VecDeque::from([from.to_owned()]);
        let mut ranked: Vec<(usize, usize, String)> = Vec::new();
        while let Some(name) = queue.pop_front() {
            let direct = name == from;
            let Some(package) = state.open.get(&name).filter(|_| state.required.contains_key(&name)) else {
                continue;
            };
            for alternatives in &package.depends {
                let Some(name) = self.pick(&state, alternatives) else { continue };
                if !seen.insert(name.clone()) {
                    continue;
                }
                let class = match (soname::fits(&name, soname), name.starts_with("lib")) {
                    (true, _) => 0,
                    (false, true) => 1,
                    (false, false) => 2,
                };
                ranked.push((if direct { class } else { class + 3 }, ranked.len(), name.clone()));
                queue.push_back(name);
            }
        }
        ranked.sort();
        Ok(ranked.into_iter().map(|(_, _, name)| name).collect())
    }

    /// The packages of this run's lock: everything required, and the dates of the indices that it was chosen from.
    #[must_use]
    pub fn lock(&self) -> Lock {
        let packages = self.state().required.clone();
        let mut index = self.locked.map(|lock| lock.index.clone()).unwrap_or_default();
        index.extend(self.indices.dates());
        let used: BTreeSet<&str> = packages.values().map(|package| package.suite.as_str()).collect();
        index.retain(|suite, _| used.contains(suite.as_str()) || self.request.suites.contains(suite));
        Lock { index, packages, artifacts: BTreeMap::new() }
    }

    /// The packages required so far, by name.
    fn taken(&self) -> Vec<Arc<Unpacked>> {
        let state = self.state();
        state.required.keys().filter_map(|name| state.open.get(name).cloned()).collect()
    }

    /// Packages whose names fit a library: those of the lock, else those of the indices.
    fn named_after(&self, soname: &str) -> Result<Vec<String>, ResolveError> {
        let fits = |name: &&str| soname::fits(name, soname);
        let locked = self.locked.into_iter().flat_map(|lock| lock.packages.keys().map(String::as_str));
        let locked: Vec<String> = locked.filter(fits).map(str::to_owned).collect();
        if !locked.is_empty() || self.options.mode == LockMode::Locked || self.options.offline {
            return Ok(locked);
        }
        let mut names = BTreeSet::new();
        for suite in &self.request.suites {
            let list = self.indices.list(suite, "main")?;
            names.extend(list.names().filter(fits).map(str::to_owned));
        }
        Ok(names.into_iter().collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether exactly this package is open. One of the same name that the lock lists may have been fetched ahead, though
    /// the profile now takes it from another suite.
    fn is_open(&self, package: &LockedPackage) -> bool {
        self.state().open.get(&package.name).is_some_and(|open| open.sha256 == package.sha256)
    }

    /// One of several alternatives: what the profile names or the lock has, else what provides one of them, else the
    /// first.
    fn pick(&self, state: &State, alternatives: &[String]) -> Option<String> {
        let known = |name: &&String| {
            self.request.packages.iter().any(|wanted| wanted.name == **name)
                || self.locked.is_some_and(|lock| lock.packages.contains_key(*name))
                || state.required.contains_key(*name)
        };
        let provided = |name: &String| state.aliases.get(name).cloned();
        let pick = alternatives.iter().find(known).cloned();
        pick.or_else(|| alternatives.iter().find_map(provided)).or_else(|| alternatives.first().cloned())
    }

    /// The exact package for a name: what was taken before, else the lock's, else the highest version of the indices.
    fn choose(&self, name: &str) -> Result<LockedPackage, ResolveError> {
        let (suites, component) = self.suites_of(name);
        if let Some(lock) = self.locked {
            let state = self.state();
            let real = state.aliases.get(name).map_or(name, String::as_str);
            if let Some(replaced) = state.replaced.get(real) {
                return Ok(replaced.clone());
            }
            let fits = |package: &&LockedPackage| suites.contains(&package.suite) && package.component == component;
            if let Some(package) = lock.packages.get(real).filter(fits) {
                return Ok(package.clone());
            }
            // A virtual package: among what was fetched ahead, one may stand for it.
            let provider =
                state.open.values().find(|package| package.provides.iter().any(|provided| provided == name));
            if let Some(package) = provider.and_then(|unpacked| lock.packages.get(&unpacked.package.name)) {
                return Ok(package.clone());
            }
        }
        if self.options.mode == LockMode::Locked {
            return Err(ResolveError::NotLocked { name: name.to_owned() });
        }
        if self.options.offline {
            return Err(ResolveError::OfflineIndex { name: name.to_owned() });
        }
        self.ask_indices(name, &suites, &component)
    }

    fn suites_of(&self, name: &str) -> (Vec<String>, String) {
        let wanted = self.request.packages.iter().find(|wanted| wanted.name == name);
        let suites =
            wanted.and_then(|wanted| wanted.suite.clone()).map_or(self.request.suites.clone(), |one| vec![one]);
        let component = wanted.and_then(|wanted| wanted.component.clone()).unwrap_or_else(|| "main".to_owned());
        (suites, component)
    }

    fn ask_indices(&self, name: &str, suites: &[String], component: &str) -> Result<LockedPackage, ResolveError> {
        let lists = suites.iter().map(|suite| self.indices.list(suite, component)).collect::<Result<Vec<_>, _>>()?;
        let find = |name: &str| {
            let found = lists.iter().filter_map(|list| list.find(name));
            // Of equal versions the first suite's; `max_by` would take the last.
            found
                .reduce(|best, next| if compare_versions(&next.version, &best.version).is_gt() { next } else { best })
        };
        if let Some(package) = find(name) {
            return Ok(package);
        }
        // A virtual package: one that is in this build already, else the first by name.
        let providers: BTreeSet<&str> = lists.iter().flat_map(|list| list.providers(name)).collect();
        let present = {
            let state = self.state();
            let wanted = |provider: &str| self.request.packages.iter().any(|wanted| wanted.name == provider);
            let here = |provider: &&&str| wanted(provider) || state.required.contains_key(**provider);
            providers.iter().find(here).copied()
        };
        if let Some(package) = present.or_else(|| providers.first().copied()).and_then(find) {
            return Ok(package);
        }
        let near = nearest(name, lists.iter().flat_map(|list| list.names()));
        let places = suites.iter().map(|suite| format!("{suite}/{component}")).collect::<Vec<_>>().join(", ");
        Err(ResolveError::Unknown { name: name.to_owned(), places, near })
    }
}

/// From this size on, in bytes, a package's compressed data is in several blocks.
const LARGE: u64 = 8 << 20;

/// The names most like one that is unknown, best first.
fn nearest<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let most = if name.len() <= 4 { 1 } else { 2 };
    let near = names.filter(|other| other.len().abs_diff(name.len()) <= most).filter_map(|other| {
        let distance = strsim::osa_distance(name, other);
        (distance <= most).then(|| (distance, other.to_owned()))
    });
    let near: BTreeSet<(usize, String)> = near.collect();
    near.into_iter().take(3).map(|(_, name)| name).collect()
}

impl Options {
    /// How much a package of `size` bytes, one of several unpacked at a time, may take. A large one is alone of its
    /// kind, and several threads are of use only with memory for a block each.
    fn effort(&self, size: u64, at_a_time: usize) -> Effort {
        let memory = Effort::default().memory;
        if size < LARGE {
            return Effort { threads: 1, memory: memory / at_a_time.max(1) as u64 };
        }
        Effort { threads: u32::try_from(self.jobs).unwrap_or(1).max(1), memory }
    }
}

/// The unpacked package, when the cache has it whole.
fn open_cached(cache: &Cache, package: &LockedPackage) -> Option<Arc<Unpacked>> {
    deb::cached(cache, package).map(Arc::new)
}
