//! The file of a log: bounded in size, whole lines only, and tried again when it could not be written.

use contract::error::chain;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// A log file grows to this many bytes; then it becomes `<name>.1` and a new one begins.
pub const FILE_SIZE: u64 = 1024 * 1024;

/// A file and its predecessor, each at most [`FILE_SIZE`] bytes and two lines.
#[derive(Debug)]
pub struct LogFile<F = File> {
    path: PathBuf,
    /// `None` until the first line, and while it cannot be opened.
    file: Option<F>,
    /// Bytes of whole lines in the file.
    length: u64,
    limit: u64,
    /// Whether less than a line of ours may follow them.
    torn: bool,
    /// Whether the file was found with less than a line at its end.
    unended: bool,
    /// Lines that could not be written since the last one that could, and why.
    lost: u64,
    event: Option<LogEvent>,
}

/// What the operator should know of a log's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// It cannot be written, and why. It is tried again with every line.
    Failed(String),
    /// It is written again, and so many lines are lost.
    Resumed(u64),
}

/// What a log is written to: a file, or in tests one that fails.
pub trait Sink: Write + Sized {
    /// Opens it for appending: with its length in bytes, and its last byte when there is one.
    fn open(path: &Path) -> io::Result<(Self, u64, Option<u8>)>;

    /// Takes away what follows `length` bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Sink for File {
    fn open(path: &Path) -> io::Result<(File, u64, Option<u8>)> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let length = file.metadata()?.len();
        let Some(at) = length.checked_sub(1) else { return Ok((file, length, None)) };
        let mut last = [0];
        file.read_exact_at(&mut last, at)?;
        Ok((file, length, Some(last[0])))
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

impl LogFile {
    /// The file `<folder>/<name>`, opened when there is something to write.
    #[must_use]
    pub fn at(folder: &Path, name: &str) -> LogFile {
        LogFile::with_limit(folder.join(name), FILE_SIZE)
    }
}

impl<F: Sink> LogFile<F> {
    fn with_limit(path: PathBuf, limit: u64) -> LogFile<F> {
        LogFile { path, file: None, length: 0, limit, torn: false, unended: false, lost: 0, event: None }
    }

    /// Writes a line, `stamp` before it. When lines before it were lost, one that says how many stands first. One that
    /// cannot be written is counted as lost; the next one is tried again.
    pub fn write(&mut self, stamp: &str, line: &str) {
        let mut text = format!("{stamp} {line}\n");
        if self.lost > 0 {
            text = format!("{stamp} microdc: the disk rejected writes; lines lost here: {}\n{text}", self.lost);
        }
        match self.append(text.as_bytes()) {
            Ok(()) if self.lost > 0 => {
                self.event = Some(LogEvent::Resumed(self.lost));
                self.lost = 0;
            }
            Ok(()) => {}
            Err(error) => {
                if self.lost == 0 {
                    self.event = Some(LogEvent::Failed(chain(&error)));
                }
                self.lost = self.lost.saturating_add(1);
            }
        }
    }

    /// What the operator should know since the last call.
    pub fn take_event(&mut self) -> Option<LogEvent> {
        self.event.take()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_some() && self.length >= self.limit {
            let mut older = self.path.clone().into_os_string();
            older.push(".1");
            std::fs::rename(&self.path, older)?;
            self.file = None;
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let (file, length, last) = F::open(&self.path)?;
                (self.length, self.torn) = (length, false);
                self.unended = last.is_some_and(|last| last != b'\n');
                none.insert(file)
            }
        };
        if self.torn {
            file.cut(self.length)?;
            self.torn = false;
        }
        // A power cut may have left less than a line.
        let bytes = [if self.unended { &b"\n"[..] } else { b"" }, bytes].concat();
        let written = file.write_all(&bytes);
        match written {
            Ok(()) => {
                self.length += bytes.len() as u64;
                self.unended = false;
            }
            // What got there of the line goes again: at once, or before the next one.
            Err(_) => self.torn = file.cut(self.length).is_err(),
        }
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;
    use std::io::ErrorKind;

    thread_local! {
        /// Bytes that the disk of this test still takes, and whether it lets files be cut.
        static ROOM: Cell<usize> = const { Cell::new(usize::MAX) };
        static CUTS: Cell<bool> = const { Cell::new(true) };
    }

