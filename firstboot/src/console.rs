//! Lines on the console. A line that cannot be written is lost: nobody is there to be told, and PID 1 goes on.

use contract::names::CONSOLE_PREFIX;
use std::fmt::Display;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether lines go to where tests keep theirs until they fail.
static DRY_RUN: AtomicBool = AtomicBool::new(false);

/// From now on lines are printed as a test's own are. A node never does this: printing panics where it cannot write.
#[cfg(any(test, feature = "testing"))]
pub fn dry_run() {
    DRY_RUN.store(true, Ordering::Relaxed);
}

/// Says a warning, and keeps it in `warnings`.
pub fn warn(warnings: &mut Vec<String>, text: String) {
    say(format_args!("warning: {text}"));
    warnings.push(text);
}

/// Writes a message, each of its lines with [`CONSOLE_PREFIX`], in one write so that others do not cut into it.
pub fn say(message: impl Display) {
    let text = prefixed(&message.to_string());
    if cfg!(test) || DRY_RUN.load(Ordering::Relaxed) {
        eprint!("{text}");
        return;
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Control characters from foreign bytes do not reach the terminal.
fn prefixed(message: &str) -> String {
    let mut text = String::new();
    for line in message.lines() {
        text.push_str(CONSOLE_PREFIX);
        text.extend(line.chars().map(|c| if c.is_control() && c != '\t' { '?' } else { c }));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_line_says_whose_it_is_and_no_escape_passes() {
        assert_eq!(super::prefixed("one\ntwo \u{1b}[2J"), "microdc: one\nmicrodc: two ?[2J\n");
    }
}
