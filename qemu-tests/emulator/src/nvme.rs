//! NVMe disks beside the one that a node boots from: their size, blocks and faults.

use crate::storage::{Disk, DiskError};
use contract::layout::MIB;
use std::path::{Path, PathBuf};
use tempfile::TempPath;

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Whatever reads the 512 bytes at this byte fails.
    Unreadable { at: u64 },
    /// All writes fail; reads do not.
    Unwritable,
    /// It works until so many writes were made, and from then on answers with errors only.
    DiesAfter { writes: u32 },
}

/// An NVMe disk before the node is switched on.
#[derive(Clone, Debug)]
pub struct Nvme {
    pub(crate) serial: String,
    size: u64,
    content: Option<PathBuf>,
    pub(crate) block: u32,
    pub(crate) read_only: bool,
    pub(crate) fault: Option<Fault>,
    pub(crate) removable: bool,
    pub(crate) recorded: bool,
}

impl Nvme {
    /// A blank disk of 400 MiB with this serial number: up to 20 letters and digits.
    #[must_use]
    pub fn new(serial: &str) -> Nvme {
        Nvme {
            serial: serial.to_owned(),
            size: 400 * MIB,
            content: None,
            block: 512,
            read_only: false,
            fault: None,
            removable: false,
            recorded: false,
        }
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Nvme {
        self.size = bytes;
        self
    }

    /// A copy of this file is what it holds.
    #[must_use]
    pub fn content(mut self, file: &Path) -> Nvme {
        self.content = Some(file.to_owned());
        self
    }

    /// Size of its logical blocks in bytes: 512 or 4096.
    #[must_use]
    pub fn block(mut self, bytes: u32) -> Nvme {
        self.block = bytes;
        self
    }

    /// A disk that takes no writes. QEMU's NVMe does not say so beforehand; each write is refused.
    #[must_use]
    pub fn read_only(mut self) -> Nvme {
        self.read_only = true;
        self
    }

    /// A disk that fails.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Nvme {
        self.fault = Some(fault);
        self
    }

    /// A disk that [`crate::Node::unplug`] can pull out.
    #[must_use]
    pub fn removable(mut self) -> Nvme {
        self.removable = true;
        self
    }

    /// Records every write and flush; [`crate::Node::nvme_write_log`] says where.
    #[must_use]
    pub fn recorded(mut self) -> Nvme {
        self.recorded = true;
        self
    }

    pub(crate) fn make(&self) -> Result<Disk, DiskError> {
        match &self.content {
            Some(file) => Disk::copy_of(file, self.size),
            None => Disk::blank(self.size),
        }
    }
}

/// A disk of a running node, with where its writes are recorded.
#[derive(Debug)]
pub(crate) struct Plugged {
    pub(crate) nvme: Nvme,
    pub(crate) disk: Disk,
    pub(crate) log: Option<TempPath>,
}

impl Plugged {
    pub(crate) fn new(nvme: Nvme) -> Result<Plugged, DiskError> {
        let disk = nvme.make()?;
        let log = if nvme.recorded { Some(log()?) } else { None };
        Ok(Plugged { nvme, disk, log })
    }
}

/// An empty file for a record of writes.
pub(crate) fn log() -> Result<TempPath, DiskError> {
    let io = |source| DiskError::Io { doing: "making a log of writes in", path: std::env::temp_dir(), source };
    Ok(tempfile::Builder::new().prefix("microdc-writes-").tempfile().map_err(io)?.into_temp_path())
}
