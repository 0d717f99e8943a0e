//! Edits to a flattened device tree: what the firmware adds, and what QEMU lacks.

use crate::qemu::Hardware;
use dtoolkit::fdt::Fdt;
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use dtoolkit::{Node as _, Property as _};

/// Folder of the firmware's report.
pub const BOOTLOADER: &str = "/chosen/bootloader";

/// A device tree that cannot be edited.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("the device tree cannot be read: {0}")]
    Parse(String),
    #[error("the device tree has no node {0}")]
    NoNode(String),
    #[error("{0:?} is not a valid path or name of a device tree")]
    Name(String),
}

/// A device tree in memory.
#[derive(Clone, Debug)]
pub struct Tree(DeviceTree);

impl Tree {
    /// Reads a flattened tree (version 17).
    ///
    /// # Errors
    /// When it is not valid.
    pub fn parse(bytes: &[u8]) -> Result<Tree, TreeError> {
        let fdt = Fdt::new(bytes).map_err(|error| TreeError::Parse(error.to_string()))?;
        Ok(Tree(DeviceTree::from_fdt(&fdt)))
    }

    /// A tree with nothing in it.
    #[must_use]
    pub fn empty() -> Tree {
        Tree(DeviceTree::new())
    }

    /// The flattened tree.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.to_dtb()
    }

    /// The value of a property.
    #[must_use]
    pub fn get(&self, path: &str, property: &str) -> Option<&[u8]> {
        let mut node = &self.0.root;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            node = node.child(part)?;
        }
        Some((node.property(property)?).value())
    }

    /// Every device that is enabled, with all above it, and says what it is.
    #[must_use]
    pub fn enabled(&self) -> Vec<Enabled> {
        let mut found = Vec::new();
        collect_enabled(&self.0.root, "", &mut found);
        found
    }

    /// Adds or replaces a property; missing nodes on the way are added.
    ///
    /// # Errors
    /// When a part of the path or the name is none that the format allows.
    pub fn set(&mut self, path: &str, property: &str, value: impl Into<Vec<u8>>) -> Result<(), TreeError> {
        let mut node = &mut self.0.root;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            if node.child_mut(part).is_none() {
                node.add_child(DeviceTreeNode::new(part).map_err(|_| TreeError::Name(path.to_owned()))?);
            }
            node = node.child_mut(part).ok_or_else(|| TreeError::NoNode(path.to_owned()))?;
        }
        let property = DeviceTreeProperty::new(property, value).map_err(|_| TreeError::Name(property.to_owned()))?;
        node.add_property(property);
        Ok(())
    }

    /// Sets a 32-bit number, big-endian as the format has it.
    ///
    /// # Errors
    /// As [`Tree::set`].
    pub fn set_u32(&mut self, path: &str, property: &str, value: u32) -> Result<(), TreeError> {
        self.set(path, property, value.to_be_bytes())
    }

    /// Removes a property; that it is not there is no error.
    pub fn remove(&mut self, path: &str, property: &str) {
        if let Some(node) = self.0.find_node_mut(path) {
            node.remove_property(property);
        }
    }

    /// Makes of a BCM2711's tree one for QEMU's raspi4b, which has not every part of the board.
    ///
    /// # Errors
    /// As [`Tree::set`].
    pub(crate) fn fit_raspi4b(&mut self, hardware: &Hardware) -> Result<(), TreeError> {
        if hardware.memory_mib > LOWER_MIB {
            // QEMU tells of the first GiB; the firmware of a board adds the rest in a node of its own.
            let size = (hardware.memory_mib - LOWER_MIB) << 20;
            let reg = [0, LOWER_MIB << 20, size].map(u32::to_be_bytes).concat();
            self.set("/ram@40000000", "device_type", *b"memory\0")?;
            self.set("/ram@40000000", "reg", reg)?;
        }
        let absent =
            ABSENT_ON_RASPI4B.iter().filter(|node| !(hardware.cm4 && matches!(**node, BLUETOOTH | MINI_UART)));
        for node in absent {
            match self.disable(node) {
                // Another kernel's tree may lack one of them, which is just as good.
                Ok(()) | Err(TreeError::NoNode(_)) => {}
                Err(error) => return Err(error),
            }
        }
        // What would switch the power of a radio chip here is behind the firmware's GPIO expander, which is not there.
        self.remove(SD_HOST, "mmc-pwrseq");
        self.reset_by_its_register()?;
        self.usb_as_host();
        Ok(())
    }

    /// QEMU's model of the watchdog does not count: whoever arms it is reset at once. So its driver must not have it; but
    /// that driver is also the kernel's way to reset the board. The same register is given to the driver that does nothing
    /// else (Documentation/devicetree/bindings/power/reset/syscon-reboot.yaml).
    fn reset_by_its_register(&mut self) -> Result<(), TreeError> {
        let Some(handle) = self.get(WATCHDOG, "phandle").map(<[u8]>::to_vec) else { return Ok(()) };
        self.set(WATCHDOG, "compatible", *b"syscon\0")?;
        let reboot = "/reboot";
        self.set(reboot, "compatible", *b"syscon-reboot\0")?;
        self.set(reboot, "regmap", handle)?;
        // PM_RSTC, with the password that every write needs and the bits of a full reset (drivers/watchdog/bcm2835_wdt.c).
        self.set_u32(reboot, "offset", 0x1c)?;
        self.set_u32(reboot, "value", 0x5a00_0020)
    }

    /// The board's USB socket as QEMU has it: a host that is always powered.
    fn usb_as_host(&mut self) {
        if self.set_if_there(USB, "dr_mode", b"host\0") {
            for property in ["power-domains", "phys", "phy-names"] {
                self.remove(USB, property);
            }
        }
    }

    fn set_if_there(&mut self, path: &str, property: &str, value: &[u8]) -> bool {
        self.0.find_node_mut(path).is_some() && self.set(path, property, value).is_ok()
    }

    /// Takes a device away from the kernel.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn disable(&mut self, path: &str) -> Result<(), TreeError> {
        if self.0.find_node_mut(path).is_none() {
            return Err(TreeError::NoNode(path.to_owned()));
        }
        self.set(path, "status", *b"disabled\0")
    }

    /// Writes what the EEPROM reports: [`BOOTLOADER`] with `partition`, `tryboot`, `boot-mode` and the rest.
    ///
    /// # Errors
    /// As [`Tree::set`].
    pub fn set_bootloader(&mut self, report: &Report) -> Result<(), TreeError> {
        self.set_u32(BOOTLOADER, "partition", report.partition)?;
        self.set_u32(BOOTLOADER, "tryboot", u32::from(report.tryboot))?;
        self.set_u32(BOOTLOADER, "boot-mode", report.mode as u32)?;
        self.set_u32(BOOTLOADER, "build-timestamp", report.built)?;
        self.set_u32(BOOTLOADER, "capabilities", CAPABILITIES)
    }
}

