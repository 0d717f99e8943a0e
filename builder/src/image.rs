//! The image: a complete disk in a sparse file, with slot A filled and slot B empty.
//!
//! It gets its name once it is complete and on disk ([`crate::unfinished`]).

use crate::format::derive::Seed;
use crate::format::fat::{self, FatFile};
use crate::format::gpt::{self, Ids, TAIL};
use crate::slot::{self, SlotError, SlotSpec, SlotSummary};
use crate::unfinished::{Unfinished, UnfinishedError};
use contract::autoboot;
use contract::hash::Digest;
use contract::layout::{Extent, ImageLayout, Partition, Slot};
use contract::names::{AUTOBOOT, NODE_CONFIG};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// What the work is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Bytes of root content written, of so many.
    Root { done: u64, total: u64 },
    /// Bytes of the image hashed, of so many.
    Digest { done: u64, total: u64 },
}

/// What an image is made of.
pub struct ImageSpec<'a> {
    pub slot: SlotSpec<'a>,
    pub layout: ImageLayout,
    /// Bytes of a node config to be put into `bootsel`.
    pub node_config: Option<Vec<u8>>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct ImageSummary {
    pub slot: SlotSummary,
    /// Length of the file, and bytes that it takes on the disk.
    pub length: u64,
    pub on_disk: u64,
    /// SHA-256 of the whole file.
    pub digest: Digest,
}

/// An image that was not made. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("{}: {source}", path.display())]
    Slot { path: PathBuf, source: Box<SlotError> },
    #[error("bootsel: {0}")]
    Bootsel(#[from] fat::FatError),
    #[error(transparent)]
    Gpt(#[from] gpt::GptError),
    #[error(transparent)]
    File(#[from] UnfinishedError),
    #[error("{}: {what}: {source}", path.display())]
    Io { path: PathBuf, what: &'static str, source: io::Error },
}

/// Writes an image to `path`, in place of what is there. `progress` may stop the work with an error.
///
/// # Errors
/// When the slot cannot be made, or the file not be written: its directory is then as it was.
pub fn write(
    spec: &ImageSpec<'_>,
    path: &Path,
    progress: &(dyn Fn(Progress) -> io::Result<()> + Sync),
) -> Result<ImageSummary, ImageError> {
    let unfinished = Unfinished::create(path)?;
    let file = unfinished.file();
    let failed = |what| move |source| ImageError::Io { path: path.to_owned(), what, source };
    let length = spec.layout.image_size();
    file.set_len(length).map_err(failed("allocating space"))?;

    let [boot, root] = [Slot::A.boot(), Slot::A.root()].map(|partition| extent(spec.layout, partition));
    let slot = slot::write(&spec.slot, file, boot, root, &|done, total| progress(Progress::Root { done, total }));
    let slot = slot.map_err(|source| ImageError::Slot { path: path.to_owned(), source: Box::new(source) })?;

    let bootsel = bootsel(spec.node_config.as_deref())?;
    let at = extent(spec.layout, Partition::Bootsel).offset;
    file.write_all_at(&bootsel, at).map_err(failed("writing bootsel"))?;
    let ends = gpt::table(spec.layout, &Ids::derive(&spec.slot.seed))?;
    file.write_all_at(&ends.tail, length - TAIL).map_err(failed("writing the backup partition table"))?;
    file.write_all_at(&ends.head, 0).map_err(failed("writing the partition table"))?;

    // Hashing takes a core for a while; the disk works meanwhile.
    let report = |done| progress(Progress::Digest { done, total: length });
    let (synced, digest) = rayon::join(|| file.sync_all(), || file_digest(file, length, &report));
    synced.map_err(failed("writing to the disk"))?;
    let digest = digest.map_err(failed("reading it back"))?;
    let on_disk =
        std::os::unix::fs::MetadataExt::blocks(&file.metadata().map_err(failed("reading its metadata"))?) * 512;
    unfinished.finish()?;
    Ok(ImageSummary { slot, length, on_disk, digest })
}

/// The bytes of partition `bootsel`, zeros behind them left out.
///
/// # Errors
/// When the node config does not fit.
pub fn bootsel(node_config: Option<&[u8]>) -> Result<Vec<u8>, fat::FatError> {
    let file = |path: &str, bytes: &[u8]| FatFile { path: path.to_owned(), bytes: bytes.into() };
    let mut files = vec![file(AUTOBOOT, &autoboot::render(Slot::A))];
    files.extend(node_config.map(|bytes| file(NODE_CONFIG, bytes)));
    Ok(fat::make(fat::BOOTSEL, &files)?.bytes)
}

/// Where a partition of the image lies. Only those that the node makes have no place, and they are never asked for.
fn extent(layout: ImageLayout, partition: Partition) -> Extent {
    layout.extent(partition).unwrap_or(Extent { offset: 0, length: 0 })
}

/// SHA-256 of a whole file. Holes are not read: zeros are hashed in their place.
///
/// # Errors
/// When it cannot be read.
pub fn file_digest(file: &File, length: u64, report: &dyn Fn(u64) -> io::Result<()>) -> io::Result<Digest> {
    const CHUNK: usize = 1024 * 1024;
    let zeros = vec![0; CHUNK];
    let mut buffer = vec![0; CHUNK];
    let mut hasher = Sha256::new();
    let mut at = 0;
    while at < length {
        let (data, end) = next_data(file, at, length);
        while at < data {
            let step = (data - at).min(CHUNK as u64);
            hasher.update(&zeros[..step as usize]);
            at += step;
        }
        while at < end {
            let step = (end - at).min(CHUNK as u64);
            file.read_exact_at(&mut buffer[..step as usize], at)?;
            hasher.update(&buffer[..step as usize]);
            at += step;
        }
        report(at)?;
    }
    Ok(Digest(hasher.finalize().into()))
}

/// Where the next data of a sparse file begins and ends, from `at` on. Everything, where the file system cannot say.
pub(crate) fn next_data(file: &File, at: u64, length: u64) -> (u64, u64) {
    use rustix::fs::SeekFrom;
    let data = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(data) => data.min(length),
        // There is no more.
        Err(rustix::io::Errno::NXIO) => return (length, length),
        Err(_) => return (at, length),
    };
    let end = rustix::fs::seek(file, SeekFrom::Hole(data)).map_or(length, |end| end.min(length));
    (data, end.max(data))
}

/// The seed of all ids of an image: the role alone, so that builds of one role share what did not change.
#[must_use]
pub fn seed(role: &contract::role::Role) -> Seed {
    Seed::of(&["image", role.name()])
}
