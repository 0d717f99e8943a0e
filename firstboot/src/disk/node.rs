//! Device nodes of the system disk's partitions.

use super::gpt::Table;
use crate::sys::block;
use anyhow::{Context as _, bail};
use contract::layout::{Extent, Partition};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a device node may take to appear.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Name of a partition of a disk, as the kernel forms it.
pub fn partition_name(disk: &str, number: u32) -> String {
    let separator = if disk.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    format!("{disk}{separator}{number}")
}

/// The device node of a partition of the system disk, by the disk's own table.
///
/// # Errors
/// When the disk cannot be read, its table lacks the partition, or the kernel sees it elsewhere.
pub fn of(disk: &str, partition: Partition) -> anyhow::Result<String> {
    let mut file = File::open(Path::new("/dev").join(disk)).with_context(|| format!("opening {disk}"))?;
    let size = block::size(&file)?;
    let table = Table::read(&mut file, size)?;
    let entry = table.find(partition).with_context(|| format!("the partition table lacks {}", partition.name()))?;
    self::partition(disk, entry.number, entry.extent)
}

/// The device node of a partition, once the kernel agrees that it is at `extent`. A partition that the kernel does not
/// know yet (it reads the primary table only, and only once) is made known.
///
/// # Errors
/// When the kernel sees it elsewhere, or its node does not appear.
pub fn partition(disk: &str, number: u32, extent: Extent) -> anyhow::Result<String> {
    let name = partition_name(disk, number);
    let sysfs = Path::new("/sys/class/block").join(&name);
    if !sysfs.exists() {
        let whole = File::open(Path::new("/dev").join(disk)).with_context(|| format!("opening {disk}"))?;
        block::add_partition(&whole, number, extent).with_context(|| format!("announcing {name} to the kernel"))?;
    }
    // In units of 512 bytes, whatever the disk's own.
    let bytes = |file: &str| -> anyhow::Result<u64> {
        let path = sysfs.join(file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let sectors: u64 = text.trim().parse().with_context(|| format!("parsing {}", path.display()))?;
        Ok(sectors.saturating_mul(512))
    };
    let seen = Extent { offset: bytes("start")?, length: bytes("size")? };
    if seen != extent {
        bail!("the kernel sees {name} at {seen:?}, the partition table says {extent:?}");
    }
    let node = format!("/dev/{name}");
    wait_for(Path::new(&node))?;
    Ok(node)
}

/// Waits for a device node.
///
/// # Errors
/// When it does not appear.
pub fn wait_for(node: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    while !node.exists() {
        if started.elapsed() > TIMEOUT {
            bail!("{} has not appeared", node.display());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn partitions_are_named_as_the_kernel_does() {
        for (disk, name) in [("nvme0n1", "nvme0n1p6"), ("mmcblk0", "mmcblk0p6"), ("sda", "sda6"), ("vda", "vda6")] {
            assert_eq!(super::partition_name(disk, 6), name);
        }
    }
}
