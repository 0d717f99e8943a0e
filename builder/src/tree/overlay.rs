//! An overlay: a folder of files laid over the root. It takes precedence over files from packages.
//!
//! Git keeps one bit of a file's mode, and the builder's umask takes others away: a file is 0755 when its owner may run
//! it, otherwise 0644; a folder is 0755; everything belongs to root. What should be otherwise is in the overlay's
//! `overlay.toml` ([`super::rules`]), which is not itself laid.

use super::node::{Content, Kind, Node, Tree};
use super::rules::{self, Rules};
use crate::profile::Diagnostic;
use crate::tree::Accounts;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// An overlay that cannot be laid.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is neither file, folder nor symbolic link")]
    Kind { path: PathBuf },
    #[error("{path}: a name that is not UTF-8")]
    Name { path: PathBuf },
    #[error("{path} is a folder, but {origin} has something else there")]
    NotAFolder { path: PathBuf, origin: std::sync::Arc<str> },
    #[error(transparent)]
    Rules(#[from] Box<Diagnostic>),
}

/// Lays `folder` over the tree. `name` is for origins, `accounts` are those that files may belong to.
///
/// # Errors
/// When something in it cannot be read or laid.
pub fn lay(tree: &mut Tree, folder: &Path, name: &str, accounts: &Accounts) -> Result<(), OverlayError> {
    let origin = super::origin::of_overlay(name);
    let rules = rules(folder, accounts)?;
    let mut laid = BTreeSet::new();
    let mut waiting = vec![(folder.to_owned(), String::new())];
    while let Some((folder, prefix)) = waiting.pop() {
        for path in entries(&folder)? {
            let Some(file_name) = path.file_name().and_then(|name| name.to_str()) else {
                return Err(OverlayError::Name { path });
            };
            let inside = if prefix.is_empty() { file_name.to_owned() } else { format!("{prefix}/{file_name}") };
            if inside == rules::NAME {
                continue;
            }
            let inside = super::take::merged(&inside).into_owned();
            laid.insert(inside.clone());
            let read = |source| OverlayError::Read { path: path.clone(), source };
            let metadata = std::fs::symlink_metadata(&path).map_err(read)?;
            let node = if metadata.is_dir() {
                waiting.push((path.clone(), inside.clone()));
                match tree.nodes.get(&inside) {
                    Some(Node { kind: Kind::Directory, .. }) => continue,
                    Some(other) => return Err(OverlayError::NotAFolder { path, origin: other.origin.clone() }),
                    None => Node::directory(&origin),
                }
            } else if metadata.is_symlink() {
                let target = std::fs::read_link(&path).map_err(read)?;
                let target = target.to_str().ok_or_else(|| OverlayError::Name { path: path.clone() })?;
                Node::of(Kind::Symlink(target.to_owned()), 0o777, &origin)
            } else if metadata.is_file() {
                let mode = if metadata.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
                let content = Content::from(std::fs::read(&path).map_err(read)?);
                Node::of(Kind::File(content), mode, &origin)
            } else {
                return Err(OverlayError::Kind { path });
            };
            tree.insert_parents(&inside);
            tree.nodes.insert(inside, node);
        }
    }
    if let Some(rules) = rules {
        rules.apply(tree, &laid).map_err(Box::new)?;
    }
    Ok(())
}

fn rules(folder: &Path, accounts: &Accounts) -> Result<Option<Rules>, OverlayError> {
    let path = folder.join(rules::NAME);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Rules::parse(&path, &text, accounts).map_err(Box::new)?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OverlayError::Read { path, source }),
    }
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, OverlayError> {
    let read = |source| OverlayError::Read { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        paths.push(entry.map_err(read)?.path());
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_wins_over_what_is_there_and_its_modes_do_not_follow_the_umask() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("etc/a")).unwrap();
        for (name, mode) in [("etc/a/run", 0o700), ("etc/a/text", 0o664)] {
            let path = folder.path().join(name);
            std::fs::write(&path, name).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        std::os::unix::fs::symlink("../run/x", folder.path().join("etc/link")).unwrap();
        std::fs::write(folder.path().join("overlay.toml"), "[path.\"etc/a\"]\nowner = \"daemon\"\n").unwrap();
        let mut tree = Tree::default();
        tree.nodes.insert("etc/a/text".to_owned(), Node::of(Kind::Fifo, 0o600, "package x"));
        lay(&mut tree, folder.path(), "t", &Accounts::default()).unwrap();
        assert_eq!(tree.nodes["etc/a"].owner.uid, 1);
        assert!(!tree.nodes.contains_key("overlay.toml"));
        assert_eq!(tree.nodes["etc/a/run"].mode, 0o755);
        assert_eq!(tree.nodes["etc/a/text"].mode, 0o644);
        assert!(matches!(&tree.nodes["etc/a/text"].kind, Kind::File(content) if content.len() == 10));
        assert!(matches!(&tree.nodes["etc/link"].kind, Kind::Symlink(target) if target == "../run/x"));
    }

    #[test]
    fn a_folder_does_not_replace_a_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("etc/passwd/x")).unwrap();
        let mut tree = Tree::default();
        tree.nodes.insert("etc/passwd".to_owned(), Node::of(Kind::File(Content::from(vec![1])), 0o644, "base"));
        let laid = lay(&mut tree, folder.path(), "t", &Accounts::default());
        assert!(matches!(laid, Err(OverlayError::NotAFolder { .. })));
    }
}
