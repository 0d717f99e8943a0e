//! The content-addressed cache of everything downloaded, unpacked or built.
//!
//! ```text
//! sha256/<aa>/<hex>        a blob whose SHA-256 is its name
//! sha256/<aa>/<hex>.part   a blob on its way; locked by who writes it, resumed after a break
//! unpacked/<aa>/<hex>-v2/  a package's file tree, by the digest of the package and the format version
//! stage/<name>/<key>       what a stage of the build made, by the digest of all its inputs
//! temp/                    work in progress; never read by its final name
//! lock                     shared by builds, exclusive for [`gc`]
//! ```
//! Nothing has its final name before it is complete, so several builds may share a cache and each may be killed at any
//! moment. A stage must name every input in its [`Key`].

pub mod gc;
mod key;

pub use key::{Key, KeyBuilder};

use std::fs::{self, File, FileTimes, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use contract::hash::Digest;
use sha2::{Digest as _, Sha256};

/// How the cache fails.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error(
        "cannot tell where the cache is: set MICRODC_CACHE to a folder (neither MICRODC_CACHE nor XDG_CACHE_HOME \
        nor HOME is set)"
    )]
    NoPlace,
    #[error("cache: cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl CacheError {
    /// An input/output error with what was being done, to what.
    pub fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> CacheError {
        let path = path.into();
        move |source| CacheError::Io { action, path, source }
    }

    /// Whether the disk, or the user's share of it, is full.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        matches!(self, CacheError::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

/// The cache in one folder.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
    /// Held as long as anything may be asked of the cache.
    _lock: Option<Arc<File>>,
}

/// Work in progress older than this is of a build that was killed.
const STALE: Duration = Duration::from_secs(24 * 3600);

impl Cache {
    /// The folder to use: `$MICRODC_CACHE`, else `$XDG_CACHE_HOME/microdc`, else `~/.cache/microdc`.
    ///
    /// # Errors
    /// When none of the three variables is set.
    pub fn default_root() -> Result<PathBuf, CacheError> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set("MICRODC_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("microdc")))
            .or_else(|| set("HOME").map(|path| path.join(".cache/microdc")))
            .ok_or(CacheError::NoPlace)
    }

