//! What the board reports: clock, temperature, what slows it down, and how old its EEPROM is. The kernel's own drivers
//! are asked first, and the firmware where there are none; what no one answers stays absent.

use super::events::{Warnings, say};
use crate::initramfs::firmware::number;
use crate::service::Moment;
use crate::sys::firmware::{self, ArmError, Reading};
use contract::board::{Board, Throttled, eeprom};
use contract::names::DT_BOOTLOADER;
use std::path::Path;
use std::time::Duration;

/// Time between two checks.
const EVERY: Duration = Duration::from_secs(10);
/// Clock of the first core in kHz, as cpufreq has it, and temperature of the processor in 1/1000 °C.
const CLOCK: &str = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq";
const TEMPERATURE: &str = "/sys/class/thermal/thermal_zone0/temp";

/// The board, inspected now and then.
#[derive(Debug, Default)]
pub struct Watch {
    board: Board,
    next: Moment,
    /// Whether there is no firmware to ask.
    mute: bool,
}

impl Watch {
    /// The first look. An EEPROM that is too old is a warning, and so is a firmware that cannot be asked: it could not be asked
    /// for a trial either.
    #[must_use]
    pub fn begin(warnings: &mut Warnings) -> Watch {
        let built = std::fs::read(Path::new(DT_BOOTLOADER).join("build-timestamp")).ok();
        let eeprom_built = built.and_then(|built| number(&built)).filter(|built| *built > 0);
        if let Some(shortcoming) = eeprom_built.and_then(eeprom::shortcoming) {
            warnings.add(shortcoming);
        }
        let mut watch = Watch { board: Board { eeprom_built, ..Board::default() }, ..Watch::default() };
        if let Err(error @ (ArmError::NoPage | ArmError::Io { .. })) = watch.look() {
            warnings.add(format_args!("updates cannot be tried, and the board's state is unknown: {error}"));
        }
        watch
    }

    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Looks again when it is time to.
    pub fn refresh(&mut self, now: Moment) {
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        let before = self.board.throttled;
        // The first look has said what is wrong with asking.
        let _ = self.look();
        tell(before, self.board.throttled);
    }

    fn look(&mut self) -> Result<(), ArmError> {
        let throttled = if self.mute { Err(ArmError::NoWay) } else { firmware::read(Reading::Throttled) };
        self.mute = matches!(throttled, Err(ArmError::NoWay | ArmError::NoPage | ArmError::Io { .. }));
        let asked = |reading| (!self.mute).then(|| firmware::read(reading).ok()).flatten();
        let clock = kernels(CLOCK).map(|khz| khz.unsigned_abs() * 1000);
        self.board.clock_hz = clock.or_else(|| asked(Reading::Clock).map(u64::from));
        self.board.temperature_millicelsius =
            kernels(TEMPERATURE).or_else(|| asked(Reading::Temperature).map(i64::from));
        self.board.throttled = throttled.as_ref().ok().map(|word| Throttled(*word));
        throttled.map(drop)
    }
}

/// A number that a driver of the kernel gives.
fn kernels(path: &str) -> Option<i64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Says what has begun to slow the board down.
fn tell(before: Option<Throttled>, now: Option<Throttled>) {
    let known = before.unwrap_or_default().problems();
    for problem in now.unwrap_or_default().problems().iter().filter(|problem| !known.contains(problem)) {
        say(problem);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_that_firmware_says_nothing_of_it_and_is_not_asked_again() {
        let mut watch = Watch::begin(&mut Warnings::default());
        watch.refresh(Moment::ZERO);
        assert_eq!(watch.board().throttled, None);
        assert!(watch.mute);
        assert_eq!(watch.next, EVERY);
    }

    #[test]
    fn what_is_no_number_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("temp");
        let text = path.to_str().unwrap().to_owned();
        for (written, read) in [("41234\n", Some(41_234)), ("-1000\n", Some(-1000)), ("hot\n", None), ("", None)] {
            std::fs::write(&path, written).unwrap();
            assert_eq!(kernels(&text), read, "{written:?}");
        }
        assert_eq!(kernels("/nowhere/temp"), None);
    }
}
