//! What is on the disk, as bytes: superblock, group descriptor, inode, extent, directory block, attributes.
//!
//! Field names and offsets: the kernel's Documentation/filesystems/ext4 and fs/ext4/ext4.h, little-endian throughout.
//! There is no journal and no checksum: the root is never written, and dm-verity proves every block of it.

use contract::layout::BLOCK;

pub const INODE_LEN: usize = 256;
pub const DESCRIPTOR_LEN: usize = 32;
pub const BLOCKS_PER_GROUP: u64 = 32_768;
pub const ROOT_INODE: u32 = 2;
/// Inodes 1 to 10 are the file system's own.
pub const FIRST_INODE: u32 = 11;
/// Extents that are in the inode itself, and in a block.
pub const EXTENTS_IN_INODE: usize = 4;
pub const EXTENTS_IN_BLOCK: usize = (BLOCK as usize - 12) / 12;
/// Blocks of one extent.
pub const LONGEST_EXTENT: u64 = 32_768;
/// What is in the inode of a symbolic link rather than in a block: shorter than this.
pub const LONGEST_FAST_LINK: usize = 60;
/// More links than this are written as one, which means "many" (dir_nlink).
const MOST_LINKS: u32 = 65_000;

const MAGIC: u16 = 0xEF53;
const COMPAT_EXT_ATTR: u32 = 0x8;
const INCOMPAT: u32 = 0x2 | 0x40 | 0x200; // filetype, extents, flex_bg
const RO_COMPAT: u32 = 0x1 | 0x2 | 0x20 | 0x40; // sparse_super, large_file, dir_nlink, extra_isize
/// Bytes of an inode's fields behind the first 128.
const EXTRA: u16 = 32;
/// `EXT4_EXTENTS_FL`.
const USES_EXTENTS: u32 = 0x8_0000;
const XATTR_MAGIC: u32 = 0xEA02_0000;
const EXTENT_MAGIC: u16 = 0xF30A;

/// Puts numbers at their offsets.
struct Fields<'b>(&'b mut [u8]);

