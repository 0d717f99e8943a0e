//! How the device tree of a BCM2711 differs under QEMU's raspi4b from the one that a board gets, and why: [`DIFFERENCES`] is
//! the whole list. Everything else in the tree is the board's.

use super::{Tree, TreeError};
use crate::qemu::Hardware;

/// A node that is not as on the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    pub node: &'static str,
    pub change: Change,
    /// What QEMU 10 does otherwise than the board.
    pub reason: &'static str,
}

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The emulator disables it.
    Disabled,
    /// QEMU disables it, whatever tree it is given (hw/arm/raspi4b.c).
    DisabledByQemu,
    /// The emulator changes its properties.
    Changed,
    /// The emulator adds it.
    Added,
}

/// Where QEMU plugs the card in: the older of the two SD hosts, which on the board has the radio chip.
const SD_HOST: &str = "/soc/mmc@7e300000";
/// Watchdog, reset and power domains.
const WATCHDOG: &str = "/soc/watchdog@7e100000";
const USB: &str = "/soc/usb@7e980000";
/// The UART behind the pins where people plug in.
const MINI_UART: &str = "/soc/serial@7e215040";
const REBOOT: &str = "/reboot";
const UPPER_MEMORY: &str = "/ram@40000000";

/// Memory that the firmware reaches, in MiB.
const LOWER_MIB: u32 = 1024;

/// Each difference with its reason.
pub const DIFFERENCES: [Difference; 14] = [
    disabled("/soc/clock@7ef00000", "no model of the display's clocks: the first access of their driver is an abort"),
    disabled(
        "/soc/interrupt-controller@7ef00100",
        "no model of the display's interrupt controller: the first access of its driver is an abort",
    ),
    disabled(
        "/soc/i2c@7ef04500",
        "no model of the bus to the first display: the first access of its driver is an abort",
    ),
    disabled(
        "/soc/i2c@7ef09500",
        "no model of the bus to the second display: the first access of its driver is an abort",
    ),
    by_qemu("/scb/pcie@7d500000", "no model of the PCIe host"),
    by_qemu("/scb/ethernet@7d580000", "no model of the Ethernet port"),
    by_qemu("/soc/rng@7e104000", "no model of this random number generator"),
    by_qemu(
        "/soc/avs-monitor@7d5d2000/thermal",
        "no model of the temperature sensor; the firmware's mailbox has one",
    ),
    changed(
        WATCHDOG,
        "the model of the watchdog does not count: whoever arms it is reset at once. So its driver must not have it; the \
         register is given to a driver that does nothing but reset",
    ),
    added(
        REBOOT,
        "the watchdog's driver is also the kernel's way to reset the board, and does not have the register here",
    ),
    changed(
        MINI_UART,
        "the model has no divisor latch: what the driver writes to the upper half of the divisor comes to the register that \
         enables interrupts. Half of 542, which 115200 baud take on the board, is an interrupt that no one has asked for \
         and that never ends. A slower clock makes the upper half 0",
    ),
    changed(
        SD_HOST,
        "the card is on the host of the radio chip, whose power switch is behind the firmware's GPIO expander",
    ),
    changed(USB, "the model of the USB port is a host that is always powered and has no PHY"),
    added(UPPER_MEMORY, "QEMU tells of the first GiB only; the firmware of a board adds the rest"),
];

const fn disabled(node: &'static str, reason: &'static str) -> Difference {
    Difference { node, change: Change::Disabled, reason }
}

const fn by_qemu(node: &'static str, reason: &'static str) -> Difference {
    Difference { node, change: Change::DisabledByQemu, reason }
}

const fn changed(node: &'static str, reason: &'static str) -> Difference {
    Difference { node, change: Change::Changed, reason }
}

const fn added(node: &'static str, reason: &'static str) -> Difference {
    Difference { node, change: Change::Added, reason }
}

/// Baud rate of the mini UART, and what its driver divides the clock by for it (drivers/tty/serial/8250/8250_bcm2835aux.c).
/// The lower half of the divisor is sent as a character by a model without a latch: it is a carriage return.
const BAUD: u32 = 115_200;
const DIVISOR: u32 = b'\r' as u32;

