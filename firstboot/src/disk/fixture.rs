//! Partition tables for tests and fuzzing.

use super::gpt::{ENTRIES, ENTRY_LEN, HEADER_LEN, u32_at, u64_at};
use contract::layout::SECTOR;

/// Makes the checksums of a primary copy right, whatever else it says: behind them the fuzzer would find little.
pub fn seal(disk: &mut [u8]) {
    let array = u64_at(disk, 512 + 72).and_then(|at| usize::try_from(at.checked_mul(SECTOR)?).ok());
    let entries = u32_at(disk, 512 + 80).map_or(0, |entries| (entries as usize).min(ENTRIES));
    let sum = array.and_then(|at| disk.get(at..)?.get(..entries * ENTRY_LEN)).map(crc32fast::hash);
    if let (Some(sum), Some(to)) = (sum, disk.get_mut(512 + 88..512 + 92)) {
        to.copy_from_slice(&sum.to_le_bytes());
    }
    let Some(header) = disk.get_mut(512..512 + HEADER_LEN) else { return };
    let mut put = |sum: u32| {
        if let Some(to) = header.get_mut(16..20) {
            to.copy_from_slice(&sum.to_le_bytes());
        }
        crc32fast::hash(header)
    };
    let sum = put(0);
    put(sum);
}
