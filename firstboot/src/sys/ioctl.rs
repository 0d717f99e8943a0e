//! ioctl with errno as `io::Error`, and the request numbers of asm-generic/ioctl.h (the same on aarch64 and x86-64).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// `_IO(group, number)`: nothing is passed, or a pointer of no stated size.
pub const fn none(group: u8, number: u8) -> u32 {
    (group as u32) << 8 | number as u32
}

/// `_IOR(group, number, T)`: the kernel fills a `T`.
pub const fn read<T>(group: u8, number: u8) -> u32 {
    2 << 30 | (size_of::<T>() as u32) << 16 | none(group, number)
}

/// `_IOW(group, number, T)`: the kernel reads a `T`.
pub const fn write<T>(group: u8, number: u8) -> u32 {
    1 << 30 | (size_of::<T>() as u32) << 16 | none(group, number)
}

/// `_IOWR(group, number, T)`: both ways.
pub const fn read_write<T>(group: u8, number: u8) -> u32 {
    3 << 30 | (size_of::<T>() as u32) << 16 | none(group, number)
}

/// Calls ioctl with a pointer argument.
///
/// # Safety
/// `request` must be one whose argument is a pointer to what `argument` points to, valid for reads and writes of
/// everything the kernel touches.
pub unsafe fn pointer<T>(fd: BorrowedFd<'_>, request: u32, argument: *mut T) -> io::Result<i32> {
    // SAFETY: the caller vouches for the argument; the descriptor is open as long as it is borrowed.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request as libc::Ioctl, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn request_numbers_are_those_of_the_kernel_headers() {
        assert_eq!(super::none(0x12, 104), 0x1268, "BLKSSZGET");
        assert_eq!(super::read::<usize>(0x12, 114), 0x8008_1272, "BLKGETSIZE64 on 64-bit machines");
        assert_eq!(super::read_write::<i32>(b'W', 6), 0xC004_5706, "WDIOC_SETTIMEOUT");
        assert_eq!(super::read_write::<[u8; 312]>(0xfd, 3), 0xC138_FD03, "DM_DEV_CREATE");
    }
}
