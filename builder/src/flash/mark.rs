//! The mark of a disk that is being flashed: one block in the empty space behind the partition table. It is written before
//! anything else and erased after everything else. A disk that has it and no partition table is half-written: the next run
//! goes on without being asked again, and compares before it writes.
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 8 | magic `microdcF` |
//! | 8 | 8 | what may go: `all     `, `ends    ` or `image   ` ([`Erase`]) |
//! | 16 | 8 | size of each root partition of the image, little-endian |
//! | 24 | 32 | SHA-256 of the bytes before |

use contract::hash::Digest;
use contract::layout::{BLOCK, Extent};

const MAGIC: &[u8; 8] = b"microdcF";
/// Where it stands: between the partition table and the first partition.
pub const PLACE: Extent = Extent { offset: 512 * 1024, length: BLOCK };

/// What of a disk may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Erase {
    /// Whatever was on it.
    All,
    /// Signatures at the ends: it was blank, or had an image that was never used.
    Ends,
    /// What the image covers. What a node made behind it stays, and a node takes it again.
    Image,
}

/// A mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub erase: Erase,
    /// In bytes.
    pub root_size: u64,
}

impl Erase {
    fn word(self) -> &'static [u8; 8] {
        match self {
            Erase::All => b"all     ",
            Erase::Ends => b"ends    ",
            Erase::Image => b"image   ",
        }
    }
}

impl Mark {
    /// The block to write.
    #[must_use]
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = [&MAGIC[..], self.erase.word(), &self.root_size.to_le_bytes()].concat();
        bytes.extend(Digest::of(&bytes).0);
        bytes.resize(BLOCK as usize, 0);
        bytes
    }

    /// The mark in a block; nothing when there is none, or a bit of it is wrong.
    #[must_use]
    pub fn parse(block: &[u8]) -> Option<Mark> {
        let root_size = u64::from_le_bytes(*block.get(16..)?.first_chunk()?);
        let marks = [Erase::All, Erase::Ends, Erase::Image].map(|erase| Mark { erase, root_size });
        marks.into_iter().find(|mark| mark.bytes() == block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_and_one_flipped_bit_is_none() {
        for erase in [Erase::All, Erase::Ends, Erase::Image] {
            let mark = Mark { erase, root_size: 256 << 20 };
            let mut bytes = mark.bytes();
            assert_eq!(Mark::parse(&bytes), Some(mark));
            for at in 0..64 {
                bytes[at] ^= 2;
                assert_eq!(Mark::parse(&bytes), None, "byte {at}");
                bytes[at] ^= 2;
            }
        }
        assert_eq!(Mark::parse(&[0; BLOCK as usize]), None);
        assert_eq!(Mark::parse(b"microdcF"), None);
    }
}
