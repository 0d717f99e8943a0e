//! Whether a disk is blank.
//!
//! Reading all of a large disk takes an hour, so this is a judgement: the first and the last 16 MiB must be zero, and so
//! must 4 KiB at each of 4,096 places evenly spread between them. Data that fills a thousandth of a disk in one piece, or
//! is spread by any file system in use, is seen; a few files in the midst of a disk whose both ends were erased may not be.
//! Up to 48 MiB all is read.

use crate::layout::{Extent, MIB};
use std::io::{self, Read, Seek, SeekFrom};

/// What is read at each end, in bytes.
pub const END: u64 = 16 * MIB;
const SAMPLES: u64 = 4096;
const SAMPLE: u64 = 4 * 1024;
const CHUNK: u64 = MIB;

/// The first place in `extent` where data stands, in bytes from the start of the disk. `turn` is called now and then.
///
/// # Errors
/// When the disk cannot be read.
pub fn first_data(
    disk: &mut (impl Read + Seek + ?Sized),
    extent: Extent,
    mut turn: impl FnMut(),
) -> io::Result<Option<u64>> {
    first_data_in(disk, &samples(extent), &mut turn)
}

/// A glance at a place whose ends were inspected already: 4 KiB at each of 256 places evenly spread. For `state`, which is
/// made on an eMMC, too: reading there is slow.
///
/// # Errors
/// When the disk cannot be read.
pub fn glance(disk: &mut (impl Read + Seek + ?Sized), extent: Extent) -> io::Result<Option<u64>> {
    let stride = extent.length / 256 / 4096 * 4096;
    let places = (0..256).map(|at| Extent { offset: extent.offset + at * stride, length: 4096 });
    first_data_in(disk, &places.filter(|place| place.end() <= extent.end()).collect::<Vec<_>>(), &mut || {})
}

fn first_data_in(
    disk: &mut (impl Read + Seek + ?Sized),
    places: &[Extent],
    turn: &mut dyn FnMut(),
) -> io::Result<Option<u64>> {
    let zeros = vec![0; CHUNK as usize];
    let mut buffer = vec![0; CHUNK as usize];
    for &Extent { offset, length } in places {
        let length = usize::try_from(length.min(CHUNK)).map_err(io::Error::other)?;
        let (bytes, _) = buffer.split_at_mut(length);
        disk.seek(SeekFrom::Start(offset))?;
        disk.read_exact(bytes)?;
        if Some(&*bytes) != zeros.get(..length) {
            let at = bytes.iter().position(|&byte| byte != 0).unwrap_or(0);
            return Ok(Some(offset + at as u64));
        }
        turn();
    }
    Ok(None)
}

/// How many bytes of `extent` are read before it counts as blank.
pub fn read(extent: Extent) -> u64 {
    samples(extent).iter().map(|place| place.length).sum()
}

/// The places that are read.
fn samples(extent: Extent) -> Vec<Extent> {
    let chunks = |from: u64, to: u64| {
        let starts = (from..to).step_by(CHUNK as usize);
        starts.map(move |offset| Extent { offset, length: CHUNK.min(to - offset) })
    };
    let (start, end) = (extent.offset, extent.end());
    if extent.length <= 2 * END + SAMPLES * SAMPLE {
        return chunks(start, end).collect();
    }
    // Aligned to 4096 bytes, as the disk's blocks may be.
    let stride = (extent.length - 2 * END) / SAMPLES / 4096 * 4096;
    let samples = (0..SAMPLES).map(|at| Extent { offset: start + END + at * stride, length: SAMPLE });
    chunks(start, start + END).chain(chunks(end - END, end)).chain(samples).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt as _;

    #[test]
    fn both_ends_are_read_to_the_last_byte_and_samples_stay_inside() {
        for length in [4096, 48 * MIB, 49 * MIB, 1 << 40] {
            let extent = Extent { offset: 8192, length };
            let places = samples(extent);
            assert!(
                places.iter().all(|place| place.offset >= 8192 && place.end() <= extent.end() && place.length > 0)
            );
            assert_eq!(read(extent), length.min(48 * MIB));
        }
    }

    #[test]
    fn one_byte_in_a_small_disk_or_at_either_end_of_a_large_one_is_seen() {
        let file = tempfile::tempfile().unwrap();
        let size = 1 << 40;
        file.set_len(size).unwrap();
        let extent = Extent { offset: 0, length: size };
        assert_eq!(first_data(&mut &file, extent, || {}).unwrap(), None);
        for at in [0, END - 1, size - END, size - 1] {
            file.write_all_at(&[1], at).unwrap();
            assert_eq!(first_data(&mut &file, extent, || {}).unwrap(), Some(at));
            file.write_all_at(&[0], at).unwrap();
        }
    }

    #[test]
    fn a_thousandth_of_the_disk_in_its_midst_is_seen() {
        let file = tempfile::tempfile().unwrap();
        let size = 16 << 30;
        file.set_len(size).unwrap();
        file.write_all_at(&vec![1; (size / 1000) as usize], size / 3 + 4567).unwrap();
        assert!(first_data(&mut &file, Extent { offset: 0, length: size }, || {}).unwrap().is_some());
    }

    #[test]
    fn a_glance_sees_what_fills_a_two_hundred_and_fiftieth_part() {
        let file = tempfile::tempfile().unwrap();
        let extent = Extent { offset: MIB, length: 1024 * MIB };
        file.set_len(extent.end()).unwrap();
        assert_eq!(glance(&mut &file, extent).unwrap(), None);
        file.write_all_at(&vec![1; 5 * MIB as usize], 700 * MIB + 99).unwrap();
        assert!(glance(&mut &file, extent).unwrap().is_some());
    }

    #[test]
    fn a_disk_shorter_than_it_says_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        assert!(first_data(&mut &file, Extent { offset: 0, length: 4096 }, || {}).is_err());
    }
}
