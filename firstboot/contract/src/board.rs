//! What a node says of its board: clock, temperature, what slows it down, and the EEPROM that started it.

use serde::{Deserialize, Serialize};

/// What the board reports about itself; unknown values are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    /// Current clock frequency of the processor, in Hz.
    #[serde(default)]
    pub clock_hz: Option<u64>,
    /// Current temperature of the processor, in 1/1000 °C.
    #[serde(default)]
    pub temperature_millicelsius: Option<i64>,
    /// What slows the processor down, as reported by the firmware.
    #[serde(default)]
    pub throttled: Option<Throttled>,
    /// When the EEPROM's release was built, in seconds since 1970.
    #[serde(default)]
    pub eeprom_built: Option<u32>,
}

impl Board {
    /// Clock and temperature in a few words; `None` when neither is known.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        let clock = self.clock_hz.map(|clock| format!("{} MHz", clock / 1_000_000));
        let degrees = self.temperature_millicelsius.map(|milli| format!("{} °C", (milli as f64 / 1e3).round()));
        let throttled = self.throttled.map(|throttled| throttled.to_string());
        let words: Vec<String> = [clock, degrees, throttled].into_iter().flatten().collect();
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// The firmware's word about what slows the processor down: "vcgencmd get_throttled" in Raspberry Pi's documentation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Throttled(pub u32);

/// The bits that tell of now, each with its name in metrics and its words; 16 bits higher stands whether it has happened
/// since power-on.
pub const THROTTLED_BITS: [(u32, &str, &str); 4] = [
    (0, "under-voltage", "the supply voltage is too low"),
    (1, "frequency-capped", "the clock is capped"),
    (2, "throttled", "the processor is throttled"),
    (3, "soft-temperature-limit", "the soft temperature limit is reached"),
];
const SINCE_POWER_ON: u32 = 16;

impl Throttled {
    #[must_use]
    pub fn now(self, bit: u32) -> bool {
        self.0 >> bit & 1 == 1
    }

    /// Whether it has happened since power-on.
    #[must_use]
    pub fn before(self, bit: u32) -> bool {
        self.0 >> (bit + SINCE_POWER_ON) & 1 == 1
    }

    /// What is wrong now, in words.
    #[must_use]
    pub fn problems(self) -> Vec<String> {
        let wrong = THROTTLED_BITS.into_iter().filter(|(bit, ..)| self.now(*bit));
        wrong.map(|(_, _, words)| format!("board: {words}")).collect()
    }
}

impl std::fmt::Display for Throttled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = |test: fn(Throttled, u32) -> bool| {
            let names = THROTTLED_BITS.into_iter().filter(|(bit, ..)| test(*self, *bit)).map(|(_, name, _)| name);
            names.collect::<Vec<_>>().join(", ")
        };
        match (names(Throttled::now), names(Throttled::before)) {
            (now, before) if now.is_empty() && before.is_empty() => f.write_str("not throttled"),
            (now, before) if now.is_empty() => write!(f, "not throttled now; since power-on: {before}"),
            (now, _) => f.write_str(&now),
        }
    }
}

/// Start of the day, in seconds since 1970, of the releases of the 2711's EEPROM that matter ("Release notes" of
/// Raspberry Pi's bootloader for the BCM2711).
pub mod eeprom {
    /// 2022-12-01: trials of a slot (`tryboot_a_b`).
    pub const TRIALS: u32 = 1_669_852_800;
    /// 2025-02-11: `PARTITION_WALK`, when it is asked for.
    pub const WALK_OPTION: u32 = 1_739_232_000;
    /// 2025-08-13: `PARTITION_WALK` by default, with a fault.
    pub const WALK_DEFAULT: u32 = 1_755_043_200;
    /// 2025-08-20: the fault is repaired.
    pub const WALK_MENDED: u32 = 1_755_648_000;
    /// 2025-10-08: `BOOT_WATCHDOG_TIMEOUT` works in every case.
    pub const WATCHDOG: u32 = 1_759_881_600;
    /// 2025-11-05: what microdc requires.
    pub const WANTED: u32 = 1_762_300_800;

