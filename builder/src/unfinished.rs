//! A file that gets its name once it is complete: written under a temporary name in the same folder, flushed, then
//! renamed.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A file under its other name; gone when it is dropped before it is finished.
#[derive(Debug)]
pub struct Unfinished {
    file: File,
    part: PathBuf,
    path: PathBuf,
    done: bool,
}

/// A file that cannot be begun or finished.
#[derive(Debug, thiserror::Error)]
pub enum UnfinishedError {
    #[error("{}: another microdc is writing this file", .0.display())]
    Busy(PathBuf),
    #[error("{}: {what}: {source}", path.display())]
    Io { path: PathBuf, what: &'static str, source: io::Error },
}

impl Unfinished {
    /// An empty file that is to become `path`.
    ///
    /// # Errors
    /// When it cannot be made, or someone else is making it.
    pub fn create(path: &Path) -> Result<Unfinished, UnfinishedError> {
        let failed = |what| move |source| UnfinishedError::Io { path: path.to_owned(), what, source };
        let name = path.file_name().ok_or_else(|| failed("no file name")(io::ErrorKind::InvalidInput.into()))?;
        let part = path.with_file_name(format!(".{}.part", name.to_string_lossy()));
        let mut options = File::options();
        // What a killed build left is taken over; what a running one writes is locked.
        let file = options.read(true).write(true).create(true).truncate(false).open(&part);
        let file = file.map_err(failed("creating it"))?;
        match file.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => return Err(UnfinishedError::Busy(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed("locking it")(source)),
        }
        let unfinished = Unfinished { file, part, path: path.to_owned(), done: false };
        unfinished.file.set_len(0).map_err(failed("emptying it"))?;
        Ok(unfinished)
    }

    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives it its name, which is on the disk when this returns. Its bytes must be there already.
    ///
    /// # Errors
    /// When that fails; then it is gone.
    pub fn finish(mut self) -> Result<(), UnfinishedError> {
        let rename = || {
            std::fs::rename(&self.part, &self.path)?;
            let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        let path = self.path.clone();
        rename().map_err(|source| UnfinishedError::Io { path, what: "giving it its name", source })?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.done {
            // Nothing better can be done when this fails; the next build takes the file over.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}
