//! The VideoCore firmware: start4.elf, fixup4.dat and their licence, from Debian's package raspi-firmware.
//!
//! A start4.elf built before 2025-01-16 does not handle non-default partitions on a GPT disk; one of the months before
//! 2025-10-08 can leave the number of a partition behind that comes before autoboot.txt at the next boot. Both are refused.

use crate::format::fat::FatFile;
use crate::tree::{Kind, Package};

/// First day whose firmware boots slot B from a GPT disk, and leaves no partition number behind.
const OLDEST: Date = Date { year: 2025, month: 10, day: 8 };
const FOLDER: &str = "usr/lib/raspi-firmware";
const LICENCE: &str = "usr/share/doc/raspi-firmware/copyright";
/// The firmware's own name for its build date, inside start4.elf.
const MARK: &[u8] = b"VC_BUILD_ID_TIME: ";

/// A day, as in `2026-02-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    pub year: u16,
    pub month: u8,
    pub day: u8,
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Firmware that must not go into an image.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    #[error("{package} has no file {path}")]
    Missing { package: String, path: String },
    #[error("reading {path} of {package}: {source}")]
    Read { package: String, path: String, source: std::io::Error },
    #[error("start4.elf does not say when it was built ({})", String::from_utf8_lossy(MARK).trim())]
    NoDate,
    #[error(
        "start4.elf was built on {found}; releases before {OLDEST} do not always start the slot that autoboot.txt \
            names: use a newer raspi-firmware"
    )]
    TooOld { found: Date },
}

/// The files for the boot partition, checked, with the overlays that lines of config.txt name.
///
/// # Errors
/// When one is missing or the firmware is too old.
pub fn files<'c>(package: &Package, config: impl Iterator<Item = &'c str>) -> Result<Vec<FatFile>, FirmwareError> {
    let mut wanted = vec![
        ("start4.elf".to_owned(), format!("{FOLDER}/start4.elf")),
        ("fixup4.dat".to_owned(), format!("{FOLDER}/fixup4.dat")),
        ("LICENCE.raspi-firmware".to_owned(), LICENCE.to_owned()),
    ];
    for overlay in config.filter_map(overlay) {
        let file = (overlay.clone(), format!("{FOLDER}/{overlay}"));
        if !wanted.contains(&file) {
            wanted.push(file);
        }
    }
    let files = wanted.into_iter().map(|(name, path)| {
        let Some(Kind::File(content)) = package.entries.get(&path).map(|entry| &entry.kind) else {
            return Err(FirmwareError::Missing { package: package.to_string(), path });
        };
        let read = |source| FirmwareError::Read { package: package.to_string(), path, source };
        Ok(FatFile { path: name, bytes: content.to_bytes().map_err(read)? })
    });
    let files = files.collect::<Result<Vec<_>, _>>()?;
    check_date(&files[0].bytes)?;
    Ok(files)
}

/// The file of the overlay that a line of config.txt names.
#[must_use]
pub fn overlay(line: &str) -> Option<String> {
    let name = line.strip_prefix("dtoverlay=")?.split([',', ':']).next()?.trim();
    (!name.is_empty()).then(|| format!("overlays/{name}.dtbo"))
}

/// The build date inside start4.elf.
///
/// # Errors
/// When there is none, or it is before the oldest that can be used.
pub fn check_date(start_elf: &[u8]) -> Result<Date, FirmwareError> {
    let found = build_date(start_elf).ok_or(FirmwareError::NoDate)?;
    if found < OLDEST {
        return Err(FirmwareError::TooOld { found });
    }
    Ok(found)
}

/// The mark stands twice, with a time of day and with a date such as `Feb 11 2026`.
fn build_date(bytes: &[u8]) -> Option<Date> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let marks = memmem(bytes, MARK);
    marks.into_iter().find_map(|at| {
        let text = bytes.get(at + MARK.len()..)?;
        let text = std::str::from_utf8(text.get(..11)?).ok()?;
        let (month, rest) = text.split_at_checked(3)?;
        let month = MONTHS.iter().position(|name| *name == month)? as u8 + 1;
        let (day, year) = rest.trim().split_once(' ')?;
        Some(Date { year: year.trim().parse().ok()?, month, day: day.parse().ok()? })
    })
}

fn memmem(bytes: &[u8], what: &[u8]) -> Vec<usize> {
    let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == what[0]).map(|(at, _)| at);
    starts.filter(|&at| bytes[at..].starts_with(what)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(date: &str) -> Vec<u8> {
        format!(
            "\u{1}VC_BUILD_ID_USER: dom\0VC_BUILD_ID_TIME: 18:28:41\0VC_BUILD_ID_TIME: {date}\0VC_BUILD_ID_BRANCH: x"
        )
        .into_bytes()
    }

    #[test]
    fn the_build_date_is_read_and_an_old_one_refused_with_its_date() {
        assert_eq!(check_date(&elf("Feb 11 2026")).unwrap(), Date { year: 2026, month: 2, day: 11 });
        assert!(check_date(&elf("Oct  8 2025")).is_ok());
        for (old, shown) in
            [("Oct  7 2025", "2025-10-07"), ("Apr 17 2024", "2024-04-17"), ("Dec  1 2024", "2024-12-01")]
        {
            let error = check_date(&elf(old)).unwrap_err();
            assert!(error.to_string().contains(shown), "{error}");
        }
    }

    #[test]
    fn an_overlay_is_known_by_its_line() {
        assert_eq!(overlay("dtoverlay=disable-bt,x=1").unwrap(), "overlays/disable-bt.dtbo");
        assert_eq!(overlay("dtoverlay=w1-gpio:gpiopin=4").unwrap(), "overlays/w1-gpio.dtbo");
        for none in ["dtoverlay=", "dtparam=audio=off", "# dtoverlay=x", ""] {
            assert_eq!(overlay(none), None, "{none:?}");
        }
    }

    #[test]
    fn firmware_without_a_date_is_refused() {
        for odd in ["", "Foo 11 2026", "Feb", "Feb xx 2026"] {
            assert!(matches!(check_date(&elf(odd)), Err(FirmwareError::NoDate)), "{odd}");
        }
        assert!(matches!(check_date(b"VC_BUILD_ID_TIME: "), Err(FirmwareError::NoDate)));
    }
}
