//! The installer: puts a bundle onto a disk from inside the node, booted by network or USB. The same kernel and initramfs as
//! every boot; `microdc.install=` on the command line makes the difference ([`contract::installer`]).
//!
//! PID 1 [`lead`]s: it starts the network and, until one has succeeded, an installation, each in a child ([`run`]): what is
//! foreign is parsed there. Nothing is believed but the release keys of this initramfs; who answers in the network may at
//! most keep a board from being installed, or say in a node config what an operator could say.
//!
//! - [`choice`] which disk · [`verdict`] whether it may be taken, by the claim's rules · [`write`](mod@write) the order of
//!   the writes, on [`partitions`]
//! - [`ask`] the node config, and what the server is told of a failure · [`progress`] what is said meanwhile
//!
//! `state` and `data` are left to the claim at the first boot from the disk.

mod ask;
mod choice;
mod partitions;
mod progress;
mod verdict;
mod write;

use crate::claim;
use crate::console;
use crate::initramfs::spec::{self, COMMAND_LINE};
use crate::net::{NetworkJob, first_ethernet};
use crate::service::confine;
use crate::sys::process::{Confinement, Program, Surroundings, spawn};
use crate::sys::reboot::{self, Action};
use crate::update::install::{Order, Patience};
use anyhow::{Context as _, anyhow, bail};
use ask::Found;
use contract::initramfs::InitramfsSpec;
use contract::installer::{Board, InstallOptions};
use contract::layout::Slot;
use contract::names;
use contract::network::NetworkReport;
use contract::node::{Network, Serial};
use contract::role::{Capability, Compatible, Identity};
use contract::update::Release;
use partitions::Devices;
use progress::Progress;
use rustix::process::{Pid, WaitOptions, waitpid};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use verdict::{Judge, Verdict};
use write::Job;

/// This program, in whatever file system it is.
const PROGRAM: &str = "/proc/self/exe";
/// Longest time that one installation may take; then the board is reset.
const LIMIT: Duration = Duration::from_secs(3600);
/// Time before the next try.
const PAUSE: Duration = Duration::from_secs(10);
/// Longest wait for an address.
const ADDRESS: Duration = Duration::from_secs(60);
/// Where programs look for resolvers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// What the network's child may do, as on a node.
const NETWORK: [Capability; 3] = [Capability::NetAdmin, Capability::NetRaw, Capability::NetBindService];
/// Longest network report, in bytes.
const REPORT: u64 = 1 << 20;

/// PID 1's part: installs, and restarts into what was installed. `extend` puts off the time at which the board is reset.
pub fn lead(extend: &dyn Fn(Duration)) -> ! {
    console::say("installer: this board is installed by network");
    let mut network = None;
    extend(LIMIT);
    loop {
        let begun = Instant::now();
        if let Err(error) = look_after(&mut network) {
            console::say(format_args!("installer: the network cannot be set up: {error:#}"));
        }
        match one() {
            Ok(status) if status.success() => {
                console::say("installer: restarting into what was installed");
                rustix::fs::sync();
                reboot::now(Action::Reboot);
            }
            // It has said why.
            Ok(status) if status.code() == Some(1) => {}
            Ok(status) => console::say(format_args!("installer: it ended with {status}")),
            Err(error) => console::say(format_args!("installer: it cannot be started: {error:#}")),
        }
        console::say(format_args!("installer: trying again in {} s", PAUSE.as_secs()));
        std::thread::sleep(PAUSE);
        // The next one gets as much time.
        extend(begun.elapsed());
    }
}

/// Starts a part of this program with these rights alone.
fn start(part: &str, capabilities: &[Capability], confinement: &Confinement) -> anyhow::Result<Pid> {
    let console = std::io::stderr();
    let pid = spawn(&Program {
        run: &[PROGRAM, part].map(str::to_owned),
        environment: Vec::new(),
        identity: &Identity::default(),
        capabilities,
        cgroup: None,
        output: console.as_fd(),
        surroundings: Surroundings {
            files: &[(2, console.as_fd())],
            confinement: Some(confinement),
            ..Surroundings::default()
        },
    })?;
    Ok(pid)
}

