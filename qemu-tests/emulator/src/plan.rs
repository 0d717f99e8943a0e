//! What a node is made of, once it is certain that it can be: the same over all its boots.

use crate::console::Record;
use crate::eeprom::Tree;
use crate::network::Network;
use crate::network::frame::Mac;
use crate::nvme::Plugged;
use crate::qemu::{Hardware, Qemu, QemuError};
use crate::storage::{Disk, DiskError};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempPath;

/// What keeps a node from starting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Qemu(#[from] QemuError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{0}")]
    Impossible(String),
    #[error("{doing}: {source}")]
    Io { doing: String, source: std::io::Error },
}

/// A network card.
#[derive(Clone, Debug)]
pub(crate) enum Card {
    Hub(Network, Mac),
    /// Behind QEMU's own NAT. Ports of the host's loopback that lead to ports of the guest, as (host, guest).
    User(Mac, Vec<(u16, u16)>),
}

/// Everything that stays the same over a node's boots.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) qemu: Qemu,
    pub(crate) hardware: Hardware,
    pub(crate) cards: Vec<Card>,
    pub(crate) ports: Vec<String>,
    pub(crate) disk: Disk,
    /// What a server on the network has for the board, when nothing on the disk boots.
    pub(crate) netboot: Option<Tree>,
    /// Where the writes of the disk are recorded.
    pub(crate) log: Option<TempPath>,
    pub(crate) nvmes: Vec<Plugged>,
    pub(crate) deadline: Duration,
    pub(crate) qemu_log: Option<PathBuf>,
    pub(crate) record: Arc<Record>,
}
