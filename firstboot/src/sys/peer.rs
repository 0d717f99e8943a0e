//! The process at the other end of a Unix socket, held so that its PID cannot be reused unnoticed. Mirrors
//! asm-generic/socket.h and pidfd_open(2).

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;

/// Linux 6.5.
const SO_PEERPIDFD: libc::c_int = 77;

/// A process.
#[derive(Debug)]
pub struct Peer(OwnedFd);

/// Who connected.
///
/// # Errors
/// What the kernel says; that it is gone, too.
pub fn peer(stream: &UnixStream) -> io::Result<Peer> {
    let mut file: libc::c_int = -1;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes one descriptor into a local of the length given.
    let result = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, SO_PEERPIDFD, (&raw mut file).cast(), &raw mut length)
    };
    if result < 0 || file < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for this process.
    Ok(Peer(unsafe { OwnedFd::from_raw_fd(file) }))
}

impl Peer {
    /// Its number here, as long as it is not reaped.
    #[must_use]
    pub fn number(&self) -> Option<i32> {
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", self.0.as_raw_fd())).ok()?;
        let number: i32 = text.lines().find_map(|line| line.strip_prefix("Pid:"))?.trim().parse().ok()?;
        (number > 0).then_some(number)
    }

    /// Whether the number is still its own: it may have ended, but is not reaped.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.number().is_some()
    }
}
