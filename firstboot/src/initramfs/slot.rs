//! Which slot was started: a pure function of what is on the disks and what the firmware reports.
//!
//! A slot is one boot and one root partition. Where the firmware says which boot partition it started, only that slot's
//! root will do: the other one may hold the same bytes, but then a damage would go unnoticed.

use super::firmware::{Firmware, Medium};
use contract::error::chain;
use contract::hash::Digest;
use contract::layout::{Extent, Slot};
use contract::trailer::{ReadError, Signed};
use std::fmt::Write as _;

/// A partition with the number and name of a slot's root.
#[derive(Debug)]
pub struct RootPartition {
    pub disk: String,
    pub slot: Slot,
    pub extent: Extent,
    pub content: Result<Signed, ReadError>,
}

/// The slot to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub disk: String,
    pub slot: Slot,
    pub extent: Extent,
    pub signed: Signed,
    /// Whether another disk that has not come up yet could still be meant.
    pub certain: bool,
}

/// No slot can be started.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{message}")]
pub struct NotFound {
    pub slot: Option<Slot>,
    pub disk: Option<String>,
    /// Whether another disk that has not come up yet could still be meant.
    pub certain: bool,
    message: String,
}

impl NotFound {
    /// What failed: a known slot, or the search for one.
    pub fn stage(&self) -> &'static str {
        if self.slot.is_some() && self.disk.is_some() { "verifying the slot" } else { "finding the slot" }
    }
}

/// Chooses the slot whose signed manifest names the root hash `wanted`.
///
/// # Errors
/// When there is none: what was found instead, partition by partition.
pub fn choose(wanted: Digest, firmware: &Firmware, roots: &[RootPartition]) -> Result<Found, NotFound> {
    let on_medium = |root: &RootPartition| firmware.medium.is_some_and(|medium| of(root) == Some(medium));
    let medium_is_there = roots.iter().any(on_medium);
    let mut eligible: Vec<&RootPartition> = roots
        .iter()
        .filter(|root| !medium_is_there || on_medium(root))
        .filter(|root| firmware.slot.is_none_or(|slot| slot == root.slot))
        .collect();
    eligible.sort_by_key(|root| (root.slot, root.disk.as_str()));

    let fitting = eligible.iter().find_map(|root| match &root.content {
        Ok(signed) if signed.manifest.root.root_hash == wanted => Some((root, signed.clone())),
        _ => None,
    });
    match fitting {
        Some((root, signed)) => Ok(Found {
            disk: root.disk.clone(),
            slot: root.slot,
            extent: root.extent,
            signed,
            certain: medium_is_there,
        }),
        None => Err(not_found(wanted, firmware, &eligible, medium_is_there)),
    }
}

fn of(root: &RootPartition) -> Option<Medium> {
    Medium::of_disk(&root.disk)
}

fn not_found(wanted: Digest, firmware: &Firmware, eligible: &[&RootPartition], certain: bool) -> NotFound {
    let same = |value: fn(&RootPartition) -> String| {
        let mut values = eligible.iter().map(|root| value(root));
        values.next().filter(|first| values.all(|other| other == *first))
    };
    let disk = same(|root| root.disk.clone());
    let slot = firmware.slot.or(match eligible {
        [only] => Some(only.slot),
        _ => None,
    });
    let mut message = match eligible {
        // Seen on carriers of a CM4 that do not wire CLKREQ#.
        [] if !certain && firmware.medium == Some(Medium::Nvme) => {
            "no NVMe disk with a slot has come up, although the EEPROM started from one; if the disk is fine, the carrier may \
             lack the CLKREQ# signal of PCIe: build the image with pcie_clkreq = \"safe\" in [firmware] and with options = \
             [\"pcie_aspm=off\"] in [kernel]"
                .to_owned()
        }
        [] => "no disk has a root partition of a slot".to_owned(),
        // Slot and disk are named beside this message: the reason suffices.
        [only] => reason(only, wanted),
        _ => format!("no slot holds the root hash {wanted} that the command line names"),
    };
    if eligible.len() > 1 {
        for root in eligible {
            let _ = write!(message, "; {} on {}: {}", root.slot, root.disk, reason(root, wanted));
        }
    }
    NotFound { slot, disk, certain, message }
}

fn reason(root: &RootPartition, wanted: Digest) -> String {
    match &root.content {
        Ok(signed) => {
            let found = signed.manifest.root.root_hash;
            format!("its manifest names the root hash {found}, the command line {wanted}")
        }
        Err(error) => chain(error),
    }
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
