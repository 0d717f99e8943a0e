//! One boot: what the EEPROM chose, on QEMU's command line, as one process.

use crate::child;
use crate::console::Reset;
use crate::devicetree::{BootMode, Report, Tree};
use crate::eeprom::{self, Board, Boot, NoBoot, Request};
use crate::network::Plug;
use crate::plan::{Card, Plan};
use crate::qemu::{CommandLine, Console, Model, SystemDisk};
use crate::qmp::{self, Commands, Events, Next};
use contract::names::TRYBOOT_PORT;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// What the firmware puts before the slot's command line on a board with a display (Raspberry Pi's start4.elf: /proc/cmdline
/// of a board). None of it means anything to a node; it takes room. `numa=fake` asks for several memory nodes, which Debian's
/// kernel cannot make (it is built without `NUMA_EMU`).
const FIRMWARE_WORDS: &str = "numa=fake=4 video=HDMI-A-1:1920x1080M@60D vc_mem.mem_base=0x3ec00000 \
                              vc_mem.mem_size=0x40000000 smsc95xx.macaddr=DC:A6:32:00:00:01 watchdog.open_timeout=60";

/// Why a boot did not come about.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BootError {
    #[error(transparent)]
    NoBoot(#[from] eeprom::NoBoot),
    /// The same in a trial, on a board whose EEPROM has a watchdog that gets it out of it.
    #[error("{0}")]
    NoTrial(eeprom::NoBoot),
    #[error("{0}")]
    Host(String),
}

/// A running QEMU with everything that must live as long as it.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) commands: Commands,
    pub(crate) events: Events,
    /// The tests' ends of the serial ports.
    pub(crate) ports: BTreeMap<String, UnixStream>,
    /// How long the firmware gives the guest until firstboot's first word.
    pub(crate) watchdog: Option<Duration>,
    _plugs: Vec<Plug>,
    _files: TempDir,
}

fn host<T>(doing: &str, result: Result<T, impl std::fmt::Display>) -> Result<T, BootError> {
    result.map_err(|error| BootError::Host(format!("{doing}: {error}")))
}

/// Decides what boots and starts it. Says on the record what was decided.
pub(crate) fn start(plan: &Plan, console: &Console) -> Result<Running, BootError> {
    let record = &plan.record;
    let number = record.begin_boot();
    let (board, mode) = match (plan.hardware.model, plan.hardware.system) {
        (Model::Virt, SystemDisk::Nvme) => (Board::Cm4, BootMode::Nvme),
        (Model::Virt, SystemDisk::Emmc) => (Board::Cm4, BootMode::Sd),
        (Model::Virt, SystemDisk::Usb) => (Board::Pi4b, BootMode::Usb),
        (Model::Raspi4b, _) if plan.hardware.cm4 => (Board::Cm4, BootMode::Sd),
        (Model::Raspi4b, _) => (Board::Pi4b, BootMode::Sd),
    };
    let tryboot = record.take_tryboot();
    let eeprom = plan.hardware.eeprom;
    let request = Request { board, eeprom, tryboot, partition: 0 };
    let mut mode = mode;
    let boot = match (eeprom::decide(plan.disk.file(), request), &plan.netboot) {
        // What cannot be loaded from a bootable partition is not walked past: not to the network either.
        (Err(NoBoot::Table(why) | NoBoot::NoBootable(why)), Some(tree)) => {
            record.say(&format!("note: nothing on the disk boots ({why}): booting by network"));
            mode = BootMode::Network;
            eeprom::decide_netboot(tree, request)
        }
        (decided, _) => decided,
    };
    let boot = match boot {
        Err(why) if tryboot && eeprom.watches() => {
            record.say(&format!("boot {number}: nothing that can be loaded, tryboot 1"));
            return Err(BootError::NoTrial(why));
        }
        decided => decided?,
    };
    for note in &boot.notes {
        record.say(&format!("note: {note}"));
    }
    record.say(&format!("boot {number}: partition {}, tryboot {}", boot.partition, u32::from(boot.tryboot)));

    let files = host("making a folder for the boot's files", TempDir::with_prefix("microdc-boot-"))?;
    let mut line = CommandLine::board(&plan.hardware);
    line.add_path("-dtb", &device_tree(plan, &boot, mode, &files)?);
    let put = |name: &str, bytes: &[u8]| {
        let path = files.path().join(name);
        host(&format!("writing {}", path.display()), std::fs::write(&path, bytes)).map(|()| path)
    };
    line.add_path("-kernel", &put("kernel", &boot.kernel)?);
    if let Some(initramfs) = &boot.initramfs {
        line.add_path("-initrd", &put("initramfs", initramfs)?);
    }
    line.add(["-append", &format!("{FIRMWARE_WORDS} {}", boot.command_line)]);
    let mut running = launch(plan, line, files, console)?;
    running.watchdog = boot
        .config
        .get("kernel_watchdog_timeout")
        .and_then(|value| value.parse().ok())
        .filter(|&seconds| seconds > 0)
        .map(Duration::from_secs);
    Ok(running)
}

