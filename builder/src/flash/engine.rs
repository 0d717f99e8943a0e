//! The order in which a disk is written, so that it is bootable before the first step or after the last one, and never in
//! between:
//!
//! 1. the mark ([`super::mark`])
//! 2. what an older system left is erased, where it may go
//! 3. the old partition table, its backups and the trailers of both slots are erased
//! 4. the body of the image is written, and read back
//! 5. the trailers, the backup of the partition table, the table but for its first block, its first block
//! 6. the mark is erased, and what was written since 4 is read back
//!
//! Each step is on the disk before the next begins. Going on after an interruption is the same work once more: what is on
//! the disk already is compared and left.

use super::map::Map;
use super::mark::{self, Mark};
use super::medium::{Buffer, Medium};
use contract::hash::Digest;
use contract::layout::{BLOCK, Extent, TRAILER_SIZE};
use std::io;
use std::time::{Duration, Instant};

/// Bytes transferred at a time.
const CHUNK: u64 = 4 * 1024 * 1024;

/// What is written: the image, with another `bootsel` where a node config is put there.
pub trait Source: Sync {
    /// # Errors
    /// When it cannot be read.
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()>;
}

/// What the work is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Erase,
    Write,
    ReadBack,
}

/// Receives the progress: a step, so many more bytes of it, and how many it has in all. An error stops the work.
pub type Report<'r> = &'r (dyn Fn(Step, u64, u64) -> io::Result<()> + Sync);

/// What is to be done.
pub struct Job<'j> {
    pub source: &'j dyn Source,
    pub map: &'j Map,
    pub mark: Mark,
    /// Places beside the image's blocks that must read as zeros, in the end.
    pub clear: &'j [Extent],
    /// Places that should be empty besides: a disk that makes zeros by itself makes them, and only what is marked is
    /// written otherwise. They are not read back.
    pub empty: &'j [(Extent, Must)],
    /// Whether an earlier run may have written some of it.
    pub resume: bool,
}

/// Whether a place has to be empty, however long that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Must {
    BeEmpty,
    BeEmptyIfQuick,
}

/// What was done, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub written: u64,
    /// Of these, what the disk had already.
    pub there_already: u64,
    pub cleared: u64,
    /// The time that the body took to be written and flushed, and to be read back.
    pub writing: Duration,
    pub reading_back: Duration,
}

/// A disk that was not flashed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("{doing} at byte {offset}: {source}")]
    Io { doing: &'static str, offset: u64, source: io::Error },
    #[error(
        "data read back at byte {offset} differs from what was written: the disk, its adapter or its cable is \
        failing. It was made unbootable; try another adapter or port, or replace the disk"
    )]
    Differs { offset: u64 },
    #[error("{0}. The disk does not boot in this state; run the same command again to resume")]
    Stopped(#[source] io::Error),
}

/// Something that was written, and must be there.
struct Written {
    extent: Extent,
    digest: Digest,
}

struct Work<'w> {
    job: &'w Job<'w>,
    medium: &'w dyn Medium,
    report: Report<'w>,
    done: Done,
    written: Vec<Written>,
    /// In bytes.
    to_erase: u64,
    to_write: u64,
}

/// Flashes a disk.
///
/// # Errors
/// When it cannot be written or read, or does not keep what was written. Then nothing boots from it, or still the system
/// that was there.
pub fn run(job: &Job<'_>, medium: &dyn Medium, report: Report<'_>) -> Result<Done, EngineError> {
    let to_erase = job.clear.iter().chain(job.empty.iter().map(|(place, _)| place)).map(|place| place.length).sum();
    let (done, written, to_write) = (Done::default(), Vec::new(), job.map.length());
    let mut work = Work { job, medium, report, done, written, to_erase, to_write };
    work.erase()?;
    let start = Instant::now();
    for extent in &job.map.body {
        work.write(*extent)?;
    }
    work.sync()?;
    work.done.writing = start.elapsed();
    let start = Instant::now();
    work.read_back()?;
    work.done.reading_back = start.elapsed();
    work.finish()?;
    if let Err(error) = work.last_look() {
        // Whatever it gives back then, it has no partition table.
        let _ = medium.zero(0, BLOCK).and_then(|()| medium.sync());
        return Err(error);
    }
    Ok(work.done)
}

fn failed(doing: &'static str, offset: u64) -> impl FnOnce(io::Error) -> EngineError {
    move |source| EngineError::Io { doing, offset, source }
}

/// The first block of the table, and the rest of what is before the partitions without the mark.
fn head(map: &Map) -> (Extent, [Extent; 2]) {
    let first = Extent { offset: 0, length: BLOCK };
    let end = map.head.end();
    let rest = [
        Extent { offset: BLOCK, length: mark::PLACE.offset - BLOCK },
        Extent { offset: mark::PLACE.end(), length: end - mark::PLACE.end() },
    ];
    (first, rest)
}

