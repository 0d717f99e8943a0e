//! The operator's own files, copied into the cache: the image contains what the build read at its start, even if the
//! file changes in the meantime.

use crate::cache::{Cache, CacheError, Key};
use crate::tree::Content;
use contract::hash::Digest;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A copy in the cache.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The copy.
    pub path: PathBuf,
    /// In bytes.
    pub size: u64,
    pub sha256: Digest,
}

/// A file that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a file", .0.display())]
    NoFile(PathBuf),
    #[error("{} is gone from the cache: build again", .0.display())]
    Gone(PathBuf),
    #[error(transparent)]
    Cache(#[from] CacheError),
}

/// A file whose last change is younger than this may change once more without its times telling.
const SETTLED: Duration = Duration::from_secs(2);

/// Copies a file into the cache, unless the cache has it. A file that was seen before, and not touched since, is not
/// read again.
///
/// # Errors
/// When it cannot be read, is not a regular file, or the cache cannot be written.
pub fn snapshot(cache: &Cache, path: &Path) -> Result<Snapshot, LocalError> {
    let read = |source| LocalError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(read)?;
    let before = file.metadata().map_err(read)?;
    if !before.is_file() {
        return Err(LocalError::NoFile(path.to_owned()));
    }
    let key = stamp(&before);
    if let Some(sha256) = cache.get_bytes("seen", key).and_then(|bytes| Some(Digest(bytes.try_into().ok()?)))
        && let Some(path) = cache.blob(sha256, before.len())
    {
        return Ok(Snapshot { path, size: before.len(), sha256 });
    }
    let (sha256, size, copy) = cache.add_stream(&mut file)?;
    let after = file.metadata().map_err(read)?;
    if stamp(&after) == key && settled(&after) {
        cache.put_bytes("seen", key, &sha256.0)?;
    }
    Ok(Snapshot { path: copy, size, sha256 })
}

/// All that changes when someone writes a file.
fn stamp(file: &Metadata) -> Key {
    let mut key = Key::of_stage("seen", 1);
    let numbers = [file.dev(), file.ino(), file.len()].map(i128::from);
    let times = [file.mtime(), file.mtime_nsec(), file.ctime(), file.ctime_nsec()].map(i128::from);
    for number in numbers.into_iter().chain(times) {
        key.add("number", number.to_le_bytes());
    }
    key.finish()
}

fn settled(file: &Metadata) -> bool {
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(file.ctime().max(file.mtime()).max(0).unsigned_abs());
    SystemTime::now().duration_since(changed).is_ok_and(|age| age > SETTLED)
}

impl Snapshot {
    /// The bytes, by reference, checked once more against the SHA-256: what changed in the cache does not get out.
    ///
    /// # Errors
    /// When the copy is gone, cannot be read, or is damaged; then it is removed, and the next build makes it again.
    pub fn content(&self) -> Result<Content, LocalError> {
        content(&self.path, self.size, self.sha256)
    }
}

/// A blob of the cache as content, by reference, checked.
///
/// # Errors
/// As [`Snapshot::content`].
pub fn content(path: &Path, size: u64, sha256: Digest) -> Result<Content, LocalError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LocalError::Gone(path.to_owned())),
        other => other.map_err(|source| LocalError::Read { path: path.to_owned(), source })?,
    };
    let content =
        Content::Range { file: Arc::new(file), path: Arc::new(path.to_owned()), offset: 0, length: size, sha256 };
    if let Err(source) = content.verify() {
        if source.kind() == io::ErrorKind::InvalidData {
            let _ = std::fs::remove_file(path);
            return Err(LocalError::Gone(path.to_owned()));
        }
        return Err(LocalError::Read { path: path.to_owned(), source });
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_stays_when_the_file_changes_and_a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let one = snapshot(&cache, &path).unwrap();
        std::fs::write(&path, "two").unwrap();
        let two = snapshot(&cache, &path).unwrap();
        assert_eq!(&*one.content().unwrap().to_bytes().unwrap(), b"one");
        assert_eq!(&*two.content().unwrap().to_bytes().unwrap(), b"two");
        assert!(matches!(snapshot(&cache, folder.path()), Err(LocalError::NoFile(_))));
    }

    #[test]
    fn an_untouched_file_is_known_again_and_a_damaged_copy_is_not_given_out() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path().join("cache")).unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let first = snapshot(&cache, &path).unwrap();
        // As a build would find it later.
        let seen = stamp(&std::fs::metadata(&path).unwrap());
        cache.put_bytes("seen", seen, &first.sha256.0).unwrap();
        assert_eq!(snapshot(&cache, &path).unwrap().sha256, first.sha256);
        std::fs::write(&first.path, "0ne").unwrap();
        assert!(matches!(first.content(), Err(LocalError::Gone(_))));
        // The damaged copy is gone, so the file is read again.
        assert_eq!(&*snapshot(&cache, &path).unwrap().content().unwrap().to_bytes().unwrap(), b"one");
    }
}
