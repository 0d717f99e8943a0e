//! `autoboot.txt`: which partition to boot. Raspberry Pi documentation, "The config.txt file", section autoboot.txt.

use contract::layout::AUTOBOOT_MAX;

/// What an `autoboot.txt` says for one boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Autoboot {
    /// Number of the partition to boot; `None`: the first bootable one.
    pub boot_partition: Option<u32>,
    /// In a trial the partition differs and not the name of config.txt.
    pub tryboot_a_b: bool,
}

/// Reads an `autoboot.txt`. What the EEPROM does not understand it passes over, and so does this: the second value says
/// what was passed over, in words.
#[must_use]
pub fn parse(bytes: &[u8], tryboot: bool) -> (Autoboot, Vec<String>) {
    let mut found = Autoboot::default();
    let mut notes = Vec::new();
    if bytes.len() > AUTOBOOT_MAX {
        notes.push(format!("autoboot.txt has {} bytes; the EEPROM reads at most {AUTOBOOT_MAX}", bytes.len()));
        return (found, notes);
    }
    let mut applies = true;
    for line in String::from_utf8_lossy(bytes).lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[') {
            applies = match section.strip_suffix(']') {
                Some("all") => true,
                Some("none") => false,
                Some("tryboot") => tryboot,
                _ => {
                    notes.push(format!(
                        "autoboot.txt: {line:?} is not a section of this file; valid sections are [all], [none] and \
                            [tryboot]"
                    ));
                    false
                }
            };
            continue;
        }
        if !applies {
            continue;
        }
        match line.split_once('=').map(|(key, value)| (key.trim(), value.trim().parse::<u32>())) {
            Some(("boot_partition", Ok(number))) => found.boot_partition = (number != 0).then_some(number),
            Some(("tryboot_a_b", Ok(value))) => found.tryboot_a_b = value != 0,
            _ => notes.push(format!("autoboot.txt: {line:?} has no meaning for the EEPROM")),
        }
    }
    (found, notes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NORMAL: &[u8] = b"[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n";

    fn partition(text: &str, tryboot: bool) -> Option<u32> {
        parse(text.as_bytes(), tryboot).0.boot_partition
    }

    #[test]
    fn the_default_slot_and_the_trial_slot_are_told_apart() {
        assert_eq!(parse(NORMAL, false), (Autoboot { boot_partition: Some(2), tryboot_a_b: true }, vec![]));
        assert_eq!(parse(NORMAL, true), (Autoboot { boot_partition: Some(3), tryboot_a_b: true }, vec![]));
    }

    #[test]
    fn lines_before_any_section_apply_always() {
        assert_eq!(partition("boot_partition=2", false), Some(2));
        assert_eq!(partition("boot_partition=2", true), Some(2));
    }

    #[test]
    fn nothing_under_none_applies() {
        assert_eq!(partition("[none]\nboot_partition=2\n", false), None);
        assert_eq!(partition("[none]\nboot_partition=2\n[all]\nboot_partition=4", true), Some(4));
    }

    #[test]
    fn the_last_line_that_applies_counts() {
        assert_eq!(partition("boot_partition=2\nboot_partition=3\n", false), Some(3));
    }

    #[test]
    fn sections_of_config_txt_apply_to_nothing_here() {
        let (found, notes) = parse(b"[cm4]\nboot_partition=3\n", false);
        assert_eq!(found.boot_partition, None);
        assert!(notes[0].contains("[cm4]"), "{notes:?}");
    }

    #[test]
    fn a_file_that_fills_its_sector_is_not_read() {
        let mut long = NORMAL.to_vec();
        long.resize(AUTOBOOT_MAX, b'\n');
        assert_eq!(parse(&long, false).0.boot_partition, Some(2));
        long.push(b'\n');
        let (found, notes) = parse(&long, false);
        assert_eq!(found, Autoboot::default());
        assert!(notes[0].contains("512 bytes"), "{notes:?}");
    }

    #[test]
    fn numbers_that_are_none_are_passed_over_and_named() {
        for value in ["two", "", "-1", "99999999999", "0x2"] {
            let (found, notes) = parse(format!("boot_partition={value}\n").as_bytes(), false);
            assert_eq!((found.boot_partition, notes.len()), (None, 1), "{value:?}");
        }
    }

    #[test]
    fn partition_zero_means_the_first_bootable_one() {
        assert_eq!(partition("boot_partition=0", false), None);
    }

    #[test]
    fn line_ends_of_windows_and_spaces_do_not_matter() {
        assert_eq!(partition("[all]\r\n boot_partition = 2 \r\n# boot_partition=3\r\n", false), Some(2));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), tryboot: bool) {
            let _ = parse(&bytes, tryboot);
        }

        #[test]
        fn without_a_trial_its_section_never_counts(number in 1u32..128) {
            let text = format!("boot_partition=2\n[tryboot]\nboot_partition={number}\n");
            prop_assert_eq!(partition(&text, false), Some(2));
            prop_assert_eq!(partition(&text, true), Some(number));
        }
    }
}
