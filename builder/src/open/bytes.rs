//! Where the bytes of a slot's images are read from, as the readers of ext4 and FAT want them.

use crate::bundle::SlotImage;
use crate::format::fat_read;
use contract::layout::Extent;
use ext4_view::Ext4Read;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// An image's bytes, read when they are needed.
#[derive(Clone)]
pub enum Bytes {
    /// A part of a file.
    InFile { file: Arc<File>, extent: Extent },
    /// Packed in the frames of a bundle.
    InBundle(Arc<SlotImage>),
}

impl Bytes {
    #[must_use]
    pub fn of(file: &Arc<File>, extent: Extent) -> Bytes {
        Bytes::InFile { file: file.clone(), extent }
    }

    /// # Errors
    /// When there are not so many bytes, or they cannot be read.
    pub fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        match self {
            Bytes::InFile { file, extent } => {
                let end = at.checked_add(buffer.len() as u64).filter(|end| *end <= extent.length);
                end.ok_or(io::ErrorKind::UnexpectedEof)?;
                file.read_exact_at(buffer, extent.offset + at)
            }
            Bytes::InBundle(image) => image.read_exact_at(buffer, at),
        }
    }
}

impl fat_read::Source for Bytes {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.read_exact_at(buffer, at)
    }
}

impl Ext4Read for Bytes {
    fn read(&mut self, at: u64, buffer: &mut [u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        Ok(self.read_exact_at(buffer, at)?)
    }
}
