//! Whether a disk still works. Free space does not show it: the kernel answers that from memory, and a disk whose
//! writes all fail keeps the file system that was read before.

use anyhow::{Context as _, ensure};
use contract::names::DISK_CHECK;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is written: one block of the largest size that a disk has, aligned so that it goes past the kernel's cache.
#[repr(align(4096))]
struct Block([u8; 4096]);

/// Writes a block into the file system at `path`, waits until the disk has it, and reads it from there. A file system
/// without room for the first one is not a fault of the disk's.
///
/// # Errors
/// What the disk does not do. A disk that gives no answer at all keeps this waiting.
pub fn answers(path: &Path) -> anyhow::Result<()> {
    let file = path.join(DISK_CHECK);
    let open = || {
        let flags = libc::O_DIRECT | libc::O_DSYNC | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(flags)
            .open(&file)
    };
    match open().and_then(|open| write_and_read(&open)) {
        Err(error) if error.kind() == ErrorKind::StorageFull => Ok(()),
        Err(error) => Err(error).with_context(|| format!("the disk of {} rejects writes", path.display())),
        Ok(same) => {
            ensure!(same, "the disk of {} returned other data than was written", path.display());
            Ok(())
        }
    }
}

/// Whether what is read is what was written, which is never the same twice.
fn write_and_read(file: &File) -> std::io::Result<bool> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let seed = (now as u64) ^ (u64::from(std::process::id()) << 32);
    let mut written = Block([0; 4096]);
    for (word, at) in written.0.as_chunks_mut::<8>().0.iter_mut().zip(1_u64..) {
        *word = seed.wrapping_mul(at | 1).to_le_bytes();
    }
    file.write_all_at(&written.0, 0)?;
    file.sync_data()?;
    let mut read = Block([0; 4096]);
    file.read_exact_at(&mut read.0, 0)?;
    Ok(read.0 == written.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_works_answers_again_and_again_in_the_same_place() {
        // Memory file systems may know no way past the cache.
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        answers(folder.path()).unwrap();
        let first = std::fs::read(folder.path().join(DISK_CHECK)).unwrap();
        answers(folder.path()).unwrap();
        let second = std::fs::read(folder.path().join(DISK_CHECK)).unwrap();
        assert_eq!((first.len(), second.len()), (4096, 4096));
        assert_ne!(first, second, "what stood there before would do");
    }

    #[test]
    fn what_takes_no_write_is_named_with_its_reason() {
        let why = format!("{:#}", answers(Path::new("/proc/self")).unwrap_err());
        assert!(why.starts_with("the disk of /proc/self rejects writes: "), "{why}");
    }

    #[test]
    fn nobody_leads_the_write_elsewhere_by_a_link() {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let other = folder.path().join("other");
        std::fs::write(&other, "precious").unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join(DISK_CHECK)).unwrap();
        assert!(answers(folder.path()).is_err());
        assert_eq!(std::fs::read(&other).unwrap(), b"precious");
    }
}
