//! The files of a slot: what is in its root and in its boot partition.

use super::{OpenError, OpenSlot};
use crate::format::fat_read::Reader as FatReader;
use contract::hash::Digest;
use ext4_view::{Ext4, Ext4Error, FileType};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// A root file system has at most so many entries: what says otherwise has a loop in it.
const MOST: usize = 4_000_000;
/// Longest path in bytes (PATH_MAX).
const LONGEST: usize = 4096;
/// What ext4 has in its root for its own use.
const LOST_FOUND: &str = "lost+found";

/// What is at a path of the root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    #[serde(flatten)]
    pub kind: EntryKind,
    /// Permission bits with set-uid, set-gid and sticky (07777).
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
}

/// Kinds of entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum EntryKind {
    Directory,
    /// Size in bytes.
    File {
        size: u64,
    },
    Link {
        target: String,
    },
    /// A device, a pipe or a socket.
    Special,
}

impl Entry {
    /// Size in bytes; only files have one.
    #[must_use]
    pub fn size(&self) -> u64 {
        if let EntryKind::File { size } = self.kind { size } else { 0 }
    }

    /// Mode and kind as `ls -l` writes them.
    #[must_use]
    pub fn permissions(&self) -> String {
        let kind = match self.kind {
            EntryKind::Directory => 'd',
            EntryKind::File { .. } => '-',
            EntryKind::Link { .. } => 'l',
            EntryKind::Special => '?',
        };
        let mut text = String::from(kind);
        for (shift, special, mark) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
            let bits = self.mode >> shift;
            text.push(if bits & 4 != 0 { 'r' } else { '-' });
            text.push(if bits & 2 != 0 { 'w' } else { '-' });
            text.push(match (self.mode & special != 0, bits & 1 != 0) {
                (false, false) => '-',
                (false, true) => 'x',
                (true, true) => mark,
                (true, false) => mark.to_ascii_uppercase(),
            });
        }
        text
    }
}

/// The root file system of a slot. Paths have no leading slash; the root itself is the empty path.
pub struct Root(Ext4);

impl OpenSlot {
    /// Opens the root file system.
    ///
    /// # Errors
    /// When it cannot be read as ext4.
    pub fn root(&self) -> Result<Root, OpenError> {
        Ok(Root(Ext4::load(Box::new(self.root.clone())).map_err(|error| OpenError::Root(error.to_string()))?))
    }

    /// Files of the boot partition, by name, with their sizes in bytes.
    ///
    /// # Errors
    /// When it cannot be read as FAT.
    pub fn boot_files(&self) -> Result<BTreeMap<String, u64>, OpenError> {
        Ok(self.boot()?.list()?)
    }

    /// The bytes of a file of the boot partition.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn read_boot(&self, name: &str) -> Result<Vec<u8>, OpenError> {
        self.boot()?.read(name)?.ok_or_else(|| OpenError::NoFile(name.to_owned()))
    }

    /// The boot partition, open.
    ///
    /// # Errors
    /// When there is none, or it cannot be read as FAT.
    pub fn boot(&self) -> Result<FatReader<super::Bytes>, OpenError> {
        Ok(FatReader::open(self.boot.clone().ok_or(OpenError::NoBoot)?)?)
    }
}

impl Root {
    /// Everything in it, by path.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn entries(&self) -> Result<BTreeMap<String, Entry>, OpenError> {
        let bad = |path: &str, why: &dyn std::fmt::Display| OpenError::Root(format!("/{path}: {why}"));
        let mut found = BTreeMap::from([(String::new(), self.entry("")?)]);
        let mut waiting = vec![String::new()];
        while let Some(folder) = waiting.pop() {
            let listed = self.0.read_dir(format!("/{folder}").as_str()).map_err(|error| bad(&folder, &error))?;
            for entry in listed {
                let entry = entry.map_err(|error| bad(&folder, &error))?;
                let name = entry.file_name().as_str().map_err(|_| bad(&folder, &"a name in it is not UTF-8"))?;
                if matches!(name, "." | "..") || folder.is_empty() && name == LOST_FOUND {
                    continue;
                }
                let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
                if path.len() > LONGEST || found.len() >= MOST {
                    return Err(bad(&folder, &"its directories have no end"));
                }
                let entry = self.entry(&path)?;
                if entry.kind == EntryKind::Directory {
                    waiting.push(path.clone());
                }
                found.insert(path, entry);
            }
        }
        Ok(found)
    }

    /// What is at a path; a symbolic link at its end is not followed.
    ///
    /// # Errors
    /// When there is nothing, or it cannot be read.
    pub fn entry(&self, path: &str) -> Result<Entry, OpenError> {
        let full = format!("/{path}");
        let metadata = self.0.symlink_metadata(full.as_str()).map_err(|error| failed(path, error))?;
        let kind = match metadata.file_type() {
            FileType::Directory => EntryKind::Directory,
            FileType::Regular => EntryKind::File { size: metadata.len() },
            FileType::Symlink => {
                let target = self.0.read_link(full.as_str()).map_err(|error| failed(path, error))?;
                EntryKind::Link { target: target.display().to_string() }
            }
            _ => EntryKind::Special,
        };
        Ok(Entry { kind, mode: metadata.mode(), uid: metadata.uid(), gid: metadata.gid() })
    }

    /// Where something really stands, after symbolic links.
    ///
    /// # Errors
    /// When there is nothing.
    pub fn resolve(&self, path: &str) -> Result<String, OpenError> {
        let found = self.0.canonicalize(format!("/{path}").as_str()).map_err(|error| failed(path, error))?;
        Ok(found.display().to_string().trim_start_matches('/').to_owned())
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn read(&self, path: &str) -> Result<Vec<u8>, OpenError> {
        self.0.read(format!("/{path}").as_str()).map_err(|error| failed(path, error))
    }

    /// SHA-256 of a file's bytes, read piece by piece.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn digest(&self, path: &str) -> Result<Digest, OpenError> {
        let mut file = self.0.open(format!("/{path}").as_str()).map_err(|error| failed(path, error))?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match file.read_bytes(&mut buffer).map_err(|error| failed(path, error))? {
                0 => return Ok(Digest(hash.finalize().into())),
                count => hash.update(&buffer[..count]),
            }
        }
    }

    /// Opens a file to read parts of it.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(&self, path: &str) -> Result<ext4_view::File, OpenError> {
        self.0.open(format!("/{path}").as_str()).map_err(|error| failed(path, error))
    }
}

fn failed(path: &str, error: Ext4Error) -> OpenError {
    match error {
        Ext4Error::NotFound | Ext4Error::NotADirectory => OpenError::NoFile(path.to_owned()),
        error => OpenError::Root(format!("/{path}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_written_as_ls_writes_them() {
        let text = |mode, kind| Entry { kind, mode, uid: 0, gid: 0 }.permissions();
        assert_eq!(text(0o4755, EntryKind::File { size: 1 }), "-rwsr-xr-x");
        assert_eq!(text(0o1777, EntryKind::Directory), "drwxrwxrwt");
        assert_eq!(text(0o2640, EntryKind::File { size: 1 }), "-rw-r-S---");
        assert_eq!(text(0o777, EntryKind::Link { target: "x".into() }), "lrwxrwxrwx");
    }
}
