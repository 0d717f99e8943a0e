//! Files that a service has written, read by PID 1 and its children: what is there is not trusted to be a file.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Reads a file of at most `longest` bytes. No link is followed on the way to it, and nothing is waited for.
///
/// # Errors
/// What the kernel says; [`io::ErrorKind::InvalidData`] for what is no ordinary file, too long, or not text.
pub fn read(file: &Path, longest: u64) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat2(CWD, file, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?);
    let found = file.metadata()?;
    if !found.is_file() || found.len() > longest {
        let message = format!("it is not a file of at most {} KiB", longest >> 10);
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    let mut text = String::new();
    file.take(longest).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_a_pipe_and_what_is_too_long_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("secret"), "s3cret").unwrap();
        std::os::unix::fs::symlink(path("secret"), path("link")).unwrap();
        std::fs::create_dir(path("folder")).unwrap();
        std::os::unix::fs::symlink(path("folder"), path("way")).unwrap();
        std::fs::write(path("folder").join("file"), "s3cret").unwrap();
        rustix::fs::mknodat(CWD, path("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::fs::write(path("long"), [b'x'; 1025]).unwrap();
        std::fs::write(path("noise"), [0xff; 64]).unwrap();
        for name in ["link", "way/file", "pipe", "folder", "long", "noise", "none"] {
            assert!(read(&path(name), 1024).is_err(), "{name}");
        }
        assert_eq!(read(&path("folder").join("file"), 1024).unwrap(), "s3cret");
    }
}
