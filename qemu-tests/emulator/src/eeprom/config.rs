//! `config.txt`: what the firmware loads from the chosen partition.
//! Raspberry Pi documentation, "The config.txt file", sections on boot options and conditional filters.

use std::collections::BTreeMap;

/// Bytes of a line that the firmware reads; it ignores what follows them.
pub const LINE_MAX: usize = 98;

/// The board whose filters hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    /// Compute Module 4.
    Cm4,
    /// Raspberry Pi 4 B, which is what QEMU has of the BCM2711.
    Pi4b,
}

impl Board {
    /// Its device tree's name in the Linux kernel.
    #[must_use]
    pub fn device_tree(self) -> &'static str {
        match self {
            Board::Cm4 => "bcm2711-rpi-cm4-io.dtb",
            Board::Pi4b => "bcm2711-rpi-4-b.dtb",
        }
    }

    /// What the firmware looks for without `upstream_kernel`: the name in Raspberry Pi's own kernel.
    #[must_use]
    pub fn own_device_tree(self) -> &'static str {
        match self {
            Board::Cm4 => "bcm2711-rpi-cm4.dtb",
            Board::Pi4b => "bcm2711-rpi-4-b.dtb",
        }
    }

    /// Whether a model filter holds; `None` when it is not a valid model filter.
    fn matches(self, filter: &str) -> Option<bool> {
        let own: &[&str] = match self {
            Board::Cm4 => &["pi4", "cm4", "board-type=0x14"],
            Board::Pi4b => &["pi4", "board-type=0x11"],
        };
        let models = [
            "pi0", "pi0w", "pi02", "pi1", "pi2", "pi3", "pi3+", "pi4", "pi400", "pi5", "pi500", "cm0", "cm1", "cm3",
            "cm3+", "cm4", "cm4s", "cm5",
        ];
        (models.contains(&filter) || filter.starts_with("board-type=")).then(|| own.contains(&filter))
    }
}

/// The settings that hold for one boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    settings: BTreeMap<String, String>,
    /// The file after `initramfs`, when `followkernel` follows it.
    initramfs: Option<String>,
}

