//! `microdc sbom`: the bill of materials of an image.

use crate::cli::output;
use crate::open::Medium;
use crate::sbom::{self, cyclonedx, spdx};
use crate::unfinished::Unfinished;
use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use contract::layout::Slot;
use std::io::Write as _;
use std::path::PathBuf;

/// Write the bill of materials of an image, disk or bundle
///
/// Lists packages with their URLs, checksums and licences, artifacts, and the
/// modules of Go and Rust programs that record them. All of it comes from the image
/// itself; the same image always gives the same bytes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc sbom out/router.img >router.cdx.json\n  microdc sbom out/router.img --format \
                  spdx -o router.spdx.json"
)]
pub(super) struct Sbom {
    /// The image, disk, root partition or bundle
    file: PathBuf,
    /// CycloneDX 1.6 or SPDX 2.3, both as JSON
    #[arg(long, value_enum, default_value = "cyclonedx")]
    format: Format,
    /// Write to a file [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The slot [default: the one that boots]
    #[arg(long, value_name = "A|B", value_parser = super::bundle::slot)]
    slot: Option<Slot>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Cyclonedx,
    Spdx,
}

impl Sbom {
    pub(super) fn run(self) -> Result<()> {
        let path = || self.file.display().to_string();
        let medium = Medium::open(&self.file).with_context(path)?;
        let bom = sbom::of(medium.pick(self.slot).with_context(path)?).with_context(path)?;
        let document = match self.format {
            Format::Cyclonedx => cyclonedx::document(&bom),
            Format::Spdx => spdx::document(&bom),
        };
        let text = serde_json::to_string_pretty(&document)? + "\n";
        match &self.output {
            None => output::bytes(text.as_bytes())?,
            Some(output) => {
                let unfinished = Unfinished::create(output)?;
                let written = unfinished.file().write_all(text.as_bytes());
                written.with_context(|| format!("writing {}", output.display()))?;
                unfinished.finish()?;
            }
        }
        Ok(())
    }
}
