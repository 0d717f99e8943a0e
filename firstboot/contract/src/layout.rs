//! Where everything is on the disk: partition numbers, names, sizes, and the layout inside a root partition.
//!
//! All offsets and lengths are in bytes unless the name says otherwise. The logical block size of an image is 512 bytes.

/// One mebibyte in bytes.
pub const MIB: u64 = 1024 * 1024;
/// Logical block size of an image file, in bytes.
pub const SECTOR: u64 = 512;
/// Alignment of every partition, in bytes.
pub const ALIGN: u64 = MIB;
/// Block size of hash trees, of the root file system and of updates, in bytes.
pub const BLOCK: u64 = 4096;
/// Size of `bootsel`, in bytes.
pub const BOOTSEL_SIZE: u64 = 16 * MIB;
/// Size of each boot partition, in bytes. FAT32 needs at least 65,525 clusters.
pub const BOOT_SIZE: u64 = 128 * MIB;
/// Size of each root partition when the profile names none, in bytes. It limits every later update of a node, for years: the
/// largest root of the roles that come with microdc takes a third of it.
pub const DEFAULT_ROOT_SIZE: u64 = 512 * MIB;
/// Size of `state`, made on the node, in bytes.
pub const STATE_SIZE: u64 = 1024 * MIB;
/// Bytes at the end of `state` for its record.
pub const STATE_RECORD: u64 = 64 * 1024;

/// Length of the file system of `state` in a partition of `length` bytes. As much behind it takes one that was damaged.
#[must_use]
pub const fn state_file_system(length: u64) -> u64 {
    length.saturating_sub(STATE_RECORD) / 2 / MIB * MIB
}
/// Length of the trailer, at the very end of a root partition, in bytes.
pub const TRAILER_SIZE: u64 = 64 * 1024;
/// Length of every `autoboot.txt`, and the longest that is sure to be read, in bytes: Raspberry Pi's documentation limits it
/// to 512, and the file must end in that sector.
pub const AUTOBOOT_MAX: usize = SECTOR as usize - 1;

/// Partition type of FAT partitions: "Microsoft basic data", which the EEPROM looks into.
pub const TYPE_FAT: &str = "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7";
/// Partition type of everything else: "Linux filesystem data".
pub const TYPE_LINUX: &str = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub enum Slot {
    A,
    B,
}

impl Slot {
    pub const BOTH: [Slot; 2] = [Slot::A, Slot::B];

    #[must_use]
    pub fn other(self) -> Slot {
        match self {
            Slot::A => Slot::B,
            Slot::B => Slot::A,
        }
    }

    #[must_use]
    pub fn boot(self) -> Partition {
        match self {
            Slot::A => Partition::BootA,
            Slot::B => Partition::BootB,
        }
    }

    #[must_use]
    pub fn root(self) -> Partition {
        match self {
            Slot::A => Partition::RootA,
            Slot::B => Partition::RootB,
        }
    }

    /// The slot whose boot partition has this number, as the firmware reports it in `/chosen/bootloader/partition`.
    #[must_use]
    pub fn from_boot_number(number: u32) -> Option<Slot> {
        Slot::BOTH.into_iter().find(|slot| slot.boot().number() == number)
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Slot::A => "A",
            Slot::B => "B",
        })
    }
}

/// The partitions of a system disk, in their order on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Partition {
    Bootsel,
    BootA,
    BootB,
    RootA,
    RootB,
    State,
    Data,
}

impl Partition {
    /// What an image holds; `state` and `data` are made on the node.
    pub const IN_IMAGE: [Partition; 5] =
        [Partition::Bootsel, Partition::BootA, Partition::BootB, Partition::RootA, Partition::RootB];

    /// Number in the partition table, from 1.
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32 + 1
    }

    /// GPT partition name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Partition::Bootsel => "bootsel",
            Partition::BootA => "boot-a",
            Partition::BootB => "boot-b",
            Partition::RootA => "root-a",
            Partition::RootB => "root-b",
            Partition::State => "state",
            Partition::Data => "data",
        }
    }

    /// GPT partition type GUID.
    #[must_use]
    pub fn type_guid(self) -> &'static str {
        match self {
            Partition::Bootsel | Partition::BootA | Partition::BootB => TYPE_FAT,
            _ => TYPE_LINUX,
        }
    }
}

/// A range of bytes on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub offset: u64,
    pub length: u64,
}

