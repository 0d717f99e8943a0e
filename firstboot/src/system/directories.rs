//! Stage: the directories that services find: in `/run` and other memory, or kept on `state`.

use super::events::Warnings;
use contract::names::STATE_MOUNT;
use contract::role::Directory;
use std::ffi::CString;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

/// Folder on `state` below which persistent directories lie, by their path.
const KEPT: &str = "directories";

pub fn run(directories: &[Directory], warnings: &mut Warnings) {
    for directory in directories {
        let made = if directory.persistent { keep(directory) } else { make(directory) };
        if let Err(error) = made {
            warnings.add(format_args!("cannot make the directory {}: {error}", directory.path));
        }
    }
}

/// A directory on `state`, bound to its place.
fn keep(directory: &Directory) -> io::Result<()> {
    let kept = kept_path(Path::new(STATE_MOUNT), &directory.path);
    owned(&kept, directory)?;
    let target = Path::new(&directory.path);
    if !target.is_dir() {
        std::fs::create_dir_all(target)?;
    }
    Ok(rustix::mount::mount_bind(&kept, target)?)
}

fn kept_path(state: &Path, path: &str) -> PathBuf {
    state.join(KEPT).join(path.trim_start_matches('/'))
}

/// A directory in memory: where the root is read-only, one of its own.
fn make(directory: &Directory) -> io::Result<()> {
    let path = Path::new(&directory.path);
    match owned(path, directory) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem && path.is_dir() => {
            let options =
                format!("mode={:o},uid={},gid={},size=10%", directory.mode, directory.owner.uid, directory.owner.gid);
            let options = CString::new(options)?;
            let flags = crate::sys::mount::Flags::NOSUID | crate::sys::mount::Flags::NODEV;
            crate::sys::mount::mount(Path::new("tmpfs"), path, "tmpfs", flags, Some(&options))
        }
        other => other,
    }
}

/// Makes it with what is above it, and gives it its owner and mode.
fn owned(path: &Path, directory: &Directory) -> io::Result<()> {
    std::fs::create_dir_all(path)?;
    chown(path, Some(directory.owner.uid), Some(directory.owner.gid))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(directory.mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::role::Identity;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_directory_has_its_owner_and_mode_also_when_it_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/frr");
        let directory = Directory {
            path: path.to_str().unwrap().to_owned(),
            owner: Identity { uid: 65_534, gid: 65_533, groups: Vec::new() },
            mode: 0o2750,
            persistent: false,
        };
        for _ in 0..2 {
            make(&directory).unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (65_534, 65_533, 0o2750));
        }
    }

    #[test]
    fn a_kept_directory_never_leaves_state() {
        assert_eq!(kept_path(Path::new("/state"), "/var/lib/frr"), Path::new("/state/directories/var/lib/frr"));
    }
}
