//! What is asked of the firmware: to start the other slot once at the next reset, how the board fares, and to forget which
//! partition it started.
//!
//! - [`vcio`] by Raspberry Pi's own kernel · [`mailbox`] by the VideoCore mailbox itself, where the kernel has no way to it ·
//!   [`port`] by a serial port, in an emulated node
//!
//! Requests are property messages to the firmware ("Mailbox property interface" in Raspberry Pi's documentation).

mod mailbox;
mod port;
mod vcio;

use contract::names::DT_MAILBOX_PAGE;
use std::io;
use std::path::Path;
use std::time::Duration;

/// `RPI_FIRMWARE_SET_REBOOT_FLAGS` and the flag for a trial.
const SET_REBOOT_FLAGS: u32 = 0x0003_8064;
const TRIAL: u32 = 1;
/// A request, and the good answer to it (`RPI_FIRMWARE_STATUS_REQUEST`, `..._SUCCESS`).
const REQUEST: u32 = 0;
const SUCCESS: u32 = 0x8000_0000;
/// Where in a message the length of the answer to its tag stands, with a bit that says that there is one; and its values.
const ANSWERED: usize = 4;
const VALUES: usize = 5;
/// Time for a request that matters, and for one that can be asked again.
const PATIENCE: Duration = Duration::from_secs(2);
const SHORT_PATIENCE: Duration = Duration::from_millis(50);

/// PM_RSTS of the BCM2711, where the number of the partition to start is kept over a reset, in every second bit
/// (drivers/watchdog/bcm2835_wdt.c), and the password that every write needs.
const PM_RSTS: u64 = 0xfe10_0020;
const PARTITION_BITS: u32 = 0x555;
const PM_PASSWORD: u32 = 0x5a00_0000;

/// Where the kernel says what the board is: names, each with a zero byte behind it.
const COMPATIBLE: &str = "/proc/device-tree/compatible";
const BCM2711: &[u8] = b"brcm,bcm2711";

/// A request that was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    #[error("cannot {doing}: {source}")]
    Io { doing: &'static str, source: io::Error },
    #[error("the firmware answered {0:#010x}, which does not mean success")]
    Answer(u32),
    #[error("the firmware did not answer in time")]
    Silent,
    #[error(
        "the device tree of this slot reserves no page for the firmware's mailbox ({node} is missing): it is older than \
         this firstboot, or not microdc's; build the image again and write it to the disk",
        node = DT_MAILBOX_PAGE.trim_start_matches("/proc/device-tree")
    )]
    NoPage,
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
    let mut message = message(SET_REBOOT_FLAGS, &[TRIAL]);
    let way = if vcio::exists() {
        vcio::exchange(&mut message)?;
        "/dev/vcio"
    } else if is_bcm2711() {
        mailbox::exchange(&mut message, 0, PATIENCE)?;
        "the mailbox"
    } else {
        return port::ask(Path::new("/sys/class/virtio-ports"), Path::new("/dev")).map(|()| "the emulator's port");
    };
    match message.get(1) {
        Some(&SUCCESS) => Ok(way),
        code => Err(ArmError::Answer(code.copied().unwrap_or_default())),
    }
}

/// What the firmware can be asked about the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// `RPI_FIRMWARE_GET_THROTTLED`: bits of [`contract::board::Throttled`].
    Throttled,
    /// `RPI_FIRMWARE_GET_TEMPERATURE` of the processor, in 1/1000 °C.
    Temperature,
    /// `RPI_FIRMWARE_GET_CLOCK_RATE` of the processor's cores, in Hz.
    Clock,
}

impl Reading {
    /// Its tag, and the words sent with it. The answer is the last of as many words.
    fn request(self) -> (u32, &'static [u32]) {
        match self {
            // No flag is cleared by asking.
            Reading::Throttled => (0x0003_0046, &[0]),
            Reading::Temperature => (0x0003_0006, &[0, 0]),
            Reading::Clock => (0x0003_0002, &[3, 0]),
        }
    }
}

