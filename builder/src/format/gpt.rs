//! The partition table: protective MBR, primary and backup GPT, as bytes that follow from the layout and the ids.

use super::derive::Seed;
use contract::layout::{ImageLayout, Partition, SECTOR};
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use gpt::mbr::ProtectiveMBR;
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};
use uuid::Uuid;

/// Sectors of the primary table: MBR, header and 128 entries. The backup has the same without the MBR.
pub const HEAD: u64 = 34 * SECTOR;
pub const TAIL: u64 = 33 * SECTOR;

/// A table that cannot be made, or is not one of ours.
#[derive(Debug, thiserror::Error)]
pub enum GptError {
    #[error("making the partition table: {0}")]
    Make(String),
    #[error("the partition table cannot be read: {0}")]
    Read(String),
    #[error("the partition table is not that of an image: {0}")]
    Foreign(String),
}

/// The ids in a partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    pub disk: Uuid,
    pub partitions: [Uuid; Partition::IN_IMAGE.len()],
}

impl Ids {
    #[must_use]
    pub fn derive(seed: &Seed) -> Ids {
        Ids { disk: seed.uuid("disk"), partitions: Partition::IN_IMAGE.map(|partition| seed.uuid(partition.name())) }
    }
}

/// Both ends of an image: [`HEAD`] bytes at its start, [`TAIL`] bytes at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    pub head: Vec<u8>,
    pub tail: Vec<u8>,
}

/// The table of an image.
///
/// # Errors
/// When the crate `gpt` refuses the layout.
pub fn table(layout: ImageLayout, ids: &Ids) -> Result<Ends, GptError> {
    let make = |error: &dyn std::fmt::Display| GptError::Make(error.to_string());
    let mut device = Device::new(layout.image_size());
    let sectors = u32::try_from(layout.image_size() / SECTOR - 1).unwrap_or(u32::MAX);
    ProtectiveMBR::with_lb_size(sectors).overwrite_lba0(&mut device).map_err(|error| make(&error))?;
    let mut disk = GptConfig::new()
        .writable(true)
        .logical_block_size(LogicalBlockSize::Lb512)
        .create_from_device(device, Some(ids.disk))
        .map_err(|error| make(&error))?;
    let mut partitions = BTreeMap::new();
    for (partition, id) in Partition::IN_IMAGE.into_iter().zip(ids.partitions) {
        let extent = layout.extent(partition).ok_or_else(|| make(&"a partition without a place"))?;
        let part_type_guid = gpt::partition_types::Type {
            guid: Uuid::try_parse(partition.type_guid()).map_err(|error| make(&error))?,
            os: gpt::partition_types::OperatingSystem::None,
        };
        partitions.insert(
            partition.number(),
            gpt::partition::Partition {
                part_type_guid,
                part_guid: id,
                first_lba: extent.offset / SECTOR,
                last_lba: extent.end() / SECTOR - 1,
                flags: 0,
                name: partition.name().to_owned(),
            },
        );
    }
    disk.update_partitions(partitions).map_err(|error| make(&error))?;
    let device = disk.write().map_err(|error| make(&error))?;
    Ok(Ends { head: device.head, tail: device.tail })
}

/// Layout and ids in a table of which one copy at least is complete. Whether the other is, and every unused bit, is
/// known by comparing the ends with what [`table`] makes of the answer.
///
/// # Errors
/// When both copies are damaged (by their checksums), or the table is not that of an image.
pub fn read(ends: &Ends, image_size: u64) -> Result<(ImageLayout, Ids), GptError> {
    let without_head = Ends { head: vec![0; ends.head.len()], tail: ends.tail.clone() };
    let without_tail = Ends { head: ends.head.clone(), tail: vec![0; ends.tail.len()] };
    read_one(without_tail, image_size).or_else(|_| read_one(without_head, image_size))
}

fn read_one(ends: Ends, image_size: u64) -> Result<(ImageLayout, Ids), GptError> {
    if image_size < HEAD + TAIL || ends.head.len() as u64 != HEAD || ends.tail.len() as u64 != TAIL {
        return Err(GptError::Read(format!("an image of {image_size} bytes has no room for one")));
    }
    let device = Device { size: image_size, head: ends.head, tail: ends.tail, at: 0 };
    let disk = GptConfig::new()
        .logical_block_size(LogicalBlockSize::Lb512)
        .open_from_device(device)
        .map_err(|error| GptError::Read(error.to_string()))?;
    let mut ids = Ids { disk: *disk.guid(), partitions: [Uuid::nil(); Partition::IN_IMAGE.len()] };
    let mut root_size = 0;
    for (partition, id) in Partition::IN_IMAGE.into_iter().zip(&mut ids.partitions) {
        let (number, name) = (partition.number(), partition.name());
        let found = disk.partitions().get(&number).filter(|found| found.name == name);
        let found = found.ok_or_else(|| GptError::Foreign(format!("partition {number} is not {name}")))?;
        *id = found.part_guid;
        if partition == Partition::RootA {
            let sectors = found.last_lba.checked_sub(found.first_lba).and_then(|sectors| sectors.checked_add(1));
            root_size = sectors.and_then(|sectors| sectors.checked_mul(SECTOR)).unwrap_or(0);
        }
    }
    let layout = ImageLayout::new(root_size).map_err(|error| GptError::Foreign(error.to_string()))?;
    if layout.image_size() != image_size {
        let message = format!("it is for a disk of {} bytes, the image has {image_size}", layout.image_size());
        return Err(GptError::Foreign(message));
    }
    Ok((layout, ids))
}

/// A disk of which only the ends are there.
#[derive(Debug)]
struct Device {
    size: u64,
    head: Vec<u8>,
    tail: Vec<u8>,
    at: u64,
}

impl Device {
    fn new(size: u64) -> Device {
        Device { size, head: vec![0; HEAD as usize], tail: vec![0; TAIL as usize], at: 0 }
    }

    /// The bytes from the present position to the end of the part it is in.
    fn here(&mut self) -> io::Result<&mut [u8]> {
        let tail = self.size - TAIL;
        let part = if self.at < HEAD {
            self.head.get_mut(self.at as usize..)
        } else if self.at >= tail {
            self.tail.get_mut((self.at - tail) as usize..)
        } else {
            None
        };
        part.ok_or_else(|| io::Error::other(format!("byte {} is not in a partition table", self.at)))
    }
}

impl Read for Device {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let here = self.here()?;
        let length = here.len().min(buffer.len());
        buffer[..length].copy_from_slice(&here[..length]);
        self.at += length as u64;
        Ok(length)
    }
}

impl Write for Device {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let here = self.here()?;
        let length = here.len().min(bytes.len());
        here[..length].copy_from_slice(&bytes[..length]);
        self.at += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Device {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