/// A device that is enabled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enabled {
    pub path: String,
    /// What it is, the most exact name first.
    pub compatible: Vec<String>,
}

fn collect_enabled(node: &DeviceTreeNode, path: &str, found: &mut Vec<Enabled>) {
    let text =
        |name: &str| node.property(name).map(|property| String::from_utf8_lossy(property.value()).into_owned());
    // Devicetree specification 0.4, section 2.3.4: without the property it is enabled.
    if text("status").is_some_and(|status| !["okay", "ok"].contains(&status.trim_end_matches('\0'))) {
        return;
    }
    if let Some(compatible) = text("compatible") {
        let compatible = compatible.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        found.push(Enabled { path: path.to_owned(), compatible });
    }
    for child in node.children() {
        collect_enabled(child, &format!("{path}/{}", child.name()), found);
    }
}

/// What the EEPROM reports of a boot.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    pub partition: u32,
    pub tryboot: bool,
    pub mode: BootMode,
    /// When its release was built, in seconds since 1970.
    pub built: u32,
}

/// Digits of `BOOT_ORDER` in the EEPROM's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootMode {
    /// SD card or eMMC.
    Sd = 1,
    Nvme = 6,
}

/// Raspberry Pi documentation, "BCM2711 bootloader properties": USB (0), network (1), tryboot_a_b (2), tryboot (3),
/// USB of the SoC (4), boot.img (5), NVMe (6).
const CAPABILITIES: u32 = 0x7f;

/// Where QEMU plugs the card in: the older of the two SD hosts, which on the board has the radio chip.
const SD_HOST: &str = "/soc/mmc@7e300000";

/// Memory that the firmware reaches, in MiB.
const LOWER_MIB: u32 = 1024;

/// The chip behind the PL011.
const BLUETOOTH: &str = "/soc/serial@7e201000/bluetooth";

/// The UART behind the pins where people plug in.
const MINI_UART: &str = "/soc/serial@7e215040";

/// Watchdog, reset and power domains.
const WATCHDOG: &str = "/soc/watchdog@7e100000";
const USB: &str = "/soc/usb@7e980000";

