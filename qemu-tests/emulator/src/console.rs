//! What a node has said so far, kept in memory for the tests and in a log file for people.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why a node runs no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest powered itself off.
    PoweredOff,
    /// [`crate::Node::kill`].
    PowerCut,
    /// The node's deadline passed.
    Deadline(Duration),
    /// The EEPROM found nothing to boot.
    NoBoot(String),
    /// QEMU or the host failed.
    Failed(String),
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            End::PoweredOff => f.write_str("it powered itself off"),
            End::PowerCut => f.write_str("its power was cut"),
            End::Deadline(after) => write!(f, "its deadline of {} s passed", after.as_secs()),
            End::NoBoot(why) => write!(f, "it does not boot: {why}"),
            End::Failed(why) => write!(f, "the emulator failed: {why}"),
        }
    }
}

/// What reset a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// The guest asked for it: reboot(2), or a kernel after its panic.
    Guest,
    /// The hardware watchdog ran out.
    Watchdog,
    /// The firmware's watchdog ran out: firstboot was never heard of, or there was nothing that could be loaded.
    Firmware,
    /// The emulator's user pressed the reset button.
    Button,
}

/// A wait that ended otherwise than hoped.
#[derive(thiserror::Error)]
#[error("{node}: {what}\nwhole log: {}\n{tail}", log.display())]
pub struct WaitError {
    node: String,
    what: String,
    log: PathBuf,
    tail: String,
}

/// As shown, so that `unwrap` in a test gives readable lines.
impl std::fmt::Debug for WaitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

#[derive(Debug, Default)]
struct State {
    text: Vec<u8>,
    /// Where the next wait begins to look.
    cursor: usize,
    boots: u32,
    resets: Vec<Reset>,
    tryboot_asked: bool,
    end: Option<End>,
}

/// The record of one node over all its boots.
#[derive(Debug)]
pub(crate) struct Record {
    node: String,
    path: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
    log: Mutex<File>,
}

