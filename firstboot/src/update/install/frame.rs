//! One frame of a bundle: the blocks as they are, or zstd (RFC 8878). Memory is bounded whatever stands in it.

use contract::bundle::MAX_FRAME_BLOCKS;
use contract::layout::BLOCK;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io::Read as _;

/// Largest window of a zstd frame, in bytes: twice what the largest frame holds.
const WINDOW: u64 = 2 * MAX_FRAME_BLOCKS as u64 * BLOCK;

/// Unpacks frames, one after the other.
pub struct Unpacker(FrameDecoder);

impl Unpacker {
    #[must_use]
    pub fn new() -> Unpacker {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(WINDOW);
        Unpacker(decoder)
    }

    /// The `length` bytes that a frame holds.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn unpack(&mut self, stored: &[u8], length: usize) -> Result<Vec<u8>, String> {
        if stored.len() == length {
            return Ok(stored.to_vec());
        }
        let mut rest = stored;
        self.0.init(&mut rest).map_err(|error| format!("it is no zstd frame: {error}"))?;
        if self.0.content_size() > length as u64 {
            return Err(format!("it says that it holds {} bytes, not {length}", self.0.content_size()));
        }
        let mut data = vec![0; length];
        let mut filled = 0;
        loop {
            // A block of zstd holds at most 128 KiB, so no step makes more than that and the window.
            let last = self
                .0
                .decode_blocks(&mut rest, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(|error| format!("its zstd is damaged: {error}"))?;
            let room = data.get_mut(filled..).unwrap_or_default();
            filled += self.0.read(room).map_err(|error| error.to_string())?;
            if self.0.can_collect() > 0 {
                return Err(format!("it holds more than {length} bytes"));
            }
            if last {
                break;
            }
        }
        if filled != length {
            return Err(format!("it holds {filled} bytes, not {length}"));
        }
        if !rest.is_empty() {
            return Err(format!("{} bytes stand behind it", rest.len()));
        }
        Ok(data)
    }
}

#[cfg(all(test, not(target_env = "musl")))]
mod tests {
    use super::*;

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(data, 19).unwrap()
    }

    fn unpack(stored: &[u8], length: usize) -> Result<Vec<u8>, String> {
        Unpacker::new().unpack(stored, length)
    }

    #[test]
    fn what_zstd_packed_is_unpacked() {
        for length in [4096, 16_384, 65_536] {
            let data: Vec<u8> = (0..length).map(|at| (at / 37) as u8).collect();
            assert_eq!(unpack(&zstd(&data), length).unwrap(), data);
            assert_eq!(unpack(&data, length).unwrap(), data, "stored as it is");
            let streamed = zstd::stream::encode_all(&data[..], 3).unwrap();
            assert!(unpack(&streamed, length).is_err(), "a window of megabytes for kilobytes");
        }
    }

    #[test]
    fn more_or_less_than_it_should_hold_is_refused_without_unpacking_it_all() {
        let data = vec![7; 16_384];
        assert!(unpack(&zstd(&data[..12_288]), 16_384).unwrap_err().contains("12288 bytes, not 16384"));
        assert!(unpack(&zstd(&[7; 20_480]), 16_384).unwrap_err().contains("not 16384"));
        assert!(unpack(&zstd(&vec![0; 100_000]), 16_384).unwrap_err().contains("it says that it holds 100000 bytes"));
        assert!(unpack(&zstd(&vec![0; 1 << 24]), 16_384).unwrap_err().contains("no zstd frame"));
        let mut more = zstd(&data);
        more.extend(zstd(&data));
        assert!(unpack(&more, 16_384).unwrap_err().contains("behind it"));
        let good = zstd(&data);
        assert!(unpack(&good[..good.len() - 1], 16_384).is_err());
        assert!(unpack(b"", 16_384).is_err());
        // A frame that can be skipped holds nothing.
        assert!(unpack(&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4], 16_384).is_err());
    }

    #[test]
    fn a_frame_that_does_not_say_how_much_it_holds_is_stopped_when_it_is_full() {
        // Magic, a window of 128 KiB, then blocks that repeat a byte 131,072 times (RFC 8878, 3.1.1.2).
        let mut bomb = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
        for last in [0, 0, 0, 1_u32] {
            let header = (131_072 << 3) | (1 << 1) | last;
            bomb.extend(&header.to_le_bytes()[..3]);
            bomb.push(0xaa);
        }
        let why = unpack(&bomb, 16_384).unwrap_err();
        assert!(why.contains("more than 16384 bytes"), "{why}");
    }
}
