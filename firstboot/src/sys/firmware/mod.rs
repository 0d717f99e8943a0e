//! Asking the firmware to start the other slot once, at the next reset.
//!
//! - [`vcio`] by Raspberry Pi's own kernel · [`mailbox`] by the VideoCore mailbox itself, where the kernel has no way to it ·
//!   [`port`] by a serial port, in an emulated node
//!
//! The request is a property message to the firmware ("Mailbox property interface" in Raspberry Pi's documentation): the
//! tag that sets the flags of the next reset, with the one for a trial boot.

mod mailbox;
mod port;
mod vcio;

use std::io;
use std::path::Path;

/// `RPI_FIRMWARE_SET_REBOOT_FLAGS` and the flag for a trial.
const TAG: u32 = 0x0003_8064;
const TRIAL: u32 = 1;
/// A request, and the good answer to it (`RPI_FIRMWARE_STATUS_REQUEST`, `..._SUCCESS`).
const REQUEST: u32 = 0;
const SUCCESS: u32 = 0x8000_0000;
/// Words of the message: its length, its code, the tag with room for 4 bytes, and the end.
const WORDS: usize = 7;
const MESSAGE: [u32; WORDS] = [28, REQUEST, TAG, 4, 0, TRIAL, 0];

/// Where the kernel says what the board is: names, each with a zero byte behind it.
const COMPATIBLE: &str = "/proc/device-tree/compatible";
const BCM2711: &[u8] = b"brcm,bcm2711";

/// A request that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    #[error("cannot {doing}: {source}")]
    Io { doing: &'static str, source: io::Error },
    #[error("the firmware answered {0:#010x} to the request for a trial boot")]
    Answer(u32),
    #[error("the firmware did not answer in time")]
    Silent,
    #[error("no memory was found that the firmware can reach")]
    Memory,
    #[error("the emulator answered {0:?} to the request for a trial boot")]
    Emulator(String),
    #[error("this machine has no way to ask for a trial boot: no /dev/vcio, no mailbox, no port")]
    NoWay,
}

fn io_error(doing: &'static str) -> impl Fn(io::Error) -> ArmError {
    move |source| ArmError::Io { doing, source }
}

/// Asks for a trial boot. Gives by what way it was asked. Takes a few seconds at most.
///
/// # Errors
/// When there is no way to ask, or the answer is no.
pub fn ask_for_trial() -> Result<&'static str, ArmError> {
    if vcio::exists() {
        vcio::ask().map(|()| "/dev/vcio")
    } else if is_bcm2711(&std::fs::read(COMPATIBLE).unwrap_or_default()) {
        mailbox::ask().map(|()| "the mailbox")
    } else {
        port::ask(Path::new("/sys/class/virtio-ports"), Path::new("/dev")).map(|()| "the emulator's port")
    }
}

fn is_bcm2711(compatible: &[u8]) -> bool {
    compatible.split(|&byte| byte == 0).any(|name| name == BCM2711)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cm4_is_known_by_its_processor() {
        assert!(is_bcm2711(b"raspberrypi,4-compute-module\0brcm,bcm2711\0"));
        assert!(!is_bcm2711(b"linux,dummy-virt\0") && !is_bcm2711(b"") && !is_bcm2711(b"brcm,bcm2711x\0"));
    }

    #[test]
    fn the_message_says_its_own_length() {
        assert_eq!(MESSAGE[0] as usize, size_of_val(&MESSAGE));
    }
}
