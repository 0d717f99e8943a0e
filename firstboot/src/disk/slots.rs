//! The slots on the system disk, by their partitions: opened for the installer, and their trailers read.

use super::node;
use super::protect::Writable;
use crate::sys::block;
use anyhow::{Context as _, bail};
use contract::initramfs::BootReport;
use contract::layout::{Extent, Slot};
use contract::manifest::Manifest;
use contract::trailer::{Signed, Trailer};
use contract::update::Release;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// The partitions of one slot, open.
#[derive(Debug)]
pub struct Open {
    pub boot: File,
    pub root: File,
    /// Where they were opened for writing: without it, writes are refused.
    pub writable: Option<Writable>,
}

/// Opens a slot, for reading alone or for writing too. It can be written to for as long as [`Open::writable`] is there.
///
/// # Errors
/// When the partition table lacks it, or it cannot be opened.
pub fn open(report: &BootReport, slot: Slot, write: bool) -> anyhow::Result<Open> {
    // The slot that runs is never opened for writing, whoever asks.
    if write && slot == report.slot {
        bail!("slot {slot} is running and is never written");
    }
    let (boot, root) = (node::of(&report.disk, slot.boot())?, node::of(&report.disk, slot.root())?);
    let writable = write.then(|| Writable::these(&[&boot, &root])).transpose()?;
    let file = |device: &str| -> anyhow::Result<File> {
        File::options().read(true).write(write).open(device).with_context(|| format!("opening {device}"))
    };
    Ok(Open { boot: file(&boot)?, root: file(&root)?, writable })
}

/// What a slot holds by its trailer, whose signature is checked.
///
/// # Errors
/// When there is no trailer, or it is not to be trusted.
pub fn manifest(report: &BootReport, slot: Slot) -> anyhow::Result<(Release, Manifest)> {
    let device = node::of(&report.disk, slot.root())?;
    let root = File::open(&device).with_context(|| format!("opening {device}"))?;
    let size = block::size(&root).with_context(|| format!("measuring {device}"))?;
    let trailer = Trailer::of(Extent { offset: 0, length: size }, |at| -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(at.length).map_err(std::io::Error::other)?];
        root.read_exact_at(&mut bytes, at.offset)?;
        Ok(bytes)
    });
    let Signed { manifest, digest } =
        trailer.and_then(|trailer| Ok(trailer.signed(&report.keys)?)).with_context(|| device.clone())?;
    let release =
        Release { version: manifest.version.to_string(), manifest: digest, rollback_index: manifest.rollback_index };
    Ok((release, manifest))
}
