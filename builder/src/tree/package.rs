//! An unpacked package: what its archive states, with content by reference.

use super::{Kind, Owner};
use serde::{Deserialize, Serialize};
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
    pub source: SourcePackage,
    pub entries: BTreeMap<String, Entry>,
}

/// The source package that a package was built from: Debian's security tracker knows these alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SourcePackage {
    pub name: String,
    pub version: String,
}

impl SourcePackage {
    /// Reads the field `Source` of a package (Debian policy 5.6.1): `NAME (VERSION)`, `NAME`, or nothing, where the package
    /// has the name or the version of its source.
    #[must_use]
    pub fn of(field: &str, name: &str, version: &str) -> SourcePackage {
        let field = field.trim();
        let (source, rest) = field.split_once(char::is_whitespace).unwrap_or((field, ""));
        let own = rest.trim().strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).map(str::trim);
        let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
        SourcePackage { name: or(source, name), version: or(own.unwrap_or_default(), version) }
    }
}

impl std::fmt::Display for SourcePackage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl std::fmt::Display for Package {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_a_source_field_is_built_from_the_source_of_its_name() {
        let source = |field| SourcePackage::of(field, "libc6", "2.41-12+b1").to_string();
        assert_eq!(source(""), "libc6 2.41-12+b1");
        assert_eq!(source("glibc"), "glibc 2.41-12+b1");
        assert_eq!(source("glibc (2.41-12)"), "glibc 2.41-12");
        assert_eq!(source(" glibc  ( 2.41-12 ) "), "glibc 2.41-12");
        assert_eq!(source("glibc (2.41-12"), "glibc 2.41-12+b1", "what is not closed is not a version");
    }
}