/// One installation: it has the rights of the claim, which also writes and mounts disks.
fn one() -> anyhow::Result<ExitStatus> {
    let pid = start("install", &confine::CLAIM, confine::of_claim().map_err(anyhow::Error::msg)?)?;
    let ended = waitpid(Some(pid), WaitOptions::empty()).context("waiting for it")?;
    let (_, status) = ended.context("it has not ended")?;
    Ok(ExitStatus::from_raw(status.as_raw()))
}

/// Starts the network's child, again when it has ended: as a node without a node config has it, with DHCP on the first
/// Ethernet port.
fn look_after(network: &mut Option<Pid>) -> anyhow::Result<()> {
    if let Some(pid) = network
        && matches!(waitpid(Some(*pid), WaitOptions::NOHANG), Ok(None))
    {
        return Ok(());
    }
    for folder in [names::RUN, names::NETWORK_FOLDER] {
        std::fs::create_dir_all(folder).with_context(|| format!("making {folder}"))?;
    }
    let job = NetworkJob {
        host_name: String::new(),
        network: Network::default(),
        absent: BTreeSet::new(),
        time_servers: false,
        subnets: Default::default(),
    };
    let job = serde_json::to_vec(&job)?;
    std::fs::write(names::NETWORK_JOB, job).with_context(|| format!("writing {}", names::NETWORK_JOB))?;
    if std::fs::symlink_metadata(RESOLV_CONF).is_err() {
        let link = std::os::unix::fs::symlink(names::RUN_RESOLV_CONF, RESOLV_CONF);
        link.with_context(|| format!("making {RESOLV_CONF}"))?;
    }
    let confinement = confine::of_looker(&NETWORK).map_err(anyhow::Error::msg)?.unwrap_or_default();
    *network = Some(start("network", &NETWORK, &confinement)?);
    Ok(())
}

/// The child's part: one installation. Ends the process: with 0 when the disk is complete, else with 1, and it has said why.
pub fn run() -> ! {
    console::open_others(console::FIRST_TERMINAL);
    let status = match work() {
        Ok(()) => 0,
        Err(error) => {
            console::say(format_args!("installer: FAILED: {error:#}"));
            1
        }
    };
    std::process::exit(status)
}

fn work() -> anyhow::Result<()> {
    let spec = spec::read(Path::new(names::INITRAMFS_SPEC))?;
    let line = std::fs::read_to_string(COMMAND_LINE).with_context(|| format!("reading {COMMAND_LINE}"))?;
    let options = InstallOptions::parse(&line)?.context("the command line asks for no installation")?;
    wait_for_address()?;
    let mac = first_ethernet().map(|(_, mac)| mac);
    let board = Board::new(std::fs::read(names::DT_SERIAL).ok().as_deref(), mac.as_deref());
    let mut name = board.name();
    let result = install(&spec, &options, &board, &mut name);
    if let Err(error) = &result {
        ask::say_failed(&options, &name, &format!("{error:#}"));
    }
    result.map(|_| ())
}

