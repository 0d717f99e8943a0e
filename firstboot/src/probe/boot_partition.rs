//! Whether the boot partition of the running slot is the one that was signed. The firmware starts what lies there without a
//! look at any signature, so a change is found after the fact: it says that somebody, or the disk, has changed it.

use crate::disk::slots;
use anyhow::{Context as _, ensure};
use contract::initramfs::BootReport;
use contract::layout::BLOCK;
use contract::manifest::BlockImage;
use contract::tree::{HashTree, hash_blocks};
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::path::Path;

/// Bytes that are read at once.
const PIECE: u64 = 256 * BLOCK;

/// `report` is the file in which the initramfs says what it booted.
///
/// # Errors
/// What differs, or what cannot be read.
pub fn check(report: &Path) -> anyhow::Result<()> {
    let text = std::fs::read(report).with_context(|| format!("reading {}", report.display()))?;
    let report: BootReport = serde_json::from_slice(&text).context("reading what was booted")?;
    let (release, manifest) = slots::manifest(&report, report.slot)?;
    ensure!(
        release.manifest == report.manifest,
        "the trailer of slot {} has changed since it was booted: it was {}, and is {}",
        report.slot,
        report.manifest,
        release.manifest
    );
    let partition = slots::open(&report, report.slot, false)?.boot;
    // What the kernel remembers of it is not what the firmware reads at the next start.
    rustix::fs::fadvise(&partition, 0, None, rustix::fs::Advice::DontNeed)
        .context("forgetting what was read before")?;
    holds(partition, &manifest.boot).with_context(|| format!("slot {}", report.slot))
}

/// Whether a partition begins with this image.
fn holds(mut partition: File, image: &BlockImage) -> anyhow::Result<()> {
    partition.seek(SeekFrom::Start(0))?;
    let mut leaves = Vec::new();
    let mut left = image.length;
    while left > 0 {
        let mut piece = vec![0; usize::try_from(left.min(PIECE))?];
        partition.read_exact(&mut piece).context("reading it")?;
        leaves.extend(hash_blocks(&piece));
        left = left.saturating_sub(PIECE);
    }
    let found = HashTree::from_leaves(&leaves)?.root_hash;
    ensure!(found == image.root_hash, "it is not the signed one: its root hash is {found}, not {}", image.root_hash);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn partition(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_partition_with_any_flipped_bit_or_cut_short_is_not_the_signed_one() {
        let length = PIECE + 3 * BLOCK;
        let bytes: Vec<u8> = (0..length).map(|at| (at * 31 / 7) as u8).collect();
        let image = BlockImage { length, root_hash: HashTree::over(&bytes).unwrap().root_hash };
        // What lies behind it in a larger partition is nobody's.
        holds(partition(&[bytes.as_slice(), &[9; 5000]].concat()), &image).unwrap();
        for at in [0, PIECE - 1, PIECE, length - 1] {
            let mut changed = bytes.clone();
            changed[usize::try_from(at).unwrap()] ^= 4;
            let error = holds(partition(&changed), &image).unwrap_err();
            assert!(error.to_string().contains("it is not the signed one"), "{error:#}");
        }
        assert!(holds(partition(&bytes[1..]), &image).is_err());
    }
}
