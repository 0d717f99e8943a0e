//! What a node is made of, said before it is switched on.

use crate::console::Record;
use crate::eeprom::{Eeprom, Tree};
use crate::network::Network;
use crate::network::frame::Mac;
use crate::node::Node;
use crate::nvme::{self, Nvme, Plugged};
use crate::plan::{Card, Plan, StartError};
use crate::qemu::{Hardware, Model, Qemu, RASPI4B_MEMORY_MIB, SystemDisk};
use crate::storage::Disk;
use contract::layout::MIB;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A node before its first start.
#[derive(Debug)]
pub struct Machine {
    image: PathBuf,
    name: String,
    hardware: Hardware,
    disk_size: u64,
    netboot: Option<Tree>,
    recorded: bool,
    nvmes: Vec<Nvme>,
    cards: Vec<Card>,
    ports: Vec<String>,
    node_config: Option<Vec<u8>>,
    deadline: Duration,
    log_folder: Option<PathBuf>,
    qemu_log: bool,
}

impl Machine {
    /// A node with this image on its disk. The file is copied at the start and never written.
    #[must_use]
    pub fn new(image: impl Into<PathBuf>) -> Machine {
        Machine {
            image: image.into(),
            name: "node".to_owned(),
            hardware: Hardware {
                model: Model::Virt,
                memory_mib: 1024,
                cpus: 1,
                serial: "MICRODC0001".to_owned(),
                system: SystemDisk::Nvme,
                read_only: false,
                kaslr: false,
                clock: None,
                eeprom: Eeprom::default(),
                board_serial: None,
                cm4: false,
            },
            disk_size: 8192 * MIB,
            netboot: None,
            recorded: false,
            nvmes: Vec::new(),
            cards: Vec::new(),
            ports: Vec::new(),
            node_config: None,
            deadline: Duration::from_secs(1200),
            log_folder: None,
            qemu_log: false,
        }
    }

    /// What its log file and messages call it.
    #[must_use]
    pub fn name(mut self, name: &str) -> Machine {
        name.clone_into(&mut self.name);
        self
    }

    /// Serial number of its disk: up to 20 letters and digits.
    #[must_use]
    pub fn serial(mut self, serial: &str) -> Machine {
        serial.clone_into(&mut self.hardware.serial);
        self
    }

    /// Memory in MiB; 1024 when not said. The raspi4b has 2048, or 1024 of which Linux knows.
    #[must_use]
    pub fn memory(mut self, mib: u32) -> Machine {
        self.hardware.memory_mib = mib;
        self
    }

    /// Number of processors; 1 when not said. The raspi4b has 4.
    #[must_use]
    pub fn cpus(mut self, cpus: u32) -> Machine {
        self.hardware.cpus = cpus;
        self
    }

    /// Where its clock is at each power-on, such as `2001-01-01T00:00:00`; at the host's time when not said.
    #[must_use]
    pub fn clock(mut self, time: &str) -> Machine {
        self.hardware.clock = Some(time.to_owned());
        self
    }

    /// The kernel chooses its place in memory by a seed, as on the board. Without one it stays where it was linked for, and
    /// needs no page tables of its own apart from those of programs: a boot of a router takes a fifth less of the host's
    /// time. The raspi4b never has a seed.
    #[must_use]
    pub fn kaslr(mut self) -> Machine {
        self.hardware.kaslr = true;
        self
    }

    /// Release and configuration of its EEPROM; the one that microdc asks for, with nothing set, when not said.
    #[must_use]
    pub fn eeprom(mut self, eeprom: Eeprom) -> Machine {
        self.hardware.eeprom = eeprom;
        self
    }

    /// A server on its network has these files for it, and its EEPROM asks for them when nothing on the disk boots.
    #[must_use]
    pub fn netboot(mut self, tree: Tree) -> Machine {
        self.netboot = Some(tree);
        self
    }

    /// Serial number of the board, which the firmware puts into the device tree. QEMU's boards have none by themselves.
    #[must_use]
    pub fn board_serial(mut self, serial: &str) -> Machine {
        self.hardware.board_serial = Some(serial.to_owned());
        self
    }

    /// Size of its disk in bytes; 8 GiB when not said. On the raspi4b it is rounded up to a power of two.
    #[must_use]
    pub fn disk_size(mut self, bytes: u64) -> Machine {
        self.disk_size = bytes;
        self
    }

