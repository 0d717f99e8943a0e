//! A place for `data`: the output of a plan, and the input of a verdict.

use contract::layout::{Extent, MIB};

/// Bytes to write at an offset of the disk, each before the next.
pub type Writes = Vec<(u64, Vec<u8>)>;

/// The least that `data` may have, in bytes: mkfs.xfs makes nothing below 300 MiB.
pub const MIN_DATA: u64 = 320 * MIB;

/// A place for `data`: a whole disk, or the part of the system disk behind `state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What the claim may change.
    pub extent: Extent,
    /// Offset of the marker, in bytes.
    pub marker: u64,
    /// The partition `data`.
    pub data: Extent,
    /// Size of the whole disk, in bytes.
    pub size: u64,
}
