//! `autoboot.txt` on `bootsel`: which slot the EEPROM starts. Its one sector is rewritten in place, by one write, while
//! the file system is not mounted: nothing else on it changes, and after a power cut there is the old choice or the new one.

use super::bootsel::OPTIONS;
use crate::disk::node;
use crate::disk::protect::Writable;
use crate::sys::block;
use crate::sys::mount::{self, DATA_ONLY, Flags};
use anyhow::{Context as _, ensure};
use contract::autoboot;
use contract::initramfs::BootReport;
use contract::layout::{Partition, SECTOR, Slot};
use contract::names::{AUTOBOOT, BOOTSEL_MOUNT};
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// A sector, aligned so that it can be written past the kernel's cache.
#[repr(align(4096))]
struct Sector([u8; SECTOR as usize]);

/// The bytes of `autoboot.txt`, of a longer file one byte more than a sector; `None` when there is no such file.
///
/// # Errors
/// When `bootsel` cannot be mounted or read.
pub fn read(report: &BootReport) -> anyhow::Result<Option<Vec<u8>>> {
    let device = node::of(&report.disk, Partition::Bootsel)?;
    mounted(&device, Flags::RDONLY, |folder| Ok(content(&folder.join(AUTOBOOT))?))
}

/// Makes `slot` the one that the EEPROM starts, and looks whether it is.
///
/// # Errors
/// What failed. Then the old choice stands, or, when the disk failed in the middle of the sector, none.
pub fn choose(report: &BootReport, slot: Slot) -> anyhow::Result<()> {
    let device = node::of(&report.disk, Partition::Bootsel)?;
    let _writable = Writable::these(&[&device])?;
    let found = mounted(&device, Flags::RDONLY, place)?;
    let found = found.and_then(|(offset, old)| {
        let wanted = autoboot::render_at_length(slot, old.len())?;
        Some((offset, old, wanted))
    });
    let wanted = match found {
        Some((offset, old, wanted)) => {
            rewrite(Path::new(&device), offset, &old, &wanted)
                .with_context(|| format!("rewriting the sector of {AUTOBOOT} at byte {offset} of {device}"))?;
            wanted
        }
        // There is none, or one of another length: there is no choice to be lost.
        None => {
            let wanted = autoboot::render(slot).to_vec();
            mounted(&device, Flags::empty(), |folder| {
                std::fs::write(folder.join(AUTOBOOT), &wanted)?;
                Ok(File::open(folder.join(AUTOBOOT))?.sync_all()?)
            })
            .with_context(|| format!("rewriting {AUTOBOOT}"))?;
            wanted
        }
    };
    let found = mounted(&device, Flags::RDONLY, |folder| Ok(content(&folder.join(AUTOBOOT))?))?;
    ensure!(
        found.as_deref() == Some(&wanted[..]),
        "{AUTOBOOT} on {device} is not what was written: the disk may be failing"
    );
    Ok(())
}

/// Does something with `bootsel` while it is mounted.
fn mounted<T>(device: &str, flags: Flags, act: impl FnOnce(&Path) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let target = Path::new(BOOTSEL_MOUNT);
    mount::mount(Path::new(device), target, "vfat", DATA_ONLY | flags, Some(OPTIONS)).with_context(|| {
        format!(
            "mounting {device} (bootsel) at {BOOTSEL_MOUNT}; if its file system is damaged, write the image's first \
             partition to it again"
        )
    })?;
    let result = act(target);
    // Not detached: what is written below must not meet a file system that still has its own view of the disk.
    mount::unmount(target).with_context(|| format!("unmounting {BOOTSEL_MOUNT}"))?;
    result
}

fn content(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(SECTOR + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Where the file is on the partition, in bytes, and what is in it.
fn place(folder: &Path) -> anyhow::Result<Option<(u64, Vec<u8>)>> {
    let path = folder.join(AUTOBOOT);
    let Some(bytes) = content(&path)? else { return Ok(None) };
    let offset = block::first_byte(File::open(&path)?).with_context(|| format!("asking where {AUTOBOOT} lies"))?;
    Ok(offset.map(|offset| (offset, bytes)))
}

/// Puts `wanted` where `old` stands, which is as long and at the start of a sector; reads it back from the disk itself.
fn rewrite(device: &Path, offset: u64, old: &[u8], wanted: &[u8]) -> anyhow::Result<()> {
    let flags = libc::O_DIRECT | libc::O_SYNC | libc::O_CLOEXEC;
    let disk = File::options().read(true).write(true).custom_flags(flags).open(device)?;
    let mut sector = Sector([0; SECTOR as usize]);
    disk.read_exact_at(&mut sector.0, offset)?;
    ensure!(sector.0.starts_with(old), "something else is there");
    let file = sector.0.get_mut(..old.len()).filter(|file| file.len() == wanted.len());
    file.context("the file has another length")?.copy_from_slice(wanted);
    disk.write_all_at(&sector.0, offset)?;
    disk.sync_all()?;
    sector.0 = [0; SECTOR as usize];
    disk.read_exact_at(&mut sector.0, offset)?;
    ensure!(sector.0.starts_with(wanted), "what is read back differs from what was written");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sector_changes_and_only_where_the_old_choice_stands() {
        // Memory file systems know no way past the cache.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let path = folder.path().join("disk");
        let (old, new) = (autoboot::render(Slot::A), autoboot::render(Slot::B));
        let disk = [&[7; 4096][..], &old, &[9; 3585]].concat();
        std::fs::write(&path, &disk).unwrap();
        rewrite(&path, 4096, &old, &new).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), [&[7; 4096][..], &new, &[9; 3585]].concat());
        let error = rewrite(&path, 0, &old, &new).unwrap_err().to_string();
        assert!(error.contains("something else"), "{error}");
        let error = rewrite(&path, 4096, &old, &new).unwrap_err().to_string();
        assert!(error.contains("something else"), "{error}");
        let error = rewrite(&path, 4096, &new, &old[..500]).unwrap_err().to_string();
        assert!(error.contains("another length"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), [&[7; 4096][..], &new, &[9; 3585]].concat());
    }

    #[test]
    fn a_file_of_another_length_is_read_as_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(AUTOBOOT);
        assert_eq!(content(&path).unwrap(), None);
        std::fs::write(&path, [b'x'; 9000]).unwrap();
        assert_eq!(content(&path).unwrap().map(|bytes| bytes.len()), Some(513));
        assert_eq!(autoboot::render_at_length(Slot::A, 513), None);
    }
}
