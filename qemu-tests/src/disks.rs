//! Nodes under test that do nothing but claim their disks.

use crate::agent::Agent;
use crate::foreign;
use crate::images;
use crate::probe::{self, Request};
use crate::router::{STEP, wait_up};
use contract::control::{self, Call, VERSION};
use contract::layout::{MIB, Partition};
use emulator::{Disk, Machine, Network, Node};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest wait for an answer that comes when an update is done.
const LONG: Duration = Duration::from_secs(600);
/// Size of the disk that they boot from, in bytes.
pub const SIZE: u64 = 3 << 30;

/// Its node.toml with these lines under `[disks]`.
#[must_use]
pub fn node_config(disks: &str) -> String {
    format!(
        "name = \"n1\"\n[cluster]\nname = \"rack1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[disks]\n{disks}\n"
    )
}

/// The node n1 with these lines under `[disks]` of its node.toml, booting from an NVMe disk, with the probe.
#[must_use]
pub fn machine(disks: &str) -> Machine {
    machine_on(&images::disks()).node_config(node_config(disks))
}

/// The node n1 on a copy of this disk.
#[must_use]
pub fn machine_on(disk: &Path) -> Machine {
    Machine::new(disk).name("n1").memory(512).disk_size(SIZE).network(&Network::new()).port(probe::PORT)
}

/// The disk of a node n1 as its first boot leaves it: tests that begin there copy it in place of a first boot each.
#[derive(Debug)]
pub struct Settled {
    /// Without a name, so that it goes away with this program.
    file: File,
    /// What the node drew for itself.
    pub machine_id: String,
}

impl Settled {
    /// Boots this machine for the first time, and switches it off as an operator does.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn by(machine: Machine) -> Settled {
        let node = machine.start().unwrap();
        wait_up(&node, "n1").unwrap();
        let machine_id = machine_id(&node);
        node.power_off().unwrap();
        node.wait_off(STEP).unwrap();
        let copy = Disk::copy_of(node.disk().path(), 0).unwrap();
        Settled { file: copy.reopen().unwrap(), machine_id }
    }

    /// Where it can be copied from.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }
}

/// The identity that the node has drawn.
///
/// # Panics
/// When it does not answer.
#[must_use]
pub fn machine_id(node: &Node) -> String {
    String::from_utf8(ask(node, &Request::Cat("/run/machine-id".to_owned()))).unwrap()
}

/// Runs e2fsprogs' debugger over `state` of a node that is off.
///
/// # Panics
/// When it cannot be run, or the disk has no such partition.
pub fn debugfs(node: &Node, request: &str) {
    let offset = node.disk().extent(Partition::State).unwrap().offset;
    let path = format!("{}?offset={offset}", node.disk().path().display());
    foreign::run("debugfs", &["-w", "-R", request], "", path.as_ref());
}

/// What a service said that has filled its folder, once it has.
///
/// # Panics
/// When it does not in time.
#[must_use]
pub fn filled(agent: Agent<'_>, service: &str) -> String {
    agent.until("a service has filled its folder", |agent| {
        Some(agent.cat(&format!("/state/log/{service}"))).filter(|log| log.contains("fill end"))
    })
}

/// What came of one of its attempts.
///
/// # Panics
/// When it said nothing of it.
#[must_use]
pub fn said_of(said: &str, what: &str) -> String {
    let line = said.lines().find_map(|line| line.split_once(&format!(" fill {what}: ")));
    line.unwrap_or_else(|| panic!("nothing of {what} in {said}")).1.to_owned()
}

/// How a claim ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// `data` was made at this boot, as this, on this device: `ext4 /dev/nvme0n1p1`.
    Made(String),
    /// It was there before.
    Found(String),
    /// There is none. All that the node said about it.
    Refused(String),
}

/// Waits until the node says what became of `data`.
///
/// # Panics
/// When it says nothing.
#[must_use]
pub fn claim(node: &Node) -> Claim {
    let (which, line) = node.expect_any(&["] data (", "there is no data: ", "microdc: FAILED"], STEP).unwrap();
    let fact = |verb: &str| {
        let (kind, device) = line.split_once("data (")?.1.split_once(')')?;
        Some(format!("{kind} {}", device.strip_prefix(verb)?.trim()))
    };
    match which {
        0 => fact(" was made on").map(Claim::Made).or_else(|| fact(" is on").map(Claim::Found)).expect(&line),
        1 => {
            // What belongs to it comes with it; what follows says that it is complete.
            node.expect("microdc: [", STEP).unwrap();
            let console = node.console();
            let start = console.rfind("there is no data: ").unwrap_or(0);
            let whole = console.get(start..).unwrap_or_default();
            let lines = whole.lines().enumerate();
            let more = |(at, line): &(usize, &str)| *at == 0 || !line.starts_with("microdc: [");
            Claim::Refused(lines.take_while(more).map(|(_, line)| line.to_owned() + "\n").collect())
        }
        _ => panic!("{line}"),
    }
}

/// Asks the probe of a node that is up.
///
/// # Panics
/// When it does not answer, or with an error.
pub fn ask(node: &Node, request: &Request) -> Vec<u8> {
    let mut port = node.port(probe::PORT).unwrap();
    port.set_read_timeout(Some(STEP)).unwrap();
    let out = port.try_clone().unwrap();
    probe::ask(&mut port, out, request).unwrap().unwrap_or_else(|error| panic!("{request}: {error}"))
}

/// Asks PID 1 of a node that is up for something, by way of the probe. The node may restart before it has answered to the end.
///
/// # Panics
/// When it refuses.
pub fn order(node: &Node, request: control::Request) {
    let call = serde_json::to_string(&Call { version: VERSION, request }).unwrap();
    let mut port = node.port(probe::PORT).unwrap();
    port.set_read_timeout(Some(LONG)).unwrap();
    let out = port.try_clone().unwrap();
    match probe::ask(&mut port, out, &Request::Call(call)) {
        Ok(Ok(answer)) => {
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(!answer.contains("refused") && !answer.contains("failed"), "{answer}");
        }
        Ok(Err(problem)) => panic!("{problem}"),
        Err(_) => {}
    }
}

/// Restarts a node with new lines under `[disks]`, by a power cut.
///
/// # Panics
/// When it cannot be started.
pub fn restart(node: &mut Node, disks: &str) {
    node.kill();
    node.disk().write_node_config(node_config(disks).as_bytes()).unwrap();
    node.power_on().unwrap();
}

/// Fills slot B with what slot A has.
///
/// # Panics
/// When the disk is not an image.
pub fn fill_slot_b(disk: &Disk) {
    for (from, to) in [(Partition::BootA, Partition::BootB), (Partition::RootA, Partition::RootB)] {
        let length = disk.extent(from).unwrap().length;
        for at in (0..length).step_by(MIB as usize) {
            let piece = disk.read(from, at, MIB as usize).unwrap();
            if piece.iter().any(|&byte| byte != 0) {
                disk.write(to, at, &piece).unwrap();
            }
        }
    }
}
