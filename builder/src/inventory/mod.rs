//! The inventory: what an image is made of, and why each file is in it. It is part of the image, so that it can be read
//! from any image, bundle or node's disk, and is covered by the signature like everything else.
//!
//! Two files in the root: [`contract::names::INVENTORY`] is this module's [`Inventory`] as JSON, and
//! [`contract::names::LICENCES`] a tar of the packages' copyright files ([`licences`]). Both are packed with zstd. The
//! same inputs give the same bytes: nothing in them depends on the machine, and a comment in a profile changes nothing.

mod gather;
pub mod licences;

pub use gather::{Built, insert};

use crate::lock::LockedPackage;
use crate::tree::SourcePackage;
use contract::hash::Digest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read as _;

/// Version of the inventory's own format.
pub const FORMAT: u32 = 1;
/// An inventory has at most so many bytes when unpacked: a hundred times what the largest role needs.
const LARGEST: u64 = 64 << 20;
/// How hard to pack: higher levels gain a few percent and take ten times as long.
const LEVEL: i32 = 6;

/// What an image is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// [`FORMAT`].
    pub format: u32,
    /// Version of the builder.
    pub microdc: String,
    /// Name of the profile.
    pub profile: String,
    /// By name.
    pub packages: Vec<Package>,
    /// What comes from elsewhere than packages, by name; firstboot is one of them.
    #[serde(default)]
    pub artifacts: Vec<Artifact>,
    /// Crates that are linked into firstboot, as `NAME VERSION LICENCE`, the licence where it is known; none where firstboot
    /// was supplied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub crates: Vec<String>,
    /// Why each path of the root is there. Paths have no leading slash; the root itself is the empty path.
    pub root: Vec<Reason>,
    /// Why each file of the boot partition is there.
    pub boot: Vec<Reason>,
}

/// A package that files were taken from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub suite: String,
    pub component: String,
    /// In the archive, from its base.
    pub path: String,
    /// Of the package file, in bytes.
    pub size: u64,
    /// Of the package file.
    pub sha256: Digest,
    /// What it was built from; nothing in images of a microdc that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<SourcePackage>,
    /// Where its copyright file stands in the archive of licences; nothing where no package of the image has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copyright: Option<String>,
}

/// Something that no package brings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    pub name: String,
    /// `url`, `go`, `file`, or `microdc` for the project's own program.
    pub kind: String,
    /// Where it comes from: the URL, the Go module, the file's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Absolute path in the root.
    pub path: String,
    /// In bytes.
    pub size: u64,
    pub sha256: Digest,
    /// Whether it was handed over by hand (`--supply`): then `from` and `version` are what the profile wanted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub supplied: bool,
}

/// A reason, and the paths that are there for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// As [`crate::tree::origin`] writes it.
    pub origin: String,
    pub paths: Vec<String>,
}

/// An inventory that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    #[error("the inventory cannot be unpacked: {0}")]
    Packed(#[source] std::io::Error),
    #[error("the inventory is larger than the limit of {LARGEST} bytes")]
    Large,
    #[error("the inventory cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the inventory has format {0}; this microdc reads format {FORMAT}: use a newer one")]
    Format(u32),
}

impl Package {
    fn of(locked: &LockedPackage, source: Option<SourcePackage>, copyright: Option<String>) -> Package {
        let LockedPackage { name, version, architecture, suite, component, path, size, sha256 } = locked.clone();
        Package { name, version, architecture, suite, component, path, size, sha256, source, copyright }
    }
}

impl Inventory {
    /// The bytes that go into an image.
    ///
    /// # Errors
    /// When zstd refuses.
    pub fn to_bytes(&self) -> Result<Vec<u8>, InventoryError> {
        zstd::bulk::compress(&serde_json::to_vec(self)?, LEVEL).map_err(InventoryError::Packed)
    }

