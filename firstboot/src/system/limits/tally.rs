//! Whose project the content of a folder is, and how much it comes to.

use super::walk::{self, Entry};
use crate::sys::quota::{self, Amount};
use rustix::fs::{FileType, Stat, fstat};
use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;

/// Bytes of a block in `st_blocks` (stat(3type)).
const BLOCK: u64 = 512;
/// Parts of a file, so that each of its names counts for its share.
const PARTS: u64 = 1 << 20;
/// The watchdog is fed after so many files.
const FEED_EVERY: u64 = 4096;

/// What a folder's content comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    bytes: u64,
    parts: u64,
    names: u64,
    /// Files that could not be made ones of the project.
    pub left_out: u64,
}

impl Tally {
    fn add(&mut self, stat: &Stat) {
        // A file that has several names is counted once. All of them are in the folder: services see it as a mount of its own,
        // and links do not lead across those.
        let names = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => 1,
            _ => wide(stat.st_nlink).max(1),
        };
        self.bytes = self.bytes.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK / names);
        self.parts += PARTS / names;
        self.names += 1;
    }

    #[must_use]
    pub fn amount(&self) -> Amount {
        Amount { bytes: self.bytes, files: self.parts.div_ceil(PARTS) }
    }
}

/// Makes a folder and all in it ones of a project, where it is not yet, and counts what it holds. Power may go meanwhile: the
/// folder itself is the last one, so that the next boot begins again.
///
/// # Errors
/// When something cannot be read, or the folder cannot be made one of the project.
pub fn take(path: &Path, project: u32, feed: &dyn Fn()) -> io::Result<Tally> {
    let top = walk::folder(path)?;
    let new = quota::project(&top)? != project;
    let tally = go_through(path, new.then_some(project), feed)?;
    if new {
        quota::set_project(&top, project, true)?;
    }
    Ok(tally)
}

/// Makes a folder and all in it ones of no project, where `ours` says that its project is one that PID 1 gave it.
///
/// # Errors
/// As [`take`].
pub fn release(path: &Path, ours: impl Fn(u32) -> bool, feed: &dyn Fn()) -> io::Result<bool> {
    let top = walk::folder(path)?;
    // A file system that knows no projects has none to take away.
    if !quota::project(&top).is_ok_and(ours) {
        return Ok(false);
    }
    go_through(path, Some(0), feed)?;
    quota::set_project(&top, 0, true)?;
    Ok(true)
}

/// Counts a folder with all in it; what is in it becomes of `project`.
fn go_through(path: &Path, project: Option<u32>, feed: &dyn Fn()) -> io::Result<Tally> {
    let top = walk::folder(path)?;
    let mut tally = Tally::default();
    tally.add(&fstat(&top)?);
    walk::walk(top, &mut |entry: &Entry<'_>| {
        tally.add(&entry.stat);
        if tally.names % FEED_EVERY == 0 {
            feed();
        }
        // What cannot be opened, such as links and pipes, holds no data.
        let Some(project) = project else { return Ok(()) };
        let is_folder = entry.kind() == FileType::Directory;
        let taken = match entry.open() {
            Ok(Some(file)) => quota::set_project(file.as_fd(), project, is_folder),
            Ok(None) => Ok(()),
            Err(error) => Err(error),
        };
        match taken {
            // One file, and whoever made it immutable knows.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => tally.left_out += 1,
            other => other?,
        }
        Ok(())
    })?;
    Ok(tally)
}

/// A number that has as many bits as the machine likes.
fn wide(number: impl Into<u64>) -> u64 {
    number.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs;

    #[test]
    fn a_file_with_several_names_is_counted_once() {
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        let empty = go_through(top.path(), None, &|| ()).unwrap();
        assert_eq!(empty.amount().files, 2, "the folder itself, and the one in it");
        fs::write(at("file"), vec![1; 3 << 20]).unwrap();
        fs::File::open(at("file")).unwrap().sync_all().unwrap();
        let once = go_through(top.path(), None, &|| ()).unwrap().amount();
        assert_eq!(once.files, 3);
        let grown = once.bytes - empty.amount().bytes;
        assert!((3 << 20..4 << 20).contains(&grown), "{grown}");
        for name in ["second", "sub/third"] {
            fs::hard_link(at("file"), at(name)).unwrap();
        }
        let thrice = go_through(top.path(), None, &|| ()).unwrap().amount();
        assert_eq!(thrice.files, 3);
        assert!(thrice.bytes.abs_diff(once.bytes) < 8192, "{thrice:?} {once:?}");
    }

    #[test]
    fn the_watchdog_is_fed_meanwhile() {
        let top = tempfile::tempdir().unwrap();
        for number in 0..2 * FEED_EVERY + 1 {
            fs::write(top.path().join(number.to_string()), "").unwrap();
        }
        let fed = Cell::new(0);
        go_through(top.path(), None, &|| fed.set(fed.get() + 1)).unwrap();
        assert_eq!(fed.get(), 2);
    }

    #[test]
    fn a_folder_that_is_not_ours_stays_as_it_is() {
        let top = tempfile::tempdir().unwrap();
        assert!(!release(top.path(), |project| project == 7, &|| ()).unwrap());
        assert!(release(&top.path().join("missing"), |_| true, &|| ()).is_err());
    }
}
