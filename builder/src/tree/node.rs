//! Paths and the nodes at them.

use contract::hash::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes of a file, held in memory or lying in a file of the cache.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Arc<[u8]>),
    /// `length` bytes from `offset` of an open file, which must hash to `sha256`.
    Range {
        file: Arc<File>,
        path: Arc<PathBuf>,
        offset: u64,
        length: u64,
        sha256: Digest,
    },
}

/// Bytes in the cache that are no longer what they were.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is damaged in the cache: remove the folder {} and build again",
    .0.display(),
    .0.parent().unwrap_or(&.0).display()
)]
pub struct Damaged(PathBuf);

impl Content {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::Range { length, .. } => *length,
        }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buffer` with the bytes from `at` on.
    ///
    /// # Errors
    /// When the range ends before the buffer is full, or the file cannot be read.
    pub fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> std::io::Result<()> {
        let short = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let end = at.checked_add(buffer.len() as u64).ok_or_else(short)?;
        if end > self.len() {
            return Err(short());
        }
        match self {
            Content::Bytes(bytes) => {
                buffer.copy_from_slice(&bytes[at as usize..end as usize]);
                Ok(())
            }
            Content::Range { file, offset, .. } => file.read_exact_at(buffer, offset + at),
        }
    }

    /// All bytes, in memory, checked.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged ([`Damaged`]).
    pub fn to_bytes(&self) -> std::io::Result<Arc<[u8]>> {
        match self {
            Content::Bytes(bytes) => Ok(bytes.clone()),
            Content::Range { length, path, sha256, .. } => {
                let mut bytes = vec![0; *length as usize];
                self.read_exact_at(&mut bytes, 0)?;
                if Digest::of(&bytes) != *sha256 {
                    return Err(damaged(path));
                }
                Ok(bytes.into())
            }
        }
    }

    /// SHA-256 of what it must be.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Content::Bytes(bytes) => Digest::of(bytes),
            Content::Range { sha256, .. } => *sha256,
        }
    }

    /// Checks that the bytes are what they must be.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged ([`Damaged`]).
    pub fn verify(&self) -> std::io::Result<()> {
        let Content::Range { length, path, sha256, .. } = self else { return Ok(()) };
        let mut hash = Sha256::new();
        let mut buffer = vec![0; (*length).min(256 * 1024) as usize];
        let mut at = 0;
        while at < *length {
            let count = (length - at).min(buffer.len() as u64) as usize;
            self.read_exact_at(&mut buffer[..count], at)?;
            hash.update(&buffer[..count]);
            at += count as u64;
        }
        if Digest(hash.finalize().into()) == *sha256 { Ok(()) } else { Err(damaged(path)) }
    }
}

fn damaged(path: &Path) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, Damaged(path.to_owned()))
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Content {
        Content::Bytes(bytes.into())
    }
}

/// Numbers of user and group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
}

/// What is at a path.
#[derive(Clone, Debug)]
pub enum Kind {
    Directory,
    File(Content),
    /// Target, as written.
    Symlink(String),
    /// Path of the first name, in the same form as the tree's keys.
    Hardlink(String),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// One entry of the tree.
#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    pub owner: Owner,
    /// Permission bits with set-uid, set-gid and sticky (07777).
    pub mode: u32,
    /// Extended attributes, such as `security.capability`.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// Why it is here: the package, overlay or profile part that it comes from.
    pub origin: Arc<str>,
}

/// A path that is taken already by something else.
#[derive(Debug, thiserror::Error)]
#[error("/{path} comes from {first} and, with other content, from {second}")]
pub struct TreeError {
    pub path: String,
    pub first: Arc<str>,
    pub second: Arc<str>,
}

/// The root file system: paths without leading slash, in order; the root itself is the empty path.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    pub nodes: BTreeMap<String, Node>,
}

impl Node {
    /// A directory of root's with mode 0755.
    #[must_use]
    pub fn directory(origin: &str) -> Node {
        Node::of(Kind::Directory, 0o755, origin)
    }

    /// Something of root's.
    #[must_use]
    pub fn of(kind: Kind, mode: u32, origin: &str) -> Node {
        Node { kind, owner: Owner::default(), mode, xattrs: BTreeMap::new(), origin: origin.into() }
    }

    /// Whether both are the same file, owner and rights.
    fn same(&self, other: &Node) -> bool {
        let rights = self.mode == other.mode && self.owner == other.owner && self.xattrs == other.xattrs;
        rights
            && match (&self.kind, &other.kind) {
                (Kind::File(a), Kind::File(b)) => {
                    a.len() == b.len() && matches!((a.to_bytes(), b.to_bytes()), (Ok(a), Ok(b)) if a == b)
                }
                (Kind::Symlink(a), Kind::Symlink(b)) | (Kind::Hardlink(a), Kind::Hardlink(b)) => a == b,
                (Kind::CharDevice { major, minor }, Kind::CharDevice { major: a, minor: b })
                | (Kind::BlockDevice { major, minor }, Kind::BlockDevice { major: a, minor: b }) => {
                    (major, minor) == (a, b)
                }
                (Kind::Fifo, Kind::Fifo) => true,
                _ => false,
            }
    }
}

/// Why a directory is here that no one named.
const PARENT: &str = "microdc, a parent folder";

impl Tree {
    /// Puts something at a path. A directory may be there already, and then stays as it is, unless it was only made
    /// as a parent; anything else must be the same as what is there.
    ///
    /// # Errors
    /// When something else is there.
    pub fn insert(&mut self, path: &str, node: Node) -> Result<(), TreeError> {
        let Some(there) = self.nodes.get_mut(path) else {
            self.nodes.insert(path.to_owned(), node);
            return Ok(());
        };
        match (&there.kind, &node.kind) {
            (Kind::Directory, Kind::Directory) => {
                if &*there.origin == PARENT {
                    *there = node;
                }
                Ok(())
            }
            _ if there.same(&node) => Ok(()),
            _ => Err(TreeError { path: path.to_owned(), first: there.origin.clone(), second: node.origin }),
        }
    }

    /// Makes the directories above a path that are missing: root's, mode 0755.
    pub fn insert_parents(&mut self, path: &str) {
        for (at, _) in path.match_indices('/') {
            let parent = &path[..at];
            if !self.nodes.contains_key(parent) {
                self.nodes.insert(parent.to_owned(), Node::directory(PARENT));
            }
        }
    }

    /// The path at which something really stands, after every symbolic link on the way, when it is in the tree.
    /// `path` may begin with `/`.
    #[must_use]
    pub fn resolve(&self, path: &str) -> Option<String> {
        resolve(path, |path| self.nodes.get(path).map(|node| &node.kind))
    }
}

/// Follows symbolic links (at most 40, as the kernel does) among the entries that `look` knows.
pub(super) fn resolve<'t>(path: &str, look: impl Fn(&str) -> Option<&'t Kind>) -> Option<String> {
    let mut waiting: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let mut at = String::new();
    let mut links = 0;
    while let Some(name) = waiting.pop() {
        match name.as_str() {
            "" | "." => continue,
            ".." => at.truncate(at.rfind('/').unwrap_or(0)),
            name => {
                let next = if at.is_empty() { name.to_owned() } else { format!("{at}/{name}") };
                match look(&next) {
                    // What is not a link may be a directory that no one lists; the end of the way must be there.
                    Some(Kind::Symlink(target)) => {
                        links += 1;
                        if links > 40 {
                            return None;
                        }
                        if target.starts_with('/') {
                            at.clear();
                        }
                        waiting.extend(target.split('/').rev().map(str::to_owned));
                    }
                    _ => at = next,
                }
            }
        }
    }
    look(&at)?;
    Some(at)
}
