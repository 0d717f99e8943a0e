//! Releases of the 2711's EEPROM, and the settings of its configuration that decide whether a node comes back.
//! Raspberry Pi's release notes of the bootloader for the BCM2711.

use contract::board::eeprom;

/// A release whose behaviour is emulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// 2022-12-01: the first with `tryboot_a_b`. It looks at one partition and no other.
    R2022_12,
    /// 2025-02-11: `PARTITION_WALK` when it is set.
    R2025_02,
    /// 2025-08-13: `PARTITION_WALK` by default. It was repaired a week later: what it does until then is not to be relied on,
    /// and counts as nothing here.
    R2025_08,
    /// 2025-11-05: the walk works, and so does `BOOT_WATCHDOG_TIMEOUT`.
    R2025_11,
}

impl Release {
    pub const ALL: [Release; 4] = [Release::R2022_12, Release::R2025_02, Release::R2025_08, Release::R2025_11];

    /// What it reports as `build-timestamp`, in seconds since 1970.
    #[must_use]
    pub fn built(self) -> u32 {
        match self {
            Release::R2022_12 => eeprom::TRIALS,
            Release::R2025_02 => eeprom::WALK_OPTION,
            Release::R2025_08 => eeprom::WALK_DEFAULT,
            Release::R2025_11 => eeprom::WANTED,
        }
    }
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&eeprom::day(self.built()))
    }
}

/// An EEPROM: its release and its configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eeprom {
    pub release: Release,
    /// `PARTITION_WALK`, where it is set.
    pub partition_walk: Option<bool>,
    /// `BOOT_WATCHDOG_TIMEOUT` in seconds; 0 is off, as it is when no one sets it.
    pub boot_watchdog_timeout: u32,
}

impl Eeprom {
    /// A release as it comes: nothing is set.
    #[must_use]
    pub const fn of(release: Release) -> Eeprom {
        Eeprom { release, partition_walk: None, boot_watchdog_timeout: 0 }
    }

    /// As profiles/BOARD.md asks for it.
    #[must_use]
    pub const fn prepared() -> Eeprom {
        Eeprom { release: Release::R2025_11, partition_walk: Some(true), boot_watchdog_timeout: 60 }
    }

    /// Whether it goes on to the next partitions when the wanted one does not boot.
    #[must_use]
    pub fn walks(self) -> bool {
        match self.release {
            Release::R2022_12 | Release::R2025_08 => false,
            Release::R2025_02 => self.partition_walk == Some(true),
            Release::R2025_11 => self.partition_walk != Some(false),
        }
    }

    /// Whether a board whose firmware stands still is reset.
    #[must_use]
    pub fn watches(self) -> bool {
        self.release >= Release::R2025_11 && self.boot_watchdog_timeout > 0
    }
}

impl Default for Eeprom {
    fn default() -> Eeprom {
        Eeprom::of(Release::R2025_11)
    }
}
