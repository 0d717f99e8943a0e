//! `[disks]`: what becomes of the node's storage besides the system itself.

use super::problem::{Problem, problem};
use serde::{Deserialize, Serialize};

/// Settings of `data`. Default: no disk is claimed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Disks {
    /// What `data` is to be. It follows `state` on the system disk, or is on a separate NVMe disk when the node boots from
    /// eMMC or an SD card.
    #[serde(default)]
    pub data: DataKind,
    /// The disk to claim, where a node has more than one candidate, or another one is meant: a USB disk, or the eMMC or SD card
    /// that it boots from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Serial>,
    /// The disk whose content may be erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wipe: Option<Serial>,
}

/// What `data` is made into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum DataKind {
    /// A file system, mounted at [`crate::names::DATA_MOUNT`].
    Ext4,
    /// A file system, mounted at [`crate::names::DATA_MOUNT`].
    Xfs,
    /// An LVM volume group with the name `data`.
    Lvm,
    /// A partition, for whoever wants it.
    Raw,
    /// Nothing: no disk is claimed.
    #[default]
    None,
}

impl DataKind {
    /// The word in `node.toml`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DataKind::Ext4 => "ext4",
            DataKind::Xfs => "xfs",
            DataKind::Lvm => "lvm",
            DataKind::Raw => "raw",
            DataKind::None => "none",
        }
    }
}

impl std::fmt::Display for DataKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Serial number of a disk as the kernel shows it, without the blanks around it: 1 to 64 printable ASCII characters (an
/// NVMe controller has 20, NVM Express Base Specification 2.0, figure 275).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Serial(String);

impl Serial {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Serial {
    type Error = String;

    fn try_from(text: String) -> Result<Serial, String> {
        // A quote or a backslash would have to be escaped where the serial number is shown for copying.
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\';
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) && text.trim() == text {
            Ok(Serial(text))
        } else {
            Err(format!(
                "{text:?} is not a valid serial number of a disk: 1 to 64 printable characters, no quote, no backslash, no blank \
                 at either end"
            ))
        }
    }
}

impl From<Serial> for String {
    fn from(serial: Serial) -> String {
        serial.0
    }
}

impl std::fmt::Display for Serial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Disks {
    pub(super) fn check(&self, found: &mut Vec<Problem>) {
        if self.data == DataKind::None {
            for (key, serial) in [("serial", &self.serial), ("wipe", &self.wipe)] {
                if let Some(serial) = serial {
                    let message = format!(
                        "it names {serial}, but no disk is claimed: disks.data says what data is to be (ext4, xfs, lvm \
                         or raw)"
                    );
                    found.push(problem(["disks", key], message));
                }
            }
        }
        if let (Some(serial), Some(wipe)) = (&self.serial, &self.wipe)
            && serial != wipe
        {
            let message = format!("it names {wipe}, but disks.serial chooses {serial}");
            found.push(problem(["disks", "wipe"], message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodeConfig;

    fn parse(disks: &str) -> Result<Disks, String> {
        NodeConfig::parse(format!("name = \"n1\"\n[disks]\n{disks}\n").as_bytes())
            .map(|config| config.disks)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_word_no_disk_is_claimed() {
        assert_eq!(NodeConfig::parse(b"name = \"n1\"").unwrap().disks, Disks::default());
        assert_eq!(parse("").unwrap().data, DataKind::None);
    }

    #[test]
    fn every_kind_is_read_by_its_name() {
        for kind in [DataKind::Ext4, DataKind::Xfs, DataKind::Lvm, DataKind::Raw, DataKind::None] {
            assert_eq!(parse(&format!("data = \"{kind}\"")).unwrap().data, kind);
        }
    }

    #[test]
    fn disks_that_cannot_be_meant_are_refused() {
        for (disks, reason) in [
            ("data = \"zfs\"", "unknown variant"),
            ("data = \"ext4\"\nwipe = \"\"", "not a valid serial number"),
            ("data = \"ext4\"\nwipe = \" A1\"", "not a valid serial number"),
            ("data = \"ext4\"\nwipe = 'A\"1'", "not a valid serial number"),
            ("data = \"ext4\"\nwipe = \"Ä1\"", "not a valid serial number"),
            ("data = \"ext4\"\nwipe = true", "expected"),
            ("wipe = \"A1\"", "no disk is claimed"),
            ("data = \"none\"\nserial = \"A1\"", "no disk is claimed"),
            ("data = \"xfs\"\nserial = \"A1\"\nwipe = \"A2\"", "chooses A1"),
            ("data = \"xfs\"\nwipes = \"A2\"", "unknown field"),
        ] {
            let found = parse(disks).unwrap_err();
            assert!(found.contains(reason), "{disks}: {found}");
        }
        assert!(parse(&format!("data = \"raw\"\nwipe = \"{}\"", "x".repeat(65))).is_err());
    }

    #[test]
    fn a_name_of_a_cluster_that_no_marker_can_hold_is_refused() {
        let cluster = |name: &str| NodeConfig::parse(format!("name = \"n1\"\n[cluster]\nname = {name:?}").as_bytes());
        assert!(cluster("rack-1").is_ok());
        assert!(cluster("").is_err());
        assert!(cluster(&"x".repeat(64)).is_err());
    }
}