    /// Reads the bytes of an image. They are foreign: nothing in them is trusted to be true, and what they unpack to is
    /// bounded.
    ///
    /// # Errors
    /// When they are no inventory of this format.
    pub fn parse(bytes: &[u8]) -> Result<Inventory, InventoryError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let json = unpack(bytes, LARGEST).map_err(InventoryError::Packed)?.ok_or(InventoryError::Large)?;
        let Head { format } = serde_json::from_slice(&json)?;
        if format != FORMAT {
            return Err(InventoryError::Format(format));
        }
        Ok(serde_json::from_slice(&json)?)
    }

    /// Why each path of the root is there, by path.
    #[must_use]
    pub fn reasons(&self) -> BTreeMap<&str, &str> {
        by_path(&self.root)
    }

    /// Why each file of the boot partition is there, by name.
    #[must_use]
    pub fn boot_reasons(&self) -> BTreeMap<&str, &str> {
        by_path(&self.boot)
    }

    #[must_use]
    pub fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }
}

fn by_path(reasons: &[Reason]) -> BTreeMap<&str, &str> {
    let pairs = reasons.iter().flat_map(|reason| reason.paths.iter().map(|path| (&**path, &*reason.origin)));
    pairs.collect()
}

/// What zstd packed, unless it is more than `most` bytes.
fn unpack(bytes: &[u8], most: u64) -> std::io::Result<Option<Vec<u8>>> {
    let mut plain = Vec::new();
    zstd::stream::read::Decoder::new(bytes)?.take(most + 1).read_to_end(&mut plain)?;
    Ok((plain.len() as u64 <= most).then_some(plain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some() -> Inventory {
        let package = Package {
            name: "frr".into(),
            version: "10.3-3".into(),
            architecture: "arm64".into(),
            suite: "trixie".into(),
            component: "main".into(),
            path: "pool/main/f/frr/frr_10.3-3_arm64.deb".into(),
            size: 5,
            sha256: Digest::of(b"frr"),
            source: Some(SourcePackage::of("", "frr", "10.3-3")),
            copyright: None,
        };
        let reason = |origin: &str, paths: &[&str]| Reason {
            origin: origin.into(),
            paths: paths.iter().map(|&path| path.into()).collect(),
        };
        Inventory {
            format: FORMAT,
            microdc: "0.1.0".into(),
            profile: "router".into(),
            packages: vec![package],
            artifacts: Vec::new(),
            crates: vec!["serde 1.0.2".into()],
            root: vec![reason("overlay router", &["etc/frr/zebra.conf"]), reason("microdc, x", &["", "usr"])],
            boot: vec![reason("microdc, y", &["config.txt"])],
        }
    }

    #[test]
    fn an_inventory_comes_back_as_it_was_written() {
        let inventory = some();
        assert_eq!(Inventory::parse(&inventory.to_bytes().unwrap()).unwrap(), inventory);
        assert_eq!(inventory.reasons()["usr"], "microdc, x");
        assert_eq!(inventory.boot_reasons()["config.txt"], "microdc, y");
    }

    #[test]
    fn a_later_format_is_named_even_when_its_fields_are_unknown() {
        let bytes = zstd::bulk::compress(br#"{"format": 9, "colour": "blue"}"#, 1).unwrap();
        assert!(matches!(Inventory::parse(&bytes), Err(InventoryError::Format(9))));
    }

    #[test]
    fn what_unpacks_without_end_is_refused() {
        let bytes = zstd::bulk::compress(&vec![b' '; LARGEST as usize + 1], 1).unwrap();
        assert!(bytes.len() < 100_000);
        assert!(matches!(Inventory::parse(&bytes), Err(InventoryError::Large)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Inventory::parse(&bytes);
            let _ = Inventory::parse(&zstd::bulk::compress(&bytes, 1).unwrap());
        }

        #[test]
        fn a_damaged_inventory_is_an_error_or_another_one(at in 0..400_usize, bit in 0u8..8) {
            let mut bytes = some().to_bytes().unwrap();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let _ = Inventory::parse(&bytes);
        }
    }
}
