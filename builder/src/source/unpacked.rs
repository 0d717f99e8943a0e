//! An unpacked package in the cache: one decompressed tar, and an index of its contents.
//!
//! The index ends with its own SHA-256, which is checked on every load, as is the tar's length; it holds the SHA-256 of
//! each file's content, which [`Unpacked::verify`] checks. An invalid index is treated as missing.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;

use contract::hash::Digest;

use super::depends::{self, Alternatives};
use crate::tree::{Content, Entry, Kind, Owner, Package, SourcePackage};

/// Version of the index and of what unpacking does; part of the folder's name.
pub const FORMAT: u32 = 2;
/// Names in a package's folder.
pub(super) const TAR: &str = "data.tar";
pub(super) const INDEX: &str = "index";

const MAGIC: &[u8; 8] = b"microPKG";
const DIGEST: usize = 32;

/// How an unpacked package cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    #[error("/{path} is not a file of package {package}")]
    NoFile { package: String, path: String },
    #[error("/{path} of package {package} is damaged in the cache ({}): remove that folder and build again", folder.display())]
    Damaged { package: String, path: String, folder: std::path::PathBuf },
    #[error("/{path} of package {package} cannot be read from the cache: {source}")]
    Read { package: String, path: String, source: io::Error },
}

/// A package in the cache: its file tree, and what else is known of it.
#[derive(Clone, Debug)]
pub struct Unpacked {
    /// Name, version and file tree, with content by reference.
    pub package: Arc<Package>,
    pub architecture: String,
    /// Of the package file.
    pub sha256: Digest,
    /// `Pre-Depends`, then `Depends`.
    pub depends: Vec<Alternatives>,
    /// Names that this package stands for as well.
    pub provides: Vec<String>,
    /// Paths that are the operator's to change, as in the file tree.
    pub conffiles: Vec<String>,
    /// Of each file's content, by path.
    pub digests: BTreeMap<String, Digest>,
    /// Where it lies.
    pub folder: std::path::PathBuf,
}

impl Unpacked {
    /// Checks a file's content against the digest that was taken when the package was unpacked.
    ///
    /// # Errors
    /// When there is no such file, or its bytes in the cache are not the package's.
    pub fn verify(&self, path: &str) -> Result<(), ContentError> {
        let name = || (self.package.name.clone(), path.to_owned());
        let found = (self.package.entries.get(path).map(|entry| &entry.kind), self.digests.get(path));
        let (Some(Kind::File(content)), Some(expected)) = found else {
            let (package, path) = name();
            return Err(ContentError::NoFile { package, path });
        };
        debug_assert_eq!(content.digest(), *expected);
        content.verify().map_err(|source| {
            let (package, path) = name();
            match source.kind() {
                io::ErrorKind::InvalidData => ContentError::Damaged { package, path, folder: self.folder.clone() },
                _ => ContentError::Read { package, path, source },
            }
        })
    }

    /// Checks every file of the package.
    ///
    /// # Errors
    /// At the first file whose bytes are not the package's.
    pub fn verify_all(&self) -> Result<(), ContentError> {
        self.digests.keys().try_for_each(|path| self.verify(path))
    }
}

/// One entry as the index stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub kind: ItemKind,
    pub uid: u32,
    pub gid: u32,
    pub uname: String,
    pub gname: String,
    pub mode: u32,
    pub mtime: u64,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// What an entry is; a file is a range of the decompressed tar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemKind {
    Directory,
    File { offset: u64, length: u64, sha256: Digest },
    Symlink(String),
    Hardlink(String),
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// What the index file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    pub name: String,
    pub version: String,
    pub architecture: String,
    /// The fields as the package writes them.
    pub source: String,
    pub pre_depends: String,
    pub depends: String,
    pub provides: String,
    pub conffiles: Vec<String>,
    /// Length of the decompressed tar.
    pub tar_length: u64,
    pub items: BTreeMap<String, Item>,
}

impl Index {
    /// The bytes of the index file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer(Vec::with_capacity(128 * (self.items.len() + 8)));
        writer.0.extend_from_slice(MAGIC);
        let Index { name, version, architecture, source, pre_depends, depends, provides, .. } = self;
        for text in [name, version, architecture, source, pre_depends, depends, provides] {
            writer.bytes(text.as_bytes());
        }
        writer.number(self.conffiles.len() as u64);
        self.conffiles.iter().for_each(|path| writer.bytes(path.as_bytes()));
        writer.number(self.tar_length);
        writer.number(self.items.len() as u64);
        for (path, item) in &self.items {
            writer.bytes(path.as_bytes());
            writer.item(item);
        }
        let digest = Digest::of(&writer.0);
        writer.0.extend_from_slice(&digest.0);
        writer.0
    }

    /// Reads an index file; `None` when a bit of it is not as it was written.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Index> {
        let (body, digest) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
        if Digest::of(body).0 != digest {
            return None;
        }
        let mut reader = Reader(body.strip_prefix(MAGIC)?);
        let mut index = Index {
            name: reader.text()?,
            version: reader.text()?,
            architecture: reader.text()?,
            source: reader.text()?,
            pre_depends: reader.text()?,
            depends: reader.text()?,
            provides: reader.text()?,
            ..Index::default()
        };
        for _ in 0..reader.number()? {
            index.conffiles.push(reader.text()?);
        }
        index.tar_length = reader.number()?;
        for _ in 0..reader.number()? {
            let path = reader.text()?;
            let item = reader.item(index.tar_length)?;
            index.items.insert(path, item);
        }
        reader.0.is_empty().then_some(index)
    }
}

