//! Blocks of zeros in a file are not stored. Programs have many: Debian's for arm64 are linked for pages of 64 KiB, and
//! what is between two segments is zeros.

use super::disk::EXTENTS_IN_INODE;
use crate::tree::Content;
use contract::layout::BLOCK;
use std::collections::BTreeSet;
use std::io;

/// Read at once, in bytes.
const CHUNK: u64 = 256 * 1024;
/// No file has more runs than this: they must fit into the extents below one inode, with much to spare.
const MOST_RUNS: usize = 300;

/// The runs of blocks that hold something, as first block and number, in order.
///
/// # Errors
/// When the content cannot be read.
pub fn stored(content: &Content) -> io::Result<Vec<(u64, u64)>> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    let mut buffer = vec![0; CHUNK.min(content.len()) as usize];
    for at in (0..content.len()).step_by(CHUNK as usize) {
        let chunk = &mut buffer[..(content.len() - at).min(CHUNK) as usize];
        content.read_exact_at(chunk, at)?;
        for (index, block) in chunk.chunks(BLOCK as usize).enumerate() {
            if block.iter().all(|&byte| byte == 0) {
                continue;
            }
            let number = at / BLOCK + index as u64;
            match runs.last_mut() {
                Some((start, length)) if *start + *length == number => *length += 1,
                _ => runs.push((number, 1)),
            }
        }
    }
    Ok(thinned(runs))
}

/// Leaves out the holes that cost more than they save.
fn thinned(runs: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    if runs.len() <= EXTENTS_IN_INODE {
        return runs;
    }
    let hole = |at: usize| runs[at + 1].0 - runs[at].0 - runs[at].1;
    // By their place before the run that follows; the longest first, and of equal ones the first.
    let mut holes: Vec<usize> = (0..runs.len() - 1).collect();
    holes.sort_by_key(|&at| (std::cmp::Reverse(hole(at)), at));
    // More runs than the inode has room for take a block of extents.
    let others: u64 = holes[EXTENTS_IN_INODE - 1..].iter().map(|&at| hole(at)).sum();
    let most = if others > 2 { MOST_RUNS } else { EXTENTS_IN_INODE };
    let filled: BTreeSet<usize> = holes.into_iter().skip(most - 1).collect();
    let mut kept: Vec<(u64, u64)> = Vec::new();
    for (index, &(start, length)) in runs.iter().enumerate() {
        match kept.last_mut() {
            Some((first, before)) if filled.contains(&(index - 1)) => *before = start + length - *first,
            _ => kept.push((start, length)),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(blocks: &[bool]) -> Vec<(u64, u64)> {
        let bytes: Vec<u8> = blocks.iter().flat_map(|&full| [u8::from(full); BLOCK as usize]).collect();
        stored(&Content::from(bytes)).unwrap()
    }

    #[test]
    fn zeros_are_holes() {
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[false, false]), []);
        assert_eq!(of(&[true, false, false, true, true]), [(0, 1), (3, 2)]);
        let mut odd = vec![0; BLOCK as usize * 70];
        odd.extend([0, 0, 1]);
        assert_eq!(stored(&Content::from(odd)).unwrap(), [(70, 1)]);
    }

    #[test]
    fn a_hole_that_saves_nothing_is_filled() {
        let alternating = |count: u64| (0..count).map(|number| number % 2 == 0).collect::<Vec<_>>();
        assert_eq!(of(&alternating(7)), [(0, 1), (2, 1), (4, 1), (6, 1)]);
        assert_eq!(
            of(&alternating(10)),
            [(0, 1), (2, 1), (4, 1), (6, 3)],
            "a fifth run costs the block that it saves"
        );
        assert_eq!(of(&alternating(20)).len(), 10);
    }

    proptest! {
        #[test]
        fn everything_that_holds_something_is_stored(blocks in prop::collection::vec(any::<bool>(), 0..900)) {
            let runs = of(&blocks);
            prop_assert!(runs.len() <= MOST_RUNS);
            for (number, full) in blocks.iter().enumerate() {
                let inside = runs.iter().any(|(start, length)| (*start..start + length).contains(&(number as u64)));
                prop_assert!(inside || !full);
            }
            for pair in runs.windows(2) {
                prop_assert!(pair[0].0 + pair[0].1 < pair[1].0);
            }
        }
    }
}
