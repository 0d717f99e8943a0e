//! Firmware that kernel modules ask for (`firmware=` in their `.modinfo`), and whether the image has it.
//!
//! A module lists the files of every device that it drives, and works without them for some: what is missing is worth a
//! warning, not more.

use super::modules::Module;
use crate::tree::Tree;
use globset::GlobBuilder;
use std::collections::BTreeSet;

/// Where the kernel looks (Documentation/driver-api/firmware/fw_search_path.rst), under merged `/usr`.
const FOLDER: &str = "usr/lib/firmware/";
/// Endings of packed files that the kernel reads (CONFIG_FW_LOADER_COMPRESS).
const PACKED: [&str; 3] = ["", ".xz", ".zst"];
/// Debian's packages of firmware, by the beginnings of the files' names. All others are in firmware-misc-nonfree.
const PACKAGES: [(&str, &str); 12] = [
    ("ath10k/", "firmware-atheros"),
    ("ath11k/", "firmware-atheros"),
    ("ath9k_htc/", "firmware-ath9k-htc"),
    ("bnx2/", "firmware-bnx2"),
    ("bnx2x/", "firmware-bnx2x"),
    ("brcm/", "firmware-brcm80211"),
    ("cypress/", "firmware-brcm80211"),
    ("cxgb4/", "firmware-misc-nonfree"),
    ("iwlwifi-", "firmware-iwlwifi"),
    ("mediatek/", "firmware-mediatek"),
    ("qed/", "firmware-qlogic"),
    ("rtl_nic/", "firmware-realtek"),
];
const OTHERS: &str = "firmware-misc-nonfree";

/// A module of whose firmware the image has nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub module: String,
    /// What it asks for.
    pub files: Vec<String>,
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = self.files.first().map_or("", String::as_str);
        let more = match self.files.len() {
            0 | 1 => String::new(),
            all => format!(" and {} more", all - 1),
        };
        let package = package(first);
        // The files of a device are in one folder.
        let take = first.rsplit_once('/').map_or(first, |(folder, _)| folder);
        write!(
            f,
            "the kernel module {module} may ask for firmware that is not in the image: {first}{more}. If its device needs it: \
             `[packages.{package}]`, `component = \"non-free-firmware\"`, `take = [\"{FOLDER}{take}\"]`; if not: \
             `[kernel] missing_firmware = [\"{module}\"]`",
            module = self.module
        )
    }
}

/// The package that probably has a file of firmware.
fn package(file: &str) -> &'static str {
    PACKAGES.iter().find(|(begin, _)| file.starts_with(begin)).map_or(OTHERS, |(_, package)| package)
}

/// Modules that ask for firmware of which the image has no file, but for those that are accepted by name.
#[must_use]
pub fn missing<'m>(
    modules: impl Iterator<Item = &'m Module>,
    tree: &Tree,
    accepted: &BTreeSet<String>,
) -> Vec<Missing> {
    let asking = modules.filter(|module| !module.firmware.is_empty() && !accepted.contains(&module.name));
    let lacking = asking.filter(|module| !module.firmware.iter().any(|file| is_there(tree, file)));
    lacking.map(|module| Missing { module: module.name.clone(), files: module.firmware.clone() }).collect()
}

fn is_there(tree: &Tree, file: &str) -> bool {
    let path = format!("{FOLDER}{}", file.trim_start_matches('/'));
    if !path.contains('*') {
        return PACKED.iter().any(|ending| tree.resolve(&format!("{path}{ending}")).is_some());
    }
    let glob =
        GlobBuilder::new(&format!("{path}{{,.xz,.zst}}")).empty_alternates(true).literal_separator(true).build();
    let Ok(glob) = glob.map(|glob| glob.compile_matcher()) else { return false };
    let below = tree.nodes.range(FOLDER.to_owned()..).map(|(path, _)| path);
    below.take_while(|path| path.starts_with(FOLDER)).any(|path| glob.is_match(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Content, Kind, Node};

    fn module(name: &str, firmware: &[&str]) -> Module {
        let firmware = firmware.iter().map(|&file| file.to_owned()).collect();
        Module { name: name.to_owned(), path: String::new(), content: Content::from(Vec::new()), firmware }
    }

    fn found(files: &[&str], accepted: &[&str]) -> Vec<String> {
        let mut tree = Tree::default();
        for path in files {
            tree.nodes.insert((*path).to_owned(), Node::of(Kind::File(Content::from(vec![1])), 0o644, "x"));
        }
        let modules = [
            module("r8169", &["rtl_nic/rtl8168d-1.fw", "rtl_nic/rtl8168g-2.fw"]),
            module("brcmfmac", &["brcm/brcmfmac*-sdio.*.bin"]),
            module("e1000e", &[]),
        ];
        let accepted = accepted.iter().map(|&name| name.to_owned()).collect();
        missing(modules.iter(), &tree, &accepted).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn modules_without_their_firmware_are_named_with_what_to_write() {
        let all = found(&[], &[]);
        assert_eq!(all.len(), 2, "{all:?}");
        for part in [
            "module r8169 may ask for firmware",
            "rtl_nic/rtl8168d-1.fw and 1 more",
            "[packages.firmware-realtek]",
            "take = [\"usr/lib/firmware/rtl_nic\"]",
            "missing_firmware = [\"r8169\"]",
        ] {
            assert!(all[0].contains(part), "no {part:?} in {all:?}");
        }
    }

    #[test]
    fn one_file_is_enough_also_packed_or_by_pattern_and_what_is_accepted_is_not_named() {
        let packed = ["usr/lib/firmware/rtl_nic/rtl8168g-2.fw.xz"];
        assert!(found(&packed, &[])[0].contains("brcmfmac"));
        let both = [packed[0], "usr/lib/firmware/brcm/brcmfmac43455-sdio.raspberrypi.bin"];
        assert_eq!(found(&both, &[]), Vec::<String>::new());
        let elsewhere =
            ["usr/lib/firmware/rtl_nic/rtl8168g-2.fw.old", "usr/lib/firmware/brcm/x/brcmfmac1-sdio.a.bin"];
        assert_eq!(found(&elsewhere, &[]).len(), 2);
        assert_eq!(found(&[], &["r8169", "brcmfmac"]), Vec::<String>::new());
    }
}