    /// What an EEPROM of this time means for a node, when it is older than the one wanted.
    #[must_use]
    pub fn shortcoming(built: u32) -> Option<String> {
        let meaning = match built {
            _ if built < TRIALS => {
                "it cannot try an update: the node stays on its slot; and a lost autoboot.txt means no boot at all"
            }
            _ if built < WALK_OPTION => "a lost autoboot.txt means no boot at all",
            _ if built < WALK_MENDED => {
                "a lost autoboot.txt can mean no boot at all, and hung firmware is not reset reliably"
            }
            _ if built < WATCHDOG => "hung firmware is not reset reliably (BOOT_WATCHDOG_TIMEOUT)",
            _ if built < WANTED => "updates are not tested with it",
            _ => return None,
        };
        Some(format!(
            "the EEPROM's bootloader is of {}, older than 2025-11-05: {meaning}; update it by USB (rpiboot)",
            day(built)
        ))
    }

    /// A time as a day, such as `2025-11-05` (days to a civil date in the proleptic Gregorian calendar).
    #[must_use]
    pub fn day(seconds: u32) -> String {
        // Years begin in March here, so that the day of a leap year comes last.
        let days = seconds / 86_400 + 719_468;
        let (era, of_era) = (days / 146_097, days % 146_097);
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        format!("{:04}-{month:02}-{day:02}", year + era * 400 + u32::from(month <= 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_is_of_its_day() {
        for (time, day) in [
            (0, "1970-01-01"),
            (eeprom::TRIALS, "2022-12-01"),
            (eeprom::WALK_OPTION, "2025-02-11"),
            (eeprom::WALK_DEFAULT, "2025-08-13"),
            (eeprom::WALK_MENDED, "2025-08-20"),
            (eeprom::WATCHDOG, "2025-10-08"),
            (eeprom::WANTED, "2025-11-05"),
            (eeprom::WANTED - 1, "2025-11-04"),
            (1_709_164_800, "2024-02-29"),
            (u32::MAX, "2106-02-07"),
        ] {
            assert_eq!(eeprom::day(time), day);
        }
    }

    #[test]
    fn an_old_eeprom_is_named_with_what_it_means_and_a_good_one_is_not() {
        assert_eq!(eeprom::shortcoming(eeprom::WANTED), None);
        for (built, meaning) in [
            (eeprom::TRIALS - 1, "cannot try an update"),
            (eeprom::WALK_OPTION - 1, "no boot at all"),
            (eeprom::WALK_MENDED - 1, "can mean no boot"),
            (eeprom::WATCHDOG - 1, "BOOT_WATCHDOG_TIMEOUT"),
            (eeprom::WANTED - 1, "2025-11-04"),
        ] {
            let said = eeprom::shortcoming(built).unwrap();
            assert!(said.contains(meaning) && said.contains("rpiboot"), "{said}");
        }
    }

    #[test]
    fn under_voltage_now_is_told_from_under_voltage_before() {
        assert_eq!(Throttled(0).to_string(), "not throttled");
        assert_eq!(Throttled(0x50000).to_string(), "not throttled now; since power-on: under-voltage, throttled");
        assert_eq!(Throttled(0x50005).to_string(), "under-voltage, throttled");
        assert_eq!(Throttled(0x50001).problems(), ["board: the supply voltage is too low"]);
        assert!(Throttled(0xf0000).problems().is_empty());
    }

    #[test]
    fn what_nobody_answers_is_not_shown() {
        assert_eq!(Board::default().line(), None);
        let board = Board { temperature_millicelsius: Some(41_234), ..Board::default() };
        assert_eq!(board.line().unwrap(), "41 °C");
        let board = Board { clock_hz: Some(1_500_000_000), throttled: Some(Throttled(0)), ..board };
        assert_eq!(board.line().unwrap(), "1500 MHz, 41 °C, not throttled");
    }
}
