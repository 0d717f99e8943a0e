//! A partial download in the cache: locked by its writer, and resumed after an interruption.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use contract::hash::Digest;
use sha2::{Digest as _, Sha256};

use super::fetch_error::{CHUNK, FetchError, of};
use super::progress::Progress;
use crate::cache::{Cache, CacheError};

/// A blob on its way: what of it is on disk, hashed so far.
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    /// Bytes of it that are here.
    pub(super) have: u64,
    /// Bytes told to the progress; a restart does not tell them again.
    reported: u64,
    hash: Sha256,
}

impl Partial {
    /// Opens and locks the partial file of this name, waiting for who holds it. `None`: another build has meanwhile
    /// brought the blob, says `there`.
    pub(super) fn open(
        cache: &Cache,
        name: Digest,
        there: impl Fn() -> bool,
        check_cancelled: impl Fn() -> Result<(), FetchError>,
    ) -> Result<Option<Partial>, FetchError> {
        let path = cache.partial_path(name);
        let folder = path.parent().unwrap_or(cache.root());
        fs::create_dir_all(folder).map_err(CacheError::io("make the folder", folder))?;
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(CacheError::io("open", &path))?;
            loop {
                match file.try_lock() {
                    Ok(()) => break,
                    Err(fs::TryLockError::WouldBlock) => {
                        check_cancelled()?;
                        thread::sleep(Duration::from_millis(50));
                    }
                    Err(fs::TryLockError::Error(error)) => return Err(CacheError::io("lock", &path)(error).into()),
                }
            }
            if there() {
                let _ = fs::remove_file(&path);
                return Ok(None);
            }
            // The one who held the lock may have renamed or removed the file that we opened.
            if same_file(&file, &path) {
                return Ok(Some(Partial { file, path, have: 0, reported: 0, hash: Sha256::new() }));
            }
        }
    }

    /// Hashes what an earlier build left of a file of this size, or of at most `limit` bytes.
    pub(super) fn take_up(
        &mut self,
        url: &str,
        size: Option<u64>,
        limit: u64,
        progress: &dyn Progress,
    ) -> Result<(), CacheError> {
        let length = self.file.metadata().map_err(CacheError::io("read", &self.path))?.len();
        if length > size.unwrap_or(limit) {
            return self.restart();
        }
        let mut buffer = vec![0; CHUNK];
        loop {
            match self.file.read(&mut buffer).map_err(CacheError::io("read", &self.path))? {
                0 => break,
                count => {
                    self.hash.update(&buffer[..count]);
                    self.have += count as u64;
                }
            }
        }
        if self.have > 0 {
            progress.note(&format!("{url}: going on after {}{} bytes", self.have, of(size)));
            self.report(progress);
        }
        Ok(())
    }

    pub(super) fn append(&mut self, bytes: &[u8], progress: &dyn Progress) -> Result<(), CacheError> {
        self.file.write_all(bytes).map_err(CacheError::io("write", &self.path))?;
        self.hash.update(bytes);
        self.have += bytes.len() as u64;
        self.report(progress);
        Ok(())
    }

    fn report(&mut self, progress: &dyn Progress) {
        if self.have > self.reported {
            progress.advance(self.have - self.reported);
            self.reported = self.have;
        }
    }

    pub(super) fn restart(&mut self) -> Result<(), CacheError> {
        self.file.set_len(0).map_err(CacheError::io("empty", &self.path))?;
        self.file.seek(SeekFrom::Start(0)).map_err(CacheError::io("empty", &self.path))?;
        self.have = 0;
        self.hash = Sha256::new();
        Ok(())
    }

    /// Puts into an error what only the partial file knows; an empty one is not left behind.
    pub(super) fn explain(&self, error: FetchError) -> FetchError {
        if self.have == 0 {
            let _ = fs::remove_file(&self.path);
        }
        match error {
            FetchError::Unreachable { url, attempts, size, last, .. } => {
                FetchError::Unreachable { url, attempts, have: self.have, size, last }
            }
            other => other,
        }
    }

    /// SHA-256 of what is here.
    pub(super) fn digest(&self) -> Digest {
        Digest(self.hash.clone().finalize().into())
    }

    pub(super) fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }

    /// Flushes it to disk and gives it its name.
    pub(super) fn finish(&self, target: &Path) -> Result<(), CacheError> {
        self.file.sync_all().map_err(CacheError::io("write", &self.path))?;
        // The partial file may lie elsewhere, when the digest was not known beforehand.
        let folder = target.parent().unwrap_or(target);
        fs::create_dir_all(folder).map_err(CacheError::io("make the folder", folder))?;
        fs::rename(&self.path, target).map_err(CacheError::io("rename to", target))
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => id(open) == id(named),
        _ => false,
    }
}
