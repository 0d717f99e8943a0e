//! The screen of a display on the node (HDMI): its identity and problems at a glance. It is drawn on the first virtual
//! terminal, and redrawn only when something on it has changed. The serial line has lines and pages instead
//! ([`super::pages`]): nothing flickers there.
//!
//! Drawn with the escape sequences that every Linux terminal knows (console_codes(4)).

use crate::service::Moment;
use contract::control::{Facts, ServiceState};
use contract::update::Phase;
use rustix::fs::{Mode, OFlags};
use rustix::termios::{InputModes, LocalModes, OptionalActions, tcgetattr, tcgetwinsize, tcsetattr};
use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The terminal that a display shows after power-on.
const TERMINAL: &str = "/dev/tty1";
/// Time between two checks whether something changed.
const EVERY: Duration = Duration::from_secs(1);
/// Where the values of the facts begin.
const INDENT: usize = 12;

/// Rows and columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub rows: usize,
    pub columns: usize,
}

impl Default for Size {
    fn default() -> Size {
        Size { rows: 25, columns: 80 }
    }
}

/// The terminal and what is on it.
pub struct Screen {
    terminal: OwnedFd,
    drawn: String,
    next: Moment,
}

impl Screen {
    /// Opens the terminal; `None` where the kernel has none.
    #[must_use]
    pub fn open() -> Option<Screen> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let terminal = rustix::fs::open(TERMINAL, flags, Mode::empty()).ok()?;
        if let Ok(mut modes) = tcgetattr(&terminal) {
            // Keys of an attached keyboard are neither shown nor able to stop the output.
            modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
            modes.input_modes.remove(InputModes::IXON);
            let _ = tcsetattr(&terminal, OptionalActions::Now, &modes);
        }
        Some(Screen { terminal, drawn: String::new(), next: Moment::ZERO })
    }

    /// Draws when it is time to look and something has changed.
    pub fn refresh(&mut self, now: Moment, facts: impl FnOnce() -> Facts) {
        if now < self.next {
            return;
        }
        self.next = now + EVERY;
        let size = tcgetwinsize(&self.terminal).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
        let size =
            size.map_or_else(Size::default, |size| Size { rows: size.ws_row.into(), columns: size.ws_col.into() });
        let text = text(&facts(), size);
        if text != self.drawn {
            // A terminal that takes no output now gets the whole at the next change, or never: it is only a display.
            let _ = rustix::io::write(&self.terminal, sequence(&text).as_bytes());
            self.drawn = text;
        }
    }
}

/// The lines as output for a terminal: over what was there, so that nothing flickers.
fn sequence(text: &str) -> String {
    // No cursor; from the top left; each line clears what is behind it, the last one what is below.
    let mut output = "\x1b[?25l\x1b[H".to_owned();
    for (at, line) in text.lines().enumerate() {
        let end = if at == 0 { "" } else { "\r\n" };
        let _ = write!(output, "{end}{line}\x1b[K");
    }
    output + "\x1b[J"
}

/// What is on the screen: lines that fit it.
#[must_use]
pub fn text(facts: &Facts, size: Size) -> String {
    let Facts { status, services, .. } = facts;
    let mut lines = Vec::new();
    let trial = if status.trial { " (trial)" } else { "" };
    lines.push(format!(
        " microdc   {}   {} {}   slot {}{trial}",
        status.name, status.role, status.version, status.slot
    ));
    lines.push(String::new());
    let mut fact = |name: &str, value: &str| {
        let width = size.columns.saturating_sub(INDENT + 1).max(20);
        for (at, line) in wrapped(value, width).into_iter().enumerate() {
            let name = if at == 0 { name } else { "" };
            lines.push(format!(" {name:<width$}{line}", width = INDENT - 1));
        }
    };
    if let Some(cluster) = &status.cluster {
        fact("cluster", cluster);
    }
    fact("addresses", &status.addresses);
    fact(
        "disk",
        &format!("{}, state {}", status.disk, if status.state_persistent { "kept" } else { "in memory only" }),
    );
    fact("config", &status.config);
    let mut words: Vec<String> = Vec::new();
    for service in services.iter().filter(|service| service.state != ServiceState::NotWanted) {
        words.push(match service.state {
            ServiceState::Ready | ServiceState::Done => service.name.clone(),
            state => format!("{} ({state})", service.name),
        });
    }
    fact("services", &words.join("  "));
    if let Some(board) = status.board.line() {
        // The console's font has no sign for degrees.
        fact("board", &board.replace(" °C", " C"));
    }
    fact("health", &status.health.line());
    if status.update.phase != Phase::Committed {
        fact("update", &crate::operator::update_line(&status.update.phase));
    }
    if let Some(failed) = status.update.failed.first() {
        fact("failed", &format!("update {}: {}", failed.release.version, failed.reason));
    }
    let problems = match status.problems.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first, more @ ..] => format!("{first} (and {} more)", more.len()),
    };
    fact("problems", &problems);
    lines.truncate(size.rows.saturating_sub(1));
    let fit = |line: &String| line.chars().map(plain).take(size.columns.saturating_sub(1)).collect::<String>();
    lines.iter().map(|line| fit(line).trim_end().to_owned() + "\n").collect()
}

