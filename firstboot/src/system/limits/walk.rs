//! Everything below a folder, without following what leads out of it. Services have filled it as they liked: its depth and its
//! number of names are theirs, so one folder is open at a time and nothing is kept but the way back.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, Stat, fstat, openat, seek, statat};
use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

/// For the names of a folder, in bytes: few are read again when its subfolders have been looked at.
const BUFFER: usize = 2048;
const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NOATIME);

/// A file, a folder or something else.
pub struct Entry<'d> {
    /// The folder that it is in.
    pub folder: BorrowedFd<'d>,
    pub name: &'d CStr,
    pub stat: Stat,
}

impl Entry<'_> {
    #[must_use]
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// Opens a regular file or a folder.
    ///
    /// # Errors
    /// `None` for anything else: opening a device or a pipe would do something.
    pub fn open(&self) -> io::Result<Option<OwnedFd>> {
        let flags = match self.kind() {
            FileType::RegularFile => OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK,
            FileType::Directory => FOLDER,
            _ => return Ok(None),
        };
        Ok(Some(openat(self.folder, self.name, flags, Mode::empty())?))
    }
}

/// Where a folder goes on once one of its subfolders has been looked at.
struct Way {
    folder: u64,
    cookie: u64,
}

/// Opens a folder.
///
/// # Errors
/// What the kernel says; `ENOTDIR` or `ELOOP` for what is not one.
pub fn folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, FOLDER, Mode::empty())?)
}

/// Calls `each` for everything below a folder; a subfolder comes before what is in it. What is mounted in there is left out.
/// Nothing else may change names in there meanwhile.
///
/// # Errors
/// The first one of `each`, or when a folder cannot be read.
pub fn walk(top: OwnedFd, each: &mut dyn FnMut(&Entry<'_>) -> io::Result<()>) -> io::Result<()> {
    let device = fstat(&top)?.st_dev;
    let mut above: Vec<Way> = Vec::new();
    let mut folder = top;
    loop {
        match next_folder(&folder, device, each)? {
            Some((deeper, cookie)) => {
                above.push(Way { folder: fstat(&folder)?.st_ino, cookie });
                folder = deeper;
            }
            None => {
                let Some(way) = above.pop() else { return Ok(()) };
                let parent = openat(&folder, c"..", FOLDER, Mode::empty())?;
                if fstat(&parent)?.st_ino != way.folder {
                    return Err(io::Error::other("a folder was moved while it was read"));
                }
                seek(&parent, SeekFrom::Start(way.cookie))?;
                folder = parent;
            }
        }
    }
}

/// Goes through the names of a folder from where it stands to its next subfolder; gives that, and where the folder goes on.
fn next_folder(
    folder: &OwnedFd,
    device: u64,
    each: &mut dyn FnMut(&Entry<'_>) -> io::Result<()>,
) -> io::Result<Option<(OwnedFd, u64)>> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut names = RawDir::new(folder, &mut buffer);
    while let Some(found) = names.next() {
        let found = found?;
        let name = found.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if stat.st_dev != device {
            continue;
        }
        let entry = Entry { folder: folder.as_fd(), name, stat };
        each(&entry)?;
        if entry.kind() == FileType::Directory
            && let Some(deeper) = entry.open()?
        {
            return Ok(Some((deeper, found.next_entry_cookie())));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, mkdirat, mkfifoat};
    use std::fs;
    use std::os::unix::fs::symlink;

    fn names(top: &Path) -> Vec<String> {
        let mut names = Vec::new();
        walk(folder(top).unwrap(), &mut |entry| {
            names.push(entry.name.to_string_lossy().into_owned());
            entry.open().map(drop)
        })
        .unwrap();
        names.sort();
        names
    }

    #[test]
    fn everything_is_seen_once_and_nothing_outside() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        let top = tempfile::tempdir().unwrap();
        let at = |name: &str| top.path().join(name);
        symlink(outside.path(), at("out")).unwrap();
        symlink("..", at("up")).unwrap();
        mkfifoat(CWD, at("pipe"), Mode::RUSR).unwrap();
        let mut wanted = vec!["out".to_owned(), "pipe".to_owned(), "up".to_owned()];
        // More than the buffer takes, and folders among files.
        for number in 0..300 {
            let (file, sub) = (format!("file-{number:03}"), format!("sub-{number:03}"));
            fs::write(at(&file), "x").unwrap();
            fs::create_dir(at(&sub)).unwrap();
            fs::write(at(&sub).join(format!("in-{number:03}")), "x").unwrap();
            wanted.extend([file, sub, format!("in-{number:03}")]);
        }
        wanted.sort();
        assert_eq!(names(top.path()), wanted);
        assert!(folder(&at("up")).is_err(), "a link is not a folder");
    }

    #[test]
    fn a_folder_of_any_depth_takes_no_memory_and_no_descriptors() {
        let top = tempfile::tempdir().unwrap();
        let long = "d".repeat(255);
        let mut at = folder(top.path()).unwrap();
        // Far beyond the longest path, and beyond the descriptors of a process.
        for _ in 0..3000 {
            mkdirat(&at, long.as_str(), Mode::RWXU).unwrap();
            at = openat(&at, long.as_str(), FOLDER, Mode::empty()).unwrap();
        }
        drop(at);
        let mut count = 0;
        walk(folder(top.path()).unwrap(), &mut |_| {
            count += 1;
            Ok(())
        })
        .unwrap();
        assert_eq!(count, 3000);
    }

    #[test]
    fn what_the_caller_says_ends_it() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("a"), "x").unwrap();
        let error = walk(folder(top.path()).unwrap(), &mut |_| Err(io::Error::other("enough"))).unwrap_err();
        assert_eq!(error.to_string(), "enough");
    }
}
