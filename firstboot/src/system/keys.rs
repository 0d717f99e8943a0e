//! Keys: letters on the console that show a page, and the power button. Nothing on the console changes anything,
//! because the serial line is not authenticated.

use crate::console;
use rustix::fs::{Mode, OFlags};
use rustix::termios::{InputModes, LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Key code of the power button (linux/input-event-codes.h, `KEY_POWER`).
const KEY_POWER: u16 = 116;
/// Event type of keys (`EV_KEY`).
const EV_KEY: u16 = 1;
/// Length of an input event on 64-bit machines (linux/input.h): two 8-byte times, type, code, value.
const INPUT_EVENT: usize = 24;

fn open(path: &Path, flags: OFlags) -> Option<OwnedFd> {
    let flags = flags | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    rustix::fs::open(path, flags, Mode::empty()).ok()
}

/// Every console that can be read, letter by letter and without echo.
#[must_use]
pub fn open_consoles() -> Vec<OwnedFd> {
    console::paths().iter().filter_map(|path| open_console(Path::new(path))).collect()
}

fn open_console(path: &Path) -> Option<OwnedFd> {
    let console = open(path, OFlags::RDONLY)?;
    if let Ok(mut modes) = tcgetattr(&console) {
        modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        // A Ctrl-S on the line must not hold up PID 1 in its next message.
        modes.input_modes.remove(InputModes::IXON);
        // The UART loses what it is sending when it is set up again: wait for it.
        let _ = tcsetattr(&console, OptionalActions::Drain, &modes);
    }
    Some(console)
}

/// Every input device that has a power button.
#[must_use]
pub fn open_power_buttons() -> Vec<OwnedFd> {
    let Ok(entries) = std::fs::read_dir("/sys/class/input") else { return Vec::new() };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let keys = Path::new("/sys/class/input").join(&name).join("device/capabilities/key");
            let has_button = has_key(&std::fs::read_to_string(keys).ok()?, KEY_POWER);
            if has_button && name.to_str()?.starts_with("event") {
                open(&Path::new("/dev/input").join(&name), OFlags::RDONLY)
            } else {
                None
            }
        })
        .collect()
}

/// Whether a bit is in sysfs's form of a bit map: hex words of 64 bits, the highest first.
fn has_key(words: &str, key: u16) -> bool {
    words
        .split_whitespace()
        .rev()
        .nth(usize::from(key / 64))
        .and_then(|word| u64::from_str_radix(word, 16).ok())
        .is_some_and(|word| word >> (key % 64) & 1 == 1)
}

/// Reads what waits on a descriptor. `None` at its end or when the device is gone.
#[must_use]
pub fn read(fd: &OwnedFd) -> Option<Vec<u8>> {
    let mut buffer = [0; 16 * INPUT_EVENT];
    match rustix::io::read(fd, &mut buffer) {
        Ok(0) => None,
        Ok(length) => Some(buffer.get(..length)?.to_vec()),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Some(Vec::new()),
        Err(_) => None,
    }
}

/// Whether the power button was pressed, among events as the kernel writes them.
#[must_use]
pub fn power_pressed(events: &[u8]) -> bool {
    events.chunks_exact(INPUT_EVENT).any(|event| {
        let word = |at: usize| match event.get(at..at + 2) {
            Some(&[low, high]) => u16::from_ne_bytes([low, high]),
            _ => 0,
        };
        word(16) == EV_KEY && word(18) == KEY_POWER && word(20) == 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_with_a_power_button_is_known_by_its_key_map() {
        assert!(has_key("10000000000000 0\n", KEY_POWER));
        assert!(!has_key("8000000000000 0\n", KEY_POWER));
        assert!(!has_key("ffffffffffffffff\n", KEY_POWER));
        assert!(!has_key("x y\n", KEY_POWER));
    }

    #[test]
    fn only_the_press_of_the_power_button_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut bytes = vec![0; 16];
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(code.to_ne_bytes());
            bytes.extend(value.to_ne_bytes());
            bytes
        };
        assert!(power_pressed(&[event(0, 0, 0), event(1, 116, 1)].concat()));
        for other in [event(1, 116, 0), event(1, 28, 1), event(0, 116, 1), vec![1; 23]] {
            assert!(!power_pressed(&other));
        }
    }
}