    /// The image is on an eMMC in place of an NVMe disk. A virtio disk stands for it: QEMU's SD card is right, but reads
    /// byte by byte; the raspi4b has it.
    #[must_use]
    pub fn emmc(mut self) -> Machine {
        self.hardware.system = SystemDisk::Emmc;
        self
    }

    /// A Pi 4 B with the image on a USB disk.
    #[must_use]
    pub fn usb(mut self) -> Machine {
        self.hardware.system = SystemDisk::Usb;
        self
    }

    /// The disk that it boots from takes no writes; with [`Machine::emmc`] it says so beforehand, as worn-out eMMC does.
    #[must_use]
    pub fn read_only(mut self) -> Machine {
        self.hardware.read_only = true;
        self
    }

    /// Records every write and flush of the disk that it boots from; [`Node::write_log`] says where.
    #[must_use]
    pub fn recorded(mut self) -> Machine {
        self.recorded = true;
        self
    }

    /// Adds an NVMe disk beside the one that it boots from; [`Node::nvme`] counts them from 0.
    #[must_use]
    pub fn nvme(mut self, nvme: Nvme) -> Machine {
        self.nvmes.push(nvme);
        self
    }

    /// Adds a network card on this network. The first is `eth0` to the guest, and so on.
    #[must_use]
    pub fn network(mut self, network: &Network) -> Machine {
        let mac = self.mac();
        self.cards.push(Card::Hub(network.clone(), mac));
        self
    }

    /// Adds a network card behind NAT, with DHCP: the world of a person at the terminal. On the raspi4b it is a USB card,
    /// the one kind that QEMU's board can have; an image needs the modules dwc2, phy-generic and cdc_ether for it.
    #[must_use]
    pub fn user_network(mut self) -> Machine {
        let mac = self.mac();
        self.cards.push(Card::User(mac, Vec::new()));
        self
    }

    /// Leads a TCP port of the host's loopback to this port of the guest, by the last [`Machine::user_network`] card.
    /// Returns the host's port, drawn by the kernel.
    ///
    /// # Errors
    /// When there is no such card or no free port.
    pub fn forward(&mut self, guest: u16) -> Result<u16, StartError> {
        let ports = self.cards.iter_mut().rev().find_map(|card| match card {
            Card::User(_, ports) => Some(ports),
            Card::Hub(..) => None,
        });
        let ports = ports.ok_or_else(|| StartError::Impossible("no user network to forward a port of".to_owned()))?;
        // Free again before QEMU takes it; the kernel gives the next ones out first.
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let io = |source| StartError::Io { doing: "finding a free port".to_owned(), source };
        let host = free.map_err(io)?.port();
        ports.push((host, guest));
        Ok(host)
    }

    /// Fixed for a node's name and a card's place; locally administered. (QEMU's USB card takes 0x40 for the first byte,
    /// which makes it a manufacturer's, and so the kernel calls that card `eth0` too.)
    fn mac(&self) -> Mac {
        let name = contract::hash::Digest::of(self.name.as_bytes()).0;
        Mac([0x52, 0x54, name[0], name[1], name[2], self.cards.len() as u8])
    }

    /// Adds a virtio-serial port with this name; the test's end is [`Node::port`].
    #[must_use]
    pub fn port(mut self, name: &str) -> Machine {
        self.ports.push(name.to_owned());
        self
    }

    /// Drops this `node.toml` on bootsel before the first start, as an operator does after flashing.
    #[must_use]
    pub fn node_config(mut self, toml: impl Into<Vec<u8>>) -> Machine {
        self.node_config = Some(toml.into());
        self
    }

    /// The BCM2711 with the image as SD card, on QEMU's raspi4b; its console is the mini UART, behind the pins where people
    /// plug in. It can have one [`Machine::user_network`] beside.
    #[must_use]
    pub fn raspi4b(mut self) -> Machine {
        self.hardware.model = Model::Raspi4b;
        self.hardware.memory_mib = 2048;
        self
    }

    /// A BCM2711 as [`Machine::raspi4b`], with the device tree of a CM4.
    #[must_use]
    pub fn cm4(mut self) -> Machine {
        self = self.raspi4b();
        self.hardware.cm4 = true;
        self
    }

