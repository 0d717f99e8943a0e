//! Finds QEMU, and says on its command line what a node is.

use crate::eeprom::Eeprom;
use crate::nvme::{Fault, Plugged};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Variable of the environment that names another QEMU than the one on PATH.
pub const QEMU_VARIABLE: &str = "MICRODC_QEMU";
const PROGRAM: &str = "qemu-system-aarch64";
/// `-action` (6.0) and `-netdev dgram` (7.2).
const OLDEST_FOR_VIRT: (u32, u32) = (7, 2);
/// `-M raspi4b`.
const OLDEST_FOR_RASPI4B: (u32, u32) = (9, 0);

/// A QEMU that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    #[error(
        "QEMU is missing: {0} was not found. On Debian and Ubuntu: apt-get install qemu-system-arm. \
         Or set {QEMU_VARIABLE} to where it is"
    )]
    Missing(String),
    #[error("{program} --version: {problem}; set {QEMU_VARIABLE} to a QEMU that works", program = program.display())]
    Broken { program: PathBuf, problem: String },
    #[error(
        "{} is version {}.{}; {machine} needs {}.{} or later. On Debian 12: apt-get install -t bookworm-backports \
         qemu-system-arm. Or set {QEMU_VARIABLE} to a newer one", program.display(), found.0, found.1, needed.0, needed.1
    )]
    TooOld { program: PathBuf, found: (u32, u32), machine: Model, needed: (u32, u32) },
}

/// Which of QEMU's machines stands for the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// NVMe disk, network, watchdog, serial ports for the tests.
    Virt,
    /// The BCM2711 with the image as SD card: its kernel path and its real mailbox. No network.
    Raspi4b,
}

impl std::fmt::Display for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Model::Virt => "virt",
            Model::Raspi4b => "raspi4b",
        })
    }
}

/// A QEMU that is there and new enough.
#[derive(Clone, Debug)]
pub struct Qemu {
    program: PathBuf,
}

impl Qemu {
    /// Looks for QEMU: [`QEMU_VARIABLE`], then PATH.
    ///
    /// # Errors
    /// When there is none, or one that is too old for `model`; the message says how to get one.
    pub fn find(model: Model) -> Result<Qemu, QemuError> {
        Qemu::find_in(model, std::env::var_os(QEMU_VARIABLE), std::env::var_os("PATH"))
    }

    fn find_in(model: Model, named: Option<OsString>, path: Option<OsString>) -> Result<Qemu, QemuError> {
        let program = match named {
            Some(named) => PathBuf::from(named),
            None => std::env::split_paths(&path.unwrap_or_default())
                .map(|folder| folder.join(PROGRAM))
                .find(|program| program.is_file())
                .ok_or_else(|| QemuError::Missing(PROGRAM.to_owned()))?,
        };
        let output = match Command::new(&program).arg("--version").output() {
            Ok(output) => output,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(QemuError::Missing(program.display().to_string()));
            }
            Err(error) => return Err(QemuError::Broken { program, problem: error.to_string() }),
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let Some(found) = version(&text) else {
            return Err(QemuError::Broken { program, problem: format!("it answered {text:?}") });
        };
        let needed = match model {
            Model::Virt => OLDEST_FOR_VIRT,
            Model::Raspi4b => OLDEST_FOR_RASPI4B,
        };
        if found < needed {
            return Err(QemuError::TooOld { program, found, machine: model, needed });
        }
        Ok(Qemu { program })
    }

    /// Where it is.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    pub(crate) fn command(&self) -> Command {
        Command::new(&self.program)
    }
}

/// `QEMU emulator version 10.0.2 (Debian ...)`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split("version ").nth(1)?.split(['.', ' ', '\n']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Where the guest's serial console goes.
pub(crate) enum Console {
    /// QEMU's standard input and output.
    Pipe,
    /// The terminal, with QEMU's own keys: Ctrl-A X leaves.
    Terminal,
}

/// What the disk is that a node on `virt` boots from. The raspi4b has an SD card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SystemDisk {
    Nvme,
    /// A virtio disk in its place.
    Emmc,
    /// Behind an xHCI controller on PCIe, as on a Pi 4 B.
    Usb,
}

/// Everything of a node that QEMU must know, apart from what boots.
#[derive(Clone, Debug)]
pub(crate) struct Hardware {
    pub(crate) model: Model,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    pub(crate) serial: String,
    pub(crate) system: SystemDisk,
    /// Whether that disk takes no writes.
    pub(crate) read_only: bool,
    /// Whether the kernel gets a seed for its place in memory.
    pub(crate) kaslr: bool,
    /// Time at power-on, where it is not the host's.
    pub(crate) clock: Option<String>,
    pub(crate) eeprom: Eeprom,
    /// Serial number of the board.
    pub(crate) board_serial: Option<String>,
    /// On the raspi4b: the device tree of a CM4.
    pub(crate) cm4: bool,
}

/// QEMU's raspi4b has so many cores, and no others.
const RASPI4B_CORES: u32 = 4;
/// Memory of QEMU's raspi4b, in MiB: it has no other. Linux may see the first GiB of it only, as on a board that has no more.
pub(crate) const RASPI4B_MEMORY_MIB: [u32; 2] = [1024, 2048];

