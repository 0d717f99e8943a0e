//! The marker of a claimed disk: whose it is, and how far the claim has come. One sector, so that power cannot tear it.
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 8 | magic `microdcD` |
//! | 8 | 32 | SHA-256 of the bytes from 40 to the end of the body |
//! | 40 | 8 | phase: `making  ` or `made    ` |
//! | 48 | 4 | length of the body, little-endian |
//! | 52 | | body: [`Owner`] as JSON |
//!
//! It stands outside the partition `data`, whose bytes belong to its users to the last one. `making` is written before
//! anything else, and only where the claim is allowed; `made` after everything else.

use super::super::phase::Phase;
use contract::hash::Digest;
use contract::node::{DataKind, Serial};
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"microdcD";
/// What a marker takes at most: the smallest sector there is.
const LENGTH: usize = 512;
/// What is written for a marker: the largest logical block of a disk.
pub const BLOCK: usize = 4096;

/// Whose a disk is, and what was made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Owner {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    pub node: String,
    pub serial: Serial,
    pub kind: DataKind,
    /// Where `data` is on the disk, in bytes.
    pub offset: u64,
    pub length: u64,
}

impl Owner {
    /// Whether cluster, node and disk are the same.
    pub fn is_same(&self, other: &Owner) -> bool {
        (&self.cluster, &self.node, &self.serial) == (&other.cluster, &other.node, &other.serial)
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "node {:?}", self.node)?;
        match &self.cluster {
            Some(cluster) => write!(f, " of the cluster {cluster:?}")?,
            None => write!(f, " of no cluster")?,
        }
        write!(f, " (as {}, disk {})", self.kind, self.serial)
    }
}

/// A marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    pub phase: Phase,
    pub owner: Owner,
}

impl Marker {
    /// The block to write; `None` when the names in it are too long for one sector.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        let body = serde_json::to_vec(&self.owner).ok()?;
        let mut signed = self.phase.bytes().to_vec();
        signed.extend(u32::try_from(body.len()).ok()?.to_le_bytes());
        signed.extend(body);
        let mut bytes = [&MAGIC[..], &Digest::of(&signed).0, &signed].concat();
        if bytes.len() > LENGTH {
            return None;
        }
        bytes.resize(BLOCK, 0);
        Some(bytes)
    }

    /// Reads a marker; `None` when there is none, or when a bit of it is wrong.
    pub fn parse(block: &[u8]) -> Option<Marker> {
        let rest = block.get(..LENGTH)?.strip_prefix(MAGIC)?;
        let (digest, signed) = rest.split_at_checked(32)?;
        let length = u32::from_le_bytes(*signed.get(8..)?.first_chunk::<4>()?);
        let signed = signed.get(..usize::try_from(length).ok()?.checked_add(12)?)?;
        if Digest::of(signed).0 != digest {
            return None;
        }
        let phase = Phase::BOTH.into_iter().find(|phase| signed.starts_with(phase.bytes()))?;
        Some(Marker { phase, owner: serde_json::from_slice(signed.get(12..)?).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn owner(node: &str) -> Owner {
        let serial = Serial::try_from("S4EWNX0M".to_owned()).unwrap();
        Owner { cluster: Some("rack".into()), node: node.into(), serial, kind: DataKind::Xfs, offset: 1, length: 2 }
    }

    #[test]
    fn what_is_written_is_read_and_one_flipped_bit_is_no_marker() {
        for phase in Phase::BOTH {
            let marker = Marker { phase, owner: owner("n1") };
            let mut bytes = marker.bytes().unwrap();
            assert_eq!(Marker::parse(&bytes), Some(marker));
            let used = bytes.iter().rposition(|&byte| byte != 0).unwrap();
            for at in 0..=used {
                bytes[at] ^= 4;
                assert_eq!(Marker::parse(&bytes), None, "byte {at}");
                bytes[at] ^= 4;
            }
        }
    }

    #[test]
    fn the_longest_names_fit_into_one_sector_and_longer_ones_are_not_written() {
        let mut owner = owner(&"n".repeat(63));
        owner.cluster = Some("c".repeat(63));
        owner.serial = Serial::try_from("s".repeat(64)).unwrap();
        (owner.offset, owner.length) = (u64::MAX, u64::MAX);
        let mut marker = Marker { phase: Phase::Made, owner };
        let bytes = marker.bytes().unwrap();
        assert!(bytes[LENGTH..].iter().all(|&byte| byte == 0));
        assert_eq!(Marker::parse(&bytes).as_ref(), Some(&marker));
        marker.owner.cluster = Some("c".repeat(500));
        assert_eq!(marker.bytes(), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(rest in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = Marker::parse(&rest);
            let _ = Marker::parse(&[&MAGIC[..], &rest].concat());
        }

        #[test]
        fn a_wrong_body_with_a_right_digest_does_not_make_it_panic(body in prop::collection::vec(any::<u8>(), 0..400), length: u32) {
            for length in [length, body.len() as u32] {
                let signed = [&b"made    "[..], &length.to_le_bytes(), &body].concat();
                let mut bytes = [&MAGIC[..], &Digest::of(&signed).0, &signed].concat();
                bytes.resize(LENGTH, 0);
                let _ = Marker::parse(&bytes);
            }
        }
    }
}