impl Record {
    pub(crate) fn create(node: &str, folder: &Path) -> std::io::Result<Record> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join(format!("{node}.log"));
        let log = Mutex::new(File::create(&path)?);
        Ok(Record { node: node.to_owned(), path, state: Mutex::default(), changed: Condvar::new(), log })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A thread that panicked here leaves nothing half done that matters to the others.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes output of the guest.
    pub(crate) fn push(&self, bytes: &[u8]) {
        // The log is for people: a full disk must not stop the node.
        let _ = self.log.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes);
        let mut state = self.state();
        state.text.extend(bytes.iter().filter(|&&byte| byte != b'\r'));
        self.changed.notify_all();
    }

    /// A line of the emulator's own in the log and the text.
    pub(crate) fn say(&self, line: &str) {
        self.push(format!("\n[emulator] {line}\n").as_bytes());
    }

    /// The one-shot flag is in a register that a reset leaves alone; without power it is gone.
    pub(crate) fn switch_on(&self) {
        let mut state = self.state();
        state.end = None;
        state.tryboot_asked = false;
    }

    pub(crate) fn begin_boot(&self) -> u32 {
        let mut state = self.state();
        state.boots += 1;
        state.boots
    }

    pub(crate) fn ask_tryboot(&self, asked: bool) {
        self.state().tryboot_asked = asked;
    }

    /// The one-shot flag: reading it clears it.
    pub(crate) fn take_tryboot(&self) -> bool {
        std::mem::take(&mut self.state().tryboot_asked)
    }

    pub(crate) fn reset(&self, reset: Reset) {
        self.state().resets.push(reset);
        self.changed.notify_all();
    }

    pub(crate) fn end(&self, end: End) {
        self.say(&format!("off: {end}"));
        self.state().end = Some(end);
        self.changed.notify_all();
    }

    pub(crate) fn ended(&self) -> Option<End> {
        self.state().end.clone()
    }

    pub(crate) fn boots(&self) -> u32 {
        self.state().boots
    }

    pub(crate) fn resets(&self) -> Vec<Reset> {
        self.state().resets.clone()
    }

    /// Everything said so far, without carriage returns.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.state().text).into_owned()
    }

    /// How many bytes were said so far.
    pub(crate) fn length(&self) -> usize {
        self.state().text.len()
    }

    /// Whether `text` was said behind the first `begin` bytes.
    pub(crate) fn said_since(&self, begin: usize, text: &str) -> bool {
        self.state().text.get(begin..).is_some_and(|rest| find(rest, text.as_bytes()).is_some())
    }

    /// The last lines, for messages.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let text = self.text();
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].iter().map(|line| format!("    | {line}\n")).collect()
    }

    fn error(&self, what: String) -> WaitError {
        WaitError { node: self.node.clone(), what, log: self.path.clone(), tail: self.tail(40) }
    }

    /// Waits until `look` finds something in the state, or until the node has ended, or `patience` is over.
    fn wait<T>(
        &self,
        what: &str,
        patience: Duration,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, WaitError> {
        let deadline = Instant::now() + patience;
        let mut state = self.state();
        loop {
            if let Some(found) = look(&mut state) {
                return Ok(found);
            }
            if let Some(end) = state.end.clone() {
                drop(state);
                return Err(self.error(format!("waiting for {what}, but {end}")));
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                drop(state);
                return Err(self.error(format!("no {what} within {} s", patience.as_secs_f32())));
            };
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for whichever of `texts` comes first after the last match; gives its index and the text up to the end of
    /// its line, and goes on from there.
    pub(crate) fn expect_any(&self, texts: &[&str], patience: Duration) -> Result<(usize, String), WaitError> {
        let what = texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" or ");
        self.wait(&what, patience, |state| {
            let rest = &state.text[state.cursor..];
            let hits =
                texts.iter().enumerate().filter_map(|(index, text)| Some((find(rest, text.as_bytes())?, index)));
            let (at, index) = hits.min()?;
            // The whole line, so that what follows the text can be used.
            let end = at + find(&rest[at..], b"\n")?;
            let start = rest[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
            let line = String::from_utf8_lossy(&rest[start..end]).into_owned();
            state.cursor += end;
            Some((index, line))
        })
    }

    /// Waits for `text` and gives everything from the last match up to it.
    pub(crate) fn expect_until(&self, text: &str, patience: Duration) -> Result<String, WaitError> {
        self.wait(&format!("{text:?}"), patience, |state| {
            let rest = &state.text[state.cursor..];
            let at = find(rest, text.as_bytes())?;
            let found = String::from_utf8_lossy(&rest[..at]).into_owned();
            state.cursor += at + text.len();
            Some(found)
        })
    }

    /// Waits until there were `count` resets in all.
    pub(crate) fn wait_resets(&self, count: usize, patience: Duration) -> Result<Reset, WaitError> {
        let what = format!("reset number {count}");
        self.wait(&what, patience, |state| (state.resets.len() >= count).then(|| state.resets[count - 1]))
    }

    pub(crate) fn wait_end(&self, patience: Duration) -> Result<End, WaitError> {
        self.wait("end of the node", patience, |state| state.end.clone())
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len().max(1)).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> (tempfile::TempDir, Record) {
        let folder = tempfile::tempdir().unwrap();
        let record = Record::create("r1", folder.path()).unwrap();
        (folder, record)
    }

    const SOON: Duration = Duration::from_millis(30);

    #[test]
    fn each_wait_goes_on_behind_the_last_match() {
        let (_folder, record) = record();
        record.push(b"up one\r\nup two\r\n");
        assert_eq!(record.expect_any(&["up"], SOON).unwrap().1, "up one");
        assert_eq!(record.expect_any(&["up"], SOON).unwrap().1, "up two");
        assert!(record.expect_any(&["up"], SOON).is_err());
    }

    #[test]
    fn the_first_of_several_texts_wins() {
        let (_folder, record) = record();
        record.push(b"a FAILED b\nc is up\n");
        let (index, line) = record.expect_any(&["is up", "FAILED"], SOON).unwrap();
        assert_eq!((index, line.as_str()), (1, "a FAILED b"));
    }

    #[test]
    fn a_line_counts_when_it_is_whole() {
        let (_folder, record) = record();
        record.push(b"service bgpd rea");
        assert!(record.expect_any(&["bgpd"], SOON).is_err());
        record.push(b"dy\n");
        assert_eq!(record.expect_any(&["bgpd"], SOON).unwrap().1, "service bgpd ready");
    }

    #[test]
    fn a_wait_in_vain_shows_the_log_and_its_end() {
        let (folder, record) = record();
        record.push(b"last words\n");
        let error = record.expect_any(&["hello"], SOON).unwrap_err().to_string();
        assert!(error.contains("last words") && error.contains("\"hello\""), "{error}");
        assert!(error.contains(folder.path().to_str().unwrap()), "{error}");
    }

    #[test]
    fn a_node_that_is_off_is_not_waited_for() {
        let (_folder, record) = record();
        record.end(End::PoweredOff);
        let begin = Instant::now();
        let error = record.expect_any(&["hello"], Duration::from_secs(60)).unwrap_err().to_string();
        assert!(begin.elapsed() < Duration::from_secs(5) && error.contains("powered itself off"), "{error}");
        assert_eq!(record.wait_end(SOON).unwrap(), End::PoweredOff);
    }

    #[test]
    fn the_tryboot_request_counts_once() {
        let (_folder, record) = record();
        record.ask_tryboot(true);
        assert!(record.take_tryboot());
        assert!(!record.take_tryboot());
    }
}
