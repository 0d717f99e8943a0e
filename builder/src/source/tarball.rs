//! The file tree of a package: a tar archive, decompressed into the cache while it is read.
//!
//! These bytes are untrusted: paths that leave the tree, entries of kinds that no package has, two entries at one path,
//! anything below what is not a directory, and archives that grow without end are refused.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, Read, Write as _};

use contract::hash::Digest;
use sha2::{Digest as _, Sha256};
use tar::EntryType;

use super::unpacked::{Item, ItemKind};

/// How a tar archive is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    #[error("{path:?} points outside the package")]
    Leaves { path: String },
    #[error("{path:?} is not a valid path: {why}")]
    BadPath { path: String, why: &'static str },
    #[error("/{path} is in it twice")]
    Twice { path: String },
    #[error("/{path} is below /{parent}, which is not a directory")]
    BelowFile { path: String, parent: String },
    #[error("/{path} is a hard link to {target:?}, which is not a file before it")]
    BadLink { path: String, target: String },
    #[error("/{path}: {what}")]
    BadEntry { path: String, what: String },
    #[error("it unpacks to more than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("it has more than {MOST_ENTRIES} entries")]
    TooMany,
    #[error("its names, targets and attributes have more than {MOST_TEXT} bytes in all")]
    TooMuchText,
    #[error("an extended header of {size} bytes is too large")]
    LargeHeader { size: u64 },
    #[error("it ends before its end mark")]
    NoEnd,
    #[error("something follows its end mark")]
    Trailing,
    #[error("it cannot be unpacked: {0}")]
    Read(#[source] io::Error),
    #[error("the cache cannot be written: {0}")]
    Write(#[source] io::Error),
}

const MOST_ENTRIES: usize = 400_000;
const LONGEST_PATH: usize = 4_095;
const LONGEST_NAME: usize = 255;
const LARGEST_XATTR: usize = 64 * 1024;
/// All names, link targets and extended attributes of an archive, in bytes: they are held in memory.
const MOST_TEXT: usize = 64 << 20;
/// A long name or an extended header, in bytes: the reader of the tar holds it in memory.
const LARGEST_HEADER: u64 = 1 << 20;
const BLOCK: u64 = 512;
/// Shorter writes to the cache are gathered; longer ones go there as they are, without being copied once more.
const SMALL_WRITES: usize = 64 * 1024;

/// Reads a tar from `source` to its end, copies every byte to `copy`, and lists what is in it, by path.
///
/// # Errors
/// When it is not a well-formed tree of at most `limit` bytes, or a side cannot be read or written.
pub fn unpack(source: impl Read, copy: File, limit: u64) -> Result<(BTreeMap<String, Item>, u64), TarError> {
    let tee = Tee {
        source,
        copy: io::BufWriter::with_capacity(SMALL_WRITES, copy),
        length: 0,
        limit,
        zeros: 0,
        headers: Headers::default(),
        fault: None,
    };
    let mut archive = tar::Archive::new(tee);
    let items = read_entries(&mut archive);
    let mut tee = archive.into_inner();
    let end = tee.length;
    // A fault of the tee says more than what the reader of the tar made of it.
    let items = match (tee.fault.take(), items) {
        (Some(fault), _) => return Err(fault),
        (None, items) => items?,
    };
    tee.drain(end)?;
    tee.copy.flush().map_err(TarError::Write)?;
    check_parents(&items)?;
    Ok((items, tee.length))
}

fn read_entries<R: Read>(archive: &mut tar::Archive<R>) -> Result<BTreeMap<String, Item>, TarError> {
    let mut items: BTreeMap<String, Item> = BTreeMap::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut text_left = MOST_TEXT;
    for entry in archive.entries().map_err(TarError::Read)? {
        let mut entry = entry.map_err(TarError::Read)?;
        if items.len() == MOST_ENTRIES {
            return Err(TarError::TooMany);
        }
        let path = clean_path(&entry.path_bytes())?;
        let bad = |what: &str| TarError::BadEntry { path: path.clone(), what: what.to_owned() };
        let xattrs = xattrs(&mut entry).map_err(|what| bad(&what))?;
        let header = entry.header();
        let number = |value: io::Result<u64>, what: &str| {
            value.ok().and_then(|value| u32::try_from(value).ok()).ok_or_else(|| bad(what))
        };
        let text = |value: Option<&[u8]>| {
            std::str::from_utf8(value.unwrap_or_default())
                .map(str::to_owned)
                .map_err(|_| bad("its owner is not text"))
        };
        let (uid, gid) =
            (number(header.uid(), "its owner is damaged")?, number(header.gid(), "its group is damaged")?);
        let mode = header.mode().map_err(|_| bad("its mode is damaged"))? & 0o7777;
        let mtime = header.mtime().map_err(|_| bad("its time is damaged"))?;
        let (uname, gname) = (text(header.username_bytes())?, text(header.groupname_bytes())?);
        let device = |header: &tar::Header| {
            let part =
                |value: io::Result<Option<u32>>| value.ok().flatten().ok_or_else(|| bad("its device is damaged"));
            Ok::<_, TarError>((part(header.device_major())?, part(header.device_minor())?))
        };
        let entry_type = header.entry_type();
        let kind = match entry_type {
            EntryType::Regular | EntryType::Continuous => {
                let (offset, length) = (entry.raw_file_position(), entry.size());
                let sha256 = hash(&mut entry, length, &mut buffer)?;
                ItemKind::File { offset, length, sha256 }
            }
            EntryType::Directory => ItemKind::Directory,
            EntryType::Symlink => ItemKind::Symlink(link_target(&entry).ok_or_else(|| bad("its target is damaged"))?),
            EntryType::Link => {
                let target = link_target(&entry).ok_or_else(|| bad("its target is damaged"))?;
                let first = clean_path(target.as_bytes())?;
                if !matches!(items.get(&first), Some(Item { kind: ItemKind::File { .. }, .. })) {
                    return Err(TarError::BadLink { path, target });
                }
                ItemKind::Hardlink(first)
            }
            EntryType::Char => device(header).map(|(major, minor)| ItemKind::CharDevice { major, minor })?,
            EntryType::Block => device(header).map(|(major, minor)| ItemKind::BlockDevice { major, minor })?,
            EntryType::Fifo => ItemKind::Fifo,
            other => {
                return Err(bad(&format!(
                    "an entry of type {:?} is not allowed in a package",
                    char::from(other.as_byte())
                )));
            }
        };
        if !matches!(kind, ItemKind::File { .. }) && entry.size() > 0 {
            return Err(bad("it is not a file, but has content"));
        }
        let target = match &kind {
            ItemKind::Symlink(target) | ItemKind::Hardlink(target) => target.len(),
            _ => 0,
        };
        let attributes: usize = xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        text_left = text_left.checked_sub(path.len() + target + attributes).ok_or(TarError::TooMuchText)?;
        let item = Item { kind, uid, gid, uname, gname, mode, mtime, xattrs };
        if items.insert(path.clone(), item).is_some() {
            return Err(TarError::Twice { path });
        }
    }
    Ok(items)
}

fn hash(entry: &mut impl Read, length: u64, buffer: &mut [u8]) -> Result<Digest, TarError> {
    let mut hash = Sha256::new();
    let mut left = length;
    while left > 0 {
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match entry.read(&mut buffer[..want]) {
            Ok(0) => return Err(TarError::NoEnd),
            Ok(count) => {
                hash.update(&buffer[..count]);
                left -= count as u64;
            }
            Err(error) => return Err(TarError::Read(error)),
        }
    }
    Ok(Digest(hash.finalize().into()))
}

/// `./usr/bin/` → `usr/bin`; the root is the empty path.
fn clean_path(bytes: &[u8]) -> Result<String, TarError> {
    let shown = || String::from_utf8_lossy(bytes).into_owned();
    let bad = |why| TarError::BadPath { path: shown(), why };
    let path = std::str::from_utf8(bytes).map_err(|_| bad("it is not UTF-8"))?;
    if path.starts_with('/') {
        return Err(TarError::Leaves { path: shown() });
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    let path = if path == "." { "" } else { path.strip_prefix("./").unwrap_or(path) };
    if path.len() > LONGEST_PATH {
        return Err(bad("it is too long"));
    }
    if path.is_empty() {
        return if bytes.starts_with(b".") { Ok(String::new()) } else { Err(bad("it is empty")) };
    }
    for name in path.split('/') {
        match name {
            ".." => return Err(TarError::Leaves { path: shown() }),
            "" | "." => return Err(bad("it is not in its normal form")),
            name if name.len() > LONGEST_NAME => return Err(bad("a name in it is too long")),
            name if name.contains(|c: char| c.is_control()) => return Err(bad("it has control characters")),
            _ => {}
        }
    }
    Ok(path.to_owned())
}

fn link_target<R: Read>(entry: &tar::Entry<'_, R>) -> Option<String> {
    let target = String::from_utf8(entry.link_name_bytes()?.into_owned()).ok()?;
    (!target.is_empty() && target.len() <= LONGEST_PATH && !target.contains('\0')).then_some(target)
}

fn xattrs<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let mut xattrs = BTreeMap::new();
    let Some(extensions) = entry.pax_extensions().map_err(|error| error.to_string())? else { return Ok(xattrs) };
    for extension in extensions {
        let extension = extension.map_err(|_| "its extended header cannot be parsed".to_owned())?;
        let key = extension.key().map_err(|_| "an extended header's name is not text".to_owned())?;
        if key.starts_with("GNU.sparse") {
            return Err("sparse files are not allowed in a package".to_owned());
        }
        let Some(name) = key.strip_prefix("SCHILY.xattr.") else { continue };
        let value = extension.value_bytes();
        if name.is_empty() || name.len() > LONGEST_NAME || value.len() > LARGEST_XATTR {
            return Err(format!("its extended attribute {name:?} is too large"));
        }
        if xattrs.insert(name.to_owned(), value.to_vec()).is_some() {
            return Err(format!("its extended attribute {name:?} is listed twice"));
        }
    }
    Ok(xattrs)
}

/// Nothing may be below a file or a symbolic link, which would lead it elsewhere.
fn check_parents(items: &BTreeMap<String, Item>) -> Result<(), TarError> {
    for path in items.keys() {
        let mut parent = path.as_str();
        while let Some((above, _)) = parent.rsplit_once('/') {
            parent = above;
            match items.get(parent) {
                // A directory's own parents are inspected when it is its turn.
                Some(Item { kind: ItemKind::Directory, .. }) => break,
                Some(_) => return Err(TarError::BelowFile { path: path.clone(), parent: parent.to_owned() }),
                None => {}
            }
        }
    }
    Ok(())
}

/// Passes on what it reads, copies it to a file, and stops at a limit.
struct Tee<R> {
    source: R,
    copy: io::BufWriter<File>,
    length: u64,
    limit: u64,
    /// Zero bytes at the end of what was read so far.
    zeros: u64,
    headers: Headers,
    fault: Option<TarError>,
}

/// Follows a tar from header to header as its bytes go by, ahead of the reader that trusts their sizes.
struct Headers {
    header: [u8; BLOCK as usize],
    /// Bytes of the header that are here.
    have: usize,
    /// Bytes to the next header.
    skip: u64,
}

impl Default for Headers {
    fn default() -> Headers {
        Headers { header: [0; BLOCK as usize], have: 0, skip: 0 }
    }
}

impl Headers {
    /// Takes the next bytes; the size of an extended header that is too large, if there is one.
    fn see(&mut self, mut bytes: &[u8]) -> Option<u64> {
        while !bytes.is_empty() {
            let skipped = bytes.len().min(usize::try_from(self.skip).unwrap_or(usize::MAX));
            self.skip -= skipped as u64;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(self.header.len() - self.have);
            self.header[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have < self.header.len() {
                return None;
            }
            self.have = 0;
            let header = tar::Header::from_byte_slice(&self.header);
            // What has no size is for the reader to refuse.
            let size = header.entry_size().unwrap_or(0);
            let kind = header.entry_type();
            let extended = kind.is_gnu_longname()
                || kind.is_gnu_longlink()
                || kind.is_pax_local_extensions()
                || kind.is_pax_global_extensions();
            if extended && size > LARGEST_HEADER {
                return Some(size);
            }
            self.skip = size.div_ceil(BLOCK).saturating_mul(BLOCK);
        }
        None
    }
}

impl<R: Read> Tee<R> {
    /// Reads to the end: after the tar's end mark only zeros may come, and the mark itself must have been there.
    fn drain(&mut self, end: u64) -> Result<(), TarError> {
        let mut buffer = [0; 16 * 1024];
        loop {
            let count = match self.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) => return Err(self.fault.take().unwrap_or(TarError::Read(error))),
            };
            if buffer[..count].iter().any(|byte| *byte != 0) {
                return Err(TarError::Trailing);
            }
        }
        let marked = self.zeros >= 2 * BLOCK && end > 0 && self.length.is_multiple_of(BLOCK);
        if marked { Ok(()) } else { Err(TarError::NoEnd) }
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        let bytes = &buffer[..count];
        self.length += count as u64;
        if self.length > self.limit {
            self.fault = Some(TarError::TooLarge { limit: self.limit });
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if let Some(size) = self.headers.see(bytes) {
            self.fault = Some(TarError::LargeHeader { size });
            return Err(io::ErrorKind::InvalidData.into());
        }
        if let Err(error) = self.copy.write_all(bytes) {
            self.fault = Some(TarError::Write(error));
            return Err(io::ErrorKind::Other.into());
        }
        let tail = bytes.iter().rev().take_while(|byte| **byte == 0).count();
        self.zeros = if tail == count { self.zeros + tail as u64 } else { tail as u64 };
        Ok(count)
    }
}

/// Whether a compressed member holds more than its one stream.
pub(super) fn has_rest(reader: &mut impl BufRead) -> io::Result<bool> {
    Ok(!reader.fill_buf()?.is_empty())
}
