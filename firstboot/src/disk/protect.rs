//! Write protection of what boots: `bootsel` and both slots. The kernel refuses writes to these partitions, whoever asks for
//! them (`BLKROSET`), but while the one task is at work that writes there: an installation, a commit, the removal of secrets
//! from `node.toml`. It is not kept on the disk, and does not cover the device of the whole disk.

use super::node;
use crate::sys::block;
use anyhow::Context as _;
use contract::initramfs::BootReport;
use contract::layout::{Partition, Slot};
use std::fs::File;

/// Protects every one of these partitions. Gives what could not be protected, with the reason.
#[must_use]
pub fn all(report: &BootReport) -> Vec<String> {
    let slots = [Slot::A, Slot::B].into_iter().flat_map(|slot| [slot.boot(), slot.root()]);
    let partitions = [Partition::Bootsel].into_iter().chain(slots);
    let protect = |partition| -> anyhow::Result<()> {
        let device = node::of(&report.disk, partition)?;
        let file = File::open(&device).with_context(|| format!("opening {device}"))?;
        block::set_read_only(&file, true).with_context(|| format!("write-protecting {device}"))
    };
    partitions.filter_map(|partition| protect(partition).err()).map(|error| format!("{error:#}")).collect()
}

/// Partitions that may be written to for as long as this is there.
#[derive(Debug)]
pub struct Writable(Vec<File>);

impl Writable {
    /// `devices` are paths in /dev.
    ///
    /// # Errors
    /// When one of them cannot be opened, or the kernel refuses. Then all are protected.
    pub fn these(devices: &[&str]) -> anyhow::Result<Writable> {
        let mut open = Writable(Vec::new());
        for device in devices {
            let file = File::open(device).with_context(|| format!("opening {device}"))?;
            block::set_read_only(&file, false)
                .with_context(|| format!("lifting the write protection of {device}"))?;
            open.0.push(file);
        }
        Ok(open)
    }
}

impl Drop for Writable {
    fn drop(&mut self) {
        for file in &self.0 {
            // What is refused here was refused at the start of the system, too, and said then.
            let _ = block::set_read_only(file, true);
        }
    }
}