impl Config {
    /// A setting by its name; the last line that applies counts.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.settings.get(key).map(String::as_str)
    }

    /// Whether a setting is there and is not 0.
    #[must_use]
    pub fn is_set(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value != "0" && !value.is_empty())
    }

    /// The initramfs to load.
    #[must_use]
    pub fn initramfs(&self) -> Option<&str> {
        self.initramfs.as_deref().or_else(|| self.get("ramfsfile"))
    }

    /// Reads a `config.txt`. The second value names what the emulator passed over.
    #[must_use]
    pub fn parse(bytes: &[u8], board: Board, tryboot: bool) -> (Config, Vec<String>) {
        let mut config = Config::default();
        let mut notes = Vec::new();
        // Filters of one kind replace each other, those of different kinds add up.
        let (mut model, mut trial, mut other) = (true, true, true);
        for line in bytes.split(|&byte| byte == b'\n') {
            if line.len() > LINE_MAX + 1 {
                let start = String::from_utf8_lossy(&line[..24]).into_owned();
                notes.push(format!("config.txt: the firmware reads {LINE_MAX} bytes of the line {start:?}..."));
            }
            let line = String::from_utf8_lossy(&line[..line.len().min(LINE_MAX)]).into_owned();
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(filter) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                match filter {
                    "all" => (model, trial, other) = (true, true, true),
                    "none" => other = false,
                    "tryboot" => trial = tryboot,
                    _ => match board.matches(filter) {
                        Some(holds) => model = holds,
                        None => {
                            notes.push(format!("config.txt: the filter [{filter}] never holds in the emulator"));
                            other = false;
                        }
                    },
                }
            } else if model && trial && other {
                config.take(line, &mut notes);
            }
        }
        (config, notes)
    }

    fn take(&mut self, line: &str, notes: &mut Vec<String>) {
        let mut words = line.split_whitespace();
        match (words.next(), line.split_once('=')) {
            (Some("initramfs"), None) => match (words.next(), words.next()) {
                (Some(file), Some("followkernel" | "0")) => self.initramfs = Some(file.to_owned()),
                _ => notes.push(format!("config.txt: {line:?}: the emulator knows `initramfs FILE followkernel`")),
            },
            (_, Some((key, value))) => {
                if matches!(key.trim(), "dtoverlay" | "dtparam") {
                    notes.push(format!("config.txt: {line:?} is not applied in the emulator"));
                }
                self.settings.insert(key.trim().to_owned(), value.trim().to_owned());
            }
            _ => notes.push(format!("config.txt: {line:?} has no meaning for the emulator")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(text: &str) -> Config {
        Config::parse(text.as_bytes(), Board::Cm4, false).0
    }

    #[test]
    fn sections_of_other_boards_do_not_apply() {
        let text = "kernel=a\n[pi5]\nkernel=b\n[cm4]\nkernel=c\n[pi3]\nkernel=d\n";
        assert_eq!(config(text).get("kernel"), Some("c"));
    }

    #[test]
    fn the_pi4_section_holds_on_both_boards_and_cm4_on_one() {
        let text = b"[pi4]\nx=1\n[cm4]\ny=1\n";
        for (board, y) in [(Board::Cm4, true), (Board::Pi4b, false)] {
            let (config, _) = Config::parse(text, board, false);
            assert_eq!((config.is_set("x"), config.is_set("y")), (true, y), "{board:?}");
        }
    }

    #[test]
    fn filters_of_different_kinds_add_up_until_all() {
        let text = b"[cm4]\n[tryboot]\nx=1\n[all]\ny=1\n";
        for trial in [false, true] {
            let (config, _) = Config::parse(text, Board::Cm4, trial);
            assert_eq!((config.is_set("x"), config.is_set("y")), (trial, true));
        }
        let (other, _) = Config::parse(b"[pi5]\n[tryboot]\nx=1\n", Board::Cm4, true);
        assert!(!other.is_set("x"), "a filter of another kind must not undo [pi5]");
    }

    #[test]
    fn nothing_holds_under_none_until_all() {
        assert!(!config("[none]\nx=1\n[cm4]\nx=1\n").is_set("x"));
        assert!(config("[none]\n[all]\nx=1\n").is_set("x"));
    }

    #[test]
    fn unknown_filters_never_hold_and_are_named() {
        let (config, notes) = Config::parse(b"[gpio4=1]\nx=1\n", Board::Cm4, false);
        assert!(!config.is_set("x"));
        assert!(notes[0].contains("gpio4=1"));
    }

    #[test]
    fn the_initramfs_line_has_no_equals_sign() {
        assert_eq!(config("initramfs initramfs.img followkernel\n").initramfs(), Some("initramfs.img"));
        assert_eq!(config("ramfsfile=x.img\n").initramfs(), Some("x.img"));
        let (wrong, notes) = Config::parse(b"initramfs x.img 0x02000000\n", Board::Cm4, false);
        assert_eq!((wrong.initramfs(), notes.len()), (None, 1));
    }

    #[test]
    fn what_stands_behind_column_98_is_ignored() {
        let text = format!("{}kernel=x\n", " ".repeat(LINE_MAX));
        assert_eq!(config(&text).get("kernel"), None);
        let (_, notes) = Config::parse(text.as_bytes(), Board::Cm4, false);
        assert!(notes[0].contains("98 bytes"));
    }

    #[test]
    fn a_zero_is_not_set() {
        assert!(!config("arm_64bit=0").is_set("arm_64bit"));
        assert!(config("arm_64bit=1").is_set("arm_64bit"));
        assert!(!config("").is_set("arm_64bit"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), tryboot: bool) {
            let _ = Config::parse(&bytes, Board::Cm4, tryboot);
        }

        #[test]
        fn no_line_like_text_makes_the_parser_panic(text in r"(\[?[a-z0-9=+\]]{0,40}\n?){0,20}") {
            let _ = Config::parse(text.as_bytes(), Board::Pi4b, true);
        }
    }
}
