//! What a service writes: split into lines; the last ones are kept in memory, all of them in two files of bounded size.

use super::log_file::{LogEvent, LogFile};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Bytes of lines kept in memory.
pub const RING: usize = 64 * 1024;
/// Bytes that are read again of what an earlier run of the node wrote.
const HISTORY: u64 = 16 * 1024;
/// Longest line in bytes; longer ones are cut into several.
const LINE: usize = 1024;

/// The last lines of a service, at most [`RING`] bytes of them.
#[derive(Debug, Default)]
pub struct Ring {
    lines: VecDeque<String>,
    bytes: usize,
    /// Lines that ever came.
    count: u64,
}

impl Ring {
    fn push(&mut self, line: String) {
        // A line costs its own bytes and what the queue keeps for it.
        self.bytes += line.len() + size_of::<String>();
        self.lines.push_back(line);
        self.count = self.count.saturating_add(1);
        while self.bytes > RING {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.len() + size_of::<String>());
        }
    }

    /// How many lines ever came.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The lines after the first `seen` ones, as far as they are still kept, oldest first.
    pub fn since(&self, seen: u64) -> impl Iterator<Item = &str> {
        self.last(usize::try_from(self.count.saturating_sub(seen)).unwrap_or(usize::MAX))
    }

    /// The last `count` lines, oldest first.
    pub fn last(&self, count: usize) -> impl Iterator<Item = &str> {
        self.lines.iter().skip(self.lines.len().saturating_sub(count)).map(String::as_str)
    }
}

/// The log of one service.
#[derive(Debug)]
pub struct Log {
    ring: Ring,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    file: Option<LogFile>,
}

impl Log {
    /// A log that begins with these lines.
    #[must_use]
    pub fn new(file: Option<LogFile>, history: Vec<String>) -> Log {
        let mut ring = Ring::default();
        for line in history {
            ring.push(line);
        }
        Log { ring, partial: Vec::new(), file }
    }

    /// Also writes to `file` from now on.
    pub fn keep_in(&mut self, file: LogFile) {
        self.file = Some(file);
    }

    /// What the operator should know of its file since the last call.
    pub fn take_event(&mut self) -> Option<LogEvent> {
        self.file.as_mut().and_then(LogFile::take_event)
    }

    #[must_use]
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Takes bytes as they come; returns the lines completed by them, fit for a console. `stamp` stands before each
    /// line in the file.
    pub fn write(&mut self, bytes: &[u8], stamp: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if byte != b'\n' {
                self.partial.push(byte);
            }
            if byte == b'\n' || self.partial.len() >= LINE {
                lines.push(self.finish(stamp));
            }
        }
        lines
    }

    /// Ends a line without its end: its writer is gone.
    pub fn flush(&mut self, stamp: &str) -> Option<String> {
        (!self.partial.is_empty()).then(|| self.finish(stamp))
    }

    fn finish(&mut self, stamp: &str) -> String {
        let line = printable(&self.partial);
        self.partial.clear();
        // Where it cannot be written memory remains; a log must never stop what it logs.
        if let Some(file) = &mut self.file {
            file.write(stamp, &line);
        }
        self.ring.push(line.clone());
        line
    }
}

/// Bytes as text in which nothing moves the cursor or ends the line.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    contract::text::line(text.trim_end_matches('\r')).into_owned()
}

/// The last lines of a log that an earlier run of the node left in `folder`, with their times; none when there is none.
#[must_use]
pub fn history(folder: &Path, name: &str) -> Vec<String> {
    tail(&folder.join(name)).unwrap_or_default()
}

fn tail(path: &Path) -> io::Result<Vec<String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(HISTORY);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(HISTORY).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first one is cut, where it is not the file's own.
    let lines = text.lines().skip(usize::from(from > 0));
    Ok(lines.map(|line| printable(line.as_bytes())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(log: &Log) -> Vec<&str> {
        log.ring().last(usize::MAX).collect()
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let mut log = Log::new(None, Vec::new());
        assert!(log.write(b"one\ntw", "").iter().eq(&["one"]));
        assert!(log.write(b"o\nthr", "").iter().eq(&["two"]));
        assert_eq!(log.flush("").as_deref(), Some("thr"));
        assert_eq!(log.flush(""), None);
        assert_eq!(lines(&log), ["one", "two", "thr"]);
    }

    #[test]
    fn a_service_cannot_write_over_the_console() {
        let mut log = Log::new(None, Vec::new());
        let shown = log.write(b"\x1b[2Jmicrodc: all is well\r\n", "");
        assert_eq!(shown, ["\u{fffd}[2Jmicrodc: all is well"]);
    }

    #[test]
    fn what_an_earlier_run_wrote_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(history(folder.path(), "bgpd"), Vec::<String>::new());
        let mut log = Log::new(Some(LogFile::at(folder.path(), "bgpd")), Vec::new());
        for number in 0..2000 {
            log.write(format!("line {number}\n").as_bytes(), "T bgpd");
        }
        let read = history(folder.path(), "bgpd");
        assert!(read.len() > 100 && read.iter().all(|line| line.starts_with("T bgpd line ")), "{:?}", read.first());
        let log = Log::new(None, read);
        assert_eq!(log.ring().last(1).collect::<Vec<_>>(), ["T bgpd line 1999"]);
    }

    proptest! {
        #[test]
        fn memory_stays_bounded_whatever_is_written(
            chunks in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..64), 1..200_usize), 0..40),
        ) {
            let mut log = Log::new(None, Vec::new());
            for (chunk, times) in chunks {
                log.write(&chunk.repeat(times), "");
                prop_assert!(log.ring.lines.iter().map(String::len).sum::<usize>() <= RING);
                prop_assert!(log.partial.len() < LINE);
            }
        }
    }
}
