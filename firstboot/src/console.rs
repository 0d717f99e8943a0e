//! Lines on every console. A line that cannot be written is lost, and PID 1 continues.
//!
//! The first console is `/dev/console`, PID 1's standard streams. The kernel may have others (on a CM4 two serial ports:
//! which of them has a plug differs by carrier), and a display has virtual terminals: the first shows the lines of the
//! initramfs and then the node's screen, the second the lines of the system (Alt-F2 on a keyboard).

use contract::names::CONSOLE_PREFIX;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use std::fmt::Display;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// The kernel's consoles by their names, the one behind `/dev/console` last (Documentation/ABI/testing/sysfs-tty).
const ACTIVE: &str = "/sys/class/tty/console/active";
/// The virtual terminals for lines: of the initramfs, and beside the node's screen.
pub const FIRST_TERMINAL: &str = "tty1";
pub const SECOND_TERMINAL: &str = "tty2";
/// Time that one text may take on a console beside the first: one that takes nothing must not hold up PID 1.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 300_000_000 };

/// Consoles beside `/dev/console`, each by its path; open from [`open_others`] on.
static OTHERS: OnceLock<Vec<(String, OwnedFd)>> = OnceLock::new();

/// Whether lines go to where tests keep theirs until they fail.
static DRY_RUN: AtomicBool = AtomicBool::new(false);

/// From now on lines are printed as a test's own are. A node never does this: printing panics where it cannot write.
#[cfg(any(test, feature = "testing"))]
pub fn dry_run() {
    DRY_RUN.store(true, Ordering::Relaxed);
}

/// Says a warning, and keeps it in `warnings`.
pub fn warn(warnings: &mut Vec<String>, text: String) {
    say(format_args!("warning: {}", contract::text::line(&text)));
    warnings.push(text);
}

/// Writes a message, each of its lines with [`CONSOLE_PREFIX`], in one write so that others do not cut into it.
pub fn say(message: impl Display) {
    let text = prefixed(&message.to_string());
    if cfg!(test) || DRY_RUN.load(Ordering::Relaxed) {
        eprint!("{text}");
        return;
    }
    show(&text);
}

/// Writes a text to every console.
pub fn show(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
    for (_, console) in OTHERS.get().into_iter().flatten() {
        write(console, text.as_bytes());
    }
}

/// Opens the consoles beside `/dev/console`: for PID 1, once sysfs is mounted.
pub fn open_others(terminal: &str) {
    let active = std::fs::read_to_string(ACTIVE).unwrap_or_default();
    let open = |name: &str| {
        let path = format!("/dev/{name}");
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        Some((path.clone(), rustix::fs::open(Path::new(&path), flags, Mode::empty()).ok()?))
    };
    let _ = OTHERS.set(others(&active, terminal).into_iter().filter_map(open).collect());
}

/// Every console by its path, the first one first.
#[must_use]
pub fn paths() -> Vec<String> {
    let others = OTHERS.get().into_iter().flatten().map(|(path, _)| path.clone());
    std::iter::once("/dev/console".to_owned()).chain(others).collect()
}

/// The names of the consoles beside the one behind `/dev/console`, which stands last.
fn others<'n>(active: &'n str, terminal: &'n str) -> Vec<&'n str> {
    let mut names: Vec<&str> = active.split_whitespace().collect();
    let first = names.pop();
    // A virtual terminal among the kernel's consoles shows the lines already.
    let is_terminal = |name: &&str| name.strip_prefix("tty").is_some_and(|number| number.parse::<u8>().is_ok());
    if !names.iter().chain(&first).any(is_terminal) {
        names.push(terminal);
    }
    names
}

/// Writes as much as the console takes in time.
fn write(console: &OwnedFd, mut text: &[u8]) {
    while !text.is_empty() {
        match rustix::io::write(console, text) {
            Ok(count) => text = text.get(count..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => {
                let mut waits = [PollFd::new(console, PollFlags::OUT)];
                if !poll(&mut waits, Some(&PATIENCE)).is_ok_and(|ready| ready > 0) {
                    return;
                }
            }
            Err(_) => return,
        }
    }
}

/// What foreign text could do to the terminal does not reach it.
fn prefixed(message: &str) -> String {
    let mut text = String::new();
    for line in message.lines() {
        text.push_str(CONSOLE_PREFIX);
        text.push_str(&contract::text::lines(line));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::time::{Duration, Instant};

    #[test]
    fn every_console_but_the_first_is_opened_beside_it_and_a_display_shows_lines_once() {
        assert_eq!(others("ttyAMA0 ttyS1\n", "tty2"), ["ttyAMA0", "tty2"]);
        assert_eq!(others("ttyAMA0\n", "tty1"), ["tty1"]);
        assert_eq!(others("tty0 ttyS1\n", "tty2"), ["tty0"]);
        assert_eq!(others("ttyS1 tty1\n", "tty2"), ["ttyS1"]);
        assert_eq!(others("", "tty2"), ["tty2"]);
    }

    #[test]
    fn a_console_that_takes_nothing_does_not_hold_up_the_node() {
        let (full, _end) = std::os::unix::net::UnixStream::pair().unwrap();
        full.set_nonblocking(true).unwrap();
        let full = OwnedFd::from(full);
        let begin = Instant::now();
        write(&full, &vec![b'x'; 4 << 20]);
        assert!(begin.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn every_line_says_whose_it_is_and_no_escape_passes() {
        assert_eq!(super::prefixed("one\ntwo \u{1b}[2J"), "microdc: one\nmicrodc: two \u{fffd}[2J\n");
        assert_eq!(super::prefixed("a\u{2028}microdc: b\u{202e}"), "microdc: a\u{fffd}microdc: b\u{fffd}\n");
    }
}
