//! The hardware watchdog. Mirrors linux/watchdog.h.

use super::ioctl;
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, RawFd};

/// The first watchdog of the machine.
pub const DEVICE: &str = "/dev/watchdog0";

const GROUP: u8 = b'W';
const WDIOC_GETSUPPORT: u32 = ioctl::read::<Info>(GROUP, 0);
const WDIOC_KEEPALIVE: u32 = ioctl::read::<c_int>(GROUP, 5);
const WDIOC_SETTIMEOUT: u32 = ioctl::read_write::<c_int>(GROUP, 6);
const WDIOC_GETTIMEOUT: u32 = ioctl::read::<c_int>(GROUP, 7);

/// What every watchdog is set to, in seconds: the longest time of the BCM2835's, which counts 20 bits of 1/65536 s. Another
/// machine's could wait longer, but a node must do with this much on the board.
const TIMEOUT_S: u32 = 15;

/// `struct watchdog_info`
#[repr(C)]
struct Info {
    options: u32,
    firmware_version: u32,
    identity: [u8; 32],
}

/// An open watchdog: it runs from now on, and resets the machine when it is not fed.
#[derive(Debug)]
pub struct Watchdog {
    file: File,
    /// What the driver calls itself.
    pub identity: String,
    /// Seconds without food after which the machine is reset.
    pub timeout_s: u32,
}

impl Watchdog {
    /// Opens and thereby arms the watchdog.
    ///
    /// # Errors
    /// `NotFound` when the machine has none, or its driver is not loaded; `EBUSY` when it is open elsewhere.
    pub fn open() -> io::Result<Watchdog> {
        let file = File::options().write(true).open(DEVICE)?;
        let identity = identity(file.as_fd()).unwrap_or_else(|_| "unknown".to_owned());
        let timeout_s = set_timeout(file.as_fd(), TIMEOUT_S).or_else(|_| timeout(file.as_fd())).unwrap_or(TIMEOUT_S);
        feed(file.as_fd())?;
        Ok(Watchdog { file, identity, timeout_s })
    }

    /// Gives the descriptor away: it stays open for good, also across exec.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn into_lasting_fd(self) -> io::Result<RawFd> {
        rustix::io::fcntl_setfd(&self.file, rustix::io::FdFlags::empty())?;
        Ok(self.file.into_raw_fd())
    }
}

impl AsFd for Watchdog {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Feeds the watchdog behind a descriptor.
///
/// # Errors
/// What the kernel says; `ENOTTY` or `EBADF` when it is not a watchdog.
pub fn feed(watchdog: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: WDIOC_KEEPALIVE ignores its argument.
    unsafe { ioctl::pointer(watchdog, WDIOC_KEEPALIVE, std::ptr::null_mut::<c_void>())? };
    Ok(())
}

/// Feeds the watchdog whose descriptor number came from the initramfs.
///
/// # Errors
/// As [`feed`].
pub fn feed_number(fd: RawFd) -> io::Result<()> {
    // SAFETY: a plain system call on a number; a wrong one gives an error.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), WDIOC_KEEPALIVE as libc::Ioctl, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn identity(watchdog: BorrowedFd<'_>) -> io::Result<String> {
    let mut info = Info { options: 0, firmware_version: 0, identity: [0; 32] };
    // SAFETY: WDIOC_GETSUPPORT fills one watchdog_info.
    unsafe { ioctl::pointer(watchdog, WDIOC_GETSUPPORT, &raw mut info)? };
    let text = info.identity.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// Sets the time-out and returns what the driver made of it, in seconds.
fn set_timeout(watchdog: BorrowedFd<'_>, seconds: u32) -> io::Result<u32> {
    let mut value = seconds as c_int;
    // SAFETY: WDIOC_SETTIMEOUT reads and writes one int.
    unsafe { ioctl::pointer(watchdog, WDIOC_SETTIMEOUT, &raw mut value)? };
    Ok(value.unsigned_abs())
}

fn timeout(watchdog: BorrowedFd<'_>) -> io::Result<u32> {
    let mut value: c_int = 0;
    // SAFETY: WDIOC_GETTIMEOUT stores one int.
    unsafe { ioctl::pointer(watchdog, WDIOC_GETTIMEOUT, &raw mut value)? };
    Ok(value.unsigned_abs())
}
