//! Block allocation: block groups, their reserved blocks, and data blocks in ascending order.

use super::disk::{BLOCKS_PER_GROUP, DESCRIPTOR_LEN, Extent, LONGEST_EXTENT};
use contract::layout::BLOCK;

/// Blocks of a file system with a given number of groups.
pub struct Space {
    pub groups: u64,
    /// Block number → in use. What follows its end is free.
    used: Vec<bool>,
    next: u64,
}

/// Runs of blocks that follow one another, as first block and number.
pub type Run = (u64, u64);

impl Space {
    pub fn new(groups: u64) -> Space {
        Space { groups, used: Vec::new(), next: 0 }
    }

    /// Blocks of the table of group descriptors.
    pub fn table_blocks(&self) -> u64 {
        (self.groups * DESCRIPTOR_LEN as u64).div_ceil(BLOCK)
    }

    /// Whether the group begins with a superblock and the table (sparse_super): 0, 1, and powers of 3, 5 and 7.
    pub fn has_superblock(group: u64) -> bool {
        let power_of = |base: u64| std::iter::successors(Some(base), move |power| power.checked_mul(base));
        group <= 1 || [3, 5, 7].into_iter().any(|base| power_of(base).take_while(|&p| p <= group).any(|p| p == group))
    }

    /// Blocks at the beginning of a group that are not for giving out.
    pub fn set_aside(&self, group: u64) -> u64 {
        if group < self.groups && Space::has_superblock(group) { 1 + self.table_blocks() } else { 0 }
    }

    fn mark(&mut self, start: u64, count: u64) {
        let end = (start + count) as usize;
        if self.used.len() < end {
            self.used.resize(end, false);
        }
        self.used[start as usize..end].fill(true);
    }

    /// Steps over what is set aside, and gives how many blocks lie from there to the group's end.
    fn room(&mut self) -> u64 {
        let group = self.next / BLOCKS_PER_GROUP;
        if self.next.is_multiple_of(BLOCKS_PER_GROUP) {
            let aside = self.set_aside(group);
            self.mark(self.next, aside);
            self.next += aside;
        }
        (group + 1) * BLOCKS_PER_GROUP - self.next
    }

    /// The next `count` blocks, in as few runs as the groups allow.
    pub fn take(&mut self, mut count: u64) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        while count > 0 {
            let length = self.room().min(count);
            let start = self.next;
            self.mark(start, length);
            self.next += length;
            count -= length;
            match runs.last_mut() {
                Some((first, before)) if *first + *before == start => *before += length,
                _ => runs.push((start, length)),
            }
        }
        runs
    }

    /// The next `count` blocks in one run: where that would meet something set aside, from behind it. At most a group.
    pub fn take_whole(&mut self, count: u64) -> u64 {
        let room = self.room();
        let next_group = self.next / BLOCKS_PER_GROUP + 1;
        if room < count && self.set_aside(next_group) > 0 {
            self.next = next_group * BLOCKS_PER_GROUP;
            self.room();
        }
        let start = self.next;
        self.take(count);
        start
    }

    /// Where the last block given out ends.
    pub fn end(&self) -> u64 {
        self.used.len() as u64
    }

    /// Makes the file system reach so far that each of its groups exists.
    pub fn reach_every_group(&mut self) {
        let last = self.groups - 1;
        let least = last * BLOCKS_PER_GROUP + self.set_aside(last) + 1;
        for group in self.end().div_ceil(BLOCKS_PER_GROUP)..self.groups {
            self.mark(group * BLOCKS_PER_GROUP, self.set_aside(group));
        }
        if self.used.len() < least as usize {
            self.used.resize(least as usize, false);
        }
    }

    /// The bitmap of a group's blocks, and how many of them are free. What follows the end counts as used.
    pub fn bitmap(&self, group: u64) -> (Vec<u8>, u64) {
        let first = group * BLOCKS_PER_GROUP;
        let mut free = 0;
        let mut bytes = vec![0; BLOCK as usize];
        for bit in 0..BLOCKS_PER_GROUP {
            if self.used.get((first + bit) as usize).copied().unwrap_or(true) {
                bytes[bit as usize / 8] |= 1 << (bit % 8);
            } else {
                free += 1;
            }
        }
        (bytes, free)
    }
}

/// Adds the extents of `runs`, which hold a file's content from block `logical` of it on.
pub fn extend(extents: &mut Vec<Extent>, mut logical: u64, runs: &[Run]) {
    for &(start, length) in runs {
        for at in (0..length).step_by(LONGEST_EXTENT as usize) {
            let count = (length - at).min(LONGEST_EXTENT);
            // Neither a disk nor a file here has 2^32 blocks; the length of the whole is checked at the end.
            extents.push(Extent { logical: logical as u32, start: (start + at) as u32, length: count as u16 });
            logical += count;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn superblocks_stand_where_the_kernel_looks_for_them() {
        let with: Vec<u64> = (0..130).filter(|&group| Space::has_superblock(group)).collect();
        assert_eq!(with, [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
    }

    #[test]
    fn runs_step_over_what_is_set_aside() {
        let mut space = Space::new(2);
        assert_eq!(space.take(10), [(2, 10)]);
        assert_eq!(space.take(40_000), [(12, 32_756), (32_770, 7_244)]);
        assert_eq!(space.end(), 40_014);
        let (_, free) = space.bitmap(1);
        assert_eq!(free, 0, "what lies behind the end counts as used");
        let mut space = Space::new(2);
        space.take(32_760);
        assert_eq!(space.take_whole(16), 32_770);
        assert_eq!(space.bitmap(0).1, 6);
    }
}
