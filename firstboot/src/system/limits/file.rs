//! The file in which the kernel counts, on ext4: made anew at each boot, as what it said before a power cut may be wrong.
//!
//! A header of 1 KiB, and an empty root of the kernel's tree (fs/quota/quotaio_v2.h, fs/quota/quota_tree.h):
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 4 | magic of files for projects |
//! | 4 | 4 | version: 1, with 64-bit numbers |
//! | 8 | 12 | grace times of bytes and files, flags |
//! | 20 | 4 | number of blocks |
//! | 24 | 8 | lists of free blocks and entries: none |

use crate::sys::quota;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

const MAGIC: u32 = 0xd9c0_3f14;
const VERSION: u32 = 1;
const BLOCK: usize = 1024;
const BLOCKS: usize = 2;

/// Makes an empty one, in the blocks of the one that was there: a full file system may have no others.
///
/// # Errors
/// What the kernel says.
pub fn renew(path: &Path) -> io::Result<()> {
    let_go(path)?;
    let mut options = File::options();
    let file =
        options.write(true).create(true).truncate(false).custom_flags(libc::O_NOFOLLOW).mode(0o600).open(path)?;
    file.write_all_at(&empty(), 0)?;
    file.sync_all()
}

/// Removes it, if there is one.
///
/// # Errors
/// What the kernel says.
pub fn remove(path: &Path) -> io::Result<()> {
    if let_go(path)? { fs::remove_file(path) } else { Ok(()) }
}

/// Lets it be written to. Returns whether there is one.
fn let_go(path: &Path) -> io::Result<bool> {
    match File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(path) {
        Ok(file) => {
            // Only ext4 marks it, and only until it is unmounted in good order.
            let _ = quota::let_go(&file);
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn empty() -> Vec<u8> {
    let header = [MAGIC, VERSION, 0, 0, 0, BLOCKS as u32, 0, 0];
    let mut bytes: Vec<u8> = header.into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.resize(BLOCK * BLOCKS, 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_anew_whatever_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quotas");
        remove(&path).unwrap();
        // Nothing, less than that, and more: what is behind it is not looked at.
        for (there, length) in [(None, 2048), (Some(100), 2048), (Some(5000), 5000)] {
            if let Some(there) = there {
                fs::write(&path, vec![7; there]).unwrap();
            }
            renew(&path).unwrap();
            let bytes = fs::read(&path).unwrap();
            assert_eq!(bytes.len(), length);
            assert_eq!(bytes.get(..8), Some([0x14, 0x3f, 0xc0, 0xd9, 1, 0, 0, 0].as_slice()));
            assert_eq!(bytes.get(20..24), Some([2, 0, 0, 0].as_slice()));
            assert!(bytes.iter().take(2048).skip(24).all(|&byte| byte == 0));
        }
        remove(&path).unwrap();
        assert!(!path.exists());
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(renew(&path).is_err(), "a link is not followed");
    }
}