impl Hardware {
    pub(crate) fn cores(&self) -> u32 {
        match self.model {
            Model::Virt => self.cpus,
            Model::Raspi4b => RASPI4B_CORES,
        }
    }
}

/// A path as part of an option.
fn quoted(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

/// A command line under construction.
pub(crate) struct CommandLine(Vec<OsString>);

impl CommandLine {
    /// The board itself. `-nodefaults` is what makes the rest explicit.
    pub(crate) fn board(hardware: &Hardware) -> CommandLine {
        let mut line = CommandLine(Vec::new());
        line.add(["-nodefaults", "-display", "none"]);
        match hardware.model {
            Model::Virt => {
                line.add(["-M", "virt,acpi=off", "-cpu", "cortex-a72"]);
                line.add(["-m", &hardware.memory_mib.to_string(), "-smp", &hardware.cpus.to_string()]);
            }
            // Its memory and its cores are fixed; how much of the memory Linux sees is the device tree's affair.
            Model::Raspi4b => line.add(["-M", "raspi4b"]),
        }
        if let Some(time) = &hardware.clock {
            line.add(["-rtc", &format!("base={time}")]);
        }
        line
    }

    pub(crate) fn add<const N: usize>(&mut self, words: [&str; N]) {
        self.0.extend(words.map(OsString::from));
    }

    pub(crate) fn add_path(&mut self, option: &str, path: &Path) {
        self.0.extend([OsStr::new(option).to_owned(), path.as_os_str().to_owned()]);
    }

    pub(crate) fn console(&mut self, hardware: &Hardware, console: &Console) {
        match console {
            Console::Pipe => self.add(["-chardev", "stdio,id=console,signal=off"]),
            Console::Terminal => self.add(["-chardev", "stdio,id=console,mux=on,signal=off"]),
        }
        if hardware.model == Model::Raspi4b {
            // The first port is the PL011 and has the Bluetooth chip; people plug in at the second, the mini UART.
            self.add(["-serial", "null"]);
        }
        self.add(["-serial", "chardev:console"]);
        if matches!(console, Console::Terminal) {
            self.add(["-mon", "chardev=console,mode=readline"]);
        }
    }

    /// A guest that resets ends QEMU, so that the EEPROM's part can be done again.
    pub(crate) fn control(&mut self, qmp: i32) {
        self.add(["-action", "reboot=shutdown", "-action", "watchdog=reset"]);
        self.add(["-chardev", &format!("socket,id=qmp,fd={qmp}")]);
        self.add(["-mon", "chardev=qmp,mode=control"]);
    }

    /// The disk that the node boots from.
    pub(crate) fn disk(&mut self, hardware: &Hardware, path: &Path, log: Option<&Path>) {
        match hardware.model {
            Model::Virt => {
                self.add(["-drive", &drive("system", path, hardware.read_only, None, log)]);
                let device = match hardware.system {
                    SystemDisk::Nvme => "nvme",
                    SystemDisk::Emmc => "virtio-blk-pci",
                    SystemDisk::Usb => {
                        self.add(["-device", "qemu-xhci,id=usb"]);
                        "usb-storage,bus=usb.0"
                    }
                };
                self.add(["-device", &format!("{device},drive=system,serial={}", hardware.serial)]);
            }
            Model::Raspi4b => {
                self.add(["-drive", &format!("if=sd,format=raw,cache=unsafe,file={}", quoted(path))]);
            }
        }
    }

    /// An NVMe disk beside it, counted from 0.
    pub(crate) fn nvme(&mut self, index: usize, plugged: &Plugged) {
        let Plugged { nvme, disk, log } = plugged;
        let drive = drive(&format!("nvme{index}"), disk.path(), nvme.read_only, nvme.fault, log.as_deref());
        self.add(["-drive", &drive]);
        let mut bus = String::new();
        if nvme.removable {
            self.add(["-device", &format!("pcie-root-port,id=port-nvme{index},chassis={}", index + 1)]);
            bus = format!(",bus=port-nvme{index}");
        }
        let block = nvme.block;
        let device = format!(
            "nvme,id=disk{index},drive=nvme{index},serial={},logical_block_size={block},physical_block_size={block}{bus}",
            nvme.serial
        );
        self.add(["-device", &device]);
    }

    /// What only `virt` has: watchdog, entropy, serial ports by name.
    pub(crate) fn devices(&mut self, ports: &[(String, i32)]) {
        self.add(["-device", "i6300esb", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]);
        for (index, (name, fd)) in ports.iter().enumerate() {
            self.add(["-chardev", &format!("socket,id=port{index},fd={fd}")]);
            self.add(["-device", &format!("virtserialport,chardev=port{index},name={name}")]);
        }
    }

    /// A network card on a datagram socket: one datagram is one Ethernet frame.
    pub(crate) fn network_card(&mut self, index: usize, mac: &str, fd: i32) {
        self.add(["-netdev", &format!("dgram,id=net{index},local.type=fd,local.str={fd}")]);
        self.card(index, mac);
    }

    /// A network card behind QEMU's own NAT.
    pub(crate) fn user_network_card(&mut self, model: Model, index: usize, mac: &str, ports: &[(u16, u16)]) {
        let forward = |(host, guest): &(u16, u16)| format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}");
        let forwards: String = ports.iter().map(forward).collect();
        self.add(["-netdev", &format!("user,id=net{index}{forwards}")]);
        match model {
            Model::Virt => self.card(index, mac),
            Model::Raspi4b => self.add(["-device", &format!("usb-net,id=nic{index},netdev=net{index},mac={mac}")]),
        }
    }

    fn card(&mut self, index: usize, mac: &str) {
        // No boot ROM: a package less that must be installed.
        self.add(["-device", &format!("virtio-net-pci,id=nic{index},netdev=net{index},mac={mac},romfile=")]);
    }

    pub(crate) fn words(self) -> Vec<OsString> {
        self.0
    }
}

