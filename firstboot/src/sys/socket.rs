//! Non-blocking checks whether a socket accepts connections.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A TCP connection being tried.
#[derive(Debug, Default)]
pub struct TcpProbe(Option<OwnedFd>);

impl TcpProbe {
    /// Tries to connect, or looks how the present try is doing. Returns whether someone accepted.
    pub fn accepted(&mut self, address: SocketAddr) -> bool {
        let Some(socket) = self.0.take() else {
            return self.begin(address).unwrap_or(false);
        };
        let mut poll_fds = [PollFd::new(&socket, PollFlags::OUT)];
        match poll(&mut poll_fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(0) => {
                self.0 = Some(socket);
                false
            }
            Ok(_) => matches!(sockopt::socket_error(&socket), Ok(Ok(()))),
            Err(_) => false,
        }
    }

    fn begin(&mut self, address: SocketAddr) -> Result<bool, Errno> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&socket, &address) {
            Ok(()) => Ok(true),
            Err(Errno::INPROGRESS) => {
                self.0 = Some(socket);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether a Unix stream socket accepts connections.
#[must_use]
pub fn unix_accepts(path: &Path) -> bool {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let Ok(socket) = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None) else { return false };
    // A full queue (EAGAIN) is someone listening.
    SocketAddrUnix::new(path).is_ok_and(|address| matches!(connect(&socket, &address), Ok(()) | Err(Errno::AGAIN)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_tcp_port_is_ready_when_somebody_listens_and_not_before() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut probe = TcpProbe::default();
        assert!((0..50).any(|_| probe.accepted(address)));
        drop(listener);
        // A child of another test's has it open, too, until it becomes another program.
        let refused = || {
            let mut probe = TcpProbe::default();
            !(0..50).any(|_| probe.accepted(address))
        };
        assert!((0..50).any(|_| refused()));
    }

    #[test]
    fn a_unix_socket_is_ready_when_somebody_listens_and_not_when_only_its_file_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        assert!(!unix_accepts(&path));
        let listener = UnixListener::bind(&path).unwrap();
        assert!(unix_accepts(&path));
        drop(listener);
        // A child of another test's has it open, too, until it becomes another program.
        let gone = || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            !unix_accepts(&path)
        };
        assert!((0..100).any(|_| gone()));
    }
}
