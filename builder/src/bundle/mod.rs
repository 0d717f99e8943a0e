//! Bundles on the builder's side: written from an image ([`write`]), and read with every bit checked ([`Reader`]). The
//! format is defined in [`contract::bundle`].

mod frame;
mod pack;
mod read;
mod remember;
mod slot_image;

pub use frame::pack as pack_frame;
pub use pack::{Source, pack, pack_by};
pub use read::{Checked, Contents, FramesOf, ReadError, Reader, Section, is_bundle};
pub use remember::Frames;
pub use slot_image::SlotImage;

use crate::unfinished::UnfinishedError;
use crate::verify::{self, Bootsel, Expect, VerifyError};
use contract::bundle::EXTENSION;
use contract::hash::Digest;
use contract::keys::{KeyId, PublicKey};
use contract::layout::Slot;
use contract::manifest::{Manifest, ManifestError, Which};
use contract::tree::TreeError;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// What the work is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The image is being verified.
    Verify,
    /// Bytes of both images compressed or decompressed, of so many.
    Blocks { done: u64, total: u64 },
    /// Bytes of the bundle hashed, of so many.
    Digest { done: u64, total: u64 },
}

/// Receives the progress of the work; an error stops it.
pub type Report<'r> = &'r (dyn Fn(Progress) -> io::Result<()> + Sync);

/// Gives what is stored for the blocks of a frame: usually [`pack_frame`]. Who makes many bundles that are much alike can
/// remember what it gave: [`Frames`] does.
pub type Packer<'p> = &'p (dyn Fn(&[u8]) -> io::Result<Vec<u8>> + Sync);

/// What becomes a bundle.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub image: &'a Path,
    /// The slot that the EEPROM boots from when none is named.
    pub slot: Option<Slot>,
    /// Keys of which one must have signed the slot.
    pub trusted: &'a [PublicKey],
    /// Usually [`contract::bundle::FRAME_BLOCKS`].
    pub frame_blocks: u32,
}

/// A bundle that was made. Sizes in bytes.
#[derive(Clone, Debug)]
pub struct Summary {
    pub path: PathBuf,
    pub manifest: Manifest,
    /// Of the manifest's bytes.
    pub manifest_digest: Digest,
    pub key: KeyId,
    /// Length of the file.
    pub length: u64,
    pub frames: u64,
    /// SHA-256 of the whole file.
    pub digest: Digest,
}

/// A bundle that was not made. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("{}: {source}", path.display())]
    Image { path: PathBuf, source: Box<VerifyError> },
    #[error("{}: slot {slot} is empty", path.display())]
    Empty { path: PathBuf, slot: Slot },
    #[error("a frame has 1 to 16 blocks, not {0}")]
    FrameBlocks(u32),
    #[error("the slot's manifest: {0}")]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Format(#[from] contract::bundle::BundleError),
    #[error("the {image} image: {source}")]
    Tree { image: Which, source: TreeError },
    #[error("the {image} image hashes to {found}, and its manifest says {wanted}")]
    Damaged { image: Which, wanted: Digest, found: Digest },
    #[error("reading the {image} image: {source}")]
    Read { image: Which, source: io::Error },
    #[error("compressing: {0}")]
    Compress(#[source] io::Error),
    #[error(transparent)]
    File(#[from] UnfinishedError),
    #[error("{}: {what}: {source}", path.display())]
    Io { path: PathBuf, what: &'static str, source: io::Error },
}

/// Writes a slot of an image as a bundle to `output`, else to its [`usual_path`], in place of what is there. Only an image
/// that is complete and signed by a trusted key becomes one. The same slot gives the same bytes.
///
/// # Errors
/// When the image is damaged, or the bundle cannot be written: its folder is then as it was.
pub fn write(request: &Request<'_>, output: Option<&Path>, report: Report<'_>) -> Result<Summary, WriteError> {
    write_by(&pack_frame, request, output, report)
}

/// As [`write`], with frames from elsewhere.
///
/// # Errors
/// As [`write`], and what `packer` says.
pub fn write_by(
    packer: Packer<'_>,
    request: &Request<'_>,
    output: Option<&Path>,
    report: Report<'_>,
) -> Result<Summary, WriteError> {
    let Request { image, slot, trusted, frame_blocks } = *request;
    let io = |what| move |source| WriteError::Io { path: image.to_owned(), what, source };
    report(Progress::Verify).map_err(io("verifying it"))?;
    // What an operator's tools put into `bootsel` does not go into the bundle.
    let expect = Expect { trusted, role: None, bootsel: Bootsel::Bootable };
    let verified = verify::verify(image, &expect);
    let verified =
        verified.map_err(|source| WriteError::Image { path: image.to_owned(), source: Box::new(source) })?;
    let slot = slot.unwrap_or(verified.default);
    let Some(found) = verified.slots.get(&slot) else {
        return Err(WriteError::Empty { path: image.to_owned(), slot });
    };
    let usual = usual_path(image, &found.manifest.version);
    let file = File::open(image).map_err(io("opening it"))?;
    let source = Source::of(&file, verified.layout, slot).map_err(io("reading it"))?;
    pack_by(packer, &source, frame_blocks, output.unwrap_or(&usual), report)
}

/// The name of a bundle beside the image that it is made from: `NAME-VERSION.bundle`.
#[must_use]
pub fn usual_path(image: &Path, version: &str) -> PathBuf {
    let name = image.file_stem().unwrap_or_default().to_string_lossy();
    image.with_file_name(format!("{name}-{version}.{EXTENSION}"))
}
