//! Signals as a file descriptor (signalfd(2), linux/signalfd.h), so that PID 1 has one loop and no handler.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// What PID 1 listens to.
const SIGNALS: [libc::c_int; 4] = [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGPWR];

/// A signal that means something to PID 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// A child ended.
    Child,
    /// SIGTERM or SIGPWR.
    PowerOff,
    /// SIGINT: the kernel's word for Ctrl-Alt-Del.
    Reboot,
}

/// The open signalfd.
pub struct Signals(OwnedFd);

impl Signals {
    /// Blocks the signals for this process and opens the descriptor, non-blocking and close-on-exec.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open() -> io::Result<Signals> {
        // SAFETY: the set is local and initialised by sigemptyset; the descriptor is fresh and owned here.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in SIGNALS {
                libc::sigaddset(&mut set, signal);
            }
            if libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) < 0 {
                return Err(io::Error::last_os_error());
            }
            let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(Signals(OwnedFd::from_raw_fd(fd))) }
        }
    }

    /// The next signal, if one waits.
    pub fn next(&self) -> Option<Signal> {
        loop {
            // SAFETY: signalfd_siginfo is plain data of fixed length, and the kernel writes whole ones.
            let number = unsafe {
                let mut info: libc::signalfd_siginfo = std::mem::zeroed();
                let length = size_of::<libc::signalfd_siginfo>();
                let read = libc::read(self.0.as_raw_fd(), (&raw mut info).cast(), length);
                if read != length.cast_signed() {
                    return None;
                }
                info.ssi_signo.cast_signed()
            };
            match number {
                libc::SIGCHLD => return Some(Signal::Child),
                libc::SIGTERM | libc::SIGPWR => return Some(Signal::PowerOff),
                libc::SIGINT => return Some(Signal::Reboot),
                _ => {}
            }
        }
    }
}

/// Signals that one process waits for.
pub struct Awaited(libc::sigset_t);

impl Awaited {
    /// Blocks the signals for this thread and those that it starts.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn block(signals: &[rustix::process::Signal]) -> io::Result<Awaited> {
        // SAFETY: the set is local and initialised by sigemptyset.
        unsafe {
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for signal in signals {
                libc::sigaddset(&mut set, signal.as_raw());
            }
            let blocked = libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            if blocked < 0 { Err(io::Error::last_os_error()) } else { Ok(Awaited(set)) }
        }
    }

    /// Waits for the next one.
    #[must_use]
    pub fn next(&self) -> Option<rustix::process::Signal> {
        let mut number = 0;
        // SAFETY: both pointers are to values of this frame and of `self`.
        let waited = unsafe { libc::sigwait(&raw const self.0, &raw mut number) };
        if waited == 0 { rustix::process::Signal::from_named_raw(number) } else { None }
    }
}

impl std::os::fd::AsFd for Signals {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}