/// What QEMU's raspi4b has no model of, and what would stop Debian's kernel there.
pub const ABSENT_ON_RASPI4B: &[&str] = &[
    "/soc/txp@7e004000",
    "/soc/spi@7e204000",
    "/soc/i2c@7e205000",
    "/soc/dsi@7e209000",
    "/soc/spi@7e215080",
    "/soc/spi@7e2150c0",
    "/soc/pwm@7e20c000",
    "/soc/hvs@7e400000",
    "/soc/dsi@7e700000",
    "/soc/csi@7e800000",
    "/soc/csi@7e801000",
    "/soc/i2c@7e804000",
    "/soc/avs-monitor@7d5d2000",
    "/soc/rng@7e104000",
    "/soc/spi@7e204600",
    "/soc/spi@7e204800",
    "/soc/spi@7e204a00",
    "/soc/spi@7e204c00",
    "/soc/i2c@7e205600",
    "/soc/i2c@7e205800",
    "/soc/i2c@7e205a00",
    "/soc/i2c@7e205c00",
    "/soc/pixelvalve@7e206000",
    "/soc/pixelvalve@7e207000",
    "/soc/pixelvalve@7e20a000",
    "/soc/pwm@7e20c800",
    "/soc/pixelvalve@7e216000",
    "/soc/pixelvalve@7ec12000",
    "/soc/vec@7ec13000",
    "/soc/clock@7ef00000",
    "/soc/interrupt-controller@7ef00100",
    "/soc/hdmi@7ef00700",
    "/soc/i2c@7ef04500",
    "/soc/hdmi@7ef05700",
    "/soc/i2c@7ef09500",
    "/scb/pcie@7d500000",
    "/scb/ethernet@7d580000",
    "/gpu",
    // There, but without the card.
    "/emmc2bus/mmc@7e340000",
    "/soc/mmc@7e300000/wifi@1",
    // Not absent, but with a Bluetooth chip behind it the UART takes no keys for the console.
    BLUETOOTH,
    // QEMU's model lacks the registers of modem lines, and its interrupt does not end once a program has opened the port.
    MINI_UART,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    /// Runs a tool of the device tree compiler's package over `input`.
    fn tool(name: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new(name)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; on Debian: apt-get install device-tree-compiler"));
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{name} failed");
        output.stdout
    }

    fn compiled(source: &str) -> Vec<u8> {
        tool("dtc", &["-q", "-I", "dts", "-O", "dtb", "-"], source.as_bytes())
    }

    fn source(blob: &[u8]) -> String {
        String::from_utf8(tool("dtc", &["-q", "-I", "dtb", "-O", "dts", "-"], blob)).unwrap()
    }

    const BOARD: &str = "/dts-v1/;\n/memreserve/ 0x1000 0x2000;\n/ { compatible = \"a\", \"b\"; \
                         soc { i2c@7e205000 { reg = <1 2>; status = \"okay\"; }; }; chosen { bootargs = \"x\"; }; };";

    #[test]
    fn an_unchanged_tree_is_the_same_to_dtc() {
        let blob = compiled(BOARD);
        assert_eq!(source(&Tree::parse(&blob).unwrap().to_bytes()), source(&blob));
    }

    #[test]
    fn the_bootloader_report_is_read_by_fdtget() {
        let mut tree = Tree::parse(&compiled(BOARD)).unwrap();
        tree.set_bootloader(&Report { partition: 3, tryboot: true, mode: BootMode::Nvme, built: 1 }).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), tree.to_bytes()).unwrap();
        let path = file.path().to_str().unwrap();
        for (property, value) in [("partition", "3"), ("tryboot", "1"), ("boot-mode", "6")] {
            let found = tool("fdtget", &["-t", "u", path, BOOTLOADER, property], b"");
            assert_eq!(String::from_utf8(found).unwrap().trim(), value, "{property}");
        }
        assert!(tree.get("/chosen", "bootargs").is_some(), "what stood there before still stands");
    }

    #[test]
    fn a_disabled_device_is_disabled_to_dtc() {
        let mut tree = Tree::parse(&compiled(BOARD)).unwrap();
        tree.disable("/soc/i2c@7e205000").unwrap();
        let text = source(&tree.to_bytes());
        assert!(text.contains("status = \"disabled\"") && !text.contains("okay"), "{text}");
    }

    #[test]
    fn a_disabled_device_hides_what_is_below_it() {
        let board = "/dts-v1/;\n/ { compatible = \"x\"; soc { a { compatible = \"p,q\", \"r\"; status = \"okay\"; }; \
                     b { status = \"disabled\"; c { compatible = \"s\"; }; }; }; };";
        let devices = Tree::parse(&compiled(board)).unwrap().enabled();
        let found: Vec<(&str, Vec<&str>)> = devices
            .iter()
            .map(|device| (device.path.as_str(), device.compatible.iter().map(String::as_str).collect()))
            .collect();
        assert_eq!(found, [("", vec!["x"]), ("/soc/a", vec!["p,q", "r"])]);
    }

    #[test]
    fn a_device_that_is_not_there_cannot_be_disabled() {
        let mut tree = Tree::parse(&compiled(BOARD)).unwrap();
        assert!(matches!(tree.disable("/soc/nothing"), Err(TreeError::NoNode(_))));
    }

    #[test]
    fn the_tree_of_a_raspi4b_keeps_its_card_and_loses_what_qemu_lacks() {
        let board = "/dts-v1/;\n/ { soc { watchdog@7e100000 { phandle = <41>; }; serial@7e201000 { }; \
                     rng@7e104000 { }; usb@7e980000 { dr_mode = \"otg\"; phys = <2>; }; \
                     mmc@7e300000 { mmc-pwrseq = <3>; bus-width = <4>; }; }; };";
        let mut tree = Tree::parse(&compiled(board)).unwrap();
        tree.fit_raspi4b(&hardware(false)).unwrap();
        assert_eq!(tree.get("/soc/rng@7e104000", "status").unwrap(), b"disabled\0");
        assert_eq!(tree.get(WATCHDOG, "compatible").unwrap(), b"syscon\0");
        assert_eq!(tree.get("/reboot", "regmap").unwrap(), 41_u32.to_be_bytes());
        assert_eq!((tree.get(USB, "dr_mode").unwrap(), tree.get(USB, "phys")), (&b"host\0"[..], None));
        assert_eq!(tree.get(SD_HOST, "mmc-pwrseq"), None);
        assert_eq!(tree.get(SD_HOST, "bus-width").unwrap(), 4_u32.to_be_bytes());
        assert_eq!(tree.get("/soc/serial@7e201000", "status"), None);
    }

    fn hardware(cm4: bool) -> Hardware {
        Hardware {
            model: crate::qemu::Model::Raspi4b,
            memory_mib: 2048,
            cpus: 4,
            serial: String::new(),
            emmc: false,
            read_only: false,
            kaslr: false,
            clock: None,
            eeprom: crate::eeprom::Eeprom::default(),
            cm4,
        }
    }

    #[test]
    fn linux_sees_memory_above_the_firmwares_reach_and_a_cm4_keeps_its_bluetooth_chip() {
        let board = "/dts-v1/;\n/ { soc { serial@7e201000 { bluetooth { compatible = \"b\"; }; }; }; };";
        for (cm4, status) in [(true, None), (false, Some(&b"disabled\0"[..]))] {
            let mut tree = Tree::parse(&compiled(board)).unwrap();
            tree.fit_raspi4b(&hardware(cm4)).unwrap();
            assert_eq!(tree.get(BLUETOOTH, "status"), status);
            assert_eq!(tree.get("/ram@40000000", "reg").unwrap(), [0, 0, 0, 0, 0x40, 0, 0, 0, 0x40, 0, 0, 0]);
        }
        let mut tree = Tree::parse(&compiled(board)).unwrap();
        tree.fit_raspi4b(&Hardware { memory_mib: 1024, ..hardware(false) }).unwrap();
        assert_eq!(tree.get("/ram@40000000", "reg"), None);
    }

    #[test]
    fn text_is_no_device_tree() {
        assert!(matches!(Tree::parse(b"kernel=kernel8.img\n"), Err(TreeError::Parse(_))));
    }

    proptest! {
        #[test]
        fn damaged_trees_do_not_panic(at: prop::sample::Index, value: u8, cut: prop::sample::Index) {
            static BLOB: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let mut blob = BLOB.get_or_init(|| compiled(BOARD)).clone();
            let at = at.index(blob.len());
            blob[at] = value;
            let _ = Tree::parse(&blob).map(|tree| tree.to_bytes());
            blob.truncate(cut.index(blob.len()));
            let _ = Tree::parse(&blob);
        }

        #[test]
        fn numbers_are_read_back(value: u32, name in "[a-z][a-z0-9-]{0,20}") {
            let mut tree = Tree::parse(&compiled("/dts-v1/;\n/ { };")).unwrap();
            tree.set_u32("/chosen/deep/er", &name, value).unwrap();
            let again = Tree::parse(&tree.to_bytes()).unwrap();
            prop_assert_eq!(again.get("/chosen/deep/er", &name).unwrap(), value.to_be_bytes());
        }
    }
}