/// The options of a drive: the file, below what makes it fail, below what records its writes. Flushes of the guest go no
/// further than the host's memory (a power cut kills QEMU, not the host), but they do reach the layer that records.
fn drive(id: &str, path: &Path, read_only: bool, fault: Option<Fault>, log: Option<&Path>) -> String {
    let mut options = vec![format!("if=none,id={id},format=raw")];
    let mut layer = "file.".to_owned();
    if let Some(log) = log {
        let fields = ["driver=blklogwrites", "log-super-update-interval=1", "log.driver=file"];
        options.extend(fields.map(|field| format!("{layer}{field}")));
        // A second boot goes on where the first one ended; an empty file has no head to go on from.
        let append = std::fs::metadata(log).is_ok_and(|found| found.len() > 0);
        options.push(format!("{layer}{}", if append { "log-append=on" } else { "log-sector-size=512" }));
        options.push(format!("{layer}log.cache.no-flush=on"));
        options.push(format!("{layer}log.filename={}", quoted(log)));
        layer.push_str("file.");
    }
    if let Some(fault) = fault {
        options.extend(fault_options(fault).iter().map(|option| format!("{layer}{option}")));
        layer.push_str("image.");
    }
    options.push(format!("{layer}driver=file,{layer}cache.no-flush=on,{layer}filename={}", quoted(path)));
    options.push(if read_only { "readonly=on" } else { "discard=unmap" }.to_owned());
    options.join(",")
}

/// Options of QEMU's blkdebug (docs/devel/blkdebug.rst).
fn fault_options(fault: Fault) -> Vec<String> {
    let mut options = vec!["driver=blkdebug".to_owned()];
    let mut inject = |number: u32, event: &str, more: &str| {
        let fields = [&format!("event={event}"), "errno=5", "once=off", more];
        options.extend(fields.map(|field| format!("inject-error.{number}.{field}")));
    };
    match fault {
        Fault::Unreadable { at } => {
            inject(0, "none", "iotype=read");
            options.push(format!("inject-error.0.sector={}", at / 512));
        }
        Fault::Unwritable => inject(0, "none", "iotype=write"),
        Fault::DiesAfter { writes } => {
            inject(0, "write_aio", &format!("state={}", writes + 1));
            inject(1, "read_aio", &format!("state={}", writes + 1));
            for state in 1..=writes {
                let fields = ["event=write_aio", &format!("state={state}"), &format!("new_state={}", state + 1)];
                options.extend(fields.map(|field| format!("set-state.{}.{field}", state - 1)));
            }
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn fake(version: &str) -> (tempfile::TempDir, OsString) {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(PROGRAM);
        std::fs::write(&program, format!("#!/bin/sh\necho 'QEMU emulator version {version} (Debian)'\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().as_os_str().to_owned();
        (folder, path)
    }

    #[test]
    fn a_missing_qemu_is_answered_with_how_to_install_it() {
        let empty = tempfile::tempdir().unwrap();
        let error = Qemu::find_in(Model::Virt, None, Some(empty.path().into())).unwrap_err().to_string();
        assert!(error.contains("apt-get install qemu-system-arm"), "{error}");
        let named = Some("/nonexistent/qemu".into());
        let error = Qemu::find_in(Model::Virt, named, None).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/qemu"), "{error}");
    }

    #[test]
    fn a_qemu_that_is_too_old_is_named_with_what_is_needed() {
        let (_folder, path) = fake("7.2.15");
        Qemu::find_in(Model::Virt, None, Some(path.clone())).unwrap();
        let error = Qemu::find_in(Model::Raspi4b, None, Some(path)).unwrap_err().to_string();
        assert!(error.contains("version 7.2") && error.contains("needs 9.0"), "{error}");
        assert!(error.contains("backports"), "{error}");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let (_folder, path) = fake("10.0.2");
        Qemu::find_in(Model::Raspi4b, None, Some(path)).unwrap();
    }

    #[test]
    fn a_program_that_is_no_qemu_is_refused() {
        let named = Some("/bin/true".into());
        assert!(matches!(Qemu::find_in(Model::Virt, named, None), Err(QemuError::Broken { .. })));
    }
}
