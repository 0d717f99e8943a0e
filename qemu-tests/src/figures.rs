//! Figures that a test measures. `run` shows them at its end, where a passing test's own output is not seen.

use std::fs::OpenOptions;
use std::io::Write as _;

/// In cargo's target folder.
const FILE: &str = "boot-figures.txt";

/// Notes a figure, such as `figure("PID 1, resident", "4.7 MiB")`.
pub fn figure(what: &str, value: impl std::fmt::Display) {
    let line = format!("{what}: {value}\n");
    print!("FIGURE {line}");
    let target = crate::images::target();
    // One write, so that the lines of tests that run side by side do not mix. A figure that cannot be kept was printed.
    let file = OpenOptions::new().create(true).append(true).open(target.join(FILE));
    let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
}
