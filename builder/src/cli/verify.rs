//! `microdc verify`: whether an image is what its signature says, to the last bit.

use crate::release_key;
use crate::verify;
use anyhow::{Context as _, Result};
use clap::Args;
use std::path::PathBuf;

/// Check an image to the last bit
///
/// Partition tables, bootsel, and for each filled slot: trailer, signature,
/// boot image, root and its hash tree; everything else must be zero.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  microdc verify out/router.img\n  microdc verify out/router.img --key keys/release.pub")]
pub(super) struct Verify {
    /// The image
    image: PathBuf,
    /// Public key to trust; may be given twice [default: keys/*.pub]
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Role that the image must be for
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}
