//! Paths and what stands at them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of a file, held in memory or lying in a file of the cache.
#[derive(Clone, Debug)]
pub enum Content {
    Bytes(Arc<[u8]>),
    /// `length` bytes from `offset` of an open file.
    Range {
        file: Arc<File>,
        path: Arc<PathBuf>,
        offset: u64,
        length: u64,
    },
}

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

    /// All bytes, in memory.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn to_bytes(&self) -> std::io::Result<Arc<[u8]>> {
        match self {
            Content::Bytes(bytes) => Ok(bytes.clone()),
            Content::Range { length, .. } => {
                let mut bytes = vec![0; *length as usize];
                self.read_exact_at(&mut bytes, 0)?;
                Ok(bytes.into())
            }
        }
    }
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

/// What stands at a path.
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
