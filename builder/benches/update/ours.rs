//! microdc's own bundles: the node's installer takes the update from a server that counts. The old image's partitions are
//! its running slot; the standby slot is empty.

use super::folder;
use super::server::{Sent, Server};
use super::slot::{Slot, signer};
use anyhow::{Context as _, Result, ensure};
use contract::keys::PublicKey;
use contract::layout::{BOOT_SIZE, Extent, Slot as Name};
use firstboot::install::{Order, Pair, Patience, Source, install};
use microdc::bundle::{self, Request};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The new slot with frames of each length, behind a server.
pub struct Bundles {
    /// Lengths of their frames, in blocks.
    frames: Vec<u32>,
    folder: PathBuf,
    server: Server,
    key: PublicKey,
}

/// Packs the new image with frames of each length.
pub fn publish(image: &Path, frames: &[u32], folder: &Path) -> Result<Bundles> {
    folder::fresh(folder)?;
    println!("packing the new image with frames of {frames:?} blocks");
    let key = signer(image)?;
    for &frame_blocks in frames {
        let output = folder.join(format!("{frame_blocks}.bundle"));
        let trusted = std::slice::from_ref(&key);
        bundle::write(&Request { image, slot: None, trusted, frame_blocks }, Some(&output), &|_| Ok(()))?;
    }
    Ok(Bundles { frames: frames.to_vec(), folder: folder.to_owned(), server: Server::start(folder)?, key })
}

impl Bundles {
    /// What an update of a node with the image `old` fetches, for each length of frames.
    pub fn update(&self, old: &Slot, new: &Slot) -> Result<Vec<Sent>> {
        let running = self.partitions("running", old)?;
        let image = File::open(&old.image)?;
        copy(&image, old.boot, &running.boot)?;
        copy(&image, old.root, &running.root)?;
        self.frames
            .iter()
            .map(|frame_blocks| {
                let standby = self.partitions("standby", new)?;
                let order = Order {
                    slot: Name::B,
                    urls: vec![format!("{}/{frame_blocks}.bundle", self.server.url)],
                    keys: vec![self.key.clone()],
                    node_is: new.manifest.compatible(),
                    rollback_index: 0,
                    running: Some(old.manifest.clone()),
                    runs: None,
                    refused: Vec::new(),
                    force: false,
                    dry_run: false,
                    node: "bench".to_owned(),
                };
                self.server.sent();
                install(&order, &standby, &running, Source::Web(Patience::default()), &mut |_| ())?;
                let sent = self.server.sent();
                for (file, wanted) in [&standby.boot, &standby.root].into_iter().zip(&new.images) {
                    let mut found = vec![0; wanted.len()];
                    file.read_exact_at(&mut found, 0)?;
                    ensure!(&found == wanted, "the installer made another image");
                }
                Ok(sent)
            })
            .collect()
    }

    /// Two partitions of zeros.
    fn partitions(&self, name: &str, like: &Slot) -> Result<Pair> {
        let make = |image: &str, length| -> Result<File> {
            let path = self.folder.join(format!("{name}-{image}"));
            let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
            let file = file.with_context(|| format!("making {}", path.display()))?;
            file.set_len(length)?;
            Ok(file)
        };
        Ok(Pair { boot: make("boot", BOOT_SIZE)?, root: make("root", like.root.length)? })
    }
}

/// Copies a partition; zeros stay holes.
fn copy(from: &File, extent: Extent, to: &File) -> io::Result<()> {
    const CHUNK: u64 = 1 << 20;
    let mut buffer = vec![0; CHUNK as usize];
    for at in (0..extent.length).step_by(CHUNK as usize) {
        let length = CHUNK.min(extent.length - at) as usize;
        from.read_exact_at(&mut buffer[..length], extent.offset + at)?;
        if buffer[..length].iter().any(|&byte| byte != 0) {
            to.write_all_at(&buffer[..length], at)?;
        }
    }
    Ok(())
}