/// Opens an unpacked package; `None` when there is none, or it is damaged.
pub(super) fn open(folder: &Path, sha256: Digest) -> Option<Unpacked> {
    let index = Index::from_bytes(&fs::read(folder.join(INDEX)).ok()?)?;
    let path = Arc::new(folder.join(TAR));
    let file = File::open(&*path).ok()?;
    if file.metadata().ok()?.len() != index.tar_length {
        return None;
    }
    let file = Arc::new(file);
    let mut digests = BTreeMap::new();
    let mut entries = BTreeMap::new();
    for (at, item) in index.items {
        let kind = match item.kind {
            ItemKind::File { offset, length, sha256 } => {
                digests.insert(at.clone(), sha256);
                Kind::File(Content::Range { file: file.clone(), path: path.clone(), offset, length, sha256 })
            }
            ItemKind::Directory => Kind::Directory,
            ItemKind::Symlink(target) => Kind::Symlink(target),
            ItemKind::Hardlink(target) => Kind::Hardlink(target),
            ItemKind::CharDevice { major, minor } => Kind::CharDevice { major, minor },
            ItemKind::BlockDevice { major, minor } => Kind::BlockDevice { major, minor },
            ItemKind::Fifo => Kind::Fifo,
        };
        let Item { uid, gid, uname, gname, mode, xattrs, .. } = item;
        entries.insert(at, Entry { kind, owner: Owner { uid, gid }, uname, gname, mode, xattrs });
    }
    let depends = [&index.pre_depends, &index.depends].into_iter().flat_map(|field| depends::parse(field)).collect();
    let source = SourcePackage::of(&index.source, &index.name, &index.version);
    Some(Unpacked {
        package: Arc::new(Package { name: index.name, version: index.version, source, entries }),
        architecture: index.architecture,
        sha256,
        depends,
        provides: depends::parse(&index.provides).into_iter().flatten().collect(),
        conffiles: index.conffiles,
        digests,
        folder: folder.to_owned(),
    })
}

/// Numbers as LEB128, bytes with their length before them.
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn item(&mut self, item: &Item) {
        for number in [item.uid, item.gid, item.mode] {
            self.number(number.into());
        }
        self.number(item.mtime);
        self.bytes(item.uname.as_bytes());
        self.bytes(item.gname.as_bytes());
        self.number(item.xattrs.len() as u64);
        for (name, value) in &item.xattrs {
            self.bytes(name.as_bytes());
            self.bytes(value);
        }
        match &item.kind {
            ItemKind::Directory => self.number(0),
            ItemKind::File { offset, length, sha256 } => {
                [1, *offset, *length].into_iter().for_each(|number| self.number(number));
                self.0.extend_from_slice(&sha256.0);
            }
            ItemKind::Symlink(target) => {
                self.number(2);
                self.bytes(target.as_bytes());
            }
            ItemKind::Hardlink(target) => {
                self.number(3);
                self.bytes(target.as_bytes());
            }
            ItemKind::CharDevice { major, minor } => {
                [4, u64::from(*major), u64::from(*minor)].into_iter().for_each(|number| self.number(number));
            }
            ItemKind::BlockDevice { major, minor } => {
                [5, u64::from(*major), u64::from(*minor)].into_iter().for_each(|number| self.number(number));
            }
            ItemKind::Fifo => self.number(6),
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let bits = u64::from(byte & 0x7f);
            if bits.leading_zeros() < shift {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn small(&mut self) -> Option<u32> {
        self.number()?.try_into().ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<String> {
        Some(std::str::from_utf8(self.bytes()?).ok()?.to_owned())
    }

    fn item(&mut self, tar_length: u64) -> Option<Item> {
        let (uid, gid, mode, mtime) = (self.small()?, self.small()?, self.small()?, self.number()?);
        let (uname, gname) = (self.text()?, self.text()?);
        let mut xattrs = BTreeMap::new();
        for _ in 0..self.number()? {
            xattrs.insert(self.text()?, self.bytes()?.to_vec());
        }
        let kind = match self.number()? {
            0 => ItemKind::Directory,
            1 => {
                let (offset, length) = (self.number()?, self.number()?);
                if offset.checked_add(length)? > tar_length {
                    return None;
                }
                let (digest, rest) = self.0.split_first_chunk::<DIGEST>()?;
                self.0 = rest;
                ItemKind::File { offset, length, sha256: Digest(*digest) }
            }
            2 => ItemKind::Symlink(self.text()?),
            3 => ItemKind::Hardlink(self.text()?),
            4 => ItemKind::CharDevice { major: self.small()?, minor: self.small()? },
            5 => ItemKind::BlockDevice { major: self.small()?, minor: self.small()? },
            6 => ItemKind::Fifo,
            _ => return None,
        };
        Some(Item { kind, uid, gid, uname, gname, mode, mtime, xattrs })
    }
}