impl Fields<'_> {
    fn u8(&mut self, at: usize, value: u8) {
        self.0[at] = value;
    }
    fn u16(&mut self, at: usize, value: u16) {
        self.0[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
    fn u32(&mut self, at: usize, value: u32) {
        self.0[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    fn bytes(&mut self, at: usize, value: &[u8]) {
        self.0[at..at + value.len()].copy_from_slice(value);
    }
}

/// The whole file system in a few numbers.
pub struct Superblock {
    pub blocks: u32,
    pub free_blocks: u32,
    pub inodes: u32,
    pub free_inodes: u32,
    pub inodes_per_group: u32,
    /// Seconds since 1970.
    pub built: u32,
    pub uuid: [u8; 16],
    pub hash_seed: [u8; 16],
    /// At most 16 bytes.
    pub label: Vec<u8>,
}

impl Superblock {
    /// The 1024 bytes of it, as they are in group `group`.
    pub fn to_bytes(&self, group: u16) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        let mut at = Fields(&mut bytes);
        at.u32(0x00, self.inodes);
        at.u32(0x04, self.blocks);
        at.u32(0x0C, self.free_blocks);
        at.u32(0x10, self.free_inodes);
        at.u32(0x18, 2); // s_log_block_size: 4096
        at.u32(0x1C, 2); // s_log_cluster_size
        at.u32(0x20, BLOCKS_PER_GROUP as u32);
        at.u32(0x24, BLOCKS_PER_GROUP as u32); // s_clusters_per_group
        at.u32(0x28, self.inodes_per_group);
        at.u32(0x30, self.built); // s_wtime
        at.u16(0x36, u16::MAX); // s_max_mnt_count: never checked for its age
        at.u16(0x38, MAGIC);
        at.u16(0x3A, 1); // s_state: clean
        at.u16(0x3C, 1); // s_errors: go on
        at.u32(0x40, self.built); // s_lastcheck
        at.u32(0x4C, 1); // s_rev_level: with the fields below
        at.u32(0x54, FIRST_INODE);
        at.u16(0x58, INODE_LEN as u16);
        at.u16(0x5A, group);
        at.u32(0x5C, COMPAT_EXT_ATTR);
        at.u32(0x60, INCOMPAT);
        at.u32(0x64, RO_COMPAT);
        at.bytes(0x68, &self.uuid);
        at.bytes(0x78, &self.label);
        at.bytes(0xEC, &self.hash_seed);
        at.u8(0xFC, 1); // s_def_hash_version: half MD4
        at.u32(0x100, 0x0C); // s_default_mount_opts: user_xattr, acl
        at.u32(0x108, self.built); // s_mkfs_time
        at.u16(0x15C, EXTRA); // s_min_extra_isize
        at.u16(0x15E, EXTRA); // s_want_extra_isize
        at.u32(0x160, 1); // s_flags: signed directory hash
        at.u8(0x174, 4); // s_log_groups_per_flex
        bytes
    }
}

/// One block group.
pub struct Descriptor {
    pub block_bitmap: u32,
    pub inode_bitmap: u32,
    pub inode_table: u32,
    pub free_blocks: u16,
    pub free_inodes: u16,
    pub directories: u16,
}

impl Descriptor {
    pub fn to_bytes(&self) -> [u8; DESCRIPTOR_LEN] {
        let mut bytes = [0; DESCRIPTOR_LEN];
        let mut at = Fields(&mut bytes);
        at.u32(0x00, self.block_bitmap);
        at.u32(0x04, self.inode_bitmap);
        at.u32(0x08, self.inode_table);
        at.u16(0x0C, self.free_blocks);
        at.u16(0x0E, self.free_inodes);
        at.u16(0x10, self.directories);
        bytes
    }
}

/// What the 60 bytes `i_block` hold.
pub enum Body {
    /// Bytes as they stand: a short symbolic link, a device's numbers, nothing.
    Plain(Vec<u8>),
    /// The head of a tree of extents.
    Extents(Vec<u8>),
}

/// One inode.
pub struct Inode<'a> {
    /// Kind and permissions.
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub links: u32,
    /// Blocks of 4096 bytes, with those of extents and attributes.
    pub blocks: u64,
    pub body: Body,
    /// Attributes that are in the inode, from [`Attributes::in_inode`].
    pub attributes: &'a [u8],
    /// The block of attributes, or 0.
    pub attribute_block: u32,
    /// Seconds since 1970.
    pub time: u32,
}

impl Inode<'_> {
    pub fn to_bytes(&self) -> [u8; INODE_LEN] {
        let mut bytes = [0; INODE_LEN];
        let mut at = Fields(&mut bytes);
        let half = |value: u32, high: bool| if high { (value >> 16) as u16 } else { value as u16 };
        at.u16(0x00, self.mode);
        at.u16(0x02, half(self.uid, false));
        at.u32(0x04, self.size as u32);
        for time in [0x08, 0x0C, 0x10, 0x90] {
            at.u32(time, self.time);
        }
        at.u16(0x18, half(self.gid, false));
        at.u16(0x1A, if self.links > MOST_LINKS { 1 } else { self.links as u16 });
        at.u32(0x1C, (self.blocks * (BLOCK / 512)) as u32);
        match &self.body {
            Body::Plain(body) => at.bytes(0x28, body),
            Body::Extents(head) => {
                at.u32(0x20, USES_EXTENTS);
                at.bytes(0x28, head);
            }
        }
        at.u32(0x68, self.attribute_block);
        at.u32(0x6C, (self.size >> 32) as u32);
        at.u16(0x74, ((self.blocks * (BLOCK / 512)) >> 32) as u16);
        at.u16(0x78, half(self.uid, true));
        at.u16(0x7A, half(self.gid, true));
        at.u16(0x80, EXTRA);
        // A time from 2038 on is negative in 32 bits; the low two bits here count how often it went round.
        let epoch = u32::from(self.time > i32::MAX as u32);
        for extra in [0x84, 0x88, 0x8C, 0x94] {
            at.u32(extra, epoch);
        }
        at.bytes(128 + EXTRA as usize, self.attributes);
        bytes
    }
}

/// The numbers of a device, as `i_block` holds them.
pub fn device(major: u32, minor: u32) -> Vec<u8> {
    let [first, second] = if major < 256 && minor < 256 {
        [major << 8 | minor, 0]
    } else {
        [0, (minor & 0xff) | major << 8 | (minor & !0xff) << 12]
    };
    [first.to_le_bytes(), second.to_le_bytes()].concat()
}

/// `length` blocks from `logical` of a file are at `start` of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub logical: u32,
    pub start: u32,
    pub length: u16,
}

fn extent_head(entries: usize, most: usize, depth: u16) -> Vec<u8> {
    let fields = [EXTENT_MAGIC, entries as u16, most as u16, depth, 0, 0];
    fields.iter().flat_map(|field| field.to_le_bytes()).collect()
}

/// Extents with the head before them: at most [`EXTENTS_IN_INODE`] for an inode, [`EXTENTS_IN_BLOCK`] for a block.
pub fn extents(extents: &[Extent], most: usize) -> Vec<u8> {
    let mut bytes = extent_head(extents.len(), most, 0);
    for extent in extents {
        bytes.extend(extent.logical.to_le_bytes());
        bytes.extend(extent.length.to_le_bytes());
        bytes.extend([0, 0]);
        bytes.extend(extent.start.to_le_bytes());
    }
    bytes
}

/// The inode's head of a tree whose leaves are at these blocks, by their first logical block.
pub fn extent_index(leaves: &[(u32, u32)]) -> Vec<u8> {
    let mut bytes = extent_head(leaves.len(), EXTENTS_IN_INODE, 1);
    for (logical, block) in leaves {
        bytes.extend(logical.to_le_bytes());
        bytes.extend(block.to_le_bytes());
        bytes.extend([0; 4]);
    }
    bytes
}