    /// A file on a disk that is full after some bytes.
    struct Small(File);

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(ROOM.get());
            if taken == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            ROOM.set(ROOM.get() - taken);
            self.0.write(&bytes[..taken])
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Small {
        fn open(path: &Path) -> io::Result<(Small, u64, Option<u8>)> {
            let (file, length, last) = Sink::open(path)?;
            Ok((Small(file), length, last))
        }

        fn cut(&mut self, length: u64) -> io::Result<()> {
            if !CUTS.get() {
                return Err(ErrorKind::StorageFull.into());
            }
            Sink::cut(&mut self.0, length)
        }
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn files_rotate_and_stay_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bgpd");
        let mut log: LogFile = LogFile::with_limit(path.clone(), 100);
        for number in 0..50 {
            log.write("T", &format!("line {number}"));
        }
        let (newest, older) = (read(&path), read(&path.with_extension("1")));
        assert!(newest.ends_with("T line 49\n") && newest.len() < 120 && older.len() < 120, "{older}{newest}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn after_a_full_disk_the_log_goes_on_and_says_what_is_lost() {
        for cuts in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("bgpd");
            let mut log: LogFile<Small> = LogFile::with_limit(path.clone(), 10_000);
            ROOM.set(usize::MAX);
            log.write("T", "before");
            assert_eq!(log.take_event(), None);
            // Three bytes of the next line get there.
            ROOM.set(3);
            CUTS.set(cuts);
            for number in 0..5 {
                log.write("T", &format!("lost {number}"));
            }
            let told = log.take_event();
            assert!(matches!(&told, Some(LogEvent::Failed(why)) if why.contains("storage")), "{told:?}");
            assert_eq!(log.take_event(), None, "said once");
            if cuts {
                assert_eq!(read(&path), "T before\n", "less than a line stands there");
            }
            ROOM.set(usize::MAX);
            CUTS.set(true);
            log.write("T", "after");
            let wanted = "T before\nT microdc: the disk rejected writes; lines lost here: 5\nT after\n";
            assert_eq!(read(&path), wanted);
            assert_eq!(log.take_event(), Some(LogEvent::Resumed(5)));
            log.write("T", "and on");
            assert_eq!(read(&path), format!("{wanted}T and on\n"));
        }
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_tried_again_at_the_start_and_when_it_rotates() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log/bgpd");
        let mut log: LogFile = LogFile::with_limit(path.clone(), 10);
        log.write("T", "lost");
        assert!(matches!(log.take_event(), Some(LogEvent::Failed(_))));
        std::fs::create_dir(folder.path().join("log")).unwrap();
        log.write("T", "a long line");
        let wanted = "T microdc: the disk rejected writes; lines lost here: 1\nT a long line\n";
        assert_eq!(read(&path), wanted);
        // Its time to rotate has come, and it is gone.
        std::fs::remove_file(&path).unwrap();
        log.write("T", "lost");
        std::fs::write(&path, "T another's\n").unwrap();
        log.write("T", "after");
        assert!(read(&path).ends_with("T microdc: the disk rejected writes; lines lost here: 1\nT after\n"));
    }

    #[test]
    fn what_a_power_cut_left_of_a_line_is_ended_before_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bgpd");
        std::fs::write(&path, "T whole\nT ha").unwrap();
        LogFile::at(folder.path(), "bgpd").write("T", "next");
        assert_eq!(read(&path), "T whole\nT ha\nT next\n");
    }

    proptest! {
        #[test]
        fn every_line_of_the_file_is_whole_and_none_is_lost_uncounted(
            rooms in prop::collection::vec((0..60_usize, any::<bool>()), 1..20),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("bgpd");
            ROOM.set(usize::MAX);
            CUTS.set(true);
            let mut log: LogFile<Small> = LogFile::with_limit(path.clone(), 1 << 20);
            for (number, (room, cuts)) in (0..).zip(&rooms) {
                ROOM.set(*room);
                CUTS.set(*cuts);
                log.write("T", &format!("line {number}"));
            }
            ROOM.set(usize::MAX);
            CUTS.set(true);
            log.write("T", "end");
            let text = read(&path);
            let mut seen = 0;
            for line in text.lines() {
                let rest = line.strip_prefix("T ").unwrap();
                match rest.strip_prefix("microdc: ") {
                    Some(lost) => seen += lost.rsplit_once(": ").unwrap().1.parse::<usize>().unwrap(),
                    None => {
                        prop_assert!(rest == "end" || rest == format!("line {seen}"), "{}", text);
                        seen += 1;
                    }
                }
            }
            prop_assert_eq!(seen, rooms.len() + 1);
        }
    }
}
