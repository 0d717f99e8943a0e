//! What the node adds to an image's partition table: which entry, where, with which GUIDs. Pure functions.

use super::gpt::{Entry, GptError, Table};
use contract::hash::Digest;
use contract::layout::{Partition, STATE_SIZE};
use uuid::Uuid;

/// A table to which `state` cannot be added.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("the partition table lacks {0}: this is not a disk that an image of microdc was written to")]
    Missing(&'static str),
    #[error(
        "the disk is too small: {STATE_SIZE} bytes for state would end at byte {end}, the disk has {size}; take a larger disk"
    )]
    TooSmall { end: u64, size: u64 },
    #[error(transparent)]
    Gpt(#[from] GptError),
}

/// What a table says, or should say, of `state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// It is there.
    Exists(Entry),
    /// This entry is to be added.
    Add(Entry),
}

/// Looks for `state` in a table, or says where it belongs on a disk of `size` bytes.
///
/// Its place is [`contract::layout::state_extent`].
///
/// # Errors
/// When the table is not one of ours, or the disk is too small.
pub fn plan(table: &Table, size: u64) -> Result<Plan, PlanError> {
    for partition in Partition::IN_IMAGE {
        table.find(partition).ok_or(PlanError::Missing(partition.name()))?;
    }
    if let Some(entry) = table.find(Partition::State) {
        return Ok(Plan::Exists(entry));
    }
    let root_b = table.find(Partition::RootB).ok_or(PlanError::Missing(Partition::RootB.name()))?;
    let too_small = |end| PlanError::TooSmall { end, size };
    let extent = contract::layout::state_extent(root_b.extent.end()).ok_or(too_small(u64::MAX))?;
    if extent.end().checked_add(Table::TAIL_LEN).is_none_or(|needed| needed > size) {
        return Err(too_small(extent.end()));
    }
    Ok(Plan::Add(Entry {
        number: Partition::State.number(),
        type_guid: Uuid::parse_str(Partition::State.type_guid()).unwrap_or_default(),
        guid: derived(&table.disk_guid, "partition state"),
        extent,
        name: Partition::State.name().to_owned(),
    }))
}

/// A GUID that follows from the disk's own and a purpose, so that a step done twice gives the same result (version 8
/// of RFC 9562).
pub fn derived(disk: &Uuid, purpose: &str) -> Uuid {
    let digest = Digest::of(&[b"microdc guid\n", &disk.as_bytes()[..], purpose.as_bytes()].concat());
    uuid::Builder::from_custom_bytes(digest.0.first_chunk().copied().unwrap_or_default()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_differ_by_disk_and_purpose_and_are_stable() {
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert_eq!(derived(&one, "a"), derived(&one, "a"));
        assert_ne!(derived(&one, "a"), derived(&two, "a"));
        assert_ne!(derived(&one, "a"), derived(&one, "b"));
        assert_eq!(derived(&one, "a").get_version_num(), 8);
    }

    #[test]
    fn the_type_of_state_is_a_guid() {
        assert!(Uuid::parse_str(Partition::State.type_guid()).is_ok());
    }
}
