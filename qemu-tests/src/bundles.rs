//! Bundles of the releases that tests make. These differ in a few blocks, and packing all others again costs seconds each time:
//! what a frame packs to is remembered for as long as the tests run. The bytes are those that `microdc bundle` would write.

use crate::forge::Forged;
use crate::images;
use contract::bundle::FRAME_BLOCKS;
use contract::hash::Digest;
use contract::keys::PublicKey;
use microdc::bundle::{self, Request};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

static FRAMES: LazyLock<Mutex<HashMap<Digest, Vec<u8>>>> = LazyLock::new(Mutex::default);

fn remembered(blocks: &[u8]) -> io::Result<Vec<u8>> {
    let frames = || FRAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let digest = Digest::of(blocks);
    if let Some(frame) = frames().get(&digest) {
        return Ok(frame.clone());
    }
    let frame = bundle::pack_frame(blocks)?;
    frames().insert(digest, frame.clone());
    Ok(frame)
}

/// Makes the bundle of a release at `path`.
///
/// # Panics
/// When it cannot be made.
pub fn write(release: &Forged, path: &Path) {
    write_by(release, path, &images::signing_key().public());
}

/// As [`write`], of a release that another key has signed.
///
/// # Panics
/// When it cannot be made.
pub fn write_by(release: &Forged, path: &Path, key: &PublicKey) {
    let trusted = [key.clone()];
    let request = Request { image: release.path(), slot: None, trusted: &trusted, frame_blocks: FRAME_BLOCKS };
    let made = bundle::write_by(&remembered, &request, Some(path), &|_| Ok(()));
    made.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forge::Forge;

    #[test]
    fn a_bundle_of_remembered_frames_is_the_one_that_the_builder_writes() {
        let folder = tempfile::tempdir().unwrap();
        let release = Forge::of(&images::router()).version("remembered").finish();
        let paths = ["first", "second", "builders"].map(|name| folder.path().join(name));
        write(&release, &paths[0]);
        write(&release, &paths[1]);
        let trusted = [images::signing_key().public()];
        let request = Request { image: release.path(), slot: None, trusted: &trusted, frame_blocks: FRAME_BLOCKS };
        bundle::write(&request, Some(&paths[2]), &|_| Ok(())).unwrap();
        let [first, second, builders] = paths.map(|path| std::fs::read(path).unwrap());
        assert!(first == builders && second == builders);
    }
}
