//! Ordered disk writes.

use std::fs::File;
use std::io::{Read, Seek, Write};

/// A disk, or a file that stands for one in tests.
pub trait DiskIo: Read + Write + Seek {
    /// Returns when everything written has reached the disk.
    fn flush_to_disk(&mut self) -> std::io::Result<()>;
}

impl DiskIo for File {
    fn flush_to_disk(&mut self) -> std::io::Result<()> {
        self.sync_all()
    }
}
