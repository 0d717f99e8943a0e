//! Files that PID 1 left open for this process, by their number ([`super::process::Surroundings::files`]).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

/// A descriptor of its own for the file with this number; programs that this process starts do not have it.
///
/// # Errors
/// `EBADF` when no file with this number is open.
pub fn file(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: borrowed for one system call, which says so when the number is not open.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(file, 3)?)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    #[test]
    fn an_open_file_is_found_by_its_number_and_a_closed_one_is_not() {
        let held = std::fs::File::open("/proc/self/status").unwrap();
        super::file(held.as_raw_fd()).unwrap();
        for number in [-1, 9_999] {
            assert!(super::file(number).is_err());
        }
    }
}