impl Work<'_> {
    fn say(&self, step: Step, bytes: u64) -> Result<(), EngineError> {
        let all = match step {
            Step::Erase => self.to_erase,
            Step::Write | Step::ReadBack => self.to_write,
        };
        (self.report)(step, bytes, all).map_err(EngineError::Stopped)
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.medium.sync().map_err(failed("flushing what was written", 0))
    }

    fn zero(&self, extent: Extent) -> Result<(), EngineError> {
        self.medium.zero(extent.offset, extent.length).map_err(failed("erasing", extent.offset))
    }

    fn erase(&mut self) -> Result<(), EngineError> {
        let Job { map, mark, clear, empty, .. } = self.job;
        let at = mark::PLACE.offset;
        self.medium.write(at, &mark.bytes()).map_err(failed("writing the mark", at))?;
        self.sync()?;
        // What is within the old partitions first: the table says where that is.
        for place in clear.iter().rev() {
            self.zero(*place)?;
            self.done.cleared += place.length;
            self.say(Step::Erase, place.length)?;
        }
        for (place, must) in *empty {
            self.empty(*place, *must)?;
        }
        self.sync()?;
        let (first, rest) = head(map);
        self.zero(first)?;
        self.sync()?;
        let trailers =
            map.trailers.iter().map(|end| Extent { offset: end.end() - TRAILER_SIZE, length: TRAILER_SIZE });
        for extent in trailers.chain(rest).chain([map.tail]) {
            self.zero(extent)?;
        }
        self.sync()
    }

    fn empty(&mut self, place: Extent, must: Must) -> Result<(), EngineError> {
        /// What a disk is asked to make zeros of at a time: it may take a while, and cannot be stopped.
        const PIECE: u64 = 256 * 1024 * 1024;
        let mut at = place.offset;
        while at < place.end() {
            let length = PIECE.min(place.end() - at);
            if !self.medium.zero_quickly(at, length).map_err(failed("erasing", at))? {
                if must == Must::BeEmptyIfQuick {
                    return Ok(());
                }
                self.zero(Extent { offset: at, length })?;
            }
            self.done.cleared += length;
            self.say(Step::Erase, length)?;
            at += length;
        }
        Ok(())
    }

    /// Writes an extent of the image. While one piece is on its way to the disk, the next is read and hashed.
    fn write(&mut self, extent: Extent) -> Result<(), EngineError> {
        let source = self.job.source;
        let load = |buffer: &mut Buffer, at: u64| -> io::Result<Option<Written>> {
            if at >= extent.end() {
                return Ok(None);
            }
            let length = CHUNK.min(extent.end() - at);
            source.read(at, buffer.first_mut(length as usize))?;
            let digest = Digest::of(buffer.first(length as usize));
            Ok(Some(Written { extent: Extent { offset: at, length }, digest }))
        };
        let (mut this, mut other) = (Buffer::new(CHUNK as usize), Buffer::new(CHUNK as usize));
        let mut old = Buffer::new(if self.job.resume { CHUNK as usize } else { 0 });
        let zeros = vec![0; CHUNK as usize];
        let mut next = load(&mut this, extent.offset).map_err(failed("reading the image", extent.offset))?;
        while let Some(piece) = next {
            let Extent { offset, length } = piece.extent;
            let bytes = this.first(length as usize);
            let put = || -> io::Result<bool> {
                if self.job.resume {
                    self.medium.read(offset, old.first_mut(length as usize))?;
                    if old.first(length as usize) == bytes {
                        return Ok(true);
                    }
                }
                match bytes == &zeros[..length as usize] {
                    true => self.medium.zero(offset, length)?,
                    false => self.medium.write(offset, bytes)?,
                }
                Ok(false)
            };
            let (put, loaded) = rayon::join(put, || load(&mut other, offset + length));
            let there = put.map_err(failed("writing", offset))?;
            self.done.written += if there { 0 } else { length };
            self.done.there_already += if there { length } else { 0 };
            self.written.push(piece);
            self.say(Step::Write, length)?;
            next = loaded.map_err(failed("reading the image", offset + length))?;
            std::mem::swap(&mut this, &mut other);
        }
        Ok(())
    }

    /// Reads back what was written since the last time. While one piece is hashed, the next is read.
    fn read_back(&mut self) -> Result<(), EngineError> {
        let pieces = std::mem::take(&mut self.written);
        let (mut this, mut other) = (Buffer::new(CHUNK as usize), Buffer::new(CHUNK as usize));
        let load = |buffer: &mut Buffer, piece: Option<&Written>| -> io::Result<()> {
            piece.map_or(Ok(()), |piece| {
                self.medium.read(piece.extent.offset, buffer.first_mut(piece.extent.length as usize))
            })
        };
        load(&mut this, pieces.first()).map_err(failed("reading back", 0))?;
        for (index, piece) in pieces.iter().enumerate() {
            let next = pieces.get(index + 1);
            let Extent { offset, length } = piece.extent;
            let (found, loaded) = rayon::join(|| Digest::of(this.first(length as usize)), || load(&mut other, next));
            if found != piece.digest {
                return Err(EngineError::Differs { offset });
            }
            self.say(Step::ReadBack, length)?;
            loaded.map_err(failed("reading back", offset + length))?;
            std::mem::swap(&mut this, &mut other);
        }
        Ok(())
    }

    /// Makes it bootable: the last block written is the first of the disk.
    fn finish(&mut self) -> Result<(), EngineError> {
        let map = self.job.map;
        for extent in &map.trailers {
            self.write(*extent)?;
        }
        self.sync()?;
        let (first, rest) = head(map);
        for extent in [map.tail].into_iter().chain(rest) {
            self.write(extent)?;
        }
        self.sync()?;
        self.write(first)?;
        self.sync()?;
        self.zero(mark::PLACE)?;
        self.done.written += mark::PLACE.length;
        self.sync()
    }

    fn last_look(&mut self) -> Result<(), EngineError> {
        self.read_back()?;
        let zeros = vec![0; CHUNK as usize];
        let mut found = Buffer::new(CHUNK as usize);
        for place in self.job.clear.iter().chain([&mark::PLACE]) {
            let mut at = place.offset;
            while at < place.end() {
                let length = CHUNK.min(place.end() - at);
                let bytes = found.first_mut(length as usize);
                self.medium.read(at, bytes).map_err(failed("reading back", at))?;
                if bytes != &zeros[..length as usize] {
                    return Err(EngineError::Differs { offset: at });
                }
                at += length;
            }
        }
        Ok(())
    }
}
