//! Fetching and unpacking several packages at once.
//!
//! Packages are fetched by some threads and unpacked by others, as they arrive; large ones first, so that the last to
//! finish is a small one.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::{LockMode, LockedPackage, PoisonError, ResolveError, Resolver, deb, open_cached};
use crate::source::http::{FetchError, Wanted};
use crate::source::progress::{Progress, Quiet};

impl Resolver<'_> {
    /// Fetches, unpacks and opens packages, unless they are open.
    pub(super) fn load(&self, packages: Vec<LockedPackage>) -> Result<(), ResolveError> {
        let cache = self.places.cache;
        let mut to_do = Vec::new();
        for package in packages {
            if self.is_open(&package) {
                continue;
            }
            match open_cached(cache, &package) {
                Some(open) => drop(self.state().open.insert(package.name.clone(), open)),
                None => to_do.push(package),
            }
        }
        if to_do.is_empty() {
            return Ok(());
        }
        if self.options.offline {
            let lacking = |one: &&LockedPackage| cache.blob(one.sha256, one.size).is_none();
            let line = |one: &LockedPackage| format!("{} {} ({} bytes)", one.name, one.version, one.size);
            let missing: Vec<String> = to_do.iter().filter(lacking).map(line).collect();
            if !missing.is_empty() {
                return Err(ResolveError::Offline { missing });
            }
        }
        to_do.sort_by(|one, other| other.size.cmp(&one.size).then_with(|| one.name.cmp(&other.name)));
        self.places.progress.add_total(to_do.iter().map(|one| one.size).sum());
        self.run(&to_do)
    }

    fn run(&self, to_do: &[LockedPackage]) -> Result<(), ResolveError> {
        let jobs = self.options.jobs.max(1).min(to_do.len());
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let (sender, receiver) = mpsc::channel::<LockedPackage>();
        let receiver = Mutex::new(receiver);
        // The first error stops the others, which end what they are at.
        let guard = |result: Result<(), ResolveError>| {
            if result.is_err() {
                failed.store(true, Ordering::Relaxed);
            }
            result
        };
        let fetch = |sender: mpsc::Sender<LockedPackage>| {
            while !failed.load(Ordering::Relaxed) {
                let Some(package) = to_do.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                match self.fetch(package) {
                    // The receiver lives as long as this scope.
                    Ok(fetched) => drop(sender.send(fetched)),
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        };
        let unpack = || {
            loop {
                let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(package) = next else { return Ok(()) };
                if failed.load(Ordering::Relaxed) {
                    return Ok(());
                }
                self.client.check_cancelled().map_err(|source| of(&package, source))?;
                self.unpack(&package, jobs)?;
            }
        };
        let results: Vec<Result<(), ResolveError>> = thread::scope(|scope| {
            let mut threads = Vec::new();
            for _ in 0..jobs {
                let sender = sender.clone();
                threads.push(scope.spawn(move || guard(fetch(sender))));
                threads.push(scope.spawn(move || guard(unpack())));
            }
            drop(sender);
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        results.into_iter().collect()
    }

    /// Fetches a package. One that has gone from the mirror is resolved again, unless the lock forbids it.
    fn fetch(&self, package: &LockedPackage) -> Result<LockedPackage, ResolveError> {
        match self.fetch_exactly(package, self.places.progress) {
            Ok(()) => return Ok(package.clone()),
            Err(FetchError::Gone { url, status }) => {
                let (name, version) = (package.name.clone(), package.version.clone());
                let from_lock = self.locked.is_some_and(|lock| lock.packages.get(&name) == Some(package));
                if !from_lock {
                    return Err(of(package, FetchError::Gone { url, status }));
                }
                if self.options.mode == LockMode::Locked {
                    return Err(ResolveError::Vanished { name, version, url });
                }
            }
            Err(source) => return Err(of(package, source)),
        }
        let (suites, component) = self.suites_of(&package.name);
        let newer = self.ask_indices(&package.name, &suites, &component)?;
        self.places.progress.note(&format!(
            "{} {} → {}: the locked version is no longer on the mirror",
            package.name, package.version, newer.version
        ));
        self.fetch_exactly(&newer, &Quiet).map_err(|source| of(&newer, source))?;
        self.places.progress.advance(package.size);
        self.state().replaced.insert(newer.name.clone(), newer.clone());
        Ok(newer)
    }

    fn fetch_exactly(&self, package: &LockedPackage, progress: &dyn Progress) -> Result<(), FetchError> {
        if open_cached(self.places.cache, package).is_some() {
            progress.advance(package.size);
            return Ok(());
        }
        let url = self.indices.url(&package.suite, &package.path);
        let wanted = Wanted { url, size: package.size, sha256: package.sha256 };
        self.client.blob(self.places.cache, &wanted, progress).map(drop)
    }

    /// Unpacks and opens a package. One that is damaged in the cache is fetched once more.
    fn unpack(&self, package: &LockedPackage, at_a_time: usize) -> Result<(), ResolveError> {
        let effort = self.options.effort(package.size, at_a_time);
        let open = match deb::open(self.places.cache, package, effort) {
            Err(deb::DebError::Missing { .. }) if !self.options.offline => {
                self.places.progress.note(&format!("{} was damaged in the cache; fetched again", package.name));
                self.fetch_exactly(package, &Quiet).map_err(|source| of(package, source))?;
                deb::open(self.places.cache, package, effort)
            }
            open => open,
        }?;
        self.state().open.insert(package.name.clone(), Arc::new(open));
        Ok(())
    }
}

fn of(package: &LockedPackage, source: FetchError) -> ResolveError {
    ResolveError::Fetch { name: package.name.clone(), source }
}
