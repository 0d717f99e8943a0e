//! The VideoCore mailbox of the BCM2711, through `/dev/mem` (with `iomem=relaxed` on the kernel's command line), for
//! kernels without `/dev/vcio`.
//!
//! The firmware reads the message where it lies and writes its answer there. It reaches the first GiB of memory only, and
//! Linux gives a process pages from the other end: so the image's device tree reserves a page for it
//! ([`contract::names::MAILBOX_PAGE`]), which Linux leaves alone and maps uncached.
//!
//! The kernel has a driver of its own for this mailbox (clocks and GPIOs go through it), and takes every answer that
//! arrives for its own. So its interrupt is off while the answer to this message is awaited, and the answer is taken out
//! of the queue; one of the kernel's that came before it is left to the kernel.
//!
//! Sources: "Mailboxes" in Raspberry Pi's documentation of the firmware, drivers/mailbox/bcm2835-mailbox.c.

use super::{ArmError, REQUEST, io_error};
use contract::names::{DT_MAILBOX_PAGE, MAILBOX_PAGE};
use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
/// Physical address of the page with the mailboxes' registers, and where in it they begin, in bytes.
const REGISTERS: u64 = 0xfe00_b000;
const MAILBOX: usize = 0x880;
/// From the firmware: the oldest answer (reading takes it out), the same without taking it out, the state, the settings.
const READ: usize = MAILBOX;
const PEEK: usize = MAILBOX + 0x10;
const READ_STATUS: usize = MAILBOX + 0x18;
const SETTINGS: usize = MAILBOX + 0x1c;
/// To the firmware.
const WRITE: usize = MAILBOX + 0x20;
const WRITE_STATUS: usize = MAILBOX + 0x38;
/// In a state: there is no room for another message, and there is none.
const FULL: u32 = 1 << 31;
const EMPTY: u32 = 1 << 30;
/// In the settings: an answer raises the kernel's interrupt.
const INTERRUPT: u32 = 1;
/// The channel for property messages, in the low 4 bits of what is written.
const CHANNEL: u32 = 8;
/// What the firmware calls the first GiB when it goes past its own caches.
const ALIAS: u32 = 0xc000_0000;
/// Time from the answer in memory to the word in the queue that tells of it.
const WORD: Duration = Duration::from_millis(5);

/// A mapping of physical addresses, gone when it is dropped.
struct Mapping {
    at: *mut c_void,
}

impl Mapping {
    /// One page.
    fn page(memory: impl AsFd, address: u64) -> io::Result<Mapping> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, chosen by the kernel; what is there is touched by `read` and `write` alone.
        let at = unsafe { mmap(std::ptr::null_mut(), PAGE, protection, MapFlags::SHARED, memory, address)? };
        Ok(Mapping { at })
    }

    /// A word of 4 bytes at an offset in bytes, when it is in the mapping.
    fn word(&self, offset: usize) -> Option<*mut u32> {
        let inside = offset.is_multiple_of(4) && offset + 4 <= PAGE;
        inside.then(|| self.at.cast::<u8>().wrapping_add(offset).cast())
    }

    fn read(&self, offset: usize) -> u32 {
        // SAFETY: the word is in the mapping, which is readable as long as `self` is.
        self.word(offset).map_or(0, |word| unsafe { word.read_volatile() })
    }

    fn write(&self, offset: usize, value: u32) {
        if let Some(word) = self.word(offset) {
            // SAFETY: the word is in the mapping, which is writable as long as `self` is.
            unsafe { word.write_volatile(value) };
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped here with this length, and nothing refers to it any more.
        let _ = unsafe { munmap(self.at, PAGE) };
    }
}

/// Whatever was written before is in place before what is written after.
fn barrier() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: waits until earlier accesses to memory and devices are done; touches nothing.
    unsafe {
        std::arch::asm!("dsb sy");
    }
    #[cfg(not(target_arch = "aarch64"))]
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
}

/// Maps one word of physical memory, changes it, and is gone.
pub fn change_word(address: u64, change: impl FnOnce(u32) -> u32) -> io::Result<()> {
    let within = usize::try_from(address % PAGE as u64).unwrap_or(0);
    let page = Mapping::page(open_memory()?, address - within as u64)?;
    page.write(within, change(page.read(within)));
    barrier();
    Ok(())
}

