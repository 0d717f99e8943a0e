//! The node's disk: a private, sparse copy of the image. The image file itself is only read.

use crate::eeprom::{self, Fat};
use contract::hash::Digest;
use contract::layout::Partition;
use contract::names::NODE_CONFIG;
use rustix::fs::{FallocateFlags, SeekFrom};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempPath;

/// Unit in which zeros are left out, in bytes.
const BLOCK: u64 = 65_536;

/// What went wrong with an image or a private disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("{doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("{}: {problem}", path.display())]
    Table { path: PathBuf, problem: String },
}

/// A node's disk. Its file goes away with it.
#[derive(Debug)]
pub struct Disk {
    path: TempPath,
    file: File,
}

impl Disk {
    /// Copies `image` and grows the copy to `size` bytes; an image that is larger keeps its size.
    ///
    /// # Errors
    /// When the image cannot be read or the copy cannot be written.
    pub fn copy_of(image: &Path, size: u64) -> Result<Disk, DiskError> {
        let doing =
            |doing: &'static str| move |source: io::Error| DiskError::Io { doing, path: image.to_owned(), source };
        let from = File::open(image).map_err(doing("opening the image"))?;
        let (file, path) = tempfile::Builder::new()
            .prefix("microdc-disk-")
            .tempfile()
            .map_err(doing("making a private copy of"))?
            .into_parts();
        let length = from.metadata().map_err(doing("reading"))?.len();
        copy_data(&from, &file, length).map_err(doing("copying"))?;
        file.set_len(length.max(size)).map_err(doing("growing the copy of"))?;
        Ok(Disk { path, file })
    }

    /// A blank disk of `size` bytes, sparse.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn blank(size: u64) -> Result<Disk, DiskError> {
        let doing = |source| DiskError::Io { doing: "making a disk in", path: std::env::temp_dir(), source };
        let (file, path) = tempfile::Builder::new().prefix("microdc-disk-").tempfile().map_err(doing)?.into_parts();
        file.set_len(size).map_err(doing)?;
        Ok(Disk { path, file })
    }

    /// Where the copy is, for tools that look at it. Do not write to it while the node runs.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Writes an image over the start of the disk, zeros and all, as someone does who installs a node again.
    ///
    /// # Errors
    /// When the image cannot be read or is longer than the disk.
    pub fn flash(&self, image: &Path) -> Result<(), DiskError> {
        let from = File::open(image).map_err(self.io("opening the image for"))?;
        let [length, size] = [&from, &self.file].map(|file| file.metadata().map(|found| found.len()));
        let (length, size) = (length.map_err(self.io("measuring"))?, size.map_err(self.io("measuring"))?);
        if length > size {
            let problem = format!("it has {size} bytes, the image {length}");
            return Err(DiskError::Table { path: self.path.to_path_buf(), problem });
        }
        let hole = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let erased = rustix::fs::fallocate(&self.file, hole, 0, length).map_err(io::Error::from);
        erased.map_err(self.io("erasing"))?;
        copy_data(&from, &self.file, length).map_err(self.io("writing the image to"))
    }

    /// The open file, for tests that look at it and change it anywhere.
    #[must_use]
    pub fn raw(&self) -> &File {
        &self.file
    }

    /// Digest of the size and of every byte of the disk. Blocks of zeros are counted by their absence, so that a sparse
    /// disk costs what is on it.
    ///
    /// # Errors
    /// When the disk cannot be read.
    pub fn digest(&self) -> Result<Digest, DiskError> {
        let size = self.file.metadata().map_err(self.io("measuring"))?.len();
        let mut summary = size.to_le_bytes().to_vec();
        let each = |at: u64, block: &[u8]| {
            summary.extend(at.to_le_bytes());
            summary.extend(Digest::of(block).0);
            Ok(())
        };
        each_block(&self.file, size, each).map_err(self.io("reading"))?;
        Ok(Digest::of(&summary))
    }

    fn io(&self, doing: &'static str) -> impl Fn(io::Error) -> DiskError {
        let path = self.path.to_path_buf();
        move |source| DiskError::Io { doing, path: path.clone(), source }
    }

    /// Where a partition lies, by the disk's own table.
    ///
    /// # Errors
    /// When the table cannot be read or has no such partition.
    pub fn extent(&self, partition: Partition) -> Result<contract::layout::Extent, DiskError> {
        let problem = |problem| DiskError::Table { path: self.path.to_path_buf(), problem };
        eeprom::partitions(&self.file)
            .map_err(problem)?
            .into_iter()
            .find(|entry| entry.number == partition.number())
            .map(|entry| entry.extent)
            .ok_or_else(|| problem(format!("there is no partition {} ({})", partition.number(), partition.name())))
    }

    /// Reads `length` bytes at `offset` bytes into a partition.
    ///
    /// # Errors
    /// When they do not lie inside it.
    pub fn read(&self, partition: Partition, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        let start = self.inside(partition, offset, length as u64)?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start).map_err(self.io("reading"))?;
        Ok(bytes)
    }

    /// Writes `bytes` at `offset` bytes into a partition.
    ///
    /// # Errors
    /// When they do not lie inside it.
    pub fn write(&self, partition: Partition, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let start = self.inside(partition, offset, bytes.len() as u64)?;
        self.file.write_all_at(bytes, start).map_err(self.io("writing"))
    }

    /// Flips one bit (0 to 7) of the byte at `offset` into a partition.
    ///
    /// # Errors
    /// When the byte does not lie inside it.
    pub fn flip_bit(&self, partition: Partition, offset: u64, bit: u8) -> Result<(), DiskError> {
        let mut byte = self.read(partition, offset, 1)?;
        byte[0] ^= 1 << (bit & 7);
        self.write(partition, offset, &byte)
    }

    /// Reads a file of a FAT partition; `None` when it is not there.
    ///
    /// # Errors
    /// When the partition or the file cannot be read.
    pub fn read_file(&self, partition: Partition, name: &str) -> Result<Option<Vec<u8>>, DiskError> {
        self.fat(partition)?.read(name, 256 * 1024 * 1024).map_err(self.io("reading a file of"))
    }

    /// Writes a file into the root directory of a FAT partition, as someone with a card reader would.
    ///
    /// # Errors
    /// When the partition holds no FAT file system or is full.
    pub fn write_file(&self, partition: Partition, name: &str, bytes: &[u8]) -> Result<(), DiskError> {
        self.fat(partition)?.write(name, bytes).map_err(self.io("writing a file into"))
    }

    /// Removes a file from the root directory of a FAT partition.
    ///
    /// # Errors
    /// When the partition holds no FAT file system, or no such file.
    pub fn remove_file(&self, partition: Partition, name: &str) -> Result<(), DiskError> {
        self.fat(partition)?.remove(name).map_err(self.io("removing a file from"))
    }

    /// Drops a `node.toml` on bootsel.
    ///
    /// # Errors
    /// As [`Disk::write_file`].
    pub fn write_node_config(&self, toml: &[u8]) -> Result<(), DiskError> {
        self.write_file(Partition::Bootsel, NODE_CONFIG, toml)
    }

    fn fat(&self, partition: Partition) -> Result<Fat, DiskError> {
        Fat::open(&self.file, self.extent(partition)?).ok_or_else(|| DiskError::Table {
            path: self.path.to_path_buf(),
            problem: format!("{} holds no FAT file system", partition.name()),
        })
    }

    fn inside(&self, partition: Partition, offset: u64, length: u64) -> Result<u64, DiskError> {
        let extent = self.extent(partition)?;
        if offset.checked_add(length).is_none_or(|end| end > extent.length) {
            return Err(DiskError::Table {
                path: self.path.to_path_buf(),
                problem: format!("{length} bytes at {offset} do not lie inside {}", partition.name()),
            });
        }
        Ok(extent.offset + offset)
    }

    /// Opens the disk a second time.
    ///
    /// # Errors
    /// When it is gone.
    pub fn reopen(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(&self.path)
    }
}

