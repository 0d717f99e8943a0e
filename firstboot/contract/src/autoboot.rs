//! `autoboot.txt`: from which boot partition the EEPROM starts, and from which a trial does.
//!
//! Source: Raspberry Pi's documentation of autoboot.txt: limited to 512 bytes; sections `[all]`, `[none]` and `[tryboot]`
//! only. The file always has the same length and is in one sector, so that the node changes it in place by one write.

use crate::layout::{AUTOBOOT_MAX, SECTOR, Slot};

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

/// The file at the length of one that is there: older images have it one line end longer, which fills the sector. Nothing
/// when it has any other length.
#[must_use]
pub fn render_at_length(default: Slot, length: usize) -> Option<Vec<u8>> {
    let mut file = render(default).to_vec();
    file.resize(length, b'\n');
    (AUTOBOOT_MAX..=SECTOR as usize).contains(&length).then_some(file)
}

/// The default slot of a file that [`render`] or [`render_at_length`] made; nothing when it was made by anything else.
#[must_use]
pub fn default_slot(file: &[u8]) -> Option<Slot> {
    Slot::BOTH.into_iter().find(|&slot| render_at_length(slot, file.len()).is_some_and(|made| made == file))
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
        assert_eq!(default_slot(&render(Slot::A)[..510]), None);
    }

    #[test]
    fn the_file_ends_before_its_sector_does_and_the_one_of_older_images_is_still_read() {
        assert!(render(Slot::A).len() < 512);
        let older = render_at_length(Slot::B, 512).unwrap();
        assert_eq!(default_slot(&older), Some(Slot::B));
        for length in [0, 510, 513, 4096] {
            assert_eq!(render_at_length(Slot::B, length), None);
        }
    }
}
