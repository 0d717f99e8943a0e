//! `microdc boot`: an image in the emulated CM4, with its console in this terminal.

use anyhow::{Context as _, Result};
use clap::Args;
use emulator::Machine;
use std::path::PathBuf;

/// Boot an image in the emulated CM4
///
/// Does what the board's EEPROM does with the image, and runs the slot's own
/// kernel, initramfs and device tree in QEMU, with the console in this
/// terminal. The image is copied and never written; the copy is forgotten at
/// the end. Leave with Ctrl-A X. On the console `?` shows what keys there are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  microdc boot out/router.img\n  microdc boot out/router.img --node \
                        profiles/router.node.toml\n  microdc boot out/router.img --raspi4b")]
pub(super) struct Boot {
    /// The image
    image: PathBuf,
    /// Put this node.toml into the copy's bootsel, as after flashing
    #[arg(long, value_name = "FILE")]
    node: Option<PathBuf>,
    /// Emulate the Raspberry Pi 4's own hardware (needs QEMU 9 or later);
    /// slower, and without network
    #[arg(long)]
    raspi4b: bool,
    /// Memory of the node in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,
    /// Size of the node's disk in GiB
    #[arg(long, value_name = "GIB", default_value_t = 8)]
    disk: u64,
}

impl Boot {
    pub(super) fn run(self) -> Result<()> {
        let mut machine = Machine::new(&self.image)
            .memory(self.memory)
            .disk_size(self.disk << 30)
            .deadline(std::time::Duration::MAX);
        if let Some(path) = &self.node {
            let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            contract::node::NodeConfig::parse(&text).with_context(|| path.display().to_string())?;
            machine = machine.node_config(text);
        }
        machine = if self.raspi4b { machine.raspi4b() } else { machine.user_network() };
        let end = machine.prepare()?.interactive()?;
        eprintln!("\nthe node is off: {end}");
        Ok(())
    }
}