/// Copies what is data; holes stay holes.
fn copy_data(from: &File, to: &File, length: u64) -> io::Result<()> {
    each_block(from, length, |at, block| to.write_all_at(block, at))
}

/// Calls `each` with every block of 64 KiB that is not all zeros, and its offset. Holes are not read.
fn each_block(from: &File, length: u64, mut each: impl FnMut(u64, &[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < length {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            // No data from here on.
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start))?.next_multiple_of(BLOCK).min(length);
        at = (start / BLOCK * BLOCK).max(at);
        while at < end {
            let wanted = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            from.read_exact_at(&mut buffer[..wanted], at)?;
            for (index, block) in buffer[..wanted].chunks(BLOCK as usize).enumerate() {
                if block.iter().any(|&byte| byte != 0) {
                    each(at + index as u64 * BLOCK, block)?;
                }
            }
            at += wanted as u64;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_sees_every_byte_and_no_difference_between_zeros_and_holes() {
        let disk = Disk::blank(10 << 20).unwrap();
        let blank = disk.digest().unwrap();
        disk.raw().write_all_at(&[0; 300_000], 70_000).unwrap();
        assert_eq!(disk.digest().unwrap(), blank);
        for at in [0, 65_535, 65_536, (10 << 20) - 1] {
            disk.raw().write_all_at(&[1], at).unwrap();
            let changed = disk.digest().unwrap();
            assert_ne!(changed, blank, "byte {at}");
            disk.raw().write_all_at(&[2], at).unwrap();
            assert_ne!(disk.digest().unwrap(), changed, "byte {at}");
            disk.raw().write_all_at(&[0], at).unwrap();
        }
        assert_eq!(disk.digest().unwrap(), blank);
        disk.raw().set_len(11 << 20).unwrap();
        assert_ne!(disk.digest().unwrap(), blank, "the size counts");
    }
}
