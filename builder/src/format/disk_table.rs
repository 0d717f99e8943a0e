//! The partition table of a disk with microdc's slots. In an image, all partitions are microdc's; a node adds
//! partitions, and an operator may add others.

use contract::layout::{Extent, ImageLayout, Partition, SECTOR};
use gpt::GptConfig;
use gpt::disk::LogicalBlockSize;
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};

/// A partition table with our partitions in it.
#[derive(Clone, Debug)]
pub struct Table {
    /// Where our partitions lie.
    pub layout: ImageLayout,
    /// All partitions, by number.
    pub partitions: Vec<Listed>,
}

/// One partition of a table. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed {
    pub number: u32,
    pub name: String,
    pub offset: u64,
    pub length: u64,
}

/// A table that is not there, or not ours.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("it has no readable GPT partition table ({0})")]
    None(String),
    #[error("its partition {number} is not {name}, but {found}")]
    Foreign { number: u32, name: &'static str, found: String },
    #[error("its partition {name} is not where an image has {name}")]
    Place { name: &'static str },
    #[error("{0}")]
    Size(#[from] contract::layout::BadRootSize),
}

impl Table {
    /// Whether a disk of so many bytes holds an image as it was built, and nothing else.
    #[must_use]
    pub fn is_image(&self, length: u64) -> bool {
        self.partitions.len() == Partition::IN_IMAGE.len() && self.layout.image_size() == length
    }
}

/// Length of a file or block device in bytes.
///
/// # Errors
/// When it cannot be found out.
pub fn length(mut file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    if metadata.file_type().is_block_device() { file.seek(io::SeekFrom::End(0)) } else { Ok(metadata.len()) }
}

/// Reads the partition table of a disk of `length` bytes. One good copy of it is enough.
///
/// # Errors
/// When there is none, or our partitions are not in it where they belong.
pub fn read(file: &File, length: u64) -> Result<Table, TableError> {
    let disk = GptConfig::new()
        .logical_block_size(LogicalBlockSize::Lb512)
        .open_from_device(Device { file, length, at: 0 })
        .map_err(|error| TableError::None(error.to_string()))?;
    let mut partitions = Vec::new();
    for (number, found) in disk.partitions() {
        let sectors = found.last_lba.checked_sub(found.first_lba).and_then(|sectors| sectors.checked_add(1));
        let bytes = |sectors: u64| sectors.checked_mul(SECTOR);
        if let (Some(offset), Some(length)) = (bytes(found.first_lba), sectors.and_then(bytes)) {
            partitions.push(Listed { number: *number, name: found.name.clone(), offset, length });
        }
    }
    let ours = |partition: Partition| {
        let (number, name) = (partition.number(), partition.name());
        let there = partitions.iter().find(|listed| listed.number == number);
        match there {
            Some(listed) if listed.name == name => Ok(Extent { offset: listed.offset, length: listed.length }),
            other => {
                let found = other.map_or("missing".to_owned(), |listed| format!("{:?}", listed.name));
                Err(TableError::Foreign { number, name, found })
            }
        }
    };
    let layout = ImageLayout::new(ours(Partition::RootA)?.length)?;
    for partition in Partition::IN_IMAGE {
        if layout.extent(partition) != Some(ours(partition)?) {
            return Err(TableError::Place { name: partition.name() });
        }
    }
    Ok(Table { layout, partitions })
}

/// A disk that is only read. The crate `gpt` asks a device for more than that.
#[derive(Debug)]
struct Device<'f> {
    file: &'f File,
    length: u64,
    at: u64,
}

impl Read for Device<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl io::Write for Device<'_> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Device<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
