//! `/dev/vcio` of Raspberry Pi's kernel (drivers/char/broadcom/vcio.c): one ioctl that takes a property message.

use super::{ArmError, io_error};
use crate::sys::ioctl;
use std::ffi::c_char;
use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;

const DEVICE: &str = "/dev/vcio";
/// `IOCTL_MBOX_PROPERTY`
const PROPERTY: u32 = ioctl::read_write::<*mut c_char>(100, 0);

pub fn exists() -> bool {
    Path::new(DEVICE).exists()
}

/// Sends a message and leaves the answer in its place.
pub fn exchange(message: &mut [u32]) -> Result<(), ArmError> {
    let device = File::options().read(true).write(true).open(DEVICE).map_err(io_error("open /dev/vcio"))?;
    // The driver trusts the message about its length.
    if message.first().is_none_or(|length| *length as usize != size_of_val(message)) {
        return Err(ArmError::Answer(0));
    }
    // SAFETY: the driver reads and writes as many bytes as the message says of itself, which is its own length.
    unsafe { ioctl::pointer(device.as_fd(), PROPERTY, message.as_mut_ptr()) }
        .map_err(io_error("ask the firmware through /dev/vcio"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_request_number_is_that_of_the_driver() {
        assert_eq!(super::PROPERTY, 0xC008_6400);
    }
}