impl Extent {
    #[must_use]
    pub fn end(self) -> u64 {
        self.offset + self.length
    }
}

/// The extents of an image whose root partitions have one given size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageLayout {
    root_size: u64,
}

/// A root size that no layout can have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a root partition of {0} bytes: it must be a multiple of 1 MiB, from 8 MiB to 64 GiB")]
pub struct BadRootSize(pub u64);

impl ImageLayout {
    /// # Errors
    /// When `root_size` (bytes) is not a multiple of [`ALIGN`] between 8 MiB and 64 GiB.
    pub fn new(root_size: u64) -> Result<ImageLayout, BadRootSize> {
        if !root_size.is_multiple_of(ALIGN) || !(8 * MIB..=64 * 1024 * MIB).contains(&root_size) {
            return Err(BadRootSize(root_size));
        }
        Ok(ImageLayout { root_size })
    }

    #[must_use]
    pub fn root_size(self) -> u64 {
        self.root_size
    }

    /// Where a partition of the image lies; `None` for those that the node makes.
    #[must_use]
    pub fn extent(self, partition: Partition) -> Option<Extent> {
        let boots = ALIGN + BOOTSEL_SIZE;
        let roots = boots + 2 * BOOT_SIZE;
        let (offset, length) = match partition {
            Partition::Bootsel => (ALIGN, BOOTSEL_SIZE),
            Partition::BootA => (boots, BOOT_SIZE),
            Partition::BootB => (boots + BOOT_SIZE, BOOT_SIZE),
            Partition::RootA => (roots, self.root_size),
            Partition::RootB => (roots + self.root_size, self.root_size),
            Partition::State | Partition::Data => return None,
        };
        Some(Extent { offset, length })
    }

    /// Length of the whole image file: the partitions, and 1 MiB for the backup partition table.
    #[must_use]
    pub fn image_size(self) -> u64 {
        2 * ALIGN + BOOTSEL_SIZE + 2 * BOOT_SIZE + 2 * self.root_size
    }
}

/// Where the node makes `state` on a disk whose `root-b` ends at `root_b_end` (bytes): at the end of the image, so that
/// the image's own backup table stays whole until the table has moved. `None` beyond what 64 bits can number.
#[must_use]
pub fn state_extent(root_b_end: u64) -> Option<Extent> {
    let offset = root_b_end.checked_next_multiple_of(ALIGN)?.checked_add(ALIGN)?;
    offset.checked_add(STATE_SIZE)?;
    Some(Extent { offset, length: STATE_SIZE })
}

/// Offset of the trailer inside a root partition of `partition_size` bytes; `None` when it does not fit.
#[must_use]
pub fn trailer_offset(partition_size: u64) -> Option<u64> {
    partition_size.checked_sub(TRAILER_SIZE)
}

/// Where the trailer of a root partition lies; `None` when the partition is too small for one, or lies beyond what 64 bits
/// can number.
#[must_use]
pub fn trailer_extent(root: Extent) -> Option<Extent> {
    let offset = root.offset.checked_add(trailer_offset(root.length)?)?;
    offset.checked_add(TRAILER_SIZE)?;
    Some(Extent { offset, length: TRAILER_SIZE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_follow_each_other_without_gap_or_overlap() {
        let layout = ImageLayout::new(DEFAULT_ROOT_SIZE).unwrap();
        let mut at = ALIGN;
        for partition in Partition::IN_IMAGE {
            let extent = layout.extent(partition).unwrap();
            assert_eq!(extent.offset, at, "{partition:?}");
            assert!(extent.offset.is_multiple_of(ALIGN) && extent.length.is_multiple_of(ALIGN));
            at = extent.end();
        }
        assert_eq!(layout.image_size(), at + ALIGN);
        assert_eq!(state_extent(at).map(|state| state.offset), Some(layout.image_size()));
    }

    #[test]
    fn slots_are_known_by_the_number_of_their_boot_partition() {
        assert_eq!(Slot::from_boot_number(2), Some(Slot::A));
        assert_eq!(Slot::from_boot_number(3), Some(Slot::B));
        for unknown in [0, 1, 4, u32::MAX] {
            assert_eq!(Slot::from_boot_number(unknown), None);
        }
    }

    #[test]
    fn odd_root_sizes_are_refused() {
        for size in [0, MIB, 8 * MIB + 1, u64::MAX] {
            assert_eq!(ImageLayout::new(size), Err(BadRootSize(size)));
        }
    }
}
