//! Standard output and standard error. Every word of the command line goes through here: what cannot be written is an error
//! of the command, never a panic, and nothing of what others wrote acts on the terminal ([`contract::text`]). Bytes that
//! were asked for come as they are.

use contract::text::lines;
use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write as _};

/// Writes as `print!` does; gives the [`OutputError`].
macro_rules! out {
    ($($arguments:tt)*) => { $crate::cli::output::write(format_args!($($arguments)*)) };
}

/// Writes as `println!` does; gives the [`OutputError`].
macro_rules! outln {
    () => { $crate::cli::output::write(format_args!("\n")) };
    ($($arguments:tt)*) => { $crate::cli::output::line(format_args!($($arguments)*)) };
}

/// Writes a line to standard error, as `eprintln!` does; one that cannot be written is lost.
macro_rules! note {
    ($($arguments:tt)*) => { $crate::cli::output::note(format_args!($($arguments)*)) };
}

/// Standard output takes no more.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub struct OutputError(io::Error);

impl OutputError {
    /// Whether whoever read it has gone, as in `microdc inspect FILE | head`.
    pub fn reader_is_gone(&self) -> bool {
        self.0.kind() == ErrorKind::BrokenPipe
    }
}

pub fn write(text: Arguments<'_>) -> Result<(), OutputError> {
    io::stdout().write_all(lines(&text.to_string()).as_bytes()).map_err(OutputError)
}

pub fn line(text: Arguments<'_>) -> Result<(), OutputError> {
    write(format_args!("{text}\n"))
}

pub fn bytes(bytes: &[u8]) -> Result<(), OutputError> {
    io::stdout().write_all(bytes).map_err(OutputError)
}

/// Prints a value as JSON, on lines of its own.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(line(format_args!("{}", contract::text::json(&serde_json::to_string_pretty(value)?)))?)
}

/// Writes what is still held back.
pub fn flush() -> Result<(), OutputError> {
    io::stdout().flush().map_err(OutputError)
}

pub fn note(text: Arguments<'_>) {
    let _ = io::stderr().write_all(lines(&format!("{text}\n")).as_bytes());
}