fn open_memory() -> io::Result<impl AsFd> {
    Ok(rustix::fs::open("/dev/mem", OFlags::RDWR | OFlags::SYNC | OFlags::CLOEXEC, Mode::empty())?)
}

/// Sends a message and leaves the answer in its place. `slot` is a part of the page of its own for each kind of message,
/// so that an answer that comes too late meets no other message.
pub fn exchange(message: &mut [u32], slot: usize, patience: Duration) -> Result<(), ArmError> {
    let address = reserved(Path::new(DT_MAILBOX_PAGE))?;
    let devices = open_memory().map_err(io_error("open /dev/mem"))?;
    let registers = Mapping::page(&devices, REGISTERS).map_err(io_error("reach the mailbox"))?;
    let memory = Mapping::page(&devices, u64::from(address)).map_err(io_error("reach the mailbox's page"))?;
    talk(&registers, &memory, Place { address, offset: slot * SLOT }, message, patience)
}

/// Bytes for one kind of message.
const SLOT: usize = 1024;

/// Where a message lies: the page's physical address, and the offset in it in bytes.
#[derive(Clone, Copy)]
struct Place {
    address: u32,
    offset: usize,
}

fn talk(
    registers: &Mapping,
    memory: &Mapping,
    place: Place,
    message: &mut [u32],
    patience: Duration,
) -> Result<(), ArmError> {
    let at = |word: usize| place.offset + word * 4;
    for (word, value) in message.iter().enumerate() {
        memory.write(at(word), *value);
    }
    barrier();
    let until = Instant::now() + patience;
    // Without room, and with an answer that the kernel has not taken yet, it is someone else's turn.
    while registers.read(WRITE_STATUS) & FULL != 0 || registers.read(READ_STATUS) & EMPTY == 0 {
        pause(until)?;
    }
    let settings = registers.read(SETTINGS);
    registers.write(SETTINGS, settings & !INTERRUPT);
    let word = (place.address + u32::try_from(place.offset).unwrap_or(0)) | ALIAS | CHANNEL;
    registers.write(WRITE, word);
    let answered = wait_for(until, || memory.read(at(1)) != REQUEST);
    if answered.is_ok() {
        let _ = wait_for(Instant::now() + WORD, || registers.read(READ_STATUS) & EMPTY == 0);
        if registers.read(READ_STATUS) & EMPTY == 0 && registers.read(PEEK) == word {
            registers.read(READ);
        }
    }
    registers.write(SETTINGS, settings);
    answered?;
    barrier();
    for (word, value) in message.iter_mut().enumerate() {
        *value = memory.read(at(word));
    }
    Ok(())
}

/// Waits for an answer: for the first moments, in which most come, without sleeping, as the kernel's own are held up.
fn wait_for(until: Instant, mut done: impl FnMut() -> bool) -> Result<(), ArmError> {
    let begin = Instant::now();
    while !done() {
        if begin.elapsed() > Duration::from_millis(1) {
            pause(until)?;
        }
    }
    Ok(())
}

fn pause(until: Instant) -> Result<(), ArmError> {
    if Instant::now() >= until {
        return Err(ArmError::Silent);
    }
    std::thread::sleep(Duration::from_millis(1));
    Ok(())
}

/// The physical address of the page that the device tree reserves, by its node.
fn reserved(node: &Path) -> Result<u32, ArmError> {
    let reg = std::fs::read(node.join("reg")).map_err(|_| ArmError::NoPage)?;
    page_of(&reg).ok_or(ArmError::NoPage)
}

