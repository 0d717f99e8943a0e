//! Waits for the disks and reads the trailers of their root partitions.

use super::firmware::Firmware;
use super::slot::{self, Found, NotFound, RootPartition};
use crate::console;
use crate::disk::gpt::Table;
use crate::disk::list::{SYS_BLOCK, may_be_disk};
use crate::disk::trailer;
use crate::sys::block;
use contract::hash::Digest;
use contract::keys::PublicKey;
use contract::layout::{SECTOR, Slot};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often to look.
const INTERVAL: Duration = Duration::from_millis(50);
/// How long another disk may take once the first one with our partitions is there.
const SETTLE: Duration = Duration::from_secs(2);
/// Waits until a disk has come up that holds the slot, for no longer than `timeout`.
///
/// # Errors
/// What was found on the disks that came up.
pub fn wait_for_slot(
    wanted: Digest,
    firmware: &Firmware,
    keys: &[PublicKey],
    timeout: Duration,
) -> Result<Found, NotFound> {
    let started = Instant::now();
    let mut seen = BTreeSet::new();
    let mut roots: Vec<RootPartition> = Vec::new();
    let mut first_root = None;
    loop {
        for disk in new_disks(&mut seen) {
            match roots_of(&disk, keys) {
                Ok(found) => roots.extend(found),
                Err(error) => console::say(format_args!("{disk} is skipped: {error:#}")),
            }
        }
        if !roots.is_empty() {
            first_root.get_or_insert_with(Instant::now);
        }
        let settled = first_root.is_some_and(|since| since.elapsed() >= SETTLE);
        let over = settled || started.elapsed() >= timeout;
        match slot::choose(wanted, firmware, &roots) {
            Ok(found) if found.certain || over => return Ok(found),
            Err(error) if over || error.certain => return Err(error),
            _ => std::thread::sleep(INTERVAL),
        }
    }
}

/// Disks that have come up since the last call.
fn new_disks(seen: &mut BTreeSet<String>) -> Vec<String> {
    let mut new: Vec<String> = std::fs::read_dir(SYS_BLOCK)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| may_be_disk(name) && !seen.contains(name))
        .filter(|name| Path::new("/dev").join(name).exists() && sectors(name).is_some_and(|sectors| sectors > 0))
        .collect();
    new.sort();
    seen.extend(new.iter().cloned());
    new
}

fn sectors(name: &str) -> Option<u64> {
    std::fs::read_to_string(Path::new(SYS_BLOCK).join(name).join("size")).ok()?.trim().parse().ok()
}

fn roots_of(name: &str, keys: &[PublicKey]) -> anyhow::Result<Vec<RootPartition>> {
    let mut disk = File::open(Path::new("/dev").join(name))?;
    let sector = block::logical_block_size(&disk)?;
    anyhow::ensure!(u64::from(sector) == SECTOR, "its logical blocks have {sector} bytes, not {SECTOR}");
    let size = block::size(&disk)?;
    let table = Table::read(&mut disk, size)?;
    let roots = Slot::BOTH.into_iter().filter_map(|slot| {
        let extent = table.find(slot.root())?.extent;
        Some(RootPartition { disk: name.to_owned(), slot, extent, content: trailer::read(&mut disk, extent, keys) })
    });
    Ok(roots.collect())
}
