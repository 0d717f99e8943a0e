//! Whether a place may be claimed for `data`. Read-only.

use super::super::filesystem::Tools;
use super::super::phase::Phase;
use super::detect::detect;
use super::marker::{BLOCK, Marker, Owner};
use super::place::{Place, Writes};
use anyhow::Context as _;
use contract::blank;
use contract::layout::{MIB, SECTOR};
use contract::node::Serial;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// What may be done with a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is blank, as far as was looked.
    Blank {
        /// Bytes that were read.
        read: u64,
        /// Bytes that there are.
        of: u64,
    },
    /// A claim of ours was begun here and continues.
    Unfinished,
    /// It is ours: nothing is recreated.
    Ours,
    /// It holds what the operator lets go.
    Erase(String),
    /// It is left alone. What was found, in words.
    Refused(String),
}

/// Judges a place on `disk`, which `path` names for blkid. `wanted` is what the marker will say, `table` what the claim
/// writes outside `data`, `wipe` the disk that the operator lets go.
///
/// # Errors
/// When the disk cannot be read.
pub fn judge(
    disk: &mut (impl Read + Seek + ?Sized),
    path: &Path,
    place: &Place,
    wanted: &Owner,
    table: &Writes,
    wipe: Option<&Serial>,
    tools: Tools,
) -> anyhow::Result<Verdict> {
    let mut block = vec![0; BLOCK];
    disk.seek(SeekFrom::Start(place.marker))
        .and_then(|_| disk.read_exact(&mut block))
        .context("reading its marker")?;
    let found = match Marker::parse(&block) {
        Some(Marker { phase: Phase::Making, owner }) if owner.is_same(wanted) => {
            if holds_ours_alone(disk, place, table)? {
                return Ok(Verdict::Unfinished);
            }
            "data that an unfinished claim of this node began to erase, or newer data".to_owned()
        }
        Some(Marker { phase: Phase::Made, owner }) if owner == *wanted => return Ok(Verdict::Ours),
        Some(Marker { owner, .. }) if owner.is_same(wanted) => {
            format!("data of this node, made as {} ({} bytes)", owner.kind, owner.length)
        }
        Some(Marker { owner, .. }) => format!("data of {owner}"),
        None => match foreign(disk, path, place, tools)? {
            Some(found) => found,
            None => {
                return Ok(Verdict::Blank { read: blank::read(place.extent), of: place.extent.length });
            }
        },
    };
    Ok(if wipe == Some(&wanted.serial) { Verdict::Erase(found) } else { Verdict::Refused(found) })
}

/// Whether what lies around `data` and the marker is zero or what the claim itself writes there. Someone may have used the
/// disk between a power cut and now, and left the marker where it was: only `wipe` lets that go.
fn holds_ours_alone(disk: &mut (impl Read + Seek + ?Sized), place: &Place, table: &Writes) -> anyhow::Result<bool> {
    let (whole, data) = (place.extent, place.data);
    for (from, to) in
        [(whole.offset, place.marker), (place.marker + BLOCK as u64, data.offset), (data.end(), whole.end())]
    {
        let mut bytes = vec![0; usize::try_from(to.saturating_sub(from))?];
        disk.seek(SeekFrom::Start(from)).and_then(|_| disk.read_exact(&mut bytes)).context("reading around data")?;
        let foreign = |(at, sector): (u64, &[u8])| {
            let ours = |(offset, written): &(u64, Vec<u8>)| {
                let start = (from + at * SECTOR).checked_sub(*offset).and_then(|start| usize::try_from(start).ok());
                start.and_then(|start| written.get(start..start + sector.len())) == Some(sector)
            };
            sector.iter().any(|&byte| byte != 0) && !table.iter().any(ours)
        };
        if (0..).zip(bytes.chunks(SECTOR as usize)).any(foreign) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Names what a place without a marker holds; `None` when it is blank.
fn foreign(
    disk: &mut (impl Read + Seek + ?Sized),
    path: &Path,
    place: &Place,
    tools: Tools,
) -> anyhow::Result<Option<String>> {
    for extent in [place.extent, place.data] {
        if let Some(found) = detect(tools, path, extent, place.size)? {
            return Ok(Some(found));
        }
    }
    // blkid takes a disk that fails for one without a signature: this is where the difference is noticed.
    let data = blank::first_data(disk, place.extent, || tools.feed()).context("checking whether it is blank")?;
    Ok(data.map(|at| format!("unknown data (at byte {at})")))
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Verdict::Blank { read, of } if read == of => write!(f, "blank (all of it was read)"),
            Verdict::Blank { read, of } => {
                write!(f, "blank ({} of {} MiB checked)", read / MIB, of / MIB)
            }
            Verdict::Unfinished => write!(f, "a claim of this node that was not finished"),
            Verdict::Ours => write!(f, "data of this node"),
            Verdict::Erase(found) | Verdict::Refused(found) => f.write_str(found),
        }
    }
}

/// The message about a refused disk, with the line that would release it.
pub fn refusal(disk: &str, serial: &Serial, found: &str, wipe: Option<&Serial>) -> String {
    let other = wipe.map(|wipe| format!(" (wipe names {wipe}, which is not this disk)")).unwrap_or_default();
    format!(
        "{disk} (serial number {serial}) holds {found}: it is left alone{other}. To let microdc erase and claim it, \
            put this into node.toml, under [disks]:\nwipe = \"{serial}\""
    )
}
