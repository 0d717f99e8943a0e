//! `microdc boot`: an image in the emulated CM4, with its console in this terminal.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use emulator::Machine;
use std::path::PathBuf;
use std::time::Duration;

/// Boot an image in the emulated CM4
///
/// Interprets the image as the board's EEPROM does, and runs the slot's own kernel,
/// initramfs and device tree in QEMU, with the console in this terminal. The image
/// itself is never written: the node runs on a temporary copy. Quit with Ctrl-A X.
/// On the console, `?` lists the keys.
///
/// The node's first port is behind QEMU's NAT, where DHCP gives it 10.0.2.15/24;
/// the gateway is 10.0.2.2. Nothing reaches the node from outside unless --forward
/// leads there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  microdc boot out/router.img\n  microdc boot out/router.img --node \
                        profiles/router.node.toml\n  microdc boot out/router.img --raspi4b\n  microdc boot out/router.img --node \
                        profiles/router.node.toml --until-healthy\n  microdc boot out/router.img --node r1.toml --forward 22")]
pub(super) struct Boot {
    /// The image
    image: PathBuf,
    /// Put this node.toml on the copy's bootsel, as after flashing
    #[arg(long, value_name = "FILE")]
    node: Option<PathBuf>,
    /// Emulate the Raspberry Pi 4's own hardware (needs QEMU 9 or later); slower,
    /// and without a network
    #[arg(long)]
    raspi4b: bool,
    /// Forward a local TCP port (on the loopback interface) to this port of the node,
    /// and print it; 22 is SSH. Can be repeated
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "raspi4b")]
    forward: Vec<u16>,
    /// For scripts: wait until the role's health gate has passed, show the console,
    /// and power the node off. Fails if it does not pass
    #[arg(long)]
    until_healthy: bool,
    /// With --until-healthy: time limit in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300, requires = "until_healthy")]
    within: u64,
    /// Memory of the node in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,
    /// Size of the node's disk in GiB
    #[arg(long, value_name = "GIB", default_value_t = 8)]
    disk: u64,
}

impl Boot {
    pub(super) fn run(self) -> Result<()> {
        let mut machine =
            Machine::new(&self.image).memory(self.memory).disk_size(self.disk << 30).deadline(Duration::MAX);
        if let Some(path) = &self.node {
            let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            if let Err(error) = contract::node::NodeConfig::read(&text) {
                bail!("{}", super::node::shown(path, &text, error));
            }
            machine = machine.node_config(text);
        }
        machine = if self.raspi4b { machine.raspi4b() } else { machine.user_network() };
        for &port in &self.forward {
            let host = machine.forward(port)?;
            let hint = if port == SSH { format!(": ssh -p {host} operator@127.0.0.1") } else { String::new() };
            note!("forwarding 127.0.0.1:{host} to port {port} of the node{hint}");
        }
        if self.until_healthy {
            note!("booting {}; its console follows within {} s", self.image.display(), self.within);
            return until_healthy(machine, Duration::from_secs(self.within));
        }
        let end = machine.prepare()?.interactive()?;
        note!("\nthe node is off: {end}");
        Ok(())
    }
}

/// The port at which sshd listens.
const SSH: u16 = 22;
/// How long a node may take to switch itself off, before its power is cut.
const OFF: Duration = Duration::from_secs(60);

/// Boots without a terminal. The line of a verdict is what PID 1 says on its console: `[...] health passed`.
fn until_healthy(machine: Machine, within: Duration) -> Result<()> {
    // Longer than all waits below: only a node that nothing ends runs into it.
    let node = machine.deadline(within + 2 * OFF).start()?;
    let start = std::time::Instant::now();
    let verdict = node.expect_any(&["] health passed", "] health failed"], within);
    out!("{}", node.console().replace('\r', ""))?;
    let seconds = start.elapsed().as_secs_f64();
    let (found, line) = verdict.context("the health gate reached no verdict")?;
    if found == 1 {
        bail!("the health gate did not pass: {line}");
    }
    note!("\nhealthy {seconds:.1} s after power-on");
    // A clean end is part of what is tried out.
    node.power_off().context("powering the node off")?;
    let end = node.wait_off(OFF).context("it was healthy, but did not power off")?;
    note!("the node is off: {end}");
    Ok(())
}
