//! One frame of a bundle: the blocks as they are, or LZMA2 behind the ARM64 filter. Memory is bounded whatever is in
//! it.

use contract::bundle::DICTIONARY;
use lzma_rust2::filter::FilterConfig;
use lzma_rust2::{Action, Lzma2Stream, Status};

/// A frame that does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("its LZMA2 is damaged")]
    Damaged(#[from] std::io::Error),
    #[error("its LZMA2 is truncated")]
    Short,
    #[error("it contains more than {0} bytes")]
    Long(usize),
    #[error("it contains {found} bytes, not {wanted}")]
    Length { found: usize, wanted: usize },
    #[error("{0} bytes follow it")]
    Behind(usize),
}

/// The `length` bytes that a frame holds.
///
/// # Errors
/// What is wrong with it.
pub fn unpack(stored: &[u8], length: usize) -> Result<Vec<u8>, FrameError> {
    if stored.len() == length {
        return Ok(stored.to_vec());
    }
    let mut stream = Lzma2Stream::new(DICTIONARY);
    stream.set_filters(&[FilterConfig::new_bcj_arm64(0)])?;
    // Room for one byte too many: that one is enough to refuse it.
    let mut data = vec![0; length + 1];
    let (mut taken, mut filled) = (0, 0);
    loop {
        let (input, room) = (stored.get(taken..).unwrap_or_default(), data.get_mut(filled..).unwrap_or_default());
        let step = stream.process(input, room, Action::Finish)?;
        taken += step.bytes_consumed;
        filled += step.bytes_produced;
        if filled > length {
            return Err(FrameError::Long(length));
        }
        if step.status == Status::StreamEnd {
            break;
        }
        if step.bytes_consumed == 0 && step.bytes_produced == 0 {
            return Err(FrameError::Short);
        }
    }
    if filled != length {
        return Err(FrameError::Length { found: filled, wanted: length });
    }
    if taken != stored.len() {
        return Err(FrameError::Behind(stored.len() - taken));
    }
    data.truncate(length);
    Ok(data)
}

#[cfg(all(test, not(target_env = "musl")))]
#[path = "../../../tests/node/pack.rs"]
mod pack;

#[cfg(all(test, not(target_env = "musl")))]
mod tests {
    use super::pack::lzma2;
    use super::*;

    #[test]
    fn what_liblzma_packed_is_unpacked() {
        for length in [4096, 32_768, 65_536] {
            let data: Vec<u8> = (0..length).map(|at| (at / 37) as u8).collect();
            assert_eq!(unpack(&lzma2(&data), length).unwrap(), data);
            assert_eq!(unpack(&data, length).unwrap(), data, "stored as it is");
            // Calls and addresses, which the filter changes: BL and ADRP, everywhere.
            let code: Vec<u8> = (0..length as u32 / 8)
                .flat_map(|at| [(0x9400_0000 | (at % 97)).to_le_bytes(), (0x9000_0000 | (at % 31)).to_le_bytes()])
                .flatten()
                .collect();
            assert_eq!(unpack(&lzma2(&code), length).unwrap(), code);
        }
    }

    #[test]
    fn more_or_less_than_it_should_hold_is_refused_without_unpacking_it_all() {
        let data = vec![7; 16_384];
        assert!(unpack(&lzma2(&data[..12_288]), 16_384).unwrap_err().to_string().contains("12288 bytes, not 16384"));
        assert!(unpack(&lzma2(&[7; 20_480]), 16_384).unwrap_err().to_string().contains("more than 16384"));
        assert!(unpack(&lzma2(&vec![0; 1 << 24]), 16_384).unwrap_err().to_string().contains("more than 16384"));
        let mut more = lzma2(&data);
        more.extend(lzma2(&data));
        assert!(unpack(&more, 16_384).unwrap_err().to_string().contains("follow it"));
        let good = lzma2(&data);
        for length in 0..good.len() {
            assert!(unpack(&good[..length], 16_384).is_err(), "{length} of {}", good.len());
        }
    }

    #[test]
    fn what_is_no_lzma2_is_refused() {
        // The control byte of a chunk (LZMA2 in xz's own words: lzma2_decoder.c) is reserved, needs a dictionary that is
        // not there, or says more than follows.
        for wrong in [&b"\x03"[..], b"\x80\x00\x00\x00\x00", b"\x02\x00\x01ab\x00", b"\x01\xff\xff", b"\xe0\x00"] {
            assert!(unpack(wrong, 16_384).is_err(), "{wrong:?}");
        }
        assert!(unpack(b"this is not LZMA2", 16_384).unwrap_err().to_string().contains("LZMA2"));
        assert!(unpack(b"\0", 16_384).unwrap_err().to_string().contains("contains 0 bytes"));
    }
}
