//! An unpacked package: what its archive states, with content by reference.

use super::{Kind, Owner};
use std::collections::BTreeMap;

/// One entry of a package's archive.
#[derive(Clone, Debug)]
pub struct Entry {
    pub kind: Kind,
    pub owner: Owner,
    /// Owner's names as the archive has them; empty when it has none.
    pub uname: String,
    pub gname: String,
    /// Permission bits with set-uid, set-gid and sticky (07777).
    pub mode: u32,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// A package with its entries by path, without leading `./` or `/`.
#[derive(Clone, Debug)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub entries: BTreeMap<String, Entry>,
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}
