//! The manifest: what a slot holds. It is signed as the exact bytes that are stored ([`crate::trailer`]): JSON without
//! blanks, keys in the order of [`Manifest`]'s fields.
//!
//! A key that is unknown is refused, so a key that is added is left out where it says what its absence says: older nodes
//! then read what concerns them. What every slot has to say raises [`FORMAT`].

use crate::hash::Digest;
use crate::layout::BLOCK;
use crate::names::BOARD;
use crate::role::{Compatible, ProfileName, Role};
use crate::tree::{self, TreeError};
use serde::{Deserialize, Serialize};

/// Format number of manifests that this code writes and reads.
pub const FORMAT: u32 = 1;

/// One of a slot's two block images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BlockImage {
    /// Length of the data in bytes: a whole, non-zero number of [`BLOCK`]s.
    pub length: u64,
    /// Root hash of the tree over it, salted with [`tree::SALT`].
    pub root_hash: Digest,
}

impl BlockImage {
    /// Number of [`BLOCK`]s.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.length / BLOCK
    }
}

/// Which of a slot's two block images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    Boot,
    Root,
}

impl Which {
    pub const BOTH: [Which; 2] = [Which::Boot, Which::Root];
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Which::Boot => "boot",
            Which::Root => "root",
        })
    }
}

/// What a slot holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    pub role: Role,
    /// The profile whose nodes this slot is for; absent when it carries the role's name, and in manifests from before this
    /// key: see [`Manifest::compatible`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compatible: Option<ProfileName>,
    /// [`BOARD`].
    pub board: String,
    /// What people call this build.
    pub version: String,
    /// Time of the build's newest input, in seconds since 1970: the node's clock never stands before it.
    pub built: u64,
    /// A node that has committed a higher one refuses this slot.
    pub rollback_index: u64,
    /// Release of the kernel, as `uname -r` says it.
    pub kernel: String,
    /// The FAT file system of the boot partition, from its first byte.
    pub boot: BlockImage,
    /// The ext4 file system of the root partition; its tree follows at once.
    pub root: BlockImage,
    /// Names of the artifacts that were handed to the build by hand, in place of what the lock pins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supplied: Vec<String>,
}

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the manifest has format {0}; this program reads format {FORMAT}")]
    Format(u32),
    #[error("the manifest is for the board {0:?}, not for {BOARD:?}")]
    Board(String),
    #[error("the manifest's {image} image: {source}")]
    Image { image: &'static str, source: TreeError },
}

impl Manifest {
    /// For which nodes the slot is. A manifest that names no profile is for the one that carries the role's name.
    #[must_use]
    pub fn compatible(&self) -> Compatible {
        let profile = self.compatible.clone().unwrap_or_else(|| ProfileName::from(&self.role));
        Compatible { role: self.role.clone(), profile }
    }

    #[must_use]
    pub fn image(&self, image: Which) -> &BlockImage {
        match image {
            Which::Boot => &self.boot,
            Which::Root => &self.root,
        }
    }

    /// The bytes that get signed and stored.
    ///
    /// # Errors
    /// Never for values of this type; the signature is serde's.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        Ok(serde_json::to_vec(self)?)
    }

    /// Reads a manifest and checks everything in it that can be checked without the disk.
    ///
    /// # Errors
    /// When it is not JSON of this shape, of another format or board, or names a length that no tree can cover.
    pub fn parse(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let head: Head = serde_json::from_slice(bytes)?;
        if head.format != FORMAT {
            return Err(ManifestError::Format(head.format));
        }
        let manifest: Manifest = serde_json::from_slice(bytes)?;
        if manifest.board != BOARD {
            return Err(ManifestError::Board(manifest.board));
        }
        for (image, part) in [("boot", &manifest.boot), ("root", &manifest.root)] {
            tree::levels(part.length).map_err(|source| ManifestError::Image { image, source })?;
        }
        Ok(manifest)
    }
}

#[cfg(test)]
pub(crate) fn example() -> Manifest {
    Manifest {
        format: FORMAT,
        role: Role::literal("router"),
        compatible: None,
        board: BOARD.to_owned(),
        version: "1.2.3".to_owned(),
        built: 1_790_000_000,
        rollback_index: 4,
        kernel: "6.12.1-arm64".to_owned(),
        boot: BlockImage { length: 8 * BLOCK, root_hash: Digest::of(b"boot") },
        root: BlockImage { length: 16 * BLOCK, root_hash: Digest::of(b"root") },
        supplied: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_back_as_written() {
        let manifest = example();
        assert_eq!(Manifest::parse(&manifest.to_bytes().unwrap()).unwrap(), manifest);
    }

    #[test]
    fn a_profile_of_its_role_s_name_leaves_the_manifest_as_it_was_before_there_was_compatible() {
        let text = String::from_utf8(example().to_bytes().unwrap()).unwrap();
        assert!(text.starts_with(r#"{"format":1,"role":"router","board":"rpi-cm4","version":"1.2.3","#), "{text}");
        assert_eq!(example().compatible().to_string(), "profile \"router\" (role router)");
        let own = Manifest { compatible: "storage".parse().ok(), ..example() };
        let text = String::from_utf8(own.to_bytes().unwrap()).unwrap();
        assert!(text.starts_with(r#"{"format":1,"role":"router","compatible":"storage","board":"#), "{text}");
        let wrong = text.replace("storage", "a storage").into_bytes();
        assert!(matches!(Manifest::parse(&wrong), Err(ManifestError::Json(_))));
    }

    #[test]
    fn a_later_format_is_named_even_when_its_fields_are_unknown() {
        let found = Manifest::parse(br#"{"format": 9, "colour": "blue"}"#);
        assert!(matches!(found, Err(ManifestError::Format(9))));
    }

    #[test]
    fn another_board_or_an_impossible_length_is_refused() {
        let mut other = example();
        other.board = "toaster".to_owned();
        assert!(matches!(Manifest::parse(&other.to_bytes().unwrap()), Err(ManifestError::Board(_))));
        let mut odd = example();
        odd.root.length += 1;
        assert!(matches!(Manifest::parse(&odd.to_bytes().unwrap()), Err(ManifestError::Image { image: "root", .. })));
    }
}
