//! Changes that every image makes to the kernel's device trees.

use contract::names::{DT_MAILBOX_PAGE, MAILBOX_PAGE};
use emulator::devicetree::{Tree, TreeError};

/// Length of the reserved page, in bytes.
const PAGE: u32 = 4096;
const RESERVED: &str = "/reserved-memory";
/// The PCIe controller, and how it may treat CLKREQ# (Linux, Documentation/devicetree/bindings/pci/brcm,stb-pcie.yaml).
const PCIE: &str = "/scb/pcie@7d500000";
pub const CLKREQ_MODES: [&str; 3] = ["safe", "no-l1ss", "default"];

/// A device tree that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DeviceTreeError {
    #[error("{name}: {source}")]
    Tree { name: String, source: TreeError },
    #[error(
        "{name}: /reserved-memory has {found} cells for an address and a size; only 2 and 1, or 2 and 2, are \
        supported"
    )]
    Cells { name: String, found: String },
}

/// Says how the PCIe controller is to treat CLKREQ#; one of [`CLKREQ_MODES`].
///
/// # Errors
/// When the tree is damaged.
pub fn set_clkreq(name: &str, bytes: &[u8], mode: &str) -> Result<Vec<u8>, DeviceTreeError> {
    let wrong = |source| DeviceTreeError::Tree { name: name.to_owned(), source };
    let mut tree = Tree::parse(bytes).map_err(wrong)?;
    if tree.get(PCIE, "compatible").is_none() {
        return Err(wrong(TreeError::NoNode(PCIE.to_owned())));
    }
    tree.set(PCIE, "brcm,clkreq-mode", format!("{mode}\0")).map_err(wrong)?;
    Ok(tree.to_bytes())
}

/// Reserves the page through which the node asks the firmware (Devicetree specification 0.4, section 3.5): no-map, so that
/// Linux neither uses it nor keeps it in its caches.
///
/// # Errors
/// When the tree is damaged or lays out its reserved memory in another way.
pub fn reserve_mailbox(name: &str, bytes: &[u8]) -> Result<Vec<u8>, DeviceTreeError> {
    let wrong = |source| DeviceTreeError::Tree { name: name.to_owned(), source };
    let mut tree = Tree::parse(bytes).map_err(wrong)?;
    let number = |tree: &Tree, path: &str, property: &str| {
        Some(u32::from_be_bytes(tree.get(path, property)?.try_into().ok()?))
    };
    if tree.get(RESERVED, "#address-cells").is_none() {
        for property in ["#address-cells", "#size-cells"] {
            // The specification wants the root's, and gives 2 and 1 to a root without them.
            let cells = number(&tree, "/", property).unwrap_or(if property == "#size-cells" { 1 } else { 2 });
            tree.set_u32(RESERVED, property, cells).map_err(wrong)?;
        }
        tree.set(RESERVED, "ranges", Vec::new()).map_err(wrong)?;
    }
    let cells = ["#address-cells", "#size-cells"].map(|property| number(&tree, RESERVED, property));
    let size = match cells {
        [Some(2), Some(1)] => PAGE.to_be_bytes().to_vec(),
        [Some(2), Some(2)] => u64::from(PAGE).to_be_bytes().to_vec(),
        found => return Err(DeviceTreeError::Cells { name: name.to_owned(), found: format!("{found:?}") }),
    };
    let node = DT_MAILBOX_PAGE.trim_start_matches("/proc/device-tree");
    let reg = [u64::from(MAILBOX_PAGE).to_be_bytes().as_slice(), &size].concat();
    tree.set(node, "reg", reg).map_err(wrong)?;
    tree.set(node, "no-map", Vec::new()).map_err(wrong)?;
    Ok(tree.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(cells: &[(&str, &str, u32)]) -> Vec<u8> {
        let mut tree = Tree::empty();
        for (path, property, value) in cells {
            tree.set_u32(path, property, *value).unwrap();
        }
        tree.to_bytes()
    }

    #[test]
    fn the_page_is_reserved_beside_what_is_reserved_already() {
        let before = tree(&[
            (RESERVED, "#address-cells", 2),
            (RESERVED, "#size-cells", 1),
            ("/reserved-memory/linux,cma", "size", 0x400_0000),
        ]);
        let after = Tree::parse(&reserve_mailbox("x.dtb", &before).unwrap()).unwrap();
        let node = "/reserved-memory/microdc@10000000";
        assert_eq!(after.get(node, "reg").unwrap(), [0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0x10, 0]);
        assert_eq!(after.get(node, "no-map").unwrap(), b"");
        assert!(after.get("/reserved-memory/linux,cma", "size").is_some());
    }

    #[test]
    fn the_pcie_controller_is_told_how_to_treat_clkreq_where_there_is_one() {
        let mut tree = Tree::empty();
        tree.set(PCIE, "compatible", *b"brcm,bcm2711-pcie\0").unwrap();
        let after = Tree::parse(&set_clkreq("x.dtb", &tree.to_bytes(), "safe").unwrap()).unwrap();
        assert_eq!(after.get(PCIE, "brcm,clkreq-mode").unwrap(), b"safe\0");
        assert!(set_clkreq("x.dtb", &Tree::empty().to_bytes(), "safe").unwrap_err().to_string().contains(PCIE));
    }

    #[test]
    fn a_tree_without_reserved_memory_gets_the_cells_of_its_root() {
        let before = tree(&[("/", "#address-cells", 2), ("/", "#size-cells", 2)]);
        let after = Tree::parse(&reserve_mailbox("x.dtb", &before).unwrap()).unwrap();
        assert_eq!(after.get(RESERVED, "ranges").unwrap(), b"");
        assert_eq!(after.get("/reserved-memory/microdc@10000000", "reg").unwrap().len(), 16);
    }

    #[test]
    fn another_layout_and_text_are_refused_with_the_files_name() {
        let odd = tree(&[(RESERVED, "#address-cells", 1), (RESERVED, "#size-cells", 1)]);
        let error = reserve_mailbox("odd.dtb", &odd).unwrap_err().to_string();
        assert!(error.contains("odd.dtb") && error.contains("cells"), "{error}");
        let error = reserve_mailbox("text.dtb", b"kernel=kernel8.img").unwrap_err().to_string();
        assert!(error.contains("text.dtb"), "{error}");
    }
}
