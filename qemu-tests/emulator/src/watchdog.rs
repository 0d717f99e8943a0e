//! The firmware's watchdogs: what gets a node out of a boot that does not come as far as PID 1.
//!
//! - `kernel_watchdog_timeout` of config.txt: the firmware starts the hardware watchdog and hands it over to the kernel
//!   (Raspberry Pi documentation, "The config.txt file", boot options). QEMU's watchdog of `virt` cannot be started before
//!   the guest does it, so the emulator keeps this one. It is fed for good by the first line of firstboot, which opens the
//!   real watchdog right after it.
//! - `BOOT_WATCHDOG_TIMEOUT` of the EEPROM: resets a board whose firmware stands still because it cannot load what the
//!   partition should hold. It is off unless the EEPROM's own configuration sets it ([`crate::eeprom::Eeprom`]).
//!
//! The time that counts is the one in which QEMU really ran: a busy host does not reset its nodes. Each core of the
//! guest may run for so long. A guest that sleeps hardly runs; for it, [`SLOWEST`] times as long by the clock is long
//! enough.

use crate::console::Record;
use contract::names::CONSOLE_PREFIX;
use std::cell::Cell;
use std::time::{Duration, Instant};

const SLOWEST: u32 = 4;

/// The watchdog of one boot.
pub(crate) struct Watchdog<'r> {
    record: &'r Record,
    /// Where this boot's words begin in the record.
    begin: usize,
    limit: Option<Duration>,
    cores: u32,
    since: Instant,
    pid: u32,
    fed: Cell<bool>,
    bitten: Cell<bool>,
}

impl<'r> Watchdog<'r> {
    /// Starts it for the boot that QEMU, as process `pid`, has begun with so many cores. Without a limit it never
    /// bites.
    pub(crate) fn start(record: &'r Record, limit: Option<Duration>, cores: u32, pid: u32) -> Watchdog<'r> {
        let (fed, bitten) = (Cell::new(false), Cell::new(false));
        Watchdog { record, begin: record.length(), limit, cores, since: Instant::now(), pid, fed, bitten }
    }

    /// Whether the node is to be reset now.
    pub(crate) fn bites(&self) -> bool {
        let Some(limit) = self.limit else { return false };
        if self.bitten.get() || self.fed.get() {
            return self.bitten.get();
        }
        let (clock, ran) = (self.since.elapsed(), processor_time(self.pid).unwrap_or_default());
        if self.record.said_since(self.begin, CONSOLE_PREFIX) {
            self.fed.set(true);
        } else if ran >= limit * self.cores || clock >= limit * self.cores * SLOWEST {
            let seconds = limit.as_secs();
            self.record.say(&format!(
                "the firmware's watchdog of {seconds} s: nothing from firstboot, so the node is reset"
            ));
            self.bitten.set(true);
        }
        self.bitten.get()
    }

    /// Whether it has reset the node.
    pub(crate) fn has_bitten(&self) -> bool {
        self.bitten.get()
    }
}

/// Time that a process has had on the host's processors (proc_pid_stat(5), fields 14 and 15).
fn processor_time(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let ticks: u64 = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
    // SAFETY: asks for a constant of the system.
    let each = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).ok().filter(|&each| each > 0)?;
    Some(Duration::from_millis(ticks * 1000 / each))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_this_process_ran_is_known_and_grows() {
        let begin = processor_time(std::process::id()).unwrap();
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(200) {
            std::hint::black_box(begin);
        }
        assert!(processor_time(std::process::id()).unwrap() > begin);
    }

    #[test]
    fn a_boot_that_speaks_is_left_alone_and_a_silent_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::create("r1", folder.path()).unwrap();
        record.push(b"microdc: words of the boot before\n");
        // A process that sleeps for ever: none of this number can be.
        let silent = Watchdog::start(&record, Some(Duration::from_millis(20)), 1, u32::MAX);
        let never = Watchdog::start(&record, None, 1, u32::MAX);
        let of_many = Watchdog::start(&record, Some(Duration::from_millis(20)), 1_000_000, u32::MAX);
        std::thread::sleep(Duration::from_millis(100));
        assert!(silent.bites() && silent.has_bitten() && !never.bites() && !of_many.bites());
        let spoken = Watchdog::start(&record, Some(Duration::from_millis(20)), 1, u32::MAX);
        record.push(b"microdc: here\n");
        std::thread::sleep(Duration::from_millis(100));
        assert!(!spoken.bites() && !spoken.has_bitten());
    }
}
