//! `microdc installer`: what a board boots by network to install itself.

use super::bundle::slot;
use super::keys;
use crate::cli::output;
use crate::installer::{BOOT_IMG, Installer as Files};
use crate::report::human_bytes;
use anyhow::{Context as _, Result};
use clap::Args;
use contract::installer::InstallOptions;
use contract::layout::Slot;
use contract::node::Serial;
use std::path::PathBuf;

/// Make what a board boots by network to install itself
///
/// Writes the firmware, kernel and initramfs of an image into a folder, with a
/// command line that asks for an installation, and the same files as boot.img, a
/// RAM disk for the EEPROM's HTTP boot and for booting by USB. A board that boots
/// them takes the bundle of --install by HTTP, checks every block by the image's own
/// release keys, lays out its disk, puts its node.toml on bootsel, and restarts
/// into it. A disk with foreign data is left alone unless node.toml names it in
/// wipe.
///
/// --nodes is a folder on the server with a node.toml for each board: SERIAL.toml,
/// by the board's serial number in lower case, otherwise MAC.toml, such as
/// dc-a6-32-00-00-01.toml. A board without one is not installed. Without --nodes,
/// boards are installed without node.toml.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc bundle out/router.img -o srv/router.bundle\n  microdc installer out/router.img --to \
                  tftp \\\n    --install http://10.0.0.254:8080/router.bundle \\\n    --nodes http://10.0.0.254:8080/nodes\n  \
                  microdc serve srv"
)]
pub(super) struct Installer {
    /// The image
    image: PathBuf,
    /// The folder to write to; what is in it under the same names is replaced
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// URL of the bundle to install; given several times, each is tried in turn
    #[arg(long, value_name = "URL", required = true)]
    install: Vec<String>,
    /// URL of the folder with a node.toml for each board
    #[arg(long, value_name = "URL")]
    nodes: Option<String>,
    /// Serial number of the disk to install onto [default: the only NVMe disk,
    /// otherwise the only eMMC or SD card]
    #[arg(long, value_name = "SERIAL", value_parser = serial)]
    disk: Option<Serial>,
    /// The slot whose boot files are taken [default: the one that the image boots
    /// from]
    #[arg(long, value_name = "A|B", value_parser = slot)]
    slot: Option<Slot>,
    /// Public key to trust; can be given twice [default: keys/*.pub]
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

fn serial(text: &str) -> Result<Serial, String> {
    Serial::try_from(text.to_owned()).map_err(|_| "a serial number has 1 to 64 printable ASCII characters".to_owned())
}

impl Installer {
    pub(super) fn run(self) -> Result<()> {
        let trusted = keys::trusted(&self.key)?;
        let options = InstallOptions::checked(&self.install, self.nodes.as_deref(), self.disk)?;
        let made = Files::of(&self.image, self.slot, &trusted, &options).context("no installer was written")?;
        let paths = made.write(&self.to).context("the installer is incomplete")?;
        let manifest = &made.manifest;
        if self.json {
            let report = serde_json::json!({
                "folder": self.to, "files": paths, "command_line": made.command_line, "manifest": manifest,
            });
            output::json(&report)?;
            return Ok(());
        }
        outln!("{}", self.to.display())?;
        outln!("  installer {} {}, kernel {}", manifest.role, manifest.version, manifest.kernel)?;
        let bytes: u64 = made.files.iter().map(|file| file.bytes.len() as u64).sum();
        outln!("  files     {}, {} in all, and {BOOT_IMG}", made.files.len(), human_bytes(bytes))?;
        for word in options.words() {
            outln!("  option    {word}")?;
        }
        Ok(())
    }
}
