//! `microdc bundle`: a slot of an image as a signed update file.

use super::keys;
use crate::bundle::{self, Frames, Progress, Request};
use crate::cache::Cache;
use crate::cli::output;
use crate::report::{Reporter, human_bytes};
use anyhow::{Context as _, Result};
use clap::Args;
use contract::bundle::FRAME_BLOCKS;
use contract::layout::Slot;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Make an update file from an image
///
/// Checks every bit of the image and writes one of its slots as a bundle: a signed
/// file from which a node fetches only what it does not have. Any static HTTP
/// server that supports ranges can serve it. The same slot always gives the same
/// bytes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc bundle out/router.img\n  microdc bundle out/router.img -o /srv/router.bundle"
)]
pub(super) struct Bundle {
    /// The image
    image: PathBuf,
    /// Where to write the bundle [default: NAME-VERSION.bundle next to the image]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The slot [default: the one that the image boots from]
    #[arg(long, value_name = "A|B", value_parser = slot)]
    slot: Option<Slot>,
    /// Public key to trust; can be given twice [default: keys/*.pub]
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// A slot by its letter.
pub(super) fn slot(text: &str) -> Result<Slot, String> {
    Slot::BOTH.into_iter().find(|slot| slot.to_string() == text).ok_or_else(|| "a slot is A or B".to_owned())
}

impl Bundle {
    pub(super) fn run(self, interrupted: &Arc<AtomicBool>) -> Result<()> {
        let trusted = keys::trusted(&self.key)?;
        let request = Request { image: &self.image, slot: self.slot, trusted: &trusted, frame_blocks: FRAME_BLOCKS };
        let reporter = Reporter::new(self.json);
        let stage = reporter.stage("bundle");
        let report = |step| {
            if interrupted.load(Ordering::Relaxed) {
                return Err(io::Error::other("interrupted"));
            }
            stage.doing(&match step {
                Progress::Verify => "checking the image".to_owned(),
                Progress::Blocks { done, total } => {
                    format!("compressing, {} of {}", human_bytes(done), human_bytes(total))
                }
                Progress::Digest { done, total } => {
                    format!("hashing, {} of {}", human_bytes(done), human_bytes(total))
                }
            });
            Ok(())
        };
        // What the last bundle packed to is in the cache, where there is one.
        let cache = Cache::default_root().and_then(Cache::open).ok();
        let frames = cache.as_ref().map(|cache| Frames::of(cache, &self.image));
        let packer = |blocks: &[u8]| match &frames {
            Some(frames) => frames.pack(blocks),
            None => bundle::pack_frame(blocks),
        };
        let output = self.output.as_deref();
        let summary = bundle::write_by(&packer, &request, output, &report).context("no bundle was written")?;
        if let Some(frames) = frames {
            frames.keep();
        }
        stage.end();
        let manifest = &summary.manifest;
        if self.json {
            let report = serde_json::json!({
                "bundle": summary.path,
                "length": summary.length,
                "digest": summary.digest,
                "frames": summary.frames,
                "frame_blocks": FRAME_BLOCKS,
                "key": summary.key.to_string(),
                "manifest_digest": summary.manifest_digest,
                "manifest": manifest,
            });
            output::json(&report)?;
            return Ok(());
        }
        outln!("{}", summary.path.display())?;
        outln!("  slot      {} {}, kernel {}", manifest.role, manifest.version, manifest.kernel)?;
        let content = human_bytes(manifest.boot.length + manifest.root.length);
        let (length, frames) = (human_bytes(summary.length), summary.frames);
        outln!("  size      {length}, of {content} in {frames} frames")?;
        outln!("  SHA-256   {}", summary.digest)?;
        outln!("  signed by {}, rollback index {}", summary.key, manifest.rollback_index)?;
        Ok(())
    }
}