    /// Opens the cache in `root`, making the folder when needed, and clears what killed builds left in `temp/`.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub fn open(root: impl Into<PathBuf>) -> Result<Cache, CacheError> {
        let root = root.into();
        let lock = lock_file(&root)?;
        if let Some(lock) = &lock {
            lock.lock_shared().map_err(CacheError::io("lock", &root))?;
        }
        let cache = Cache { root, _lock: lock.map(Arc::new) };
        cache.clear_stale();
        Ok(cache)
    }

    /// Opens the cache in `root` for taking things away: `None` while a build uses it.
    ///
    /// # Errors
    /// When the folder cannot be made or written.
    pub fn try_exclusive(root: &Path) -> Result<Option<Cache>, CacheError> {
        let lock = lock_file(root)?;
        match lock.as_ref().map(File::try_lock) {
            Some(Err(TryLockError::WouldBlock)) => Ok(None),
            Some(Err(TryLockError::Error(error))) => Err(CacheError::io("lock", root)(error)),
            Some(Ok(())) | None => Ok(Some(Cache { root: root.to_owned(), _lock: lock.map(Arc::new) })),
        }
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the blob with this digest stands or would stand.
    #[must_use]
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        let hex = digest.to_string();
        self.root.join("sha256").join(&hex[..2]).join(hex)
    }

    /// Where a blob stands while it is being fetched.
    #[must_use]
    pub fn partial_path(&self, digest: Digest) -> PathBuf {
        let hex = digest.to_string();
        self.root.join("sha256").join(&hex[..2]).join(hex + ".part")
    }

    /// The blob, when the cache has it with this length in bytes. A file of another length is removed: it cannot be
    /// the blob. The content is checked by [`Cache::verified_blob`].
    #[must_use]
    pub fn blob(&self, digest: Digest, size: u64) -> Option<PathBuf> {
        let path = self.blob_path(digest);
        let metadata = fs::metadata(&path).ok()?;
        if metadata.is_file() && metadata.len() == size {
            touch(&path);
            return Some(path);
        }
        let _ = fs::remove_file(&path);
        None
    }

    /// The blob, open, when the cache has it and its bytes still have that digest. A damaged blob is removed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn verified_blob(&self, digest: Digest, size: u64) -> Result<Option<File>, CacheError> {
        let Some(path) = self.blob(digest, size) else { return Ok(None) };
        let mut file = File::open(&path).map_err(CacheError::io("open", &path))?;
        if digest_of(&mut file).map_err(CacheError::io("read", &path))? == digest {
            io::Seek::rewind(&mut file).map_err(CacheError::io("read", &path))?;
            return Ok(Some(file));
        }
        fs::remove_file(&path).map_err(CacheError::io("remove the damaged", &path))?;
        Ok(None)
    }

    /// Puts bytes into the cache as a blob.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_blob(&self, bytes: &[u8]) -> Result<(Digest, PathBuf), CacheError> {
        let digest = Digest::of(bytes);
        let path = self.blob_path(digest);
        if self.blob(digest, bytes.len() as u64).is_none() {
            self.write_whole(&path, |file| file.write_all(bytes))?;
        }
        Ok((digest, path))
    }

    /// Puts all that a reader gives into the cache as a blob; returns its digest, its length and where it lies.
    ///
    /// # Errors
    /// When reading fails, or the file cannot be written.
    pub fn add_stream(&self, reader: &mut impl io::Read) -> Result<(Digest, u64, PathBuf), CacheError> {
        let temp = self.root.join("temp");
        let mut file = tempfile::NamedTempFile::new_in(&temp).map_err(CacheError::io("make a file in", &temp))?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 * 1024];
        let mut length = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    hash.update(&buffer[..count]);
                    file.write_all(&buffer[..count]).map_err(CacheError::io("write", file.path()))?;
                    length += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(CacheError::io("read what goes into", &temp)(error)),
            }
        }
        let digest = Digest(hash.finalize().into());
        let path = self.blob_path(digest);
        if self.blob(digest, length).is_none() {
            self.name_whole(file, &path)?;
        }
        Ok((digest, length, path))
    }

    /// What stage `stage` made from the inputs of `key`.
    #[must_use]
    pub fn get(&self, stage: &str, key: Key) -> Option<PathBuf> {
        let path = self.stage_path(stage, key);
        let there = path.is_file();
        if there {
            touch(&path);
        }
        there.then_some(path)
    }

    /// Stores what `write` writes as the output of `stage` for `key`; it gets its name when it is complete and on disk.
    ///
    /// # Errors
    /// When the file cannot be written, or `write` fails.
    pub fn put(
        &self,
        stage: &str,
        key: Key,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<PathBuf, CacheError> {
        let path = self.stage_path(stage, key);
        self.write_whole(&path, write)?;
        Ok(path)
    }

    /// The bytes that [`Cache::put_bytes`] stored, if they are still the same. Damaged ones are removed.
    #[must_use]
    pub fn get_bytes(&self, stage: &str, key: Key) -> Option<Vec<u8>> {
        let path = self.stage_path(stage, key);
        let mut bytes = fs::read(&path).ok()?;
        let end = bytes.len().checked_sub(32).filter(|&end| Digest::of(&bytes[..end]).0 == bytes[end..]);
        let Some(end) = end else {
            let _ = fs::remove_file(&path);
            return None;
        };
        bytes.truncate(end);
        touch(&path);
        Some(bytes)
    }

    /// Stores bytes as the output of `stage` for `key`, with their digest behind them.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn put_bytes(&self, stage: &str, key: Key, bytes: &[u8]) -> Result<(), CacheError> {
        self.put(stage, key, |file| {
            file.write_all(bytes)?;
            file.write_all(&Digest::of(bytes).0)
        })?;
        Ok(())
    }

    fn stage_path(&self, stage: &str, key: Key) -> PathBuf {
        self.root.join("stage").join(stage).join(key.0.to_string())
    }

    /// The folder of a package unpacked in format `version`.
    pub(crate) fn unpacked_path(&self, digest: Digest, version: u32) -> PathBuf {
        let hex = digest.to_string();
        self.root.join("unpacked").join(&hex[..2]).join(format!("{hex}-v{version}"))
    }

    /// A new, empty folder for work in progress, removed when dropped.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn temp_dir(&self) -> Result<tempfile::TempDir, CacheError> {
        let temp = self.root.join("temp");
        tempfile::tempdir_in(&temp).map_err(CacheError::io("make a folder in", &temp))
    }

    /// Writes a file under another name, flushes it to disk and renames it to `path`.
    fn write_whole(&self, path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> Result<(), CacheError> {
        let temp = self.root.join("temp");
        let mut file = tempfile::NamedTempFile::new_in(&temp).map_err(CacheError::io("make a file in", &temp))?;
        write(file.as_file_mut()).map_err(CacheError::io("write", path))?;
        self.name_whole(file, path)
    }

    /// Flushes a file of `temp/` to disk and gives it its name.
    fn name_whole(&self, file: tempfile::NamedTempFile, path: &Path) -> Result<(), CacheError> {
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(CacheError::io("make the folder", folder))?;
        file.as_file().sync_all().map_err(CacheError::io("write", path))?;
        file.persist(path).map_err(|error| CacheError::io("rename to", path)(error.error))?;
        Ok(())
    }

    /// Failing to tidy up is not a reason to stop a build.
    fn clear_stale(&self) {
        let Ok(entries) = fs::read_dir(self.root.join("temp")) else { return };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
            if age.is_some_and(|age| age > STALE) {
                let path = entry.path();
                let _ = if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
            }
        }
    }
}

