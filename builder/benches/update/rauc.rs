//! RAUC's adaptive updates (`block-hash-index`). The bundle is a real one, so its index has its real length; what the
//! installer would read of the rest is reckoned, in RAUC's favour:
//!
//! - the index of both images, whole, and nothing of squashfs's own tables, of the signature and of the bundle's own tree;
//! - 4 KiB chunks that the old image of the same slot lacks: either as they are, or as the blocks of 128 KiB of squashfs
//!   around them, compressed; whichever is less for the pair.

use super::slot::Slot;
use super::{folder, tool};
use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

const INSTALL: &str = "apt-get install rauc squashfs-tools openssl";
const MANIFEST: &str = "[update]\ncompatible=microdc\nversion=1\n\n[bundle]\nformat=verity\n\n\
                        [image.boot]\nfilename=boot.img\nadaptive=block-hash-index\n\n\
                        [image.rootfs]\nfilename=root.img\nadaptive=block-hash-index\n";
/// Blocks of 4 KiB in a block of squashfs.
const SQUASHED: usize = 32;

pub struct Rauc {
    /// Bytes of both indices.
    index: u64,
}

/// Makes the bundle.
pub fn publish(new: &Slot, folder: &Path) -> Result<Rauc> {
    folder::fresh(folder)?;
    println!("making a bundle with rauc");
    let content = folder.join("content");
    fs::create_dir(&content)?;
    for file in &new.files {
        fs::copy(file, content.join(file.file_name().context("a file's name")?))?;
    }
    fs::write(content.join("manifest.raucm"), MANIFEST)?;
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=bench", "-days", "2"]);
    tool::run(openssl.args(["-keyout", "key.pem", "-out", "cert.pem"]).current_dir(folder), INSTALL)?;
    let mut rauc = Command::new("rauc");
    rauc.args(["bundle", "--cert=cert.pem", "--key=key.pem", "content", "update.raucb"]);
    tool::run(rauc.current_dir(folder), INSTALL)?;
    let mut unpack = Command::new("unsquashfs");
    tool::run(unpack.args(["-d", "unpacked", "update.raucb"]).current_dir(folder), INSTALL)?;
    let mut index = 0;
    for entry in fs::read_dir(folder.join("unpacked"))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with("block-hash-index") {
            index += entry.metadata()?.len();
        }
    }
    anyhow::ensure!(index > 0, "rauc put no index into its bundle: version 1.8 or later is needed");
    Ok(Rauc { index })
}

impl Rauc {
    /// Bytes that an update fetches, at least.
    pub fn update(&self, old: &Slot, new: &Slot) -> Result<u64> {
        let (mut plain, mut squashed) = (0, 0);
        for ((old, new), bytes) in old.leaves.iter().zip(&new.leaves).zip(&new.images) {
            let mut known: HashSet<_> = old.iter().collect();
            let zero = contract::tree::zero_leaf();
            known.insert(&zero);
            let lacking: Vec<usize> = (0..new.len()).filter(|&block| !known.contains(&new[block])).collect();
            plain += lacking.len() as u64 * 4096;
            let around: BTreeSet<usize> = lacking.iter().map(|block| block / SQUASHED).collect();
            for block in around {
                let from = block * SQUASHED * 4096;
                let content = &bytes[from..(from + SQUASHED * 4096).min(bytes.len())];
                let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
                zlib.write_all(content)?;
                squashed += zlib.finish()?.len().min(content.len()) as u64;
            }
        }
        Ok(self.index + plain.min(squashed))
    }
}
