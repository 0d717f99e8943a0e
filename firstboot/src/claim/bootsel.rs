//! `bootsel`, the small FAT partition on which an operator leaves `node.toml`.

use crate::disk::node;
use crate::disk::protect::Writable;
use crate::sys::mount::{self, DATA_ONLY, Flags};
use anyhow::Context as _;
use contract::initramfs::BootReport;
use contract::layout::Partition;
use contract::names::{BOOTSEL_MOUNT, NODE_CONFIG};
use contract::node::MAX_LENGTH;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Debian's kernel has these NLS tables as modules: `nls_cp437` and `nls_ascii` must be loaded, besides `vfat`.
pub(super) const OPTIONS: &std::ffi::CStr = c"codepage=437,iocharset=ascii,utf8";

/// What an operator left on `bootsel`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// The bytes of `node.toml`; `None` when there is none.
    pub config: Option<Vec<u8>>,
    /// Where there is none: the name of a file that may be meant to be it.
    pub near_miss: Option<String>,
}

/// Most files on `bootsel` whose names are looked at.
const MOST_NAMES: usize = 256;

/// Looks for `node.toml` on `bootsel`. At most one byte more than [`MAX_LENGTH`] is read, so that a longer file can be told
/// from one that just fits.
///
/// # Errors
/// When `bootsel` cannot be mounted or read.
pub fn node_config(report: &BootReport) -> anyhow::Result<Left> {
    let device = node::of(&report.disk, Partition::Bootsel)?;
    let target = Path::new(BOOTSEL_MOUNT);
    mount::mount(Path::new(&device), target, "vfat", DATA_ONLY | Flags::RDONLY, Some(OPTIONS))
        .with_context(|| format!("mounting {device} (bootsel) at {BOOTSEL_MOUNT}"))?;
    let read = left(target);
    mount::detach(target).with_context(|| format!("unmounting {BOOTSEL_MOUNT}"))?;
    read.with_context(|| format!("reading {NODE_CONFIG} on bootsel"))
}

/// Puts `node.toml` on a `bootsel` that was just written, on this device: for the installer.
///
/// # Errors
/// When it cannot be mounted or written.
pub fn leave(device: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let target = Path::new(BOOTSEL_MOUNT);
    std::fs::create_dir_all(target).with_context(|| format!("making {BOOTSEL_MOUNT}"))?;
    mount::mount(device, target, "vfat", DATA_ONLY, Some(OPTIONS))
        .with_context(|| format!("mounting {} (bootsel) at {BOOTSEL_MOUNT} for writing", device.display()))?;
    let written = File::create(target.join(NODE_CONFIG)).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    // Not detached: it must be complete on the disk before the disk can be booted from.
    mount::unmount(target).with_context(|| format!("unmounting {BOOTSEL_MOUNT}"))?;
    written.with_context(|| format!("writing {NODE_CONFIG} to bootsel"))
}

/// Overwrites these places of `node.toml` on `bootsel`, whose content is `bytes`, with `*`: the very sectors that held the
/// secrets, and nothing else of the file system but the file's date. A power cut leaves some of them, and the next boot
/// goes on.
///
/// # Errors
/// When `bootsel` cannot be written, or the file is another one by now.
pub fn overwrite(report: &BootReport, bytes: &[u8], places: &[Range<usize>]) -> anyhow::Result<()> {
    let device = node::of(&report.disk, Partition::Bootsel)?;
    let _writable = Writable::these(&[&device])?;
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

fn left(folder: &Path) -> std::io::Result<Left> {
    let config = read_bounded(&folder.join(NODE_CONFIG))?;
    if config.is_some() {
        return Ok(Left { config, near_miss: None });
    }
    let names =
        std::fs::read_dir(folder)?.take(MOST_NAMES).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(Left { config: None, near_miss: near_miss(names) })
}

/// Of some names the one that is nearest to `node.toml`: an editor's `node.toml.txt`, a second download's `node (1).toml`.
/// What macOS puts beside a file (`._node.toml`) is only named when there is nothing better.
fn near_miss(names: impl Iterator<Item = String>) -> Option<String> {
    let like = |name: &String| {
        let name = name.to_ascii_lowercase();
        let name = name.trim_start_matches(['.', '_', '~']);
        name.starts_with("node") && [".toml", ".tml", ".tom", "toml.txt"].iter().any(|end| name.contains(end))
    };
    names.filter(like).min_by_key(|name| (name.starts_with(['.', '~']), name.len(), name.clone()))
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
    fn a_file_whose_name_is_nearly_right_is_named_and_others_are_not() {
        let near = |names: &[&str]| near_miss(names.iter().map(|&name| name.to_owned()));
        for (names, wanted) in [
            (&["autoboot.txt", "node.toml.txt"][..], Some("node.toml.txt")),
            (&["._node.toml"], Some("._node.toml")),
            (&["._node.toml", "Node.TOML.txt"], Some("Node.TOML.txt")),
            (&["node (1).toml"], Some("node (1).toml")),
            (&["node.toml~", "node.tml"], Some("node.tml")),
            (&["node-r1.toml"], Some("node-r1.toml")),
            (&["autoboot.txt", "README.md", "nodes", "node", "rack.toml"], None),
            (&[], None),
        ] {
            assert_eq!(near(names).as_deref(), wanted, "{names:?}");
        }
    }

    #[test]
    fn a_near_miss_counts_only_where_the_file_itself_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(left(folder.path()).unwrap(), Left::default());
        std::fs::write(folder.path().join("node.toml.txt"), "name = 1").unwrap();
        let found = left(folder.path()).unwrap();
        assert_eq!((found.config, found.near_miss.as_deref()), (None, Some("node.toml.txt")));
        std::fs::write(folder.path().join(NODE_CONFIG), "name = 2").unwrap();
        let found = left(folder.path()).unwrap();
        assert_eq!((found.config.as_deref(), found.near_miss), (Some(&b"name = 2"[..]), None));
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
