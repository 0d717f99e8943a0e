//! What a node says of its disks: made by the claim at boot, kept by PID 1, shown by `nodectl disks`, metrics and the
//! console.

use crate::node::{DataKind, Serial};
use crate::words::words;
use serde::{Deserialize, Serialize};

/// The disks of a node, and what became of `state` and `data` at this boot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// By kernel name.
    pub disks: Vec<Disk>,
    pub state: State,
    pub data: Data,
}

/// A disk as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Kernel name, such as `nvme0n1`.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<Serial>,
    /// What its maker calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Size in bytes.
    pub size: u64,
    /// Size of a logical block in bytes; 0 when the kernel does not say.
    pub block: u32,
    pub read_only: bool,
    /// Whether it is the one that this node booted from.
    pub system: bool,
    /// What was found where `data` could have gone, in words; absent when no one looked there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// What is at [`crate::names::STATE_MOUNT`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case", deny_unknown_fields)]
pub enum State {
    /// A partition.
    Persistent {
        /// Device node, such as `/dev/nvme0n1p6`.
        device: String,
        /// Whether it was made at this boot.
        created: bool,
        /// What had to be done to it, and what is wrong with it, each a sentence for the operator.
        notes: Vec<String>,
    },
    /// Memory, or nothing when even that fails: whatever is stored there is gone after this run.
    Volatile {
        /// Why, and what to do about it.
        reason: String,
    },
}

/// Before anyone has looked.
impl Default for State {
    fn default() -> State {
        State::Volatile { reason: "not checked yet".to_owned() }
    }
}

words! {
    /// What a [`Data`] is, without its figures.
    pub enum DataClaim {
        NotWanted = "not wanted",
        Ready = "ready",
        Refused = "refused",
    }
}

impl Data {
    #[must_use]
    pub fn claim(&self) -> DataClaim {
        match self {
            Data::NotWanted => DataClaim::NotWanted,
            Data::Ready { .. } => DataClaim::Ready,
            Data::Refused { .. } => DataClaim::Refused,
        }
    }
}

/// What became of `data`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Data {
    /// The node config asks for none.
    #[default]
    NotWanted,
    Ready {
        /// Kernel name of the disk.
        disk: String,
        serial: Serial,
        /// Device node of the partition.
        device: String,
        kind: DataKind,
        /// Size of the partition in bytes.
        size: u64,
        /// Where it is mounted; absent for `lvm` and `raw`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mount: Option<String>,
        /// Whether it was made at this boot.
        created: bool,
        /// What the operator should know, each a sentence.
        notes: Vec<String>,
    },
    /// There is no `data`.
    Refused {
        /// Why, what was found, and what to put into node.toml.
        reason: String,
    },
}

/// A folder of services that has a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderUse {
    /// Absolute path.
    pub path: String,
    /// The services that keep it.
    pub services: Vec<String>,
    pub used_bytes: u64,
    pub limit_bytes: u64,
    /// Files and folders in it.
    pub files: u64,
    pub files_limit: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_back() {
        let serial = Serial::try_from("S1".to_owned()).unwrap();
        let storage = Storage {
            disks: vec![Disk {
                name: "nvme0n1".to_owned(),
                serial: Some(serial.clone()),
                model: None,
                size: 1 << 40,
                block: 4096,
                read_only: false,
                system: false,
                found: Some("a LUKS encrypted volume".to_owned()),
            }],
            state: State::default(),
            data: Data::Ready {
                disk: "nvme0n1".to_owned(),
                serial,
                device: "/dev/nvme0n1p1".to_owned(),
                kind: DataKind::Raw,
                size: 1,
                mount: None,
                created: true,
                notes: Vec::new(),
            },
        };
        let text = serde_json::to_string(&storage).unwrap();
        assert!(text.contains(r#""data":{"is":"ready","disk":"nvme0n1","serial":"S1""#), "{text}");
        assert_eq!(serde_json::from_str::<Storage>(&text).unwrap(), storage);
    }
}
