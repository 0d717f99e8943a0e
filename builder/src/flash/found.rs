//! What is on a disk before it is flashed, and whether it may go: blank, microdc's own, half-written by an earlier run, or
//! someone else's. The signatures and the judgement of blankness are those that the node uses before it claims a disk.

use super::mark::{self, Mark};
use super::old_table;
use crate::format::disk_table;
use contract::blank;
use contract::layout::{BLOCK, Extent, ImageLayout, MIB, Partition, state_extent};
use contract::signatures;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// What is on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, as far as was looked.
    Blank,
    /// An image of microdc, and what a node made behind it.
    Ours {
        /// In bytes.
        root_size: u64,
        /// Whether a node made `state` or `data`.
        is_used: bool,
    },
    /// An earlier run did not come to its end.
    Unfinished(Mark),
    /// What is someone else's, in words.
    Foreign(String),
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Found::Blank => "nothing",
            Found::Ours { is_used: true, .. } => "a system of microdc that a node has used",
            Found::Ours { is_used: false, .. } => "an image of microdc",
            Found::Unfinished(_) => "a half-written image of microdc",
            Found::Foreign(what) => what,
        })
    }
}

/// Looks at a disk of `size` bytes. Reads both its ends and samples between them, and changes nothing.
///
/// # Errors
/// When it cannot be read.
pub fn look(disk: &File, size: u64) -> io::Result<Found> {
    let mut read = |at: u64, bytes: &mut [u8]| disk.read_exact_at(bytes, at);
    let table = disk_table::read(disk, size);
    // A table that was written only in part is nobody's.
    let is_torn = matches!(table, Err(disk_table::TableError::None(_)));
    if let Ok(table) = table {
        let others: Vec<&str> = {
            let ours = |listed: &&disk_table::Listed| {
                let known = Partition::IN_IMAGE.into_iter().chain([Partition::State, Partition::Data]);
                known.into_iter().any(|part| part.number() == listed.number && part.name() == listed.name)
            };
            table.partitions.iter().filter(|listed| !ours(listed)).map(|listed| listed.name.as_str()).collect()
        };
        if let Some(other) = others.first() {
            return Ok(Found::Foreign(format!(
                "a system of microdc, and a partition {other:?} that is not microdc's"
            )));
        }
        // Flashed again and not started since, a disk has the state of its node, and no entry for it.
        let is_used = table.partitions.len() > Partition::IN_IMAGE.len() || has_state(disk, size, table.layout)?;
        return Ok(Found::Ours { root_size: table.layout.root_size(), is_used });
    }
    let mut things = signatures::find(size, &mut read)?;
    let old = old_table::read(size, &mut read)?;
    if let Some(mark) = marked(disk, size)? {
        let of_tables = things.iter().all(|thing| signatures::TABLES.contains(&thing.as_str()));
        // Only a GPT names its partitions.
        if things.is_empty() || (of_tables && is_torn && old.iter().all(|old| old.name.is_some())) {
            return Ok(Found::Unfinished(mark));
        }
    }
    let names: Vec<String> = old.into_iter().filter_map(|old| old.name).collect();
    if let Some(table) = things.iter_mut().find(|thing| thing.contains("partition table"))
        && !names.is_empty()
    {
        table.push_str(&format!(" with {}", names.join(", ")));
    }
    if !things.is_empty() {
        return Ok(Found::Foreign(things.join(" and ")));
    }
    let data = blank::first_data(&mut &*disk, Extent { offset: 0, length: size }, || ())?;
    Ok(data.map_or(Found::Blank, |at| Found::Foreign(format!("unknown data (at byte {at})"))))
}

/// Whether anything stands where a node makes `state`: at its start, or in its record at the end.
fn has_state(disk: &File, size: u64, layout: ImageLayout) -> io::Result<bool> {
    let root_b = layout.extent(Partition::RootB).map_or(0, Extent::end);
    let Some(state) = state_extent(root_b) else { return Ok(false) };
    let mut bytes = vec![0; MIB as usize];
    for offset in [state.offset, state.end() - MIB] {
        if offset + MIB <= size {
            disk.read_exact_at(&mut bytes, offset)?;
            if bytes != vec![0; MIB as usize] {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

fn marked(disk: &File, size: u64) -> io::Result<Option<Mark>> {
    if size < mark::PLACE.end() {
        return Ok(None);
    }
    let mut block = vec![0; BLOCK as usize];
    disk.read_exact_at(&mut block, mark::PLACE.offset)?;
    Ok(Mark::parse(&block))
}
