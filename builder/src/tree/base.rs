//! The directories that every root file system has, as Debian's base-files and usr-merge make them, and the mount points
//! of the node.

use super::{Kind, Node, Tree};
use contract::names::{BOOTSEL_MOUNT, DATA_MOUNT, STATE_MOUNT};

/// A tree with nothing but its skeleton.
#[must_use]
pub fn skeleton() -> Tree {
    let origin = super::origin::made("a folder or link of every root");
    let mut tree = Tree::default();
    let directories = [
        ("", 0o755),
        ("boot", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("proc", 0o555),
        ("root", 0o700),
        ("run", 0o755),
        ("sys", 0o555),
        ("tmp", 0o1777),
        ("usr", 0o755),
        ("usr/bin", 0o755),
        ("usr/lib", 0o755),
        ("usr/sbin", 0o755),
        ("usr/share", 0o755),
        ("var", 0o755),
        ("var/cache", 0o755),
        ("var/lib", 0o755),
        ("var/log", 0o755),
        ("var/tmp", 0o1777),
    ];
    let mounts = [BOOTSEL_MOUNT, DATA_MOUNT, STATE_MOUNT].map(|path| (path.trim_start_matches('/'), 0o755));
    for (path, mode) in directories.into_iter().chain(mounts) {
        tree.nodes.insert(path.to_owned(), Node::of(Kind::Directory, mode, &origin));
    }
    let links = [
        ("bin", "usr/bin"),
        ("lib", "usr/lib"),
        ("sbin", "usr/sbin"),
        ("var/lock", "/run/lock"),
        ("var/run", "/run"),
    ];
    for (path, target) in links {
        tree.nodes.insert(path.to_owned(), Node::of(Kind::Symlink(target.to_owned()), 0o777, &origin));
    }
    tree
}
