//! Stage: the directories that services find: in `/run` and other memory, or kept on `state` or `data`.

use super::events::Warnings;
use contract::names::{KEPT_DIRECTORIES, STATE_MOUNT};
use contract::role::Directory;
use contract::storage::Data;
use std::ffi::CString;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

pub fn run(directories: &[Directory], data: &Data, warnings: &mut Warnings) {
    for directory in directories {
        let made = match (directory.persistent, directory.data) {
            (false, _) => make(directory),
            (true, false) => keep(Path::new(STATE_MOUNT), directory),
            (true, true) => match data_folder(data) {
                Ok(folder) => keep(folder, directory),
                // The services that need it say so.
                Err(_) => continue,
            },
        };
        if let Err(error) = made {
            warnings.add(format_args!("cannot make the directory {}: {error}", directory.path));
        }
    }
}

/// Where the file system of `data` is.
///
/// # Errors
/// Why there is none, and what to do about it, for the operator.
pub fn data_folder(data: &Data) -> Result<&Path, String> {
    match data {
        Data::Ready { mount: Some(folder), .. } => Ok(Path::new(folder)),
        Data::Ready { kind, .. } => {
            Err(format!("its data needs a file system on data, but disks.data in node.toml is \"{kind}\""))
        }
        Data::NotWanted => {
            Err("its data needs the partition data: set [disks] data = \"ext4\" in node.toml".to_owned())
        }
        Data::Refused { reason } => Err(format!("its data needs the partition data, which is missing: {reason}")),
    }
}

/// A directory on `state` or `data`, bound to its place.
fn keep(disk: &Path, directory: &Directory) -> io::Result<()> {
    let kept = kept_path(disk, &directory.path);
    owned(&kept, directory)?;
    let target = Path::new(&directory.path);
    if !target.is_dir() {
        std::fs::create_dir_all(target)?;
    }
    Ok(rustix::mount::mount_bind(&kept, target)?)
}

/// Where a folder is that is shown at `path`.
pub fn kept_path(disk: &Path, path: &str) -> PathBuf {
    disk.join(KEPT_DIRECTORIES).join(path.trim_start_matches('/'))
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
            data: false,
            limit_bytes: None,
        };
        for _ in 0..2 {
            make(&directory).unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (65_534, 65_533, 0o2750));
        }
    }

    #[test]
    fn without_a_file_system_on_data_its_reason_says_what_to_write() {
        assert!(data_folder(&Data::NotWanted).unwrap_err().contains("[disks] data = \"ext4\""));
        let refused = Data::Refused { reason: "a LUKS volume".to_owned() };
        assert!(data_folder(&refused).unwrap_err().ends_with("which is missing: a LUKS volume"));
        let ready = |kind, mount: Option<&str>| Data::Ready {
            disk: "nvme0n1".to_owned(),
            serial: "S1".to_owned().try_into().unwrap(),
            device: "/dev/nvme0n1p7".to_owned(),
            kind,
            size: 1,
            mount: mount.map(str::to_owned),
            created: false,
            notes: Vec::new(),
        };
        use contract::node::DataKind;
        assert!(data_folder(&ready(DataKind::Lvm, None)).unwrap_err().contains("is \"lvm\""));
        assert_eq!(data_folder(&ready(DataKind::Xfs, Some("/data"))).unwrap(), Path::new("/data"));
    }

    #[test]
    fn a_kept_directory_never_leaves_state() {
        assert_eq!(kept_path(Path::new("/state"), "/var/lib/frr"), Path::new("/state/directories/var/lib/frr"));
    }
}
