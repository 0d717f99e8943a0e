//! What a partition meant for `state` holds: nothing, what microdc made, or what is someone else's.
//!
//! | what | where |
//! |---|---|
//! | the file system | the first half |
//! | a file system that could not be repaired, byte by byte | the second half, but for the end |
//! | the record | the last 64 KiB |
//!
//! The record is one sector:
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 8 | magic `microdcS` |
//! | 8 | 8 | phase: `making  ` or `made    ` |
//! | 16 | 16 | GUID of the disk |
//! | 32 | 32 | SHA-256 of the bytes before |
//!
//! `making` is written only over nothing and before anything else, `made` after the file system is complete: a power cut
//! in between leaves `making`, and the work starts again.

use super::phase::Phase;
use contract::hash::Digest;
use contract::layout::{Extent, MIB, STATE_RECORD as RESERVED};
use contract::signatures;
use std::io::{self, Read, Seek, SeekFrom, Write};
use uuid::Uuid;

const MAGIC: &[u8; 8] = b"microdcS";
const RECORD: usize = 64;
/// How much at each end has to be zero for a partition to count as blank, in bytes.
const LOOKED_AT: u64 = MIB;
/// Label of the file system.
pub const LABEL: &str = "microdc-state";

/// What a partition holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Blank,
    /// A file system of ours is being made: it may be begun again.
    Unfinished,
    /// The file system of ours.
    Ours,
    /// Something else, in words for the operator.
    Foreign(String),
}

/// Inspects `extent` of a disk (or at a whole partition) without changing it.
///
/// # Errors
/// When it cannot be read.
pub fn inspect(disk: &mut (impl Read + Seek + ?Sized), extent: Extent, disk_guid: &Uuid) -> io::Result<Content> {
    let mut window = |offset: u64| -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; LOOKED_AT.min(extent.length) as usize];
        disk.seek(SeekFrom::Start(extent.offset + offset))?;
        disk.read_exact(&mut bytes)?;
        Ok(bytes)
    };
    let first = window(0)?;
    let last = window(extent.length.saturating_sub(LOOKED_AT))?;
    let reserved = last.len().saturating_sub(RESERVED as usize);
    let record = last.get(reserved..reserved + RECORD).unwrap_or_default();
    Ok(judge(&first, &last, record, disk_guid))
}

fn judge(first: &[u8], last: &[u8], record: &[u8], disk_guid: &Uuid) -> Content {
    let is = |phase| record == record_bytes(phase, disk_guid);
    if is(Phase::Making) {
        return Content::Unfinished;
    }
    if is(Phase::Made) || signatures::ext_label(first).as_deref() == Some(LABEL) {
        return Content::Ours;
    }
    if first.iter().chain(last).all(|&byte| byte == 0) {
        return Content::Blank;
    }
    Content::Foreign(signatures::describe(first).unwrap_or_else(|| "data of an unknown kind".to_owned()))
}

/// Writes the record of a partition that starts at 0 of `partition` and is `length` bytes long. The caller flushes.
///
/// # Errors
/// When it cannot be written.
pub fn write_record(
    partition: &mut (impl Write + Seek),
    length: u64,
    phase: Phase,
    disk_guid: &Uuid,
) -> io::Result<()> {
    let mut sector = record_bytes(phase, disk_guid);
    sector.resize(512, 0);
    partition.seek(SeekFrom::Start(length.saturating_sub(RESERVED)))?;
    partition.write_all(&sector)
}

fn record_bytes(phase: Phase, disk_guid: &Uuid) -> Vec<u8> {
    let mut bytes = [&MAGIC[..], phase.bytes(), disk_guid.as_bytes()].concat();
    let digest = Digest::of(&bytes);
    bytes.extend(digest.0);
    bytes
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