    /// Lets QEMU write what it does not model (`-d unimp,guest_errors`) beside the console log, in `NAME.qemu.log`.
    #[must_use]
    pub fn qemu_log(mut self) -> Machine {
        self.qemu_log = true;
        self
    }

    /// How long the node may run in all, from start to start again; 1,200 s when not said.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Machine {
        self.deadline = deadline;
        self
    }

    /// Where its log goes; `target/boot-logs/TEST` when not said.
    #[must_use]
    pub fn log_folder(mut self, folder: impl Into<PathBuf>) -> Machine {
        self.log_folder = Some(folder.into());
        self
    }

    /// Prepares the disk. What is off can be changed: [`Node::disk`] gives the private copy.
    ///
    /// # Errors
    /// When QEMU is missing or too old, the image cannot be copied, or the machine cannot have what it was given.
    pub fn prepare(self) -> Result<Node, StartError> {
        let raspi4b = self.hardware.model == Model::Raspi4b;
        let usb = matches!(self.cards.as_slice(), [] | [Card::User(..)]);
        if raspi4b && !(usb && self.ports.is_empty() && self.nvmes.is_empty()) {
            let lacks =
                "QEMU's raspi4b has no network but one user network by USB, no virtio ports and no NVMe disks";
            return Err(StartError::Impossible(lacks.to_owned()));
        }
        if raspi4b && !RASPI4B_MEMORY_MIB.contains(&self.hardware.memory_mib) {
            let lacks = "QEMU's raspi4b has 2048 MiB of memory, of which Linux may see all or 1024 MiB";
            return Err(StartError::Impossible(lacks.to_owned()));
        }
        let name_is_fine =
            |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        let serials = self.nvmes.iter().map(|nvme| &nvme.serial).chain([&self.hardware.serial]);
        if let Some(serial) = serials.into_iter().find(|serial| !name_is_fine(serial) || serial.len() > 20) {
            return Err(StartError::Impossible(format!("{serial:?} is not a valid serial number of an NVMe disk")));
        }
        if let Some(name) = self.ports.iter().chain([&self.name]).find(|name| !name_is_fine(name)) {
            return Err(StartError::Impossible(format!("{name:?} is not a valid name of a node or port")));
        }
        let qemu = Qemu::find(self.hardware.model)?;
        let mut size = self.disk_size;
        if raspi4b {
            let image = std::fs::metadata(&self.image).map_or(0, |image| image.len());
            size = size.max(image).next_power_of_two();
        }
        let disk = Disk::copy_of(&self.image, size)?;
        if let Some(toml) = &self.node_config {
            disk.write_node_config(toml)?;
        }
        let log = if self.recorded { Some(nvme::log()?) } else { None };
        let nvmes = self.nvmes.into_iter().map(Plugged::new).collect::<Result<_, _>>()?;
        let folder = self.log_folder.unwrap_or_else(default_log_folder);
        let io = |source| StartError::Io { doing: format!("writing a log into {}", folder.display()), source };
        let record = Arc::new(Record::create(&self.name, &folder).map_err(io)?);
        Ok(Node::new(Plan {
            qemu,
            hardware: self.hardware,
            cards: self.cards,
            ports: self.ports,
            disk,
            netboot: self.netboot,
            log,
            nvmes,
            deadline: self.deadline,
            // On the raspi4b it is where the request for a trial boot is seen.
            qemu_log: (self.qemu_log || raspi4b).then(|| folder.join(format!("{}.qemu.log", self.name))),
            record,
        }))
    }

    /// Prepares the disk and switches the node on.
    ///
    /// # Errors
    /// As [`Machine::prepare`].
    pub fn start(self) -> Result<Node, StartError> {
        let mut node = self.prepare()?;
        node.power_on()?;
        Ok(node)
    }
}

/// `target/boot-logs/TEST`, where cargo's target folder can be told from the running program's place.
fn default_log_folder() -> PathBuf {
    static UNNAMED: AtomicU32 = AtomicU32::new(0);
    let program = std::env::current_exe().unwrap_or_default();
    let target = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    let test = match std::thread::current().name() {
        Some(name) if name != "main" => name.replace("::", "."),
        _ => format!("{}-{}", std::process::id(), UNNAMED.fetch_add(1, Ordering::Relaxed)),
    };
    target.map_or_else(std::env::temp_dir, Path::to_path_buf).join("boot-logs").join(test)
}
