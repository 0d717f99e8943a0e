//! What is in the cache, and removing unused entries.
//!
//! Every build holds a shared lock on the cache, and garbage collection an exclusive one, so that neither disturbs the
//! other; a killed program leaves no lock behind. An entry is renamed before it is deleted, so that no one ever finds
//! half of it.

use super::{Cache, CacheError};
use crate::source::unpacked;
use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// One thing in the cache.
#[derive(Clone, Debug)]
pub struct Item {
    /// `downloads`, `packages`, or the name of a stage.
    pub kind: String,
    pub path: PathBuf,
    /// On the disk, in bytes. What another cache shares by hard links counts here too.
    pub bytes: u64,
    /// When a build last asked for it, within [`super::TOUCH`].
    pub used: SystemTime,
    /// Whether no build of this version asks for it any more, or a killed one left it.
    pub obsolete: bool,
}

/// What is to stay.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// What was used within this time before now.
    pub younger_than: Option<Duration>,
    /// So many bytes at most; what was used last stays.
    pub most: Option<u64>,
}

/// What there is of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Usage {
    pub entries: u64,
    /// On the disk.
    pub bytes: u64,
}

impl Cache {
    /// Everything in the cache that may be removed, what was used longest ago first.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn items(&self) -> Result<Vec<Item>, CacheError> {
        let mut items = Vec::new();
        for folder in folders(&self.root.join("sha256"))? {
            items.extend(entries(&folder)?.into_iter().map(|path| ("downloads".to_owned(), path, false)));
        }
        let current = format!("-v{}", unpacked::FORMAT);
        for folder in folders(&self.root.join("unpacked"))? {
            for path in entries(&folder)? {
                let obsolete = !path.to_string_lossy().ends_with(&current);
                items.push(("packages".to_owned(), path, obsolete));
            }
        }
        for folder in folders(&self.root.join("stage"))? {
            let kind = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            items.extend(entries(&folder)?.into_iter().map(|path| (kind.clone(), path, false)));
        }
        items.extend(entries(&self.root.join("temp"))?.into_iter().map(|path| ("unfinished".to_owned(), path, true)));
        let mut found = Vec::new();
        for (kind, path, obsolete) in items {
            // What goes away meanwhile is not an item.
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            found.push(Item { kind, bytes: on_disk(&path, &metadata), path, used, obsolete });
        }
        found.sort_by(|one, other| one.used.cmp(&other.used).then_with(|| one.path.cmp(&other.path)));
        Ok(found)
    }

    /// What is to go, of what there is: obsolete things, those that were not used for long, and then those used longest
    /// ago until the rest is small enough.
    #[must_use]
    pub fn to_go(items: Vec<Item>, keep: Keep, now: SystemTime) -> Vec<Item> {
        let age = |item: &Item| now.duration_since(item.used).unwrap_or_default();
        let old = |item: &Item| keep.younger_than.is_some_and(|limit| age(item) > limit);
        let (mut go, rest): (Vec<Item>, Vec<Item>) = items.into_iter().partition(|item| item.obsolete || old(item));
        let mut total: u64 = rest.iter().map(|item| item.bytes).sum();
        for item in rest {
            if keep.most.is_none_or(|most| total <= most) {
                break;
            }
            total -= item.bytes;
            go.push(item);
        }
        go
    }

    /// Takes one thing away.
    ///
    /// # Errors
    /// When it cannot be removed; one that is gone already is not an error.
    pub fn remove(&self, item: &Item) -> Result<(), CacheError> {
        let gone = |result: io::Result<()>, path: &Path| match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(CacheError::io("remove", path)(error)),
            _ => Ok(()),
        };
        if !item.path.is_dir() {
            return gone(fs::remove_file(&item.path), &item.path);
        }
        // A folder loses its name as a whole; a half one would be found otherwise.
        let temp = self.root.join("temp");
        let aside = tempfile::tempdir_in(&temp).map_err(CacheError::io("make a folder in", &temp))?;
        gone(fs::rename(&item.path, aside.path().join("gone")), &item.path)
    }
}

