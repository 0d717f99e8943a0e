//! The VideoCore mailbox of the BCM2711, through `/dev/mem` (with `iomem=relaxed` on the kernel's command line), for
//! kernels without `/dev/vcio`.
//!
//! The firmware reads the message where it lies: a page of this process, held in place, whose physical address
//! `/proc/self/pagemap` tells. It reaches the first GiB only. Sources: "Mailboxes" in Raspberry Pi's documentation of the
//! firmware, drivers/mailbox/bcm2835-mailbox.c, Documentation/admin-guide/mm/pagemap.rst.

use super::{ArmError, MESSAGE, REQUEST, SUCCESS, WORDS, io_error};
use rustix::fs::{Mode, OFlags};
use rustix::mm::{MapFlags, ProtFlags, mlock, mmap, mmap_anonymous, munmap};
use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

const PAGE: usize = 4096;
/// Physical address of the page with the mailbox's registers, and where in it they are, in bytes.
const REGISTERS: u64 = 0xfe00_b000;
const WRITE: usize = 0x880 + 0x20;
const WRITE_STATUS: usize = 0x880 + 0x38;
/// In the status: there is no room for another message.
const FULL: u32 = 1 << 31;
/// The channel for property messages, in the low 4 bits of what is written.
const CHANNEL: u32 = 8;
/// What the firmware calls the first GiB when it goes past its own caches, and where its own memory begins there.
const ALIAS: u32 = 0xc000_0000;
const REACHABLE: u64 = 0x3c00_0000;
/// Pages that are looked at for one that the firmware reaches.
const PAGES: usize = 64;
const PATIENCE: Duration = Duration::from_secs(2);

/// A mapping, gone when it is dropped.
struct Mapping {
    at: *mut c_void,
    length: usize,
}

impl Mapping {
    /// Memory of this process, held in place.
    fn memory(length: usize) -> io::Result<Mapping> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping of nothing that is in use; it is locked and filled within its length.
        unsafe {
            let at =
                mmap_anonymous(std::ptr::null_mut(), length, protection, MapFlags::PRIVATE | MapFlags::POPULATE)?;
            let mapping = Mapping { at, length };
            mlock(at, length)?;
            std::ptr::write_bytes(at.cast::<u8>(), 1, length);
            Ok(mapping)
        }
    }

    fn device(memory: impl AsFd, address: u64, length: usize) -> io::Result<Mapping> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, chosen by the kernel; what lies there is touched by `register` alone.
        let at = unsafe { mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, memory, address)? };
        Ok(Mapping { at, length })
    }

    /// A word of 4 bytes at an offset in bytes, when it lies in the mapping.
    fn word(&self, offset: usize) -> Option<*mut u32> {
        let inside = offset.is_multiple_of(4) && offset + 4 <= self.length;
        inside.then(|| self.at.cast::<u8>().wrapping_add(offset).cast())
    }

    fn read(&self, offset: usize) -> u32 {
        // SAFETY: the word lies in the mapping, which is readable as long as `self` is.
        self.word(offset).map_or(0, |word| unsafe { word.read_volatile() })
    }

    fn write(&self, offset: usize, value: u32) {
        if let Some(word) = self.word(offset) {
            // SAFETY: the word lies in the mapping, which is writable as long as `self` is.
            unsafe { word.write_volatile(value) };
        }
    }

    /// Makes what stands at an offset the same for the processor and the firmware.
    fn settle(&self, offset: usize) {
        let address = self.at.cast::<u8>().wrapping_add(offset);
        #[cfg(target_arch = "aarch64")]
        // SAFETY: cleans one line of the data cache of this process's own memory, and waits until that is done.
        unsafe {
            std::arch::asm!("dc civac, {address}", "dsb sy", address = in(reg) address);
        }
        #[cfg(not(target_arch = "aarch64"))]
        let _ = address;
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped here with this length, and nothing refers to it any more.
        let _ = unsafe { munmap(self.at, self.length) };
    }
}

pub fn ask() -> Result<(), ArmError> {
    let flags = OFlags::RDWR | OFlags::SYNC | OFlags::CLOEXEC;
    let devices = rustix::fs::open("/dev/mem", flags, Mode::empty());
    let devices = devices.map_err(|error| io_error("open /dev/mem")(error.into()))?;
    let registers = Mapping::device(&devices, REGISTERS, PAGE).map_err(io_error("reach the mailbox"))?;
    let memory = Mapping::memory(PAGES * PAGE).map_err(io_error("hold memory in place"))?;
    let table = File::open("/proc/self/pagemap").map_err(io_error("open the table of pages"))?;
    let (offset, address) = reachable(&table, &memory)?.ok_or(ArmError::Memory)?;
    for (at, word) in MESSAGE.into_iter().enumerate() {
        memory.write(offset + at * 4, word);
    }
    // The message is shorter than a cache line.
    const { assert!(WORDS * 4 <= 64) };
    memory.settle(offset);
    let until = Instant::now() + PATIENCE;
    while registers.read(WRITE_STATUS) & FULL != 0 {
        pause(until)?;
    }
    registers.write(WRITE, address | ALIAS | CHANNEL);
    // From now on the firmware writes to this page whenever it likes: it is given back only when it has answered.
    let memory = ManuallyDrop::new(memory);
    let code = loop {
        memory.settle(offset);
        match memory.read(offset + 4) {
            REQUEST => pause(until)?,
            code => break code,
        }
    };
    drop(ManuallyDrop::into_inner(memory));
    if code == SUCCESS { Ok(()) } else { Err(ArmError::Answer(code)) }
}

fn pause(until: Instant) -> Result<(), ArmError> {
    if Instant::now() >= until {
        return Err(ArmError::Silent);
    }
    std::thread::sleep(Duration::from_millis(1));
    Ok(())
}

/// A page of this mapping that the firmware reaches: its offset, and its physical address.
fn reachable(table: &File, memory: &Mapping) -> Result<Option<(usize, u32)>, ArmError> {
    for offset in (0..memory.length).step_by(PAGE) {
        let page = (memory.at.addr() + offset) / PAGE;
        let mut entry = [0; 8];
        table.read_exact_at(&mut entry, page as u64 * 8).map_err(io_error("read the table of pages"))?;
        if let Some(address) = address(u64::from_le_bytes(entry)) {
            return Ok(Some((offset, address)));
        }
    }
    Ok(None)
}

/// The physical address of a page that is in memory and in reach, by its entry in the table.
fn address(entry: u64) -> Option<u32> {
    let present = entry >> 63 == 1;
    let frame = entry & ((1 << 55) - 1);
    // Who may not know them sees zeros.
    let address = (present && frame != 0).then(|| frame.checked_mul(PAGE as u64))??;
    u32::try_from(address).ok().filter(|address| u64::from(*address) < REACHABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_in_memory_below_the_firmwares_own_are_taken() {
        let present = 1 << 63;
        assert_eq!(address(present | 0x1234), Some(0x123_4000));
        assert_eq!(address(present | 0x3_bfff), Some(0x3bff_f000));
        for entry in [0x1234, present, present | 0x3_c000, present | 0x10_0000, present | ((1 << 55) - 1)] {
            assert_eq!(address(entry), None, "{entry:#x}");
        }
    }

    #[test]
    fn memory_is_held_in_place_and_words_stay_in_it() {
        let memory = Mapping::memory(PAGE).unwrap();
        memory.write(8, 7);
        memory.settle(8);
        assert_eq!((memory.read(8), memory.read(12)), (7, 0x0101_0101));
        assert_eq!((memory.word(PAGE), memory.word(2), memory.word(PAGE - 4).is_some()), (None, None, true));
    }
}
