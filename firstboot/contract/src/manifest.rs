//! The manifest: what a slot holds. It is signed as the exact bytes that are stored ([`crate::trailer`]): JSON without
//! blanks, keys in the order of [`Manifest`]'s fields.
//!
//! A key that is unknown is refused, so a key that is added is left out where it says what its absence says: older nodes
//! then read what concerns them. What every slot has to say raises [`FORMAT`].

use crate::hash::Digest;
use crate::layout::BLOCK;
use crate::names::BOARD;
use crate::plain_name::PlainName;
use crate::role::{Compatible, ProfileName, Role};
use crate::tree::{self, TreeError};
use serde::{Deserialize, Serialize};

/// Format number of manifests that this code writes and reads.
pub const FORMAT: u32 = 1;
/// Highest rollback index: room for days and seconds of this century, and none for a number after which nothing follows.
pub const MAX_ROLLBACK_INDEX: u64 = u32::MAX as u64;
/// Last time of a build, in seconds since 1970: the end of 2099. A node's clock never stands before its slot's time, so one
/// that is far in the future would end every certificate.
pub const MAX_BUILT: u64 = 4_102_444_799;

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
    pub version: PlainName,
    /// Time of the build's newest input, in seconds since 1970: the node's clock never stands before it.
    pub built: u64,
    /// A node that has committed a higher one refuses this slot.
    pub rollback_index: u64,
    /// Release of the kernel, as `uname -r` says it.
    pub kernel: PlainName,
    /// The FAT file system of the boot partition, from its first byte.
    pub boot: BlockImage,
    /// The ext4 file system of the root partition; its tree follows at once.
    pub root: BlockImage,
    /// Names of the artifacts that were supplied by hand instead of from the lock.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub supplied: Vec<PlainName>,
}

/// Characters that are shown of another board's name.
const BOARD_SHOWN: usize = 40;

