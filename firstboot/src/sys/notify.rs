//! The socket on which one service speaks to PID 1 (sd_notify(3): lines of `KEY=value`), with who it is that speaks.

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt::set_socket_passcred};
use rustix::process::Pid;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// Longest notification that is read, in bytes.
const NOTIFICATION: usize = 4096;

/// The socket of one service.
#[derive(Debug)]
pub struct NotifySocket(UnixDatagram);

/// What was said, and by whom, as the kernel vouches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Bytes that are not UTF-8 are replaced.
    pub text: String,
    /// PID 1's namespace holds every process, so each has a number.
    pub sender: Pid,
    pub uid: u32,
}

impl NotifySocket {
    /// Binds `path` again and gives it to the service's user.
    ///
    /// # Errors
    /// When the folder is missing or not writable.
    pub fn bind(path: &Path, uid: u32, gid: u32) -> std::io::Result<NotifySocket> {
        let _ = std::fs::remove_file(path);
        let socket = UnixDatagram::bind(path)?;
        socket.set_nonblocking(true)?;
        set_socket_passcred(&socket, true)?;
        std::os::unix::fs::chown(path, Some(uid), Some(gid))?;
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(NotifySocket(socket))
    }

    /// The next message, if one waits. One without its sender's credentials is nothing.
    pub fn receive(&self) -> Option<Notification> {
        let mut buffer = [0; NOTIFICATION];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let length = {
            let mut pieces = [IoSliceMut::new(&mut buffer)];
            recvmsg(&self.0, &mut pieces, &mut control, RecvFlags::CMSG_CLOEXEC).ok()?.bytes
        };
        let credentials = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmCredentials(credentials) => Some(credentials),
            _ => None,
        })?;
        let text = String::from_utf8_lossy(buffer.get(..length)?).into_owned();
        Some(Notification { text, sender: credentials.pid, uid: credentials.uid.as_raw() })
    }
}

impl std::os::fd::AsFd for NotifySocket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_says_that_it_is_ready_and_who_says_it_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let me = rustix::process::getuid().as_raw();
        let socket = NotifySocket::bind(&path, me, rustix::process::getgid().as_raw()).unwrap();
        assert_eq!(socket.receive(), None);
        UnixDatagram::unbound().unwrap().send_to(b"READY=1\nSTATUS=fine", &path).unwrap();
        let heard = socket.receive().unwrap();
        assert_eq!(heard.text, "READY=1\nSTATUS=fine");
        assert_eq!((heard.sender, heard.uid), (rustix::process::getpid(), me));
    }

    #[test]
    fn descriptors_that_come_along_are_not_kept() {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = NotifySocket::bind(&path, rustix::process::getuid().as_raw(), 0).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        sender.connect(&path).unwrap();
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        for _ in 0..50 {
            let fds = [std::os::fd::AsFd::as_fd(&sender)];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&fds));
            sendmsg(&sender, &[std::io::IoSlice::new(b"READY=1")], &mut control, SendFlags::empty()).unwrap();
            let _ = socket.receive();
        }
        // Other tests open files meanwhile; fifty would show.
        assert!(open() < before + 40, "descriptors pile up");
    }
}