/// The tree that the kernel gets: the slot's own on the raspi4b; QEMU's own on `virt`, which is not a board of anyone's.
fn device_tree(plan: &Plan, boot: &Boot, mode: BootMode, files: &TempDir) -> Result<std::path::PathBuf, BootError> {
    let path = files.path().join("devicetree");
    let slots_own = host("the slot's device tree", Tree::parse(&boot.device_tree))?;
    let mut tree = match plan.hardware.model {
        Model::Raspi4b => {
            let mut tree = slots_own;
            host("the slot's device tree", tree.fit_raspi4b(&plan.hardware))?;
            tree
        }
        Model::Virt => {
            let mut line = CommandLine::board(&plan.hardware);
            let dump = path.display().to_string().replace(',', ",,");
            line.add(["-M", &format!("dumpdtb={dump}")]);
            let output = host("starting QEMU", plan.qemu.command().args(line.words()).output())?;
            if !output.status.success() {
                return Err(BootError::Host(format!("QEMU: {}", String::from_utf8_lossy(&output.stderr))));
            }
            let bytes = host("reading QEMU's device tree", std::fs::read(&path))?;
            let mut tree = host("QEMU's device tree", Tree::parse(&bytes))?;
            if !plan.hardware.kaslr {
                tree.remove("/chosen", "kaslr-seed");
            }
            host("QEMU's device tree", tree.limit_reach())?;
            tree
        }
    };
    let report = Report {
        partition: boot.partition,
        tryboot: boot.tryboot,
        mode,
        built: plan.hardware.eeprom.release.built(),
    };
    host("the firmware's report in the device tree", tree.set_bootloader(&report))?;
    if let Some(serial) = &plan.hardware.board_serial {
        let text = [serial.as_bytes(), b"\0"].concat();
        host("the board's serial number in the device tree", tree.set("/", "serial-number", text))?;
    }
    host("writing the device tree", std::fs::write(&path, tree.to_bytes()))?;
    Ok(path)
}

fn launch(plan: &Plan, mut line: CommandLine, files: TempDir, console: &Console) -> Result<Running, BootError> {
    // QEMU's ends; closed here once QEMU has them.
    let mut handed: Vec<OwnedFd> = Vec::new();
    let mut pair = || -> Result<(UnixStream, i32), BootError> {
        let (ours, theirs) = host("making a socket pair", UnixStream::pair())?;
        let number = theirs.as_raw_fd();
        handed.push(theirs.into());
        Ok((ours, number))
    };
    line.console(&plan.hardware, console);
    let (qmp, number) = pair()?;
    line.control(number);
    line.disk(&plan.hardware, plan.disk.path(), plan.log.as_deref());
    for (index, nvme) in plan.nvmes.iter().enumerate() {
        line.nvme(index, nvme);
    }
    let mut ports = BTreeMap::new();
    if plan.hardware.model == Model::Virt {
        let mut numbers = Vec::new();
        for name in std::iter::once(TRYBOOT_PORT).chain(plan.ports.iter().map(String::as_str)) {
            let (ours, number) = pair()?;
            ports.insert(name.to_owned(), ours);
            numbers.push((name.to_owned(), number));
        }
        line.devices(&numbers);
    }
    let mut plugs = Vec::new();
    for (index, card) in plan.cards.iter().enumerate() {
        match card {
            Card::Hub(network, mac) => {
                let (plug, fd) = host("plugging in a network card", network.plug())?;
                line.network_card(index, &mac.to_string(), fd.as_raw_fd());
                plugs.push(plug);
                handed.push(fd);
            }
            Card::User(mac, ports) => {
                line.user_network_card(plan.hardware.model, index, &mac.to_string(), ports);
            }
        }
    }
    if let Some(path) = &plan.qemu_log {
        line.add(["-d", "unimp,guest_errors"]);
        line.add_path("-D", path);
    }
    let mut command = plan.qemu.command();
    command.args(line.words());
    if matches!(console, Console::Pipe) {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    }
    let child = host("starting QEMU", child::spawn(command, &handed, matches!(console, Console::Pipe)))?;
    drop(handed);
    let (commands, events) = host("talking to QEMU", qmp::open(qmp))?;
    Ok(Running { child, commands, events, ports, watchdog: None, _plugs: plugs, _files: files })
}

/// How a boot ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Reset(Reset),
    PoweredOff,
    /// QEMU went without saying why.
    Gone,
}

/// Follows QEMU's events to the end of the boot. `check` is asked every quarter second whether to stop.
pub(crate) fn follow(events: &mut Events, mut check: impl FnMut() -> bool) -> Outcome {
    let mut outcome = Outcome::Gone;
    let mut watchdog = false;
    let mut button = false;
    loop {
        match events.next(Duration::from_millis(250)) {
            Next::Closed => return outcome,
            Next::Quiet if check() => return outcome,
            Next::Quiet => {}
            Next::Event { name, data } => match (name.as_str(), data.get("reason").and_then(Value::as_str)) {
                ("WATCHDOG", _) => watchdog = true,
                ("SHUTDOWN", Some("guest-reset")) => {
                    outcome = Outcome::Reset(if watchdog { Reset::Watchdog } else { Reset::Guest });
                }
                ("SHUTDOWN", Some("host-qmp-system-reset")) => button = true,
                ("SHUTDOWN", Some("guest-shutdown")) => outcome = Outcome::PoweredOff,
                _ => {}
            },
        }
        if button {
            outcome = Outcome::Reset(Reset::Button);
        }
    }
}

/// Waits for the child, for at most two seconds, then ends it.
pub(crate) fn reap(child: &mut Child) -> io::Result<std::process::ExitStatus> {
    for _ in 0..200 {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill()?;
    child.wait()
}