/// A manifest that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the manifest has format {0}; this program reads format {FORMAT}")]
    Format(u32),
    #[error("the manifest is for the board {0:?}, not for {BOARD:?}")]
    Board(String),
    #[error("the manifest has the rollback index {0}; the highest one is {MAX_ROLLBACK_INDEX}")]
    RollbackIndex(u64),
    #[error(
        "the manifest says that it was built {0} seconds after 1970; {MAX_BUILT} is the last time that a build can have"
    )]
    Built(u64),
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

    /// The bytes that get signed and stored. What no node would take is not written.
    ///
    /// # Errors
    /// As [`Manifest::parse`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        self.check()?;
        Ok(serde_json::to_vec(self)?)
    }

    /// What the types of the fields do not say.
    fn check(&self) -> Result<(), ManifestError> {
        if self.format != FORMAT {
            return Err(ManifestError::Format(self.format));
        }
        if self.board != BOARD {
            return Err(ManifestError::Board(self.board.chars().take(BOARD_SHOWN).collect()));
        }
        if self.rollback_index > MAX_ROLLBACK_INDEX {
            return Err(ManifestError::RollbackIndex(self.rollback_index));
        }
        if self.built > MAX_BUILT {
            return Err(ManifestError::Built(self.built));
        }
        for (image, part) in [("boot", &self.boot), ("root", &self.root)] {
            tree::levels(part.length).map_err(|source| ManifestError::Image { image, source })?;
        }
        Ok(())
    }

    /// Reads a manifest and checks everything in it that can be checked without the disk.
    ///
    /// # Errors
    /// When it is not JSON of this shape, of another format or board, has a number that no build has, or names a length that
    /// no tree can cover.
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
        manifest.check()?;
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
        version: PlainName::literal("1.2.3"),
        built: 1_790_000_000,
        rollback_index: 4,
        kernel: PlainName::literal("6.12.1-arm64"),
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
    fn another_board_or_an_impossible_length_is_refused_by_who_reads_and_who_writes() {
        let refused = |change: fn(&mut Manifest), from: &str, to: &str, wanted: &str| {
            let text = String::from_utf8(example().to_bytes().unwrap()).unwrap();
            assert!(text.contains(from), "{from} in {text}");
            let read = Manifest::parse(text.replacen(from, to, 1).as_bytes()).unwrap_err().to_string();
            let mut manifest = example();
            change(&mut manifest);
            let written = manifest.to_bytes().unwrap_err().to_string();
            assert!(read.contains(wanted) && written == read, "{read:?} and {written:?}, not {wanted:?}");
        };
        refused(|it| it.board = "toaster".to_owned(), "rpi-cm4", "toaster", "for the board \"toaster\"");
        refused(|it| it.root.length += 1, ":65536", ":65537", "the manifest's root image");
        let index = "the rollback index 4294967296; the highest one is 4294967295";
        refused(|it| it.rollback_index = 1 << 32, "_index\":4", "_index\":4294967296", index);
        refused(|it| it.built = MAX_BUILT + 1, "1790000000", "4102444800", "built 4102444800 seconds after 1970");
        let most = Manifest { rollback_index: MAX_ROLLBACK_INDEX, built: MAX_BUILT, ..example() };
        assert_eq!(Manifest::parse(&most.to_bytes().unwrap()).unwrap(), most);
    }

    #[test]
    fn names_that_are_not_plain_are_refused_whoever_has_signed_them() {
        let text = String::from_utf8(example().to_bytes().unwrap()).unwrap();
        for harm in [
            r"a\u001b[31mRED\nmicrodc: [ 0.01s] committed",
            r"2\u202e1",
            r"2\u2028",
            r"../../etc",
            r"..",
            r"a/b",
            r"",
            r" ",
            r"\u00e4",
            r"x\u0000",
        ] {
            for (name, from) in [("version", "1.2.3"), ("kernel", "6.12.1-arm64"), ("role", "router")] {
                let changed = text.replacen(&format!("\"{name}\":\"{from}\""), &format!("\"{name}\":\"{harm}\""), 1);
                assert_ne!(changed, text);
                let error = Manifest::parse(changed.as_bytes()).unwrap_err();
                assert!(matches!(error, ManifestError::Json(_)), "{name} {harm}");
                assert!(error.to_string().chars().all(crate::text::is_plain), "{error:?}");
            }
            let supplied =
                text.replacen('}', &format!(",\"x\":[\"{harm}\"]}}"), 1).replacen("\"x\"", "\"supplied\"", 1);
            assert!(Manifest::parse(supplied.as_bytes()).is_err(), "{harm}");
        }
    }

    use proptest::prelude::*;

    proptest! {
        #[test]
        fn whatever_a_manifest_says_what_is_taken_is_plain_and_within_bounds(
            version in "\\PC{0,6}|[a-z0-9.]{0,70}|.{0,6}", kernel in "[a-z.+~/-]{0,9}|.{0,4}",
            supplied in prop::collection::vec("[a-z.]{0,5}|.{0,3}", 0..3), rollback_index: u64, built: u64,
            board in "rpi-cm4|.{0,9}",
        ) {
            let mut value = serde_json::to_value(example()).unwrap();
            for (key, new) in [
                ("version", serde_json::json!(version)), ("kernel", serde_json::json!(kernel)),
                ("supplied", serde_json::json!(supplied)), ("board", serde_json::json!(board)),
                ("rollback_index", serde_json::json!(rollback_index)), ("built", serde_json::json!(built)),
            ] {
                value[key] = new;
            }
            match Manifest::parse(&serde_json::to_vec(&value).unwrap()) {
                Ok(manifest) => {
                    prop_assert!(manifest.rollback_index <= MAX_ROLLBACK_INDEX && manifest.built <= MAX_BUILT);
                    for name in [&manifest.version, &manifest.kernel].into_iter().chain(&manifest.supplied) {
                        prop_assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'));
                        prop_assert!(!name.contains(".."));
                    }
                    // Who writes it takes what who reads it takes.
                    prop_assert_eq!(Manifest::parse(&manifest.to_bytes().unwrap()).unwrap(), manifest);
                }
                Err(error) => prop_assert!(error.to_string().chars().all(crate::text::is_plain), "{:?}", error),
            }
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Manifest::parse(&bytes);
        }
    }
}