/// A directory's entry: inode, kind as entries name it (`EXT4_FT_*`), name.
pub struct Entry<'a> {
    pub inode: u32,
    pub kind: u8,
    pub name: &'a [u8],
}

/// The blocks of a directory with these entries, in their order.
pub fn directory(entries: &[Entry<'_>]) -> Vec<u8> {
    const BLOCK_LEN: usize = BLOCK as usize;
    let mut bytes: Vec<u8> = Vec::with_capacity(BLOCK_LEN);
    let mut last = 0;
    let lengthen = |bytes: &mut Vec<u8>, last: usize, to: usize| {
        let length = (to - last) as u16;
        bytes[last + 4..last + 6].copy_from_slice(&length.to_le_bytes());
    };
    for entry in entries {
        let length = (8 + entry.name.len()).next_multiple_of(4);
        let end = bytes.len().next_multiple_of(BLOCK_LEN);
        if bytes.len() + length > end && !bytes.is_empty() {
            lengthen(&mut bytes, last, end);
            bytes.resize(end, 0);
        }
        last = bytes.len();
        bytes.extend(entry.inode.to_le_bytes());
        bytes.extend((length as u16).to_le_bytes());
        bytes.extend([entry.name.len() as u8, entry.kind]);
        bytes.extend(entry.name);
        bytes.resize(last + length, 0);
    }
    let end = bytes.len().next_multiple_of(BLOCK_LEN);
    lengthen(&mut bytes, last, end);
    bytes.resize(end, 0);
    bytes
}

/// Extended attributes in the order that ext4 asks for: by the number of their prefix, length of name, name.
pub struct Attributes<'a>(Vec<(u8, &'a [u8], &'a [u8])>);

/// Prefixes that the builder knows, and their numbers.
const PREFIXES: [(&str, u8); 3] = [("user.", 1), ("trusted.", 4), ("security.", 6)];

impl<'a> Attributes<'a> {
    /// # Errors
    /// The name that cannot be written.
    pub fn new(all: &'a std::collections::BTreeMap<String, Vec<u8>>) -> Result<Attributes<'a>, &'a str> {
        let mut entries = Vec::new();
        for (name, value) in all {
            let known = PREFIXES.iter().find_map(|(prefix, number)| Some((name.strip_prefix(prefix)?, *number)));
            match known {
                Some((rest, number)) if !rest.is_empty() && rest.len() < 256 => {
                    entries.push((number, rest.as_bytes(), value.as_slice()));
                }
                _ => return Err(name),
            }
        }
        entries.sort_by_key(|(number, name, _)| (*number, name.len(), *name));
        Ok(Attributes(entries))
    }

    /// As they are in the rest of an inode, when they fit there.
    pub fn in_inode(&self) -> Option<Vec<u8>> {
        if self.0.is_empty() {
            return Some(Vec::new());
        }
        let mut bytes = vec![0; INODE_LEN - 128 - usize::from(EXTRA)];
        Fields(&mut bytes).u32(0, XATTR_MAGIC);
        // Offsets of values count from the first entry.
        self.fill(&mut bytes[4..], 0, 0).map(|_| bytes)
    }

    /// As they are in a block of their own, when they fit there.
    pub fn in_block(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; BLOCK as usize];
        let hash = self.fill(&mut bytes, 32, 0)?;
        let mut at = Fields(&mut bytes);
        at.u32(0x00, XATTR_MAGIC);
        at.u32(0x04, 1); // h_refcount
        at.u32(0x08, 1); // h_blocks
        at.u32(0x0C, hash);
        Some(bytes)
    }

    /// Entries from `first` on, values from the end backwards, four zeros between them. The hash of all.
    fn fill(&self, area: &mut [u8], first: usize, mut hash: u32) -> Option<u32> {
        let (mut at, mut end) = (first, area.len());
        for (prefix, name, value) in &self.0 {
            let length = (16 + name.len()).next_multiple_of(4);
            end = end.checked_sub(value.len().next_multiple_of(4))?;
            if at + length + 4 > end {
                return None;
            }
            let own = entry_hash(name, value);
            let mut entry = Fields(&mut area[at..at + length]);
            entry.u8(0, name.len() as u8);
            entry.u8(1, *prefix);
            entry.u16(2, end as u16);
            entry.u32(8, value.len() as u32);
            entry.u32(12, own);
            entry.bytes(16, name);
            area[end..end + value.len()].copy_from_slice(value);
            hash = hash.rotate_left(16) ^ own;
            at += length;
        }
        Some(hash)
    }
}

/// `ext4_xattr_hash_entry` of the kernel.
fn entry_hash(name: &[u8], value: &[u8]) -> u32 {
    let hash = name.iter().fold(0u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
    value.chunks(4).fold(hash, |hash, chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        hash.rotate_left(16) ^ u32::from_le_bytes(word)
    })
}
