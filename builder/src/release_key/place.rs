//! Whether somebody else could replace a key where it lies. Whoever can write to a folder on the way to a file can put
//! another in its place, whatever the file's own mode is; sshd(8) looks at the same (`StrictModes`).

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A place at which a key is not safe.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error(
        "any user could replace {}: {} is world-writable (mode {mode:04o}); run: chmod o-w {}",
        key.display(), at.display(), at.display()
    )]
    Open { key: PathBuf, at: PathBuf, mode: u32 },
    #[error("looking at {}: {source}", .at.display())]
    Io { at: PathBuf, source: io::Error },
}

/// Set on folders in which everybody may make files and only their owners may replace them.
const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITE: u32 = 0o020;

/// Looks at a key and at every folder above it. Returns what is worth a warning: places that a group may write to, and
/// owners that are neither root nor who runs this.
///
/// # Errors
/// When everybody may write to one of them.
pub fn check(key: &Path) -> Result<Vec<String>, PlaceError> {
    let io = |at: &Path| {
        let at = at.to_owned();
        move |source| PlaceError::Io { at, source }
    };
    // A link's target may lie elsewhere: its own folders count.
    let real = key.canonicalize().map_err(io(key))?;
    let mut warnings = Vec::new();
    for at in real.ancestors() {
        let metadata = std::fs::metadata(at).map_err(io(at))?;
        let mode = metadata.mode() & 0o7777;
        let sticky = metadata.is_dir() && mode & STICKY != 0;
        if mode & OTHERS_WRITE != 0 && !sticky {
            return Err(PlaceError::Open { key: key.to_owned(), at: at.to_owned(), mode });
        }
        if mode & GROUP_WRITE != 0 && !sticky {
            let (at, group) = (at.display(), metadata.gid());
            warnings.push(format!(
                "{} could be replaced by the group {group}, which may write to {at} (mode {mode:04o}); to prevent it: \
                 chmod g-w {at}",
                key.display()
            ));
        }
        if is_foreign(&metadata) {
            let (at, owner) = (at.display(), metadata.uid());
            warnings.push(format!(
                "{} could be replaced by the user {owner}, to whom {at} belongs; to prevent it: chown it",
                key.display()
            ));
        }
    }
    Ok(warnings)
}

/// Whether it belongs neither to root nor to who runs this.
fn is_foreign(metadata: &Metadata) -> bool {
    metadata.uid() != 0 && metadata.uid() != rustix::process::geteuid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    fn with_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_below_a_folder_that_everybody_may_write_to_is_refused_with_what_to_run() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("a/keys");
        fs::create_dir_all(&folder).unwrap();
        let key = folder.join("release.key");
        fs::write(&key, "").unwrap();
        for at in [&key, &folder, &top.path().join("a")] {
            let before = fs::metadata(at).unwrap().permissions();
            with_mode(at, 0o777);
            let error = check(&key).unwrap_err();
            assert!(error.to_string().contains(&format!("chmod o-w {}", at.display())), "{error}");
            fs::set_permissions(at, before).unwrap();
        }
        // As /tmp is, in which this test lies.
        with_mode(&folder, 0o1777);
        assert!(check(&key).is_ok());
        // A link does not hide where the key really lies.
        let link = top.path().join("link.key");
        std::os::unix::fs::symlink(&key, &link).unwrap();
        with_mode(&folder, 0o777);
        assert!(matches!(check(&link), Err(PlaceError::Open { mode: 0o777, .. })));
    }

    #[test]
    fn a_folder_that_a_group_may_write_to_is_worth_a_warning() {
        let top = tempfile::tempdir().unwrap();
        let key = top.path().join("release.key");
        fs::write(&key, "").unwrap();
        with_mode(&key, 0o600);
        let before = check(&key).unwrap();
        with_mode(top.path(), 0o770);
        let warnings = check(&key).unwrap();
        assert_eq!(warnings.len(), before.len() + 1, "{warnings:?}");
        assert!(warnings[0].contains("chmod g-w"), "{warnings:?}");
    }

    #[test]
    fn a_key_of_another_user_is_worth_a_warning() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let top = tempfile::tempdir().unwrap();
        let key = top.path().join("release.key");
        fs::write(&key, "").unwrap();
        std::os::unix::fs::chown(&key, Some(4242), None).unwrap();
        let warnings = check(&key).unwrap();
        assert!(warnings.iter().any(|warning| warning.contains("the user 4242")), "{warnings:?}");
    }
}
