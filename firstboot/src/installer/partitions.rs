//! Partitions of a disk whose table stands only at its end, where the kernel does not look: they are announced to it.

use super::write::Partitions;
use crate::claim;
use crate::disk::node;
use crate::sys::block;
use anyhow::Context as _;
use contract::layout::{Extent, Partition};
use std::fs::File;
use std::path::Path;

/// Those of the disk with this kernel name.
pub struct Devices<'d> {
    pub disk: &'d str,
}

impl Partitions for Devices<'_> {
    fn forget(&mut self) -> anyhow::Result<()> {
        let path = Path::new("/dev").join(self.disk);
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        block::reread_partitions(&file)
            .with_context(|| format!("letting the kernel forget the partitions of {}", self.disk))
    }

    fn open(&mut self, partition: Partition, extent: Extent) -> anyhow::Result<File> {
        let device = node::partition(self.disk, partition.number(), extent)?;
        File::options().read(true).write(true).open(&device).with_context(|| format!("opening {device}"))
    }

    fn leave_config(&mut self, extent: Extent, config: &[u8]) -> anyhow::Result<()> {
        let device = node::partition(self.disk, Partition::Bootsel.number(), extent)?;
        claim::bootsel_leave(Path::new(&device), config)
    }
}
