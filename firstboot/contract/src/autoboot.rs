//! `autoboot.txt`: from which boot partition the EEPROM starts, and from which a trial does.
//!
//! Source: Raspberry Pi's documentation of autoboot.txt: at most 512 bytes; sections `[all]`, `[none]` and `[tryboot]`
//! only. The file is always one whole sector, so that the node changes it in place, at the same length, by one write.

use crate::layout::{AUTOBOOT_MAX, Slot};

/// The whole file, for a default slot.
#[must_use]
pub fn render(default: Slot) -> [u8; AUTOBOOT_MAX] {
    let text = format!(
        "[all]\ntryboot_a_b=1\nboot_partition={}\n[tryboot]\nboot_partition={}\n",
        default.boot().number(),
        default.other().boot().number()
    );
    let mut file = [b'\n'; AUTOBOOT_MAX];
    file[..text.len()].copy_from_slice(text.as_bytes());
    file
}

/// The default slot of a file that [`render`] made; nothing when it was made by anything else.
#[must_use]
pub fn default_slot(file: &[u8]) -> Option<Slot> {
    Slot::BOTH.into_iter().find(|&slot| render(slot) == file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_the_default_slot_and_the_other_for_a_trial() {
        for slot in Slot::BOTH {
            let file = render(slot);
            let text = std::str::from_utf8(&file).unwrap();
            let numbers: Vec<u32> =
                text.lines().filter_map(|line| line.strip_prefix("boot_partition=")?.parse().ok()).collect();
            assert_eq!(numbers, [slot.boot().number(), slot.other().boot().number()]);
            assert_eq!(default_slot(&file), Some(slot));
        }
    }

    #[test]
    fn a_changed_file_names_no_slot() {
        let mut file = render(Slot::A);
        file[3] ^= 1;
        assert_eq!(default_slot(&file), None);
        assert_eq!(default_slot(&render(Slot::A)[..511]), None);
    }
}