/// The console's font has little more than ASCII, and nothing may move the cursor.
fn plain(c: char) -> char {
    if c.is_ascii_graphic() || c == ' ' { c } else { '?' }
}

/// Words in lines of at most `width` characters; a longer word stands alone, and is cut by who draws it.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    if lines.is_empty() {
        lines.push("none".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::control::{ServiceStatus, Status};
    use contract::health::{HealthReport, Verdict};
    use proptest::prelude::*;

    fn shown(status: &Status, services: &[ServiceStatus], size: Size) -> String {
        text(
            &Facts {
                status: status.clone(),
                services: services.to_vec(),
                storage: contract::storage::Storage::default(),
                folders: Vec::new(),
            },
            size,
        )
    }

    fn status() -> Status {
        Status {
            name: "r1".to_owned(),
            cluster: Some("rack1".to_owned()),
            role: "router".to_owned(),
            version: "2026.11.21".to_owned(),
            profile: "router".to_owned(),
            slot: contract::layout::Slot::B,
            trial: true,
            disk: "nvme0n1".to_owned(),
            state_persistent: true,
            config: "kept on state".to_owned(),
            uptime_s: 12.5,
            addresses: "eth0 10.0.0.1/24 fd00::1/64, eth1 10.1.0.1/24".to_owned(),
            not_ready: Vec::new(),
            ready: 2,
            pid1_resident_bytes: 1,
            health: HealthReport { verdict: Verdict::Passed, ..HealthReport::empty() },
            update: contract::update::UpdateStatus::default(),
            board: contract::board::Board::default(),
            problems: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn service(name: &str, state: ServiceState) -> ServiceStatus {
        ServiceStatus {
            name: name.to_owned(),
            state,
            pid: None,
            restarts: 0,
            up_s: None,
            memory_bytes: None,
            note: None,
        }
    }

    #[test]
    fn the_screen_says_who_the_node_is_and_what_is_wrong_in_one_line() {
        let mut status = status();
        let services = [
            service("bgpd", ServiceState::BackOff),
            service("dnsmasq", ServiceState::NotWanted),
            service("zebra", ServiceState::Ready),
        ];
        let fine = shown(&status, &services, Size::default());
        assert_eq!(
            fine,
            " microdc   r1   router 2026.11.21   slot B (trial)\n\
             \n\
             \x20cluster    rack1\n\
             \x20addresses  eth0 10.0.0.1/24 fd00::1/64, eth1 10.1.0.1/24\n\
             \x20disk       nvme0n1, state kept\n\
             \x20config     kept on state\n\
             \x20services   bgpd (back-off) zebra\n\
             \x20health     passed\n\
             \x20problems   none\n"
        );
        status.problems = vec!["bgpd: killed by signal 11".to_owned(), "no log file".to_owned()];
        assert!(shown(&status, &services, Size::default()).ends_with(" bgpd: killed by signal 11 (and 1 more)\n"));
        status.board.temperature_millicelsius = Some(41_234);
        status.board.throttled = Some(contract::board::Throttled(1));
        assert!(shown(&status, &services, Size::default()).contains(" board      41 C, under-voltage\n"));
    }

    #[test]
    fn nothing_but_a_change_of_facts_changes_the_screen() {
        let mut later = status();
        later.uptime_s += 100.0;
        later.pid1_resident_bytes += 1;
        assert_eq!(shown(&status(), &[], Size::default()), shown(&later, &[], Size::default()));
    }

    #[test]
    fn the_drawing_covers_what_stood_there() {
        assert_eq!(sequence("one\ntwo\n"), "\x1b[?25l\x1b[Hone\x1b[K\r\ntwo\x1b[K\x1b[J");
    }

    proptest! {
        #[test]
        fn it_fits_and_no_escape_passes_whatever_the_facts_are(
            name in ".{0,200}", problem in ".{0,300}", addresses in ".{0,300}",
            rows in 0_usize..60, columns in 0_usize..200,
        ) {
            let status = Status { name, problems: vec![problem], addresses, ..status() };
            let shown = shown(&status, &[service("\x1b[2J", ServiceState::Ready)], Size { rows, columns });
            prop_assert!(shown.lines().count() <= rows);
            for line in shown.lines() {
                prop_assert!(line.len() <= columns);
                prop_assert!(line.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
            }
        }
    }
}
