//! One of the two images of a bundle, with random access: frames are unpacked as needed.

use super::frame::unpack;
use super::read::{ReadError, Reader};
use contract::bundle::Frames;
use contract::layout::BLOCK;
use contract::manifest::Which;
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

/// Frames that are kept unpacked: file systems come back to the same places.
const KEPT: usize = 256;

/// An image in a bundle. What it holds is not checked against the signature: that is [`Reader::check`]'s.
pub struct SlotImage {
    reader: Arc<Reader>,
    frames: Frames,
    which: Which,
    kept: Mutex<BTreeMap<u64, Arc<[u8]>>>,
}

impl SlotImage {
    /// # Errors
    /// When the bundle's index makes no sense.
    pub fn of(reader: Arc<Reader>, which: Which) -> Result<SlotImage, ReadError> {
        let frames = reader.index()?;
        Ok(SlotImage { reader, frames, which, kept: Mutex::default() })
    }

    /// Fills `buffer` with the image's bytes from `at` on.
    ///
    /// # Errors
    /// When the image ends before, or a frame cannot be unpacked.
    pub fn read_exact_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let at = at.checked_add(done as u64).ok_or(io::ErrorKind::InvalidInput)?;
            let frame = self.frames.sections().frame_of(at / BLOCK);
            let first = self.frames.sections().blocks_of(self.which, frame).start * BLOCK;
            let bytes = self.frame(frame)?;
            let from = usize::try_from(at - first).ok().and_then(|from| bytes.get(from..));
            let from = from.filter(|from| !from.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?;
            let count = from.len().min(buffer.len() - done);
            buffer[done..done + count].copy_from_slice(&from[..count]);
            done += count;
        }
        Ok(())
    }

    fn frame(&self, frame: u64) -> io::Result<Arc<[u8]>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = kept.get(&frame) {
            return Ok(bytes.clone());
        }
        let extent = self.frames.extent(self.which, frame).ok_or(io::ErrorKind::UnexpectedEof)?;
        let stored = self.reader.bytes(extent).map_err(io::Error::other)?;
        let blocks = self.frames.sections().blocks_of(self.which, frame);
        let length = ((blocks.end - blocks.start) * BLOCK) as usize;
        let bytes: Arc<[u8]> = unpack(&stored, length).map_err(io::Error::other)?.into();
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(frame, bytes.clone());
        Ok(bytes)
    }
}
