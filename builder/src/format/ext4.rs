//! A [`Tree`] as an ext4 file system, just big enough, by the crate `mkext4`. Its version is pinned: the bytes it
//! writes are stable for one version only.
//!
//! The crate always makes a journal, which a read-only root never uses, and `/lost+found`.

use super::blocks::BlockSink;
use super::derive::Seed;
use crate::tree::{Content, Kind, Node, Tree};
use contract::hash::Digest;
use contract::layout::BLOCK;
use mkext4::{FsBuilder, InodeCount, InodeHandle, Layout, Meta, Options, ROOT, SpecialKind};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

/// The journal may be a quarter of the file system at most, and has at least 1,024 blocks.
const SMALLEST_BLOCKS: u64 = 4096;
const JOURNAL_BLOCKS: u32 = 1024;
/// Inodes 1 to 11 are the file system's own.
const OWN_INODES: usize = 11;

/// A tree that cannot be made into a file system, or not be written.
#[derive(Debug, thiserror::Error)]
pub enum Ext4Error {
    #[error("/{path} cannot be put into the root file system: {why}")]
    Path { path: String, why: String },
    #[error("the root file system cannot be laid out: {0}")]
    Layout(mkext4::Error),
    #[error("writing /{path} into the root file system: {source}")]
    File { path: String, source: io::Error },
    #[error("writing the root file system: {0}")]
    Write(#[from] io::Error),
}

/// A file system whose every block has its place; only the content of files is still to come.
pub struct Plan {
    layout: Layout,
    files: Vec<(String, InodeHandle, Content)>,
}

/// Lays out `tree`: label at most 16 bytes, every time stamp `built` (seconds since 1970).
///
/// # Errors
/// When something in the tree cannot stand in an ext4 file system: a missing parent, a bad name, a link to nowhere.
pub fn plan(tree: &Tree, seed: &Seed, label: &str, built: u64) -> Result<Plan, Ext4Error> {
    let built =
        u32::try_from(built).map_err(|_| Ext4Error::Layout(mkext4::Error::Invalid(format!("time {built}"))))?;
    let lay_out = |length| declare(tree, seed, label, built.into(), length);
    let mut length = generous_length(tree);
    let mut plan = lay_out(length)?;
    // Blocks are given out in ascending order, so the last file's end is where the file system may end. A smaller
    // one may have fewer groups and need less still.
    while let Some(end) = plan.end() {
        let tight = end.max(SMALLEST_BLOCKS * BLOCK);
        if tight >= length {
            break;
        }
        let Ok(smaller) = lay_out(tight) else { break };
        (plan, length) = (smaller, tight);
    }
    Ok(plan)
}

impl Plan {
    /// Length of the file system in bytes, a whole number of blocks.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.layout.image_len()
    }

    /// Writes the file system to `offset` of `file`, where zeros must stand, and returns the hash of every block.
    /// `wrote` is told the bytes of file content written so far, and may stop the work with an error.
    ///
    /// # Errors
    /// When a file's content cannot be read, or the file system cannot be written.
    pub fn write(
        &self,
        file: &File,
        offset: u64,
        wrote: &dyn Fn(u64) -> io::Result<()>,
    ) -> Result<Vec<Digest>, Ext4Error> {
        let mut sink = BlockSink::new(file, offset, self.length());
        let mut writer = self.layout.writer(&mut sink).map_err(plain_io)?;
        let mut done = 0;
        for (path, handle, content) in &self.files {
            writer.fill(*handle, &mut Reader { content, at: 0 }).map_err(|error| match error {
                mkext4::Error::Io(source) => Ext4Error::File { path: path.clone(), source },
                other => Ext4Error::Layout(other),
            })?;
            done += content.len();
            wrote(done)?;
        }
        writer.finish().map_err(plain_io)?;
        Ok(sink.finish()?)
    }

    /// Bytes of all files' content.
    #[must_use]
    pub fn content_length(&self) -> u64 {
        self.files.iter().map(|(_, _, content)| content.len()).sum()
    }

    /// Where the last block of a file ends, in bytes.
    fn end(&self) -> Option<u64> {
        let ends = self.files.iter().flat_map(|(_, handle, _)| self.layout.extents(*handle));
        ends.map(|(offset, length)| (offset + length).next_multiple_of(BLOCK)).max()
    }
}

fn plain_io(error: mkext4::Error) -> Ext4Error {
    match error {
        mkext4::Error::Io(source) => Ext4Error::Write(source),
        other => Ext4Error::Layout(other),
    }
}