/// `name` becomes the node's, once that is known.
fn install(
    spec: &InitramfsSpec,
    options: &InstallOptions,
    board: &Board,
    name: &mut String,
) -> anyhow::Result<Release> {
    let urls = options.node_configs(board);
    let config = if options.nodes.is_some() { Some(ask::node_config(&urls, Patience::default())?) } else { None };
    let wipe = match &config {
        Some(Found { url, config, .. }) => {
            console::say(format_args!("installer: this is {}, by {url}", config.name.as_str()));
            config.name.as_str().clone_into(name);
            config.disks.wipe.clone()
        }
        None => None,
    };
    let disks = choice::wait(options.disk.as_ref(), Duration::from_secs(spec.disk_timeout_s));
    let disk = choice::choose(disks, options.disk.as_ref()).map_err(anyhow::Error::msg)?;
    let node_is = Compatible { role: spec.role.clone(), profile: spec.profile.clone() };
    let fresh = verdict::fresh_table(disk.serial.as_ref(), disk.size, spec.root_size)
        .with_context(|| format!("{} cannot be used", disk.name))?;
    let path = Path::new("/dev").join(&disk.name);
    let mut file = File::options().read(true).write(true).open(&path);
    let file = file.as_mut().map_err(|error| anyhow!("opening {}: {error}", path.display()))?;
    let by = Judge {
        fresh: &fresh,
        serial: disk.serial.as_ref(),
        wipe: wipe.as_ref(),
        keys: &spec.keys,
        node_is: &node_is,
    };
    let verdict = verdict::judge(file, disk.size, &by).with_context(|| format!("looking at {}", disk.name))?;
    match &verdict {
        Verdict::Refused(found) => bail!("{}", refusal(&disk.name, disk.serial.as_ref(), found, wipe.as_ref())),
        Verdict::Blank => console::say(format_args!("installer: {} is blank", disk.name)),
        Verdict::Unused(_) => {
            console::say(format_args!("installer: {} holds a system that was never used", disk.name))
        }
        Verdict::Node(..) => {
            console::say(format_args!("installer: {} holds a node, which keeps its state and data", disk.name));
        }
        Verdict::Erase(found) => {
            console::say(format_args!("installer: {} holds {found}, and node.toml names it in wipe", disk.name));
        }
    }
    let bootsel = std::fs::read(names::INITRAMFS_BOOTSEL);
    let bootsel = bootsel.with_context(|| format!("reading {}", names::INITRAMFS_BOOTSEL))?;
    let order = order(spec, options, &node_is, name);
    let config = config.as_ref().map(|found| found.bytes.as_slice());
    let job =
        Job { verdict, size: disk.size, fresh, bootsel: &bootsel, config, order, patience: Patience::default() };
    let mut progress = Progress::default();
    let installed =
        write::install(&job, file, &mut Devices { disk: &disk.name }, &mut |event| progress.tell(&disk.name, &event));
    installed.with_context(|| format!("{} is not installed", disk.name))
}

fn order(spec: &InitramfsSpec, options: &InstallOptions, node_is: &Compatible, name: &str) -> Order {
    Order {
        slot: Slot::A,
        urls: options.bundles.clone(),
        keys: spec.keys.clone(),
        node_is: node_is.clone(),
        rollback_index: 0,
        running: None,
        runs: None,
        refused: Vec::new(),
        force: false,
        dry_run: false,
        node: name.to_owned(),
    }
}

/// The claim's own words; a disk without a serial number cannot be named.
fn refusal(disk: &str, serial: Option<&Serial>, found: &str, wipe: Option<&Serial>) -> String {
    match serial {
        Some(serial) => claim::refusal(disk, serial, found, wipe),
        None => {
            format!("{disk} (without a serial number) holds {found}: it is left alone. Erase it by hand (blkdiscard)")
        }
    }
}

fn wait_for_address() -> anyhow::Result<()> {
    let started = Instant::now();
    loop {
        let mut bytes = Vec::new();
        let read = File::open(names::NETWORK_REPORT).and_then(|file| file.take(REPORT).read_to_end(&mut bytes));
        let report = read.ok().and_then(|_| serde_json::from_slice::<NetworkReport>(&bytes).ok()).unwrap_or_default();
        let has = report.interfaces.iter().find(|port| port.link && !port.addresses.is_empty());
        if let Some(port) = has {
            let addresses: Vec<String> = port.addresses.iter().map(ToString::to_string).collect();
            console::say(format_args!("installer: {} {}", port.name, addresses.join(" ")));
            return Ok(());
        }
        if started.elapsed() >= ADDRESS {
            bail!(
                "no address on the first Ethernet port after {} s: is its cable plugged in, and does a DHCP server answer?",
                ADDRESS.as_secs()
            );
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_claim_s_words_and_the_line_that_lets_the_disk_go() {
        let serial = Serial::try_from("S1".to_owned()).unwrap();
        let words = refusal("nvme0n1", Some(&serial), "an XFS file system", None);
        assert!(words.contains("holds an XFS file system: it is left alone"), "{words}");
        assert!(words.ends_with("under [disks]:\nwipe = \"S1\""), "{words}");
        let other = Serial::try_from("S2".to_owned()).unwrap();
        assert!(refusal("nvme0n1", Some(&serial), "x", Some(&other)).contains("wipe names S2"));
        assert!(refusal("vda", None, "x", None).contains("without a serial number"));
    }
}
