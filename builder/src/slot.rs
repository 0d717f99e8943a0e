//! A slot: boot image, root image, and the signed manifest of both in the root partition's trailer.
//!
//! The manifest names the boot image's hash, so it cannot be in the boot partition; it is only in the trailer.

use crate::boot::eeprom::{self, EepromError};
use crate::boot::files::{cmdline_txt, config_txt};
use crate::format::derive::Seed;
use crate::format::ext4::{self, Ext4Error};
use crate::format::fat::{self, FatError, FatFile};
use crate::format::verity::{self, VerityError};
use crate::tree::Tree;
use contract::hash::Digest;
use contract::keys::{ManifestSignature, PrivateKey};
use contract::layout::{Extent, trailer_offset};
use contract::manifest::{self, BlockImage, Manifest, ManifestError};
use contract::names::{BOARD, CMDLINE_TXT, CONFIG_TXT};
use contract::plain_name::PlainName;
use contract::role::Compatible;
use contract::trailer::{Trailer, TrailerError};
use contract::tree::{HashTree, TreeError};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// What a slot is made of.
pub struct SlotSpec<'a> {
    /// For which nodes it is.
    pub compatible: Compatible,
    pub version: PlainName,
    /// Seconds since 1970.
    pub built: u64,
    pub rollback_index: u64,
    /// Release of the kernel.
    pub kernel: PlainName,
    pub seed: Seed,
    pub root: &'a Tree,
    /// Firmware, device trees, kernel, initramfs: all of the boot partition but config.txt and cmdline.txt. Those
    /// that change least come first, for the sake of updates.
    pub boot: &'a [FatFile],
    /// Kernel options before the one that names the root; usually [`crate::boot::files::KERNEL_OPTIONS`].
    pub kernel_options: Vec<String>,
    /// Lines of config.txt behind those of every image.
    pub config: Vec<String>,
    /// Names of what was handed over by hand.
    pub supplied: Vec<PlainName>,
    pub key: &'a dyn Sign,
}

/// The label of the root file system: what ext4 has room for of the role's name, which is ASCII.
fn label(role: &str) -> &str {
    role.get(..ext4::LABEL).unwrap_or(role)
}

/// Who signs the manifest.
pub trait Sign: Sync {
    /// The signature of a manifest's bytes, or the place for one that is made elsewhere.
    fn signature(&self, manifest: &[u8]) -> ManifestSignature;
}

impl Sign for PrivateKey {
    fn signature(&self, manifest: &[u8]) -> ManifestSignature {
        self.sign(manifest)
    }
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct SlotSummary {
    pub manifest: Manifest,
    /// Of the manifest's bytes.
    pub manifest_digest: Digest,
    /// Bytes of files in the root, and of its hash tree.
    pub root_content: u64,
    pub root_tree: u64,
    pub root_files: usize,
    /// Bytes of files in the boot partition.
    pub boot_content: u64,
}

const MIB: u64 = 1 << 20;

/// A slot that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SlotError {
    #[error(transparent)]
    Root(#[from] Ext4Error),
    #[error(
        "the root file system with its hash tree takes {} MiB, and a root partition of this image has {} MiB: set `[disk] root` in the profile, to \"{}MiB\" or more, or leave something out. Nodes that are flashed already keep their partition: they refuse a larger root by name",
        needed.div_ceil(MIB), room / MIB, (needed + (64 << 10)).div_ceil(MIB)
    )]
    RootFull { needed: u64, room: u64 },
    #[error(transparent)]
    Verity(#[from] VerityError),
    #[error("the boot partition: {0}")]
    Boot(#[from] FatError),
    #[error("this image would not boot: {0}")]
    Eeprom(#[from] EepromError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(transparent)]
    Trailer(#[from] TrailerError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("writing the slot: {0}")]
    Write(#[from] io::Error),
}

/// Writes a slot into the two partitions of `file` that `boot` and `root` name, where zeros must stand. The trailer is
/// written last. `wrote` receives the bytes of root content written and to be written, and may stop the work.
///
/// # Errors
/// When it does not fit, would not boot, or cannot be written.
pub fn write(
    spec: &SlotSpec<'_>,
    file: &File,
    boot: Extent,
    root: Extent,
    wrote: &dyn Fn(u64, u64) -> io::Result<()>,
) -> Result<SlotSummary, SlotError> {
    let plan = ext4::plan(spec.root, &spec.seed, label(spec.compatible.role.name()), spec.built)?;
    let trailer_at = trailer_offset(root.length).unwrap_or(0);
    let needed = plan.length() + contract::tree::tree_length(plan.length())?;
    if needed > trailer_at {
        return Err(SlotError::RootFull { needed, room: trailer_at });
    }
    let content = plan.content_length();
    let leaves = plan.write(file, root.offset, &|done| wrote(done, content))?;
    let (root_image, root_tree) = verity::write(&leaves, file, root.offset + plan.length())?;

    let files = boot_files(spec, root_image.root_hash)?;
    let image = fat::make(fat::BOOT, &files)?.bytes;
    let tree = HashTree::over(&image)?;
    file.write_all_at(&image, boot.offset)?;

    let manifest = Manifest {
        format: manifest::FORMAT,
        role: spec.compatible.role.clone(),
        compatible: spec.compatible.stored(),
        board: BOARD.to_owned(),
        version: spec.version.clone(),
        built: spec.built,
        rollback_index: spec.rollback_index,
        kernel: spec.kernel.clone(),
        boot: BlockImage { length: image.len() as u64, root_hash: tree.root_hash },
        root: root_image,
        supplied: spec.supplied.clone(),
    };
    let bytes = manifest.to_bytes()?;
    let manifest_digest = Digest::of(&bytes);
    let trailer = Trailer { signature: spec.key.signature(&bytes), manifest: bytes };
    file.write_all_at(&trailer.to_bytes()?, root.offset + trailer_at)?;
    Ok(SlotSummary {
        manifest,
        manifest_digest,
        root_content: content,
        root_tree,
        root_files: spec.root.nodes.len(),
        boot_content: files.iter().map(|file| file.bytes.len() as u64).sum(),
    })
}

/// All files of the boot partition, checked as the firmware would read them.
fn boot_files(spec: &SlotSpec<'_>, root_hash: Digest) -> Result<Vec<FatFile>, EepromError> {
    let mut files = spec.boot.to_vec();
    let texts = [(CONFIG_TXT, config_txt(&spec.config)), (CMDLINE_TXT, cmdline_txt(&spec.kernel_options, root_hash))];
    files.extend(texts.map(|(path, text)| FatFile { path: path.to_owned(), bytes: text.into_bytes().into() }));
    eeprom::check_boot(&|name| {
        let file = files.iter().find(|file| file.path.eq_ignore_ascii_case(name));
        file.map(|file| file.bytes.to_vec())
    })?;
    Ok(files)
}