impl Tree {
    /// Makes of a BCM2711's tree one for QEMU's raspi4b, which has not every part of the board: [`DIFFERENCES`].
    ///
    /// # Errors
    /// As [`Tree::set`].
    pub(crate) fn fit_raspi4b(&mut self, hardware: &Hardware) -> Result<(), TreeError> {
        for difference in DIFFERENCES.iter().filter(|difference| difference.change == Change::Disabled) {
            match self.disable(difference.node) {
                // Another kernel's tree may lack one of them, which is just as good.
                Ok(()) | Err(TreeError::NoNode(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if hardware.memory_mib > LOWER_MIB {
            let size = (hardware.memory_mib - LOWER_MIB) << 20;
            let reg = [0, LOWER_MIB << 20, size].map(u32::to_be_bytes).concat();
            self.set(UPPER_MEMORY, "device_type", *b"memory\0")?;
            self.set(UPPER_MEMORY, "reg", reg)?;
        }
        self.remove(SD_HOST, "mmc-pwrseq");
        self.reset_by_its_register()?;
        if self.set_if_there(USB, "dr_mode", b"host\0") {
            for property in ["power-domains", "phys", "phy-names"] {
                self.remove(USB, property);
            }
        }
        // The hardware divides by 8.
        if self.set_if_there(MINI_UART, "clock-frequency", &(BAUD * 8 * DIVISOR).to_be_bytes()) {
            self.remove(MINI_UART, "clocks");
        }
        Ok(())
    }

    /// Documentation/devicetree/bindings/power/reset/syscon-reboot.yaml
    fn reset_by_its_register(&mut self) -> Result<(), TreeError> {
        let Some(handle) = self.get(WATCHDOG, "phandle").map(<[u8]>::to_vec) else { return Ok(()) };
        self.set(WATCHDOG, "compatible", *b"syscon\0")?;
        self.set(REBOOT, "compatible", *b"syscon-reboot\0")?;
        self.set(REBOOT, "regmap", handle)?;
        // PM_RSTC, with the password that every write needs and the bits of a full reset (drivers/watchdog/bcm2835_wdt.c).
        self.set_u32(REBOOT, "offset", 0x1c)?;
        self.set_u32(REBOOT, "value", 0x5a00_0020)
    }

    fn set_if_there(&mut self, path: &str, property: &str, value: &[u8]) -> bool {
        self.0.find_node_mut(path).is_some() && self.set(path, property, value).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::compiled;
    use super::*;
    use crate::qemu::{Model, SystemDisk};
    use dtoolkit::model::DeviceTreeNode;
    use dtoolkit::{Node as _, Property as _};
    use std::collections::BTreeMap;

    const BLUETOOTH: &str = "/soc/serial@7e201000/bluetooth";
    /// A board's tree, as far as it matters: what is changed, and some of what must stay.
    const BOARD: &str = "/dts-v1/;\n/ { soc { watchdog@7e100000 { phandle = <41>; }; \
                         serial@7e201000 { bluetooth { compatible = \"b\"; }; }; \
                         serial@7e215040 { clocks = <7 8>; status = \"okay\"; }; i2c@7e804000 { status = \"okay\"; }; \
                         clock@7ef00000 { }; interrupt-controller@7ef00100 { }; i2c@7ef04500 { status = \"okay\"; }; \
                         i2c@7ef09500 { }; usb@7e980000 { dr_mode = \"otg\"; phys = <2>; power-domains = <1>; }; \
                         mmc@7e300000 { mmc-pwrseq = <3>; bus-width = <4>; wifi@1 { }; }; }; \
                         emmc2bus { mmc@7e340000 { }; }; };";

    fn hardware(memory_mib: u32) -> Hardware {
        Hardware {
            model: Model::Raspi4b,
            memory_mib,
            cpus: 4,
            serial: String::new(),
            system: SystemDisk::Nvme,
            read_only: false,
            kaslr: false,
            clock: None,
            eeprom: crate::eeprom::Eeprom::default(),
            board_serial: None,
            cm4: true,
        }
    }

    /// Every node's properties, by its path.
    fn nodes(tree: &Tree) -> BTreeMap<String, BTreeMap<String, Vec<u8>>> {
        fn collect(node: &DeviceTreeNode, path: &str, found: &mut BTreeMap<String, BTreeMap<String, Vec<u8>>>) {
            let properties = node.properties().map(|one| (one.name().to_owned(), one.value().to_vec())).collect();
            found.insert(path.to_owned(), properties);
            for child in node.children() {
                collect(child, &format!("{path}/{}", child.name()), found);
            }
        }
        let mut found = BTreeMap::new();
        collect(&tree.0.root, "", &mut found);
        found
    }

    #[test]
    fn every_node_that_differs_is_listed_with_its_reason_and_every_listed_one_differs() {
        let board = Tree::parse(&compiled(BOARD)).unwrap();
        let mut tree = board.clone();
        tree.fit_raspi4b(&hardware(2048)).unwrap();
        let (before, after) = (nodes(&board), nodes(&tree));
        let mut differ: Vec<(&str, Change)> = after
            .iter()
            .filter_map(|(path, properties)| {
                let disabled = properties.get("status").is_some_and(|status| status == b"disabled\0");
                match before.get(path) {
                    Some(same) if same == properties => None,
                    Some(_) if disabled => Some((path.as_str(), Change::Disabled)),
                    Some(_) => Some((path.as_str(), Change::Changed)),
                    None => Some((path.as_str(), Change::Added)),
                }
            })
            .collect();
        let mut listed: Vec<(&str, Change)> = DIFFERENCES
            .iter()
            .filter(|difference| difference.change != Change::DisabledByQemu)
            .map(|difference| (difference.node, difference.change))
            .collect();
        differ.sort_by_key(|(node, _)| *node);
        listed.sort_by_key(|(node, _)| *node);
        assert_eq!(differ, listed);
        assert!(before.keys().all(|path| after.contains_key(path)), "no node is removed");
        for Difference { node, reason, .. } in DIFFERENCES {
            assert!(node.starts_with('/') && reason.split(' ').count() > 3, "{node}: {reason:?}");
        }
    }

    #[test]
    fn linux_sees_memory_above_the_firmwares_reach() {
        let mut tree = Tree::parse(&compiled(BOARD)).unwrap();
        tree.fit_raspi4b(&hardware(2048)).unwrap();
        assert_eq!(tree.get(UPPER_MEMORY, "reg").unwrap(), [0, 0, 0, 0, 0x40, 0, 0, 0, 0x40, 0, 0, 0]);
        let mut tree = Tree::parse(&compiled(BOARD)).unwrap();
        tree.fit_raspi4b(&hardware(1024)).unwrap();
        assert_eq!(tree.get(UPPER_MEMORY, "reg"), None);
    }

    #[test]
    fn what_is_changed_is_what_qemu_needs_and_the_bluetooth_chip_stays() {
        let mut tree = Tree::parse(&compiled(BOARD)).unwrap();
        tree.fit_raspi4b(&hardware(2048)).unwrap();
        assert_eq!(tree.get(WATCHDOG, "compatible").unwrap(), b"syscon\0");
        assert_eq!(tree.get(REBOOT, "regmap").unwrap(), 41_u32.to_be_bytes());
        assert_eq!((tree.get(USB, "dr_mode").unwrap(), tree.get(USB, "phys")), (&b"host\0"[..], None));
        assert_eq!(tree.get(SD_HOST, "mmc-pwrseq"), None);
        assert_eq!(tree.get(SD_HOST, "bus-width").unwrap(), 4_u32.to_be_bytes());
        assert_eq!((tree.get(MINI_UART, "clocks"), tree.get(BLUETOOTH, "status")), (None, None));
        // The kernel's divisor for a clock twice as fast, divided by 16: it must fit into the lower half.
        let clock = tree.get(MINI_UART, "clock-frequency").unwrap();
        let clock = u32::from_be_bytes(clock.try_into().unwrap());
        assert_eq!(2 * clock / (16 * BAUD), DIVISOR);
        const { assert!(DIVISOR < 256) };
    }
}
