//! `microdc inspect`: what a bundle says that it holds.

use super::keys;
use crate::bundle::{Contents, FramesOf, Reader, is_bundle};
use crate::report::human_bytes;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use contract::manifest::Manifest;
use std::path::PathBuf;

/// Show what a bundle holds
///
/// Manifest, signer, where each section lies, how well the frames are
/// compressed. Nothing but the signature is checked: that is for `microdc
/// verify`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  microdc inspect out/router-1.2.3.bundle")]
pub(super) struct Inspect {
    /// The bundle
    bundle: PathBuf,
    /// Public key to trust; may be given twice [default: keys/*.pub]
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self) -> Result<()> {
        let path = self.bundle.display();
        if !is_bundle(&self.bundle).with_context(|| format!("reading {path}"))? {
            bail!("{path} is no bundle; for an image there is `microdc verify`");
        }
        let reader = Reader::open(&self.bundle).with_context(|| path.to_string())?;
        let contents = reader.contents().with_context(|| path.to_string())?;
        let signature = keys::trusted(&self.key)
            .and_then(|trusted| Ok(reader.head().verify(&trusted).map(drop)?))
            .map_err(|error| error.to_string());
        if self.json {
            let mut report = serde_json::to_value(&contents)?;
            report["bundle"] = serde_json::to_value(&self.bundle)?;
            report["signature"] = match &signature {
                Ok(()) => "good".into(),
                Err(error) => error.as_str().into(),
            };
            println!("{}", serde_json::to_string_pretty(&report)?);
            return Ok(());
        }
        println!("{path}");
        print(&contents, signature.as_ref().err().map(String::as_str));
        Ok(())
    }
}

fn print(contents: &Contents, unbelieved: Option<&str>) {
    let Manifest { role, version, board, kernel, rollback_index, built, boot, root, .. } = &contents.manifest;
    println!("  slot      {role} {version} for {board}, kernel {kernel}");
    println!("  built     {}, rollback index {rollback_index}", crate::source::release::show_time(*built));
    match unbelieved {
        None => println!("  signed by {}", contents.key),
        Some(why) => println!("  signed by nobody that is trusted here: {why}"),
    }
    println!("  manifest  {}", contents.manifest_digest);
    println!("  boot hash {}", boot.root_hash);
    println!("  root hash {}", root.root_hash);
    println!("  size      {}, checksum {}", human_bytes(contents.length), contents.checksum);
    println!();
    println!("  {:<18} {:>12} {:>12}", "section", "from byte", "bytes");
    for section in &contents.sections {
        let image = section.image.map(|image| format!(", {image}")).unwrap_or_default();
        println!("  {:<18} {:>12} {:>12}", format!("{}{image}", section.name), section.offset, section.length);
    }
    println!();
    for FramesOf { image, blocks, frames, uncompressed, content, stored } in &contents.frames {
        let (each, share) = (contents.frame_blocks, *stored as f64 * 100.0 / *content as f64);
        println!("  {image}      {blocks} blocks in {frames} frames of {each}: {share:.1} % of their size,");
        println!("            {uncompressed} of them not compressed");
    }
}
