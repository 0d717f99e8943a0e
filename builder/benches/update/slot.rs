//! A slot of an image: its two block images, in memory and as files of their own.

use anyhow::{Context as _, Result};
use contract::hash::Digest;
use contract::layout::{Extent, ImageLayout};
use contract::manifest::{Manifest, Which};
use contract::tree::hash_blocks;
use microdc::release_key;
use microdc::verify::{Bootsel, Expect, verify};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

pub struct Slot {
    pub manifest: Manifest,
    /// The image that it is in, and where its partitions are there.
    pub image: PathBuf,
    pub boot: Extent,
    pub root: Extent,
    /// Boot image, root image.
    pub images: [Vec<u8>; 2],
    pub leaves: [Vec<Digest>; 2],
    /// The images as files.
    pub files: [PathBuf; 2],
}

/// What signs the images of a project whose image this is.
pub fn signer(image: &Path) -> Result<contract::keys::PublicKey> {
    let project = image.parent().and_then(Path::parent).context("the project's folder")?;
    Ok(release_key::read_public(&project.join("keys/development.pub"))?)
}

impl Slot {
    /// Reads the slot that an image boots from, and writes its images to `boot.img` and `root.img` in `folder`.
    pub fn read(image: &Path, folder: &Path) -> Result<Slot> {
        let trusted = [signer(image)?];
        let verified = verify(image, &Expect { trusted: &trusted, role: None, bootsel: Bootsel::AsBuilt })?;
        let manifest = verified.slots[&verified.default].manifest.clone();
        let file = File::open(image)?;
        let layout: ImageLayout = verified.layout;
        let extent = |partition| layout.extent(partition).context("a partition of the image");
        let (boot, root) = (extent(verified.default.boot())?, extent(verified.default.root())?);
        let read = |which: Which, Extent { offset, .. }: Extent| -> Result<Vec<u8>> {
            let mut bytes = vec![0; usize::try_from(manifest.image(which).length)?];
            file.read_exact_at(&mut bytes, offset)?;
            Ok(bytes)
        };
        let images = [read(Which::Boot, boot)?, read(Which::Root, root)?];
        let leaves = [hash_blocks(&images[0]), hash_blocks(&images[1])];
        super::folder::fresh(folder)?;
        let files = ["boot.img", "root.img"].map(|name| folder.join(name));
        for (path, bytes) in files.iter().zip(&images) {
            std::fs::write(path, bytes)?;
        }
        Ok(Slot { manifest, image: image.to_owned(), boot, root, images, leaves, files })
    }

    /// Bytes of both images as one zstd stream.
    pub fn compressed(&self) -> Result<u64> {
        let mut stream = zstd::Encoder::new(Vec::new(), 19)?;
        stream.multithread(2)?;
        for image in &self.images {
            std::io::Write::write_all(&mut stream, image)?;
        }
        Ok(stream.finish()?.len() as u64)
    }
}
