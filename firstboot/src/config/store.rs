//! Atomic file writes, with owner and mode: written under a temporary name, synced, renamed.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

/// Owner (user and group number) and permission bits of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

impl Access {
    /// root's, with these permission bits.
    #[must_use]
    pub const fn root(mode: u32) -> Access {
        Access { uid: 0, gid: 0, mode }
    }
}

/// Puts `bytes` at `path`. After a power cut there is the old file or the new one. On an error the old one stays.
///
/// # Errors
/// Which step failed, as the kernel says it.
pub fn write_atomic(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = Path::new(&temporary);
    let written = write_temporary(temporary, bytes, access).and_then(|()| std::fs::rename(temporary, path));
    if let Err(error) = written {
        let _ = std::fs::remove_file(temporary);
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

fn write_temporary(path: &Path, bytes: &[u8], access: Access) -> io::Result<()> {
    let _ = std::fs::remove_file(path);
    // No one but root may open it before it has its owner and mode.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mut file = File::from(rustix::fs::open(path, flags, Mode::from_raw_mode(0o600))?);
    file.write_all(bytes)?;
    std::os::unix::fs::fchown(&file, Some(access.uid), Some(access.gid))?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(access.mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_file_is_replaced_whole_with_its_mode_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        for text in ["a longer first one", "second"] {
            write_atomic(&path, text.as_bytes(), Access::root(0o640)).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_power_cut_left_behind_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        std::fs::write(folder.path().join("node.toml.new"), "half").unwrap();
        write_atomic(&path, b"whole", Access::root(0o600)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        assert!(write_atomic(&path, b"new", Access::root(0o600)).is_err());
        assert!(path.is_dir());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
