//! What an older system left where the image has no blocks: both ends of the disk and of each of its old partitions, where
//! file systems, RAID, LVM, ZFS, encryption and partition tables keep their signatures and the copies of these.

use super::map::joined;
use super::old_table::Old;
use contract::layout::{Extent, MIB};

/// What is erased at each end, in bytes. The farthest signature from an end is the metadata of md 1.1 and ZFS, within
/// 512 KiB; LVM may keep a copy in the last MiB.
const END: u64 = MIB;
/// Where btrfs keeps the copies of its superblock besides (linux/fs/btrfs/disk-io.h), and their length.
const BTRFS: [u64; 2] = [64 * MIB, 256 * 1024 * MIB];
const BTRFS_LENGTH: u64 = 64 * 1024;

/// The places to erase on a disk of `size` bytes with these partitions, without those that are kept. In order, and none
/// twice.
#[must_use]
pub fn places(size: u64, old: &[Old], kept: &[Extent]) -> Vec<Extent> {
    let whole = Extent { offset: 0, length: size };
    let all = std::iter::once(whole).chain(old.iter().map(|old| old.extent)).flat_map(ends).collect();
    joined(all).into_iter().flat_map(|place| without(place, kept)).collect()
}

fn ends(of: Extent) -> Vec<Extent> {
    let length = END.min(of.length);
    let copies = BTRFS.into_iter().filter(|at| at + BTRFS_LENGTH <= of.length);
    let copies = copies.map(|at| Extent { offset: of.offset + at, length: BTRFS_LENGTH });
    [Extent { offset: of.offset, length }, Extent { offset: of.end() - length, length }]
        .into_iter()
        .chain(copies)
        .collect()
}

/// What is left of an extent without others, which are in order.
#[must_use]
pub fn without(place: Extent, others: &[Extent]) -> Vec<Extent> {
    let (mut left, mut at) = (Vec::new(), place.offset);
    for other in others.iter().filter(|other| other.offset < place.end() && other.end() > place.offset) {
        if other.offset > at {
            left.push(Extent { offset: at, length: other.offset - at });
        }
        at = at.max(other.end());
    }
    if at < place.end() {
        left.push(Extent { offset: at, length: place.end() - at });
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn extent(offset: u64, length: u64) -> Extent {
        Extent { offset, length }
    }

    #[test]
    fn both_ends_of_the_disk_and_of_each_partition_are_named_but_not_what_is_kept() {
        let old = [Old { extent: extent(10 * MIB, 80 * MIB), name: None }];
        let found = places(200 * MIB, &old, &[extent(0, 2 * MIB), extent(89 * MIB, MIB / 2)]);
        let wanted = [
            extent(10 * MIB, MIB),
            extent(64 * MIB, BTRFS_LENGTH),
            extent(74 * MIB, BTRFS_LENGTH),
            extent(89 * MIB + MIB / 2, MIB / 2),
            extent(199 * MIB, MIB),
        ];
        assert_eq!(found, wanted);
        assert_eq!(places(MIB / 2, &[], &[]), [extent(0, MIB / 2)]);
    }

    proptest! {
        #[test]
        fn what_is_left_and_what_is_taken_away_are_the_whole(
            offset in 0u64..50, length in 1u64..50, others in prop::collection::vec((0u64..90, 1u64..9), 0..6)
        ) {
            let mut others: Vec<Extent> = others.into_iter().map(|(offset, length)| extent(offset, length)).collect();
            others.sort_by_key(|extent| extent.offset);
            let left = without(extent(offset, length), &others);
            for byte in 0..100 {
                let inside = |list: &[Extent]| list.iter().any(|part| (part.offset..part.end()).contains(&byte));
                let wanted = (offset..offset + length).contains(&byte) && !inside(&others);
                prop_assert_eq!(inside(&left), wanted, "byte {}", byte);
            }
        }
    }
}
