//! What the firmware and the kernel command line say about this boot.
//!
//! Source: Raspberry Pi's documentation, "Device tree properties set by the bootloader" (`/chosen/bootloader`), and the
//! values of `BOOT_ORDER` in its EEPROM's configuration.

use contract::hash::{BadDigest, Digest};
use contract::layout::Slot;
use contract::names::OPT_ROOT;
use std::path::Path;

/// What the firmware reports. Nothing of it is trusted: it only helps to choose among slots that verify.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firmware {
    /// The slot whose boot partition was started; `None` when the firmware does not say.
    pub slot: Option<Slot>,
    /// Whether this is a one-time boot of a slot that is not the default.
    pub trial: bool,
    /// The kind of disk that was started from; `None` when unknown.
    pub medium: Option<Medium>,
}

/// A kind of disk, as the firmware tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// SD card or eMMC.
    Mmc,
    Usb,
    Nvme,
}

impl Medium {
    /// By the number in `BOOT_ORDER`.
    fn from_boot_mode(mode: u32) -> Option<Medium> {
        match mode {
            1 => Some(Medium::Mmc),
            4 | 5 => Some(Medium::Usb),
            6 => Some(Medium::Nvme),
            _ => None,
        }
    }

    /// By the kernel's name of a disk.
    pub fn of_disk(name: &str) -> Option<Medium> {
        [("mmcblk", Medium::Mmc), ("sd", Medium::Usb), ("nvme", Medium::Nvme)]
            .into_iter()
            .find_map(|(prefix, medium)| name.starts_with(prefix).then_some(medium))
    }
}

impl Firmware {
    /// Reads the properties in `folder`; what is missing or no big-endian u32 counts as unknown.
    pub fn read(folder: &Path) -> Firmware {
        let number = |name: &str| number(&std::fs::read(folder.join(name)).ok()?);
        Firmware {
            slot: number("partition").and_then(Slot::from_boot_number),
            trial: number("tryboot") == Some(1),
            medium: number("boot-mode").and_then(Medium::from_boot_mode),
        }
    }
}

/// A property of the device tree that is one big-endian u32.
pub fn number(property: &[u8]) -> Option<u32> {
    property.try_into().ok().map(u32::from_be_bytes)
}

/// Why the command line does not name a root.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CommandLineError {
    #[error("the option {OPT_ROOT}= is missing: cmdline.txt of this slot was not written by microdc")]
    Missing,
    #[error("the option {OPT_ROOT}= is given twice, with different values")]
    Ambiguous,
    #[error("the option {OPT_ROOT}= is not valid")]
    Digest(#[from] BadDigest),
}

/// The root hash that the command line names.
///
/// # Errors
/// When it names none, or different ones.
pub fn root_hash(command_line: &str) -> Result<Digest, CommandLineError> {
    let mut values =
        command_line.split_ascii_whitespace().filter_map(|option| option.strip_prefix(OPT_ROOT)?.strip_prefix('='));
    let first = values.next().ok_or(CommandLineError::Missing)?;
    if values.any(|other| other != first) {
        return Err(CommandLineError::Ambiguous);
    }
    Ok(first.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folder(properties: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in properties {
            std::fs::write(folder.path().join(name), bytes).unwrap();
        }
        folder
    }

    #[test]
    fn the_firmware_s_words_are_understood() {
        let said = folder(&[
            ("partition", &3u32.to_be_bytes()),
            ("tryboot", &1u32.to_be_bytes()),
            ("boot-mode", &6u32.to_be_bytes()),
        ]);
        let expected = Firmware { slot: Some(Slot::B), trial: true, medium: Some(Medium::Nvme) };
        assert_eq!(Firmware::read(said.path()), expected);
    }

    #[test]
    fn silence_zero_and_odd_lengths_are_unknown_and_no_trial() {
        assert_eq!(Firmware::read(Path::new("/nonexistent")), Firmware::default());
        let said = folder(&[("partition", &0u32.to_be_bytes()), ("tryboot", b"\x01"), ("boot-mode", b"")]);
        assert_eq!(Firmware::read(said.path()), Firmware::default());
        let little_endian = folder(&[("partition", &2u32.to_le_bytes()), ("tryboot", &1u32.to_le_bytes())]);
        assert_eq!(Firmware::read(little_endian.path()), Firmware::default());
    }

    #[test]
    fn the_root_hash_is_found_among_other_options() {
        let hash = Digest::of(b"root");
        let line = format!("console=ttyAMA0 microdc.root={hash} xmicrodc.root=1 microdc.rootless=2 panic=10\n");
        assert_eq!(root_hash(&line), Ok(hash));
        assert_eq!(root_hash(&format!("microdc.root={hash} microdc.root={hash}")), Ok(hash));
    }

    #[test]
    fn no_root_hash_two_or_a_short_one_are_refused() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        assert_eq!(root_hash("console=ttyAMA0 root=/dev/sda1"), Err(CommandLineError::Missing));
        assert_eq!(root_hash(&format!("microdc.root={one} microdc.root={two}")), Err(CommandLineError::Ambiguous));
        assert!(matches!(root_hash("microdc.root=12ab"), Err(CommandLineError::Digest(_))));
    }

    proptest! {
        #[test]
        fn no_command_line_makes_the_parser_panic(line in ".*", hash in "[0-9a-fA-F]{60,68}") {
            let _ = root_hash(&line);
            let found = root_hash(&format!("{line} microdc.root={hash}"));
            prop_assert!(hash.len() == 64 || found.is_err());
        }

        #[test]
        fn no_property_makes_the_reader_panic(partition: Vec<u8>, mode: Vec<u8>) {
            let said = folder(&[("partition", &partition), ("boot-mode", &mode)]);
            let read = Firmware::read(said.path());
            prop_assert!(partition.len() == 4 || read.slot.is_none());
            prop_assert!(mode.len() == 4 || read.medium.is_none());
        }
    }
}