/// What was asked for within this time is not noted again.
pub const TOUCH: Duration = Duration::from_secs(3600);

/// Notes that something is asked for: the time of its last change says when. Another user's file stays as it is.
pub(crate) fn touch(path: &Path) {
    let now = SystemTime::now();
    let fresh = |metadata: fs::Metadata| {
        let age = metadata.modified().ok().and_then(|time| now.duration_since(time).ok());
        age.is_none_or(|age| age < TOUCH)
    };
    if !fs::metadata(path).is_ok_and(fresh) {
        let _ = File::open(path).and_then(|file| file.set_times(FileTimes::new().set_modified(now)));
    }
}

/// The file that is locked; none where it can neither be made nor read.
fn lock_file(root: &Path) -> Result<Option<File>, CacheError> {
    let temp = root.join("temp");
    fs::create_dir_all(&temp).map_err(CacheError::io("make the folder", &temp))?;
    let path = root.join("lock");
    let made = File::options().read(true).append(true).create(true).open(&path);
    Ok(made.or_else(|_| File::open(&path)).ok())
}

/// SHA-256 of all that a reader gives.
///
/// # Errors
/// When reading fails.
pub fn digest_of(reader: &mut impl io::Read) -> io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(Digest(hash.finalize().into())),
            Ok(count) => hash.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> (tempfile::TempDir, Cache) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        (folder, cache)
    }

    #[test]
    fn a_stage_output_is_found_under_the_same_inputs_only() {
        let (_folder, cache) = cache();
        let key = Key::of_stage("ext4", 1).with("tree", "a").finish();
        assert_eq!(cache.get("ext4", key), None);
        let path = cache.put("ext4", key, |file| file.write_all(b"image")).unwrap();
        assert_eq!(cache.get("ext4", key), Some(path.clone()));
        assert_eq!(fs::read(path).unwrap(), b"image");
        assert_eq!(cache.get("ext4", Key::of_stage("ext4", 2).with("tree", "a").finish()), None);
        assert_eq!(cache.get("fat", key), None);
    }

    #[test]
    fn damaged_bytes_of_a_stage_are_as_good_as_none() {
        let (_folder, cache) = cache();
        let key = Key::of_stage("kernel", 1).finish();
        assert_eq!(cache.get_bytes("kernel", key), None);
        for at in [0, 5, 6, 37] {
            cache.put_bytes("kernel", key, b"packed").unwrap();
            assert_eq!(cache.get_bytes("kernel", key).unwrap(), b"packed");
            let path = cache.get("kernel", key).unwrap();
            let mut bytes = fs::read(&path).unwrap();
            bytes[at] ^= 1;
            fs::write(&path, bytes).unwrap();
            assert_eq!(cache.get_bytes("kernel", key), None);
            assert!(!path.exists());
        }
    }

    #[test]
    fn inputs_cannot_be_shifted_from_one_label_to_the_next() {
        let one = Key::of_stage("s", 1).with("a", "bc").with("d", "e").finish();
        let two = Key::of_stage("s", 1).with("ab", "c").with("d", "e").finish();
        let three = Key::of_stage("s", 1).with("a", "bcd").with("", "e").finish();
        assert!(one != two && one != three && two != three);
    }

    #[test]
    fn a_stage_that_fails_leaves_nothing_under_its_name() {
        let (_folder, cache) = cache();
        let key = Key::of_stage("ext4", 1).finish();
        let error = cache.put("ext4", key, |file| {
            file.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(error.unwrap_err().is_disk_full());
        assert_eq!(cache.get("ext4", key), None);
        assert_eq!(fs::read_dir(cache.root().join("temp")).unwrap().count(), 0);
    }

    #[test]
    fn a_damaged_blob_is_not_given_out() {
        let (_folder, cache) = cache();
        let (digest, path) = cache.add_blob(b"content").unwrap();
        assert!(cache.verified_blob(digest, 7).unwrap().is_some());
        fs::write(&path, b"c0ntent").unwrap();
        assert!(cache.verified_blob(digest, 7).unwrap().is_none());
        assert!(!path.exists());
        fs::write(&path, b"cont").unwrap();
        assert_eq!(cache.blob(digest, 7), None);
    }
}
