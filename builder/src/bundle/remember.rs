//! Remembers in the cache what the frames of the last bundle packed to: the next one of nearly the same image takes them from
//! there. The bytes are those that [`pack_frame`] gives.

use super::pack_frame;
use crate::cache::{Cache, Key};
use contract::hash::Digest;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

const STAGE: &str = "frames";
/// Counts up when the compressor or its options change.
const PACKING: u32 = 1;

/// What frames packed to, by the SHA-256 of their blocks.
#[derive(Debug)]
pub struct Frames<'c> {
    cache: &'c Cache,
    key: Key,
    known: HashMap<Digest, Vec<u8>>,
    /// What this bundle has, known or new.
    used: Mutex<HashMap<Digest, Vec<u8>>>,
}

impl Frames<'_> {
    /// What the last bundle of an image of this file name packed to: nothing when there was none.
    #[must_use]
    pub fn of<'c>(cache: &'c Cache, image: &Path) -> Frames<'c> {
        let name = image.file_name().unwrap_or_default();
        let key = Key::of_stage(STAGE, PACKING)
            .with("microdc", env!("CARGO_PKG_VERSION"))
            .with("image", name.as_encoded_bytes())
            .finish();
        let bytes = cache.get_bytes(STAGE, key).unwrap_or_default();
        Frames { cache, key, known: parse(&bytes), used: Mutex::default() }
    }

    /// What is stored for the blocks of a frame.
    ///
    /// # Errors
    /// As [`pack_frame`].
    pub fn pack(&self, blocks: &[u8]) -> io::Result<Vec<u8>> {
        let digest = Digest::of(blocks);
        let frame = match self.known.get(&digest) {
            Some(frame) => frame.clone(),
            None => pack_frame(blocks)?,
        };
        self.used.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, frame.clone());
        Ok(frame)
    }

    /// Keeps the frames of this bundle for the next one, in place of those of the last. A cache that takes nothing costs time
    /// at the next bundle, and nothing else.
    pub fn keep(self) {
        let used = self.used.into_inner().unwrap_or_else(PoisonError::into_inner);
        if used.keys().all(|digest| self.known.contains_key(digest)) {
            return;
        }
        let mut bytes = Vec::with_capacity(used.values().map(|frame| frame.len() + 36).sum());
        for (digest, frame) in used {
            bytes.extend(digest.0);
            // A frame has at most 64 KiB.
            bytes.extend((frame.len() as u32).to_le_bytes());
            bytes.extend(frame);
        }
        let _ = self.cache.put_bytes(STAGE, self.key, &bytes);
    }
}

/// Frames one after another: the digest of the blocks, the length (u32, little-endian), the frame.
fn parse(mut bytes: &[u8]) -> HashMap<Digest, Vec<u8>> {
    let mut known = HashMap::new();
    while let Some((digest, rest)) = bytes.split_first_chunk::<32>() {
        let Some((length, rest)) = rest.split_first_chunk::<4>() else { break };
        let Some((frame, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else { break };
        known.insert(Digest(*digest), frame.to_vec());
        bytes = rest;
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(seed: u8) -> Vec<u8> {
        (0..8192u32).map(|at| (at / 7) as u8 ^ seed).collect()
    }

    #[test]
    fn frames_of_the_last_bundle_are_known_and_damaged_ones_packed_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let image = Path::new("out/router.img");
        let first = Frames::of(&cache, image);
        let packed = first.pack(&blocks(1)).unwrap();
        assert_eq!(packed, pack_frame(&blocks(1)).unwrap());
        first.keep();

        let second = Frames::of(&cache, Path::new("elsewhere/router.img"));
        assert_eq!(second.known.len(), 1);
        assert_eq!(second.pack(&blocks(1)).unwrap(), packed);
        let other = second.pack(&blocks(2)).unwrap();
        assert_eq!(other, pack_frame(&blocks(2)).unwrap());
        second.keep();
        assert_eq!(Frames::of(&cache, image).known.len(), 2);
        assert_eq!(Frames::of(&cache, Path::new("out/minio.img")).known.len(), 0, "another image's are others");

        let stage = folder.path().join("stage").join(STAGE);
        let path = std::fs::read_dir(stage).unwrap().next().unwrap().unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let damaged = Frames::of(&cache, image);
        assert_eq!(damaged.known.len(), 0);
        assert_eq!(damaged.pack(&blocks(1)).unwrap(), packed);
    }
}
