//! Assigns an inode to every name of the tree: its owner, its link count, and the contents of its blocks.

use super::Ext4Error;
use super::disk::{self, Attributes, FIRST_INODE, LONGEST_FAST_LINK, ROOT_INODE};
use super::holes;
use crate::tree::{Content, Kind, Node, Owner, Tree};
use contract::layout::BLOCK;
use rayon::prelude::*;
use std::collections::BTreeMap;

const LONGEST_NAME: usize = 255;
/// A target with its closing zero fits into a block.
const LONGEST_LINK: usize = BLOCK as usize - 1;

/// Kinds as inodes (`S_IF*`) and as directory entries (`EXT4_FT_*`) name them.
const FIFO: (u16, u8) = (0x1000, 5);
const CHAR: (u16, u8) = (0x2000, 3);
const DIRECTORY: (u16, u8) = (0x4000, 2);
const BLOCK_DEVICE: (u16, u8) = (0x6000, 4);
const REGULAR: (u16, u8) = (0x8000, 1);
const SYMLINK: (u16, u8) = (0xA000, 7);

/// All inodes but those of the file system's own, by number; the root comes first.
pub struct Numbered {
    pub files: Vec<File>,
}

/// One inode, and what belongs to it.
pub struct File {
    /// Its first name.
    pub path: String,
    pub inode: u32,
    /// Kind and permissions.
    pub mode: u16,
    pub owner: Owner,
    pub size: u64,
    pub links: u32,
    pub data: Data,
    /// Attributes that are in the inode; else they have a block.
    pub attributes: Vec<u8>,
    pub attribute_block: Option<Vec<u8>>,
}

/// What an inode's blocks hold.
pub enum Data {
    /// Nothing; this is in the inode itself.
    Plain(Vec<u8>),
    Directory(Vec<u8>),
    /// The target of a long symbolic link.
    Link(Vec<u8>),
    /// A file, of which these runs of blocks are stored.
    Content {
        content: Content,
        stored: Vec<(u64, u64)>,
    },
}

impl Data {
    pub fn is_content(&self) -> bool {
        matches!(self, Data::Content { .. })
    }

    /// The blocks that need a place, as first block and number.
    pub fn runs(&self) -> Vec<(u64, u64)> {
        match self {
            Data::Plain(_) => Vec::new(),
            Data::Directory(bytes) | Data::Link(bytes) => vec![(0, (bytes.len() as u64).div_ceil(BLOCK))],
            Data::Content { stored, .. } => stored.clone(),
        }
    }
}

/// A directory's own names, as they will be in it.
type Names<'t> = Vec<(&'t str, u32, u8)>;

/// # Errors
/// When something in the tree cannot be in the file system, or cannot be read.
pub fn number(tree: &Tree) -> Result<Numbered, Ext4Error> {
    let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
    let mut next = FIRST_INODE;
    for (path, node) in &tree.nodes {
        if path.is_empty() {
            numbers.insert(path, ROOT_INODE);
        } else if !matches!(node.kind, Kind::Hardlink(_)) {
            numbers.insert(path, next);
            next = next.checked_add(1).ok_or_else(|| Ext4Error::Layout("too many files".to_owned()))?;
        }
    }
    let root = tree.nodes.get("").filter(|root| matches!(root.kind, Kind::Directory));
    root.ok_or_else(|| Ext4Error::Path { path: String::new(), why: "the root is not a directory".to_owned() })?;

    let mut names: BTreeMap<&str, Names<'_>> = BTreeMap::new();
    let mut links: BTreeMap<&str, u32> = BTreeMap::new();
    for (path, node) in tree.nodes.iter().filter(|(path, _)| !path.is_empty()) {
        let wrong = |why: String| Ext4Error::Path { path: path.clone(), why };
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() || name == "." || name == ".." || name.len() > LONGEST_NAME || name.contains('\0') {
            return Err(wrong(
                "its name is empty, only dots, longer than 255 bytes, or contains a NUL byte".to_owned(),
            ));
        }
        match tree.nodes.get(parent).map(|parent| &parent.kind) {
            Some(Kind::Directory) => (),
            Some(_) => return Err(wrong(format!("/{parent} is not a directory"))),
            None => return Err(wrong(format!("its directory /{parent} is missing"))),
        }
        let first = match &node.kind {
            Kind::Hardlink(first) => match tree.nodes.get(first).map(|node| &node.kind) {
                Some(Kind::Directory | Kind::Hardlink(_)) => {
                    return Err(wrong(format!("it links to /{first}, which is a directory or itself a link")));
                }
                Some(_) => first,
                None => return Err(wrong(format!("it links to /{first}, which is missing"))),
            },
            _ => path,
        };
        *links.entry(first).or_insert(0) += 1;
        let (Some(&inode), Some(there)) = (numbers.get(first.as_str()), tree.nodes.get(first)) else {
            return Err(wrong("it has no inode".to_owned()));
        };
        names.entry(parent).or_default().push((name, inode, kind(there).1));
    }

    let inodes = tree.nodes.par_iter().filter(|(_, node)| !matches!(node.kind, Kind::Hardlink(_)));
    let files = inodes.map(|(path, node)| {
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        let number = |path: &str| numbers.get(path).copied().unwrap_or(ROOT_INODE);
        let own = names.get(path.as_str()).map_or(&[][..], Vec::as_slice);
        let links = links.get(path.as_str()).copied().unwrap_or(1);
        file(path, node, [number(path), number(parent)], own, links)
    });
    Ok(Numbered { files: files.collect::<Result<_, _>>()? })
}