/// Sums items up by kind.
#[must_use]
pub fn usage(items: &[Item]) -> BTreeMap<String, Usage> {
    let mut usage: BTreeMap<String, Usage> = BTreeMap::new();
    for item in items {
        let kind = usage.entry(item.kind.clone()).or_default();
        kind.entries += 1;
        kind.bytes += item.bytes;
    }
    usage
}

fn on_disk(path: &Path, metadata: &Metadata) -> u64 {
    let inside = if metadata.is_dir() { entries(path).unwrap_or_default() } else { Vec::new() };
    let inside = inside.iter().filter_map(|path| Some((path, fs::symlink_metadata(path).ok()?)));
    metadata.blocks() * 512 + inside.map(|(path, metadata)| on_disk(path, &metadata)).sum::<u64>()
}

fn folders(path: &Path) -> Result<Vec<PathBuf>, CacheError> {
    Ok(entries(path)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn entries(path: &Path) -> Result<Vec<PathBuf>, CacheError> {
    let read = || CacheError::io("read the folder", path);
    let found = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(read())?,
    };
    found.map(|entry| Ok(entry.map_err(read())?.path())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Key;
    use std::fs::{File, FileTimes};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn age(path: &Path, days: u32) {
        let time = SystemTime::now() - DAY * days;
        File::open(path).unwrap().set_times(FileTimes::new().set_modified(time)).unwrap();
    }

    /// A cache with a download used five days ago, a package two days ago, and an obsolete one yesterday.
    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let (digest, blob) = cache.add_blob(&[7; 5000]).unwrap();
        age(&blob, 5);
        for (version, days) in [(unpacked::FORMAT, 2), (unpacked::FORMAT + 1, 1)] {
            let package = cache.unpacked_path(digest, version);
            fs::create_dir_all(&package).unwrap();
            fs::write(package.join("data.tar"), [1; 9000]).unwrap();
            age(&package, days);
        }
        cache.put_bytes("kernel", Key::of_stage("kernel", 1).finish(), b"packed").unwrap();
        (folder, cache)
    }

    fn kinds(items: &[Item]) -> Vec<&str> {
        items.iter().map(|item| item.kind.as_str()).collect()
    }

    #[test]
    fn what_was_not_used_for_long_goes_and_what_no_build_asks_for() {
        let (_folder, cache) = cache();
        let items = cache.items().unwrap();
        assert_eq!(kinds(&items), ["downloads", "packages", "packages", "kernel"]);
        assert!(items[1].bytes >= 9000 && usage(&items)["packages"].entries == 2);
        let now = SystemTime::now();
        let keep = Keep { younger_than: Some(DAY * 3), most: None };
        assert_eq!(kinds(&Cache::to_go(items.clone(), keep, now)), ["downloads", "packages"]);
        let most = items[3].bytes + 1;
        let keep = Keep { younger_than: None, most: Some(most) };
        let go = Cache::to_go(items, keep, now);
        assert_eq!(kinds(&go), ["packages", "downloads", "packages"], "the obsolete one first");
        for item in &go {
            cache.remove(item).unwrap();
            assert!(!item.path.exists());
            cache.remove(item).unwrap();
        }
        assert_eq!(kinds(&cache.items().unwrap()), ["kernel"]);
    }

    #[test]
    fn what_is_used_counts_as_young_again() {
        let (_folder, cache) = cache();
        let digest = contract::hash::Digest::of(&[7; 5000]);
        assert!(cache.blob(digest, 5000).is_some());
        let keep = Keep { younger_than: Some(DAY * 3), most: None };
        let go = Cache::to_go(cache.items().unwrap(), keep, SystemTime::now());
        assert_eq!(kinds(&go), ["packages"], "the download was asked for just now");
    }

    #[test]
    fn nothing_is_taken_away_while_a_build_runs() {
        let (_folder, cache) = cache();
        assert!(Cache::try_exclusive(cache.root()).unwrap().is_none());
        let root = cache.root().to_owned();
        let second = Cache::open(&root).unwrap();
        drop(cache);
        assert!(Cache::try_exclusive(&root).unwrap().is_none(), "two builds share it");
        drop(second);
        assert!(Cache::try_exclusive(&root).unwrap().is_some());
    }
}
