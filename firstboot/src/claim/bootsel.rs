//! `bootsel`, the small FAT partition on which an operator leaves `node.toml`.

use super::gpt::Table;
use super::node;
use crate::sys::block;
use crate::sys::mount::{self, DATA_ONLY, Flags};
use anyhow::Context as _;
use contract::initramfs::BootReport;
use contract::layout::Partition;
use contract::names::{BOOTSEL_MOUNT, NODE_CONFIG};
use contract::node::MAX_LENGTH;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

/// Debian's kernel has these NLS tables as modules: `nls_cp437` and `nls_ascii` must be loaded, besides `vfat`.
const OPTIONS: &std::ffi::CStr = c"codepage=437,iocharset=ascii,utf8";

/// The bytes of `node.toml` on `bootsel`; `None` when there is none. At most one byte more than
/// [`MAX_LENGTH`] is read, so that a longer file can be told from one that just fits.
///
/// # Errors
/// When `bootsel` cannot be mounted or read.
pub fn node_config(report: &BootReport) -> anyhow::Result<Option<Vec<u8>>> {
    let mut disk =
        File::open(Path::new("/dev").join(&report.disk)).with_context(|| format!("opening {}", report.disk))?;
    let size = block::size(&disk)?;
    let table = Table::read(&mut disk, size)?;
    let entry = table.find(Partition::Bootsel).context("the partition table lacks bootsel")?;
    let device = node::partition(&report.disk, entry.number, entry.extent)?;
    let target = Path::new(BOOTSEL_MOUNT);
    mount::mount(Path::new(&device), target, "vfat", DATA_ONLY | Flags::RDONLY, Some(OPTIONS))
        .with_context(|| format!("mounting {device} (bootsel) at {BOOTSEL_MOUNT}"))?;
    let read = read_bounded(&target.join(NODE_CONFIG));
    mount::detach(target).with_context(|| format!("unmounting {BOOTSEL_MOUNT}"))?;
    read.with_context(|| format!("reading {NODE_CONFIG} on bootsel"))
}

fn read_bounded(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_LENGTH as u64 + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_none_and_a_long_one_is_cut_behind_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NODE_CONFIG);
        assert_eq!(read_bounded(&path).unwrap(), None);
        std::fs::write(&path, vec![b'#'; MAX_LENGTH * 2]).unwrap();
        assert_eq!(read_bounded(&path).unwrap().map(|bytes| bytes.len()), Some(MAX_LENGTH + 1));
    }
}
