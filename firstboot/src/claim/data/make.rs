//! The steps of a claim. Power may go between any two writes: until the marker says `made`, the next boot begins again.
//!
//! marker `making` → both ends erased → partition table → file system → marker `made`; each has reached the disk before
//! the next begins.

use super::super::filesystem::Tools;
use super::super::phase::Phase;
use super::marker::{BLOCK, Marker, Owner};
use super::place::Place;
use crate::disk::io::DiskIo;
use anyhow::{Context as _, bail};
use contract::blank;
use contract::layout::Extent;
use std::io::SeekFrom;

/// Largest write, in bytes.
const CHUNK: u64 = 1024 * 1024;

/// Writes the marker.
///
/// # Errors
/// When it cannot be written.
pub fn mark(disk: &mut (impl DiskIo + ?Sized), place: &Place, phase: Phase, owner: &Owner) -> anyhow::Result<()> {
    let marker = Marker { phase, owner: owner.clone() };
    let bytes = marker.bytes().context("the names of cluster and node are too long for the marker")?;
    write(disk, place.marker, &bytes).and_then(|()| disk.flush_to_disk()).context("writing the marker")
}

/// Erases both ends of the place and of the partition to be, so that no signature of what was there is ever seen
/// again. The marker stays.
///
/// # Errors
/// When the disk cannot be written.
pub fn erase_ends(disk: &mut (impl DiskIo + ?Sized), place: &Place, tools: Tools) -> anyhow::Result<()> {
    let end = |extent: Extent| extent.end().saturating_sub(blank::END).max(extent.offset);
    let (whole, data) = (place.extent, place.data);
    let after_marker = place.marker + BLOCK as u64;
    for (from, to) in [
        (whole.offset, place.marker),
        (after_marker, (data.offset + blank::END).min(data.end())),
        (end(data), data.end()),
        (end(whole).max(after_marker), whole.end()),
    ] {
        zero(disk, from, to, tools).context("erasing its old content")?;
    }
    disk.flush_to_disk().context("erasing its old content")
}

fn zero(disk: &mut (impl DiskIo + ?Sized), from: u64, to: u64, tools: Tools) -> std::io::Result<()> {
    let zeros = vec![0; CHUNK as usize];
    let mut at = from;
    while at < to {
        let length = CHUNK.min(to - at);
        write(disk, at, zeros.get(..length as usize).unwrap_or_default())?;
        at += length;
        tools.feed();
    }
    Ok(())
}

/// Writes a partition table: bytes and their offsets, in order.
///
/// # Errors
/// When the disk cannot be written.
pub fn write_table(disk: &mut (impl DiskIo + ?Sized), copies: &[(u64, Vec<u8>)]) -> anyhow::Result<()> {
    for (offset, bytes) in copies {
        write(disk, *offset, bytes).and_then(|()| disk.flush_to_disk()).context("writing the partition table")?;
    }
    Ok(())
}

/// Makes sure that a claimed disk has its table: one damaged copy is made good from the other.
///
/// # Errors
/// When neither copy is the one that was made.
pub fn restore_table(disk: &mut (impl DiskIo + ?Sized), copies: &[(u64, Vec<u8>)]) -> anyhow::Result<bool> {
    let mut whole = 0;
    for (offset, wanted) in copies {
        let mut bytes = vec![0; wanted.len()];
        disk.seek(SeekFrom::Start(*offset))?;
        disk.read_exact(&mut bytes).context("reading the partition table")?;
        whole += usize::from(bytes == *wanted);
    }
    match whole {
        whole if whole == copies.len() => Ok(false),
        whole if whole > 0 => write_table(disk, copies).map(|()| true),
        _ => bail!("its marker is ours, but its partition table is not the one that microdc made: it is left alone"),
    }
}

fn write(disk: &mut (impl DiskIo + ?Sized), offset: u64, bytes: &[u8]) -> std::io::Result<()> {
    disk.seek(SeekFrom::Start(offset))?;
    disk.write_all(bytes)
}
