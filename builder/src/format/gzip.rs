//! gzip on every core, as one member (RFC 1952): pieces are deflated by themselves and end on a byte boundary, so that
//! they can be concatenated. The bytes depend on nothing but the input.

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use rayon::prelude::*;

/// Length of a piece. Smaller ones cost size, larger ones cores.
const PIECE: usize = 1024 * 1024;

/// The bytes of a gzip file, without name and time.
///
/// # Errors
/// When zlib reports one, which it does not for input in memory.
pub fn compress(data: &[u8], level: u32) -> Result<Vec<u8>, flate2::CompressError> {
    let pieces: Vec<&[u8]> = if data.is_empty() { vec![&[]] } else { data.chunks(PIECE).collect() };
    let last = pieces.len() - 1;
    let deflated: Vec<(Vec<u8>, Crc)> = pieces
        .par_iter()
        .enumerate()
        .map(|(index, piece)| {
            let mut crc = Crc::new();
            crc.update(piece);
            Ok((deflate(piece, level, index == last)?, crc))
        })
        .collect::<Result<_, flate2::CompressError>>()?;
    let mut whole = Crc::new();
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    for (piece, crc) in &deflated {
        bytes.extend(piece);
        whole.combine(crc);
    }
    bytes.extend(whole.sum().to_le_bytes());
    bytes.extend(whole.amount().to_le_bytes());
    Ok(bytes)
}

fn deflate(piece: &[u8], level: u32, last: bool) -> Result<Vec<u8>, flate2::CompressError> {
    let mut state = Compress::new(Compression::new(level), false);
    let mut out = Vec::with_capacity(piece.len() / 2 + 1024);
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    loop {
        out.reserve(64 * 1024);
        let rest = &piece[state.total_in() as usize..];
        let before = out.len();
        let status = state.compress_vec(rest, &mut out, flush)?;
        let drained = out.len() < out.capacity();
        let taken = state.total_in() as usize == piece.len();
        if status == Status::StreamEnd || (!last && taken && drained) || (taken && out.len() == before) {
            return Ok(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Read as _;

    fn unpack(bytes: &[u8]) -> Vec<u8> {
        let mut data = Vec::new();
        flate2::bufread::GzDecoder::new(bytes).read_to_end(&mut data).unwrap();
        data
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn what_is_packed_unpacks_as_one_member(pieces in 0usize..4, rest in 0usize..5000, noise: u64) {
            let data: Vec<u8> = (0..pieces * PIECE + rest)
                .map(|at| ((at as u64).wrapping_mul(noise | 1) >> 13) as u8)
                .collect();
            prop_assert_eq!(unpack(&compress(&data, 6).unwrap()), data);
        }
    }
}
