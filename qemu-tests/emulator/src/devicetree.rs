//! Edits to a flattened device tree: what the firmware adds, and what QEMU lacks ([`raspi4b`]).

pub mod raspi4b;

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

    /// Gives `virt` the zones of a BCM2711: only the first GiB of its memory, which begins at 1 GiB, is within reach of every
    /// device (`ZONE_DMA`); memory up to 4 GiB is `ZONE_DMA32`, and the rest `ZONE_NORMAL`. Linux takes the least of all
    /// `dma-ranges` for the limit (`of_dma_get_max_cpu_address` in drivers/of/address.c).
    ///
    /// # Errors
    /// As [`Tree::set`].
    pub(crate) fn limit_reach(&mut self) -> Result<(), TreeError> {
        const NODE: &str = "/lower-memory";
        const GIB: u32 = 1 << 30;
        self.set_u32(NODE, "#address-cells", 2)?;
        self.set_u32(NODE, "#size-cells", 2)?;
        self.set(NODE, "dma-ranges", [0, GIB, 0, GIB, 0, GIB].map(u32::to_be_bytes).concat())
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
    Network = 2,
    /// A disk on a Pi 4 B's USB sockets, which are behind PCIe.
    Usb = 4,
    Nvme = 6,
}

/// Raspberry Pi documentation, "BCM2711 bootloader properties": USB (0), network (1), tryboot_a_b (2), tryboot (3),
/// USB of the SoC (4), boot.img (5), NVMe (6).
const CAPABILITIES: u32 = 0x7f;

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

    pub(super) fn compiled(source: &str) -> Vec<u8> {
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
