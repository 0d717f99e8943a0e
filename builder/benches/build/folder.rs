//! Folders: emptied, copied, linked.

use anyhow::{Context as _, Result};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// An empty folder in place of what was there.
pub fn fresh(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("emptying {}", path.display()))?;
    }
    fs::create_dir_all(path).with_context(|| format!("making {}", path.display()))
}

/// All files below `from`, into `to`.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    each(from, to, &|from, to| fs::copy(from, to).map(drop))
}

/// All files below `from`, into `to`, without their bytes when both are on one file system.
pub fn link(from: &Path, to: &Path) -> Result<()> {
    each(from, to, &|from, to| fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(drop)))
}

fn each(from: &Path, to: &Path, put: &dyn Fn(&Path, &Path) -> std::io::Result<()>) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            each(&from, &to, put)?;
        } else if entry.file_type()?.is_symlink() {
            symlink(fs::read_link(&from)?, &to).with_context(|| format!("making the link {}", to.display()))?;
        } else {
            put(&from, &to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
        }
    }
    Ok(())
}