fn kind(node: &Node) -> (u16, u8) {
    match node.kind {
        Kind::Directory => DIRECTORY,
        Kind::File(_) | Kind::Hardlink(_) => REGULAR,
        Kind::Symlink(_) => SYMLINK,
        Kind::CharDevice { .. } => CHAR,
        Kind::BlockDevice { .. } => BLOCK_DEVICE,
        Kind::Fifo => FIFO,
    }
}

fn file(
    path: &str,
    node: &Node,
    [inode, parent]: [u32; 2],
    names: &[(&str, u32, u8)],
    links: u32,
) -> Result<File, Ext4Error> {
    let wrong = |why: String| Ext4Error::Path { path: path.to_owned(), why };
    let mut links = links;
    let (size, data) = match &node.kind {
        Kind::Directory => {
            let dots = [(".", inode, DIRECTORY.1), ("..", parent, DIRECTORY.1)];
            let entries: Vec<_> = dots
                .iter()
                .chain(names)
                .map(|&(name, inode, kind)| disk::Entry { inode, kind, name: name.as_bytes() })
                .collect();
            let bytes = disk::directory(&entries);
            // Its own name and dot, and the dots of the directories in it.
            links = 2 + names.iter().filter(|(_, _, kind)| *kind == DIRECTORY.1).count() as u32;
            (bytes.len() as u64, Data::Directory(bytes))
        }
        Kind::File(content) => {
            let stored =
                holes::stored(content).map_err(|source| Ext4Error::File { path: path.to_owned(), source })?;
            (content.len(), Data::Content { content: content.clone(), stored })
        }
        Kind::Symlink(target) if target.is_empty() || target.len() > LONGEST_LINK || target.contains('\0') => {
            return Err(wrong(format!("a link needs a target of 1 to {LONGEST_LINK} bytes without NUL bytes")));
        }
        Kind::Symlink(target) => {
            let bytes = target.as_bytes().to_vec();
            let fast = bytes.len() < LONGEST_FAST_LINK;
            (bytes.len() as u64, if fast { Data::Plain(bytes) } else { Data::Link(bytes) })
        }
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            if *major > 0xfff || *minor > 0xf_ffff {
                return Err(wrong(format!("the device number {major}:{minor} is out of range")));
            }
            (0, Data::Plain(disk::device(*major, *minor)))
        }
        Kind::Fifo | Kind::Hardlink(_) => (0, Data::Plain(Vec::new())),
    };
    let attributes = Attributes::new(&node.xattrs)
        .map_err(|name| wrong(format!("the attribute {name} is not one of user, trusted or security")))?;
    let (attributes, attribute_block) = match attributes.in_inode() {
        Some(bytes) => (bytes, None),
        None => match attributes.in_block() {
            Some(block) => (Vec::new(), Some(block)),
            None => return Err(wrong("its attributes do not fit in a block".to_owned())),
        },
    };
    Ok(File {
        path: path.to_owned(),
        inode,
        mode: kind(node).0 | (node.mode & 0o7777) as u16,
        owner: node.owner,
        size,
        links,
        data,
        attributes,
        attribute_block,
    })
}