/// Asks the firmware. Takes a twentieth of a second at most, and mostly far less.
///
/// # Errors
/// When there is no firmware to ask, as on other machines, or it does not know the answer.
pub fn read(reading: Reading) -> Result<u32, ArmError> {
    let (tag, values) = reading.request();
    let mut message = message(tag, values);
    if vcio::exists() {
        vcio::exchange(&mut message)?;
    } else if is_bcm2711() {
        mailbox::exchange(&mut message, 1, SHORT_PATIENCE)?;
    } else {
        return Err(ArmError::NoWay);
    }
    answer(&message, values.len())
}

/// Makes the firmware choose the partition of the next boot again, by its autoboot.txt: some releases of the firmware leave
/// a number behind that comes before it.
///
/// # Errors
/// When the register cannot be reached. On other machines there is nothing to do.
pub fn forget_partition() -> io::Result<()> {
    if !is_bcm2711() {
        return Ok(());
    }
    mailbox::change_word(PM_RSTS, without_partition)
}

fn without_partition(status: u32) -> u32 {
    PM_PASSWORD | (status & 0x00ff_ffff & !PARTITION_BITS)
}

/// A message with one tag: its length in bytes, its code, the tag, the room for its values in bytes, a place for the length
/// of the answer, the values, and the end.
fn message(tag: u32, values: &[u32]) -> Vec<u32> {
    let bytes = |words: usize| u32::try_from(words * 4).unwrap_or(u32::MAX);
    let head = [bytes(values.len() + VALUES + 1), REQUEST, tag, bytes(values.len()), 0];
    head.iter().chain(values).chain(&[0]).copied().collect()
}

/// The last of `count` words that an answer has to have.
fn answer(message: &[u32], count: usize) -> Result<u32, ArmError> {
    let word = |at: usize| message.get(at).copied().unwrap_or_default();
    let length = word(ANSWERED);
    if word(1) != SUCCESS || length & SUCCESS == 0 || ((length & !SUCCESS) as usize) < count * 4 {
        return Err(ArmError::Answer(word(1)));
    }
    Ok(word(VALUES + count - 1))
}

fn is_bcm2711() -> bool {
    names_bcm2711(&std::fs::read(COMPATIBLE).unwrap_or_default())
}

fn names_bcm2711(compatible: &[u8]) -> bool {
    compatible.split(|&byte| byte == 0).any(|name| name == BCM2711)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cm4_is_known_by_its_processor() {
        assert!(names_bcm2711(b"raspberrypi,4-compute-module\0brcm,bcm2711\0"));
        assert!(!names_bcm2711(b"linux,dummy-virt\0") && !names_bcm2711(b"") && !names_bcm2711(b"brcm,bcm2711x\0"));
    }

    #[test]
    fn a_message_says_its_own_length() {
        let message = message(SET_REBOOT_FLAGS, &[TRIAL]);
        assert_eq!(message, [28, REQUEST, 0x0003_8064, 4, 0, 1, 0]);
        assert_eq!(message[0] as usize, size_of_val(message.as_slice()));
    }

    #[test]
    fn an_answer_is_the_firmwares_only_when_it_says_so() {
        let good = [32, SUCCESS, 0x30006, 8, SUCCESS | 8, 0, 41_234, 0];
        assert_eq!(answer(&good, 2).unwrap(), 41_234);
        // A tag that it does not know, an answer that is too short, a refusal, no answer at all.
        for (at, value) in [(4, 0), (4, 8), (4, SUCCESS), (4, SUCCESS | 4), (1, 0x8000_0001), (1, REQUEST)] {
            let mut other = good;
            other[at] = value;
            assert!(answer(&other, 2).is_err(), "word {at} is {value:#x}");
        }
    }

    #[test]
    fn only_the_partition_is_forgotten() {
        // Bit 10 alone is partition 32; 0x555 is the order to halt; 0x1000 tells of the last reset.
        assert_eq!(without_partition(0x0000_1400), 0x5a00_1000);
        assert_eq!(without_partition(0x5a00_0555), 0x5a00_0000);
        assert_eq!(without_partition(0x00ff_faaa), 0x5aff_faaa);
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(message: Vec<u32>, count in 1_usize..4) {
            let _ = answer(&message, count);
        }
    }
}
