//! `bootsel`, the small FAT partition on which an operator leaves `node.toml`.

use crate::disk::node;
use crate::sys::mount::{self, DATA_ONLY, Flags};
use anyhow::Context as _;
use contract::initramfs::BootReport;
use contract::layout::Partition;
use contract::names::{BOOTSEL_MOUNT, NODE_CONFIG};
use contract::node::MAX_LENGTH;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Debian's kernel has these NLS tables as modules: `nls_cp437` and `nls_ascii` must be loaded, besides `vfat`.
pub(super) const OPTIONS: &std::ffi::CStr = c"codepage=437,iocharset=ascii,utf8";

/// The bytes of `node.toml` on `bootsel`; `None` when there is none. At most one byte more than
/// [`MAX_LENGTH`] is read, so that a longer file can be told from one that just fits.
///
/// # Errors
/// When `bootsel` cannot be mounted or read.
pub fn node_config(report: &BootReport) -> anyhow::Result<Option<Vec<u8>>> {
    let device = node::of(&report.disk, Partition::Bootsel)?;
    let target = Path::new(BOOTSEL_MOUNT);
    mount::mount(Path::new(&device), target, "vfat", DATA_ONLY | Flags::RDONLY, Some(OPTIONS))
        .with_context(|| format!("mounting {device} (bootsel) at {BOOTSEL_MOUNT}"))?;
    let read = read_bounded(&target.join(NODE_CONFIG));
    mount::detach(target).with_context(|| format!("unmounting {BOOTSEL_MOUNT}"))?;
    read.with_context(|| format!("reading {NODE_CONFIG} on bootsel"))
}

/// Overwrites these places of `node.toml` on `bootsel`, whose content is `bytes`, with `*`: the very sectors that held the
/// secrets, and nothing else of the file system but the file's date. A power cut leaves some of them, and the next boot
/// goes on.
///
/// # Errors
/// When `bootsel` cannot be written, or the file is another one by now.
pub fn overwrite(report: &BootReport, bytes: &[u8], places: &[Range<usize>]) -> anyhow::Result<()> {
    let device = node::of(&report.disk, Partition::Bootsel)?;
    let target = Path::new(BOOTSEL_MOUNT);
    mount::mount(Path::new(&device), target, "vfat", DATA_ONLY, Some(OPTIONS))
        .with_context(|| format!("mounting {device} (bootsel) at {BOOTSEL_MOUNT} for writing"))?;
    let path = target.join(NODE_CONFIG);
    let written =
        overwrite_file(&path, bytes, places).with_context(|| format!("overwriting {NODE_CONFIG} on bootsel"));
    mount::detach(target).with_context(|| format!("unmounting {BOOTSEL_MOUNT}"))?;
    written
}

fn overwrite_file(path: &Path, bytes: &[u8], places: &[Range<usize>]) -> anyhow::Result<()> {
    anyhow::ensure!(read_bounded(path)?.as_deref() == Some(bytes), "it is not the file that was read");
    let file = File::options().write(true).open(path)?;
    for place in places {
        file.write_all_at(&vec![b'*'; place.len()], place.start as u64)?;
    }
    Ok(file.sync_all()?)
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
    fn secrets_are_overwritten_where_they_stand_and_only_in_the_file_that_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NODE_CONFIG);
        std::fs::write(&path, "a = \"secret\"\nb = 1\n").unwrap();
        let read = read_bounded(&path).unwrap().unwrap();
        overwrite_file(&path, &read, &[5..8, 8..11]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a = \"******\"\nb = 1\n");
        assert!(overwrite_file(&path, &read, &[5..8, 8..11]).is_err());
    }

    #[test]
    fn a_missing_file_is_none_and_a_long_one_is_cut_behind_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NODE_CONFIG);
        assert_eq!(read_bounded(&path).unwrap(), None);
        std::fs::write(&path, vec![b'#'; MAX_LENGTH * 2]).unwrap();
        assert_eq!(read_bounded(&path).unwrap().map(|bytes| bytes.len()), Some(MAX_LENGTH + 1));
    }
}