/// `reg` of a page at [`MAILBOX_PAGE`]: two cells of address, one or two of size.
fn page_of(reg: &[u8]) -> Option<u32> {
    let (address, size) = reg.split_first_chunk::<8>()?;
    let size = match *size {
        [a, b, c, d] => u64::from(u32::from_be_bytes([a, b, c, d])),
        _ => u64::from_be_bytes(size.try_into().ok()?),
    };
    (u64::from_be_bytes(*address) == u64::from(MAILBOX_PAGE) && size >= PAGE as u64).then_some(MAILBOX_PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A page of this process's own, in place of registers or memory.
    fn anonymous() -> Mapping {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping of nothing that is in use.
        let at = unsafe { rustix::mm::mmap_anonymous(std::ptr::null_mut(), PAGE, protection, MapFlags::SHARED) };
        Mapping { at: at.unwrap() }
    }

    // SAFETY: the tests' firmware and the code under test share a page on purpose, by volatile words.
    unsafe impl Sync for Mapping {}

    const PLACE: Place = Place { address: MAILBOX_PAGE, offset: SLOT };
    const WORD_OF_OURS: u32 = (MAILBOX_PAGE + SLOT as u32) | ALIAS | CHANNEL;

    /// A firmware that answers one message, or none: what is left of the queue and of the settings afterwards.
    fn with_firmware(queue: u32, answers: bool, message: &mut [u32]) -> (Result<(), ArmError>, u32, u32) {
        let (registers, memory, over) = (anonymous(), anonymous(), AtomicBool::new(false));
        registers.write(READ_STATUS, EMPTY);
        registers.write(SETTINGS, INTERRUPT);
        let result = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    if registers.read(WRITE) == WORD_OF_OURS && answers {
                        assert_eq!(registers.read(SETTINGS), 0, "the kernel's interrupt is off meanwhile");
                        registers.write(PEEK, queue);
                        registers.write(READ, queue);
                        registers.write(READ_STATUS, 0);
                        memory.write(SLOT + 20, 0x50005);
                        memory.write(SLOT + 4, super::super::SUCCESS);
                        return;
                    }
                    std::thread::yield_now();
                }
            });
            let result = talk(&registers, &memory, PLACE, message, Duration::from_millis(300));
            over.store(true, Ordering::SeqCst);
            result
        });
        (result, registers.read(READ_STATUS), registers.read(SETTINGS))
    }

    #[test]
    fn the_answer_stands_in_the_messages_place_and_the_interrupt_is_on_again() {
        let mut message = [28, REQUEST, 0x30046, 4, 0, 0, 0];
        let (result, _, settings) = with_firmware(WORD_OF_OURS, true, &mut message);
        result.unwrap();
        assert_eq!((message[1], message[5], settings), (super::super::SUCCESS, 0x50005, INTERRUPT));
    }

    #[test]
    fn a_firmware_that_is_silent_leaves_the_kernels_interrupt_on() {
        let mut message = [28, REQUEST, 0x30046, 4, 0, 0, 0];
        let (result, _, settings) = with_firmware(0, false, &mut message);
        assert!(matches!(result, Err(ArmError::Silent)));
        assert_eq!(settings, INTERRUPT);
    }

    #[test]
    fn an_answer_that_the_kernel_waits_for_is_not_overtaken() {
        let (registers, memory) = (anonymous(), anonymous());
        registers.write(READ_STATUS, 0);
        let result = talk(&registers, &memory, PLACE, &mut [28, 0, 1, 4, 0, 0, 0], Duration::from_millis(20));
        assert!(matches!(result, Err(ArmError::Silent)));
        assert_eq!(registers.read(WRITE), 0, "nothing was sent");
    }

    #[test]
    fn a_device_tree_without_the_page_is_named_with_what_is_missing() {
        let folder = tempfile::tempdir().unwrap();
        let error = reserved(folder.path()).unwrap_err().to_string();
        assert!(error.contains("/reserved-memory/microdc@10000000") && error.contains("build"), "{error}");
        let reg = [u64::from(MAILBOX_PAGE).to_be_bytes().as_slice(), &4096_u32.to_be_bytes()].concat();
        std::fs::write(folder.path().join("reg"), reg).unwrap();
        assert_eq!(reserved(folder.path()).unwrap(), MAILBOX_PAGE);
    }

    #[test]
    fn words_outside_the_page_are_out_of_reach() {
        let page = anonymous();
        page.write(8, 7);
        assert_eq!((page.read(8), page.read(12)), (7, 0));
        assert_eq!((page.word(PAGE), page.word(2), page.word(PAGE - 4).is_some()), (None, None, true));
    }

    proptest! {
        #[test]
        fn no_reg_leads_to_another_page(reg: Vec<u8>) {
            prop_assert!(page_of(&reg).is_none_or(|page| page == MAILBOX_PAGE));
        }

        #[test]
        fn only_a_whole_page_at_its_address_is_taken(address in any::<u64>(), size in any::<u32>()) {
            let reg = [address.to_be_bytes().as_slice(), &size.to_be_bytes()].concat();
            prop_assert_eq!(page_of(&reg).is_some(), address == u64::from(MAILBOX_PAGE) && size >= 4096);
        }
    }
}