/// A length into which the tree fits for certain.
fn generous_length(tree: &Tree) -> u64 {
    let mut blocks = SMALLEST_BLOCKS + 64;
    for (path, node) in &tree.nodes {
        let name = path.rsplit('/').next().unwrap_or_default().len() as u64;
        // A directory entry, at worst in a half-empty block, an inode, and a block of attributes.
        let own = 2 * (name + 24) + 256;
        blocks += match &node.kind {
            Kind::File(content) => content.len().div_ceil(BLOCK) + content.len() / (BLOCK * 300),
            Kind::Directory | Kind::Symlink(_) => 2,
            _ => 0,
        };
        blocks += own.div_ceil(BLOCK) + u64::from(!node.xattrs.is_empty());
    }
    (blocks + blocks / 64) * BLOCK
}

fn declare(tree: &Tree, seed: &Seed, label: &str, built: i64, length: u64) -> Result<Plan, Ext4Error> {
    let mut options = Options::new(length, *seed.uuid("root file system").as_bytes(), built);
    let hash_seed = seed.uuid("root directory hashes");
    for (word, bytes) in options.hash_seed.iter_mut().zip(hash_seed.as_bytes().as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    options.label = Some(label.to_owned());
    options.reserved_percent = 0;
    options.journal_blocks = Some(JOURNAL_BLOCKS);
    let links = tree.nodes.values().filter(|node| matches!(node.kind, Kind::Hardlink(_))).count();
    let inodes = tree.nodes.len() + OWN_INODES - links + 1;
    options.inodes = InodeCount::Exact(u32::try_from(inodes).unwrap_or(u32::MAX));

    let mut fs = FsBuilder::new(options).map_err(Ext4Error::Layout)?;
    let mut handles: BTreeMap<&str, InodeHandle> = BTreeMap::from([("", ROOT)]);
    let mut files = Vec::new();
    for (path, node) in &tree.nodes {
        let wrong = |why: String| Ext4Error::Path { path: path.clone(), why };
        let failed = |error: mkext4::Error| wrong(error.to_string());
        let meta = meta(node, built);
        let handle = if path.is_empty() {
            if !matches!(node.kind, Kind::Directory) {
                return Err(wrong("the root is no directory".to_owned()));
            }
            fs.set_meta(ROOT, meta).map_err(failed)?;
            ROOT
        } else {
            let (parent, name) = split(path);
            let parent = *handles.get(parent).ok_or_else(|| wrong(format!("its directory /{parent} is missing")))?;
            let device = |major, minor, block| match block {
                true => SpecialKind::Block { major, minor },
                false => SpecialKind::Char { major, minor },
            };
            match &node.kind {
                Kind::Directory => fs.mkdir(parent, name, meta),
                Kind::File(content) => fs.file(parent, name, meta, content.len()).inspect(|&handle| {
                    if !content.is_empty() {
                        files.push((path.clone(), handle, content.clone()));
                    }
                }),
                Kind::Symlink(target) => fs.symlink(parent, name, target, meta),
                Kind::CharDevice { major, minor } => fs.mknod(parent, name, meta, device(*major, *minor, false)),
                Kind::BlockDevice { major, minor } => fs.mknod(parent, name, meta, device(*major, *minor, true)),
                Kind::Fifo => fs.mknod(parent, name, meta, SpecialKind::Fifo),
                // A link may come before what it links to: below.
                Kind::Hardlink(_) => continue,
            }
            .map_err(failed)?
        };
        for (name, value) in &node.xattrs {
            fs.set_xattr(handle, name, value).map_err(failed)?;
        }
        handles.insert(path, handle);
    }
    for (path, node) in &tree.nodes {
        let Kind::Hardlink(first) = &node.kind else { continue };
        let wrong = |why: String| Ext4Error::Path { path: path.clone(), why };
        let (parent, name) = split(path);
        let parent = *handles.get(parent).ok_or_else(|| wrong(format!("its directory /{parent} is missing")))?;
        let target =
            *handles.get(first.as_str()).ok_or_else(|| wrong(format!("it links to /{first}, which is missing")))?;
        fs.hardlink(parent, name, target).map_err(|error| wrong(error.to_string()))?;
    }
    let layout = fs.seal().map_err(Ext4Error::Layout)?;
    Ok(Plan { layout, files })
}

fn meta(node: &Node, built: i64) -> Meta {
    Meta::new((node.mode & 0o7777) as u16, node.owner.uid, node.owner.gid, (built, 0))
}

/// Parent and name of a path.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

struct Reader<'c> {
    content: &'c Content,
    at: u64,
}

impl Read for Reader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (buffer.len() as u64).min(self.content.len() - self.at) as usize;
        self.content.read_exact_at(&mut buffer[..length], self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}
