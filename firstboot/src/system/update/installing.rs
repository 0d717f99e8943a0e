//! The child that installs a bundle into the other slot, as PID 1 starts it and reads its reports. It runs as nobody,
//! in a cgroup with the lowest priority, and can access only what it is given of the disk: the other slot for writing,
//! the running one for reading. Its reports are trusted only for pages and progress.

use crate::disk::protect::Writable;
use crate::disk::slots;
use crate::service::{Exit, confine};
use crate::sys::cgroup::Cgroup;
use crate::sys::process::{Program, Surroundings, kill_session, spawn};
use crate::update::install::order::{Order, files};
use contract::initramfs::BootReport;
use contract::names;
use contract::role::Identity;
use contract::update::{Phase, UpdateEvent};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// The user that installs bundles: nobody.
const NOBODY: u32 = 65_534;
/// Folder of its cgroup, beside the services' one, and what it may take there.
const CGROUP: &str = "update";
// No memory.high: it puts a writer to sleep whose dirty pages are on their way, and little more than 16 MiB are dirty.
const LIMITS: [(&str, &str); 5] = [
    ("memory.max", "67108864"),
    ("memory.swap.max", "0"),
    ("pids.max", "16"),
    ("cpu.weight", "10"),
    ("io.weight", "10"),
];
/// Longest line that it says, in bytes, and characters of its last words that are kept.
const LONGEST: usize = 64 * 1024;
const WORDS: usize = 300;

/// A bundle that is being taken.
pub struct Installing {
    pid: Pid,
    cgroup: Option<Cgroup>,
    events: Option<OwnedFd>,
    messages: Option<OwnedFd>,
    lines: Lines,
    words: Lines,
    last_words: String,
    /// Who asked, and receives reports.
    pub client: Option<u64>,
    pub dry_run: bool,
    pub force: bool,
    progress: (u64, u64, u64),
    last: Option<UpdateEvent>,
    exit: Option<Exit>,
    /// Why it was ended from here.
    ended: Option<String>,
    /// The other slot can be written to until this is dropped, when the child is gone.
    _writable: Option<Writable>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It says that the slot is complete.
    Installed(UpdateEvent),
    /// It says that the bundle is of the release that runs; it has changed nothing.
    AlreadyRunning(UpdateEvent),
    /// The plan was reported, and that was all.
    DryRun,
    Failed(String),
}

/// Bytes that become lines.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// Adds what came; gives the lines that are complete. An overlong line is cut.
    fn add(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut whole = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.0.extend(piece);
            if self.0.last() == Some(&b'\n') || self.0.len() > LONGEST {
                let mut line = std::mem::take(&mut self.0);
                line.truncate(line.len().saturating_sub(1));
                whole.push(line);
            }
        }
        whole
    }
}

/// One line of the child: an event, when it is one.
#[must_use]
pub fn event(line: &[u8]) -> Option<UpdateEvent> {
    if line.len() > LONGEST { None } else { serde_json::from_slice(line).ok() }
}

impl Installing {
    /// Starts the child. `stream` is where the bundle comes from when the order has no address; `cgroups` the folder beside
    /// whose cgroups its own stands.
    ///
    /// # Errors
    /// What could not be done, in words.
    pub fn start(
        report: &BootReport,
        order: &Order,
        stream: Option<OwnedFd>,
        cgroups: Option<&Path>,
    ) -> Result<Installing, String> {
        let slots = |slot, write| slots::open(report, slot, write).map_err(|error| format!("{error:#}"));
        let (standby, running) = (slots(order.slot, !order.dry_run)?, slots(order.slot.other(), false)?);
        let orders = memory_file(&serde_json::to_vec(order).map_err(|error| error.to_string())?)
            .map_err(|error| format!("cannot write the order: {error}"))?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|error| format!("a pipe: {error}"));
        let ((events, events_end), (messages, messages_end)) = (pipe()?, pipe()?);
        // The child waits until PID 1 has taken what it says, instead of failing.
        for end in [&events_end, &messages_end] {
            let _ = rustix::io::ioctl_fionbio(end, false);
        }
        let cgroup = cgroups.and_then(|folder| Cgroup::create(folder, CGROUP).ok());
        if let Some(cgroup) = &cgroup {
            // A kernel without one of them has no such limit.
            LIMITS.iter().for_each(|(file, value)| drop(cgroup.set(file, value)));
        }
        let mut given = vec![
            (files::ORDER, orders.as_fd()),
            (files::EVENTS, events_end.as_fd()),
            (files::STANDBY_BOOT, standby.boot.as_fd()),
            (files::STANDBY_ROOT, standby.root.as_fd()),
            (files::RUNNING_BOOT, running.boot.as_fd()),
            (files::RUNNING_ROOT, running.root.as_fd()),
        ];
        given.extend(stream.as_ref().map(|stream| (files::STREAM, stream.as_fd())));
        let run = [names::FIRSTBOOT.to_owned(), "update".to_owned()];
        let identity = Identity { uid: NOBODY, gid: NOBODY, groups: Vec::new() };
        let program = Program {
            run: &run,
            environment: Vec::new(),
            identity: &identity,
            capabilities: &[],
            cgroup: cgroup.as_ref().and_then(|cgroup| cgroup.procs().ok()),
            output: messages_end.as_fd(),
            surroundings: Surroundings {
                open_files: Some(256),
                files: &given,
                confinement: Some(confine::of_reader()?),
                ..Surroundings::default()
            },
        };
        let pid = spawn(&program).map_err(|error| error.to_string())?;
        Ok(Installing {
            pid,
            cgroup,
            events: Some(events),
            messages: Some(messages),
            lines: Lines::default(),
            words: Lines::default(),
            last_words: String::new(),
            client: None,
            dry_run: order.dry_run,
            force: order.force,
            progress: (0, 0, 0),
            last: None,
            exit: None,
            ended: None,
            _writable: standby.writable,
        })
    }

    #[must_use]
    pub fn phase(&self) -> Phase {
        let (done, blocks, fetched_bytes) = self.progress;
        Phase::Installing { done, blocks, fetched_bytes }
    }

    /// What to wait for: its events and its messages.
    pub fn sources(&self) -> impl Iterator<Item = &OwnedFd> {
        self.events.iter().chain(&self.messages)
    }

    /// Takes what it has said: events, and messages for the console.
    pub fn hear(&mut self) -> (Vec<UpdateEvent>, Vec<String>) {
        let (mut heard, mut said) = (Vec::new(), Vec::new());
        for line in drain(&mut self.events, &mut self.lines) {
            let Some(event) = event(&line) else { continue };
            match &event {
                UpdateEvent::Plan { in_place, blocks, .. } => self.progress = (*in_place, *blocks, 0),
                UpdateEvent::Progress { done, blocks, fetched_bytes } => {
                    self.progress = (*done, *blocks, *fetched_bytes);
                }
                _ => {}
            }
            if event.is_last() {
                self.last = Some(event);
            } else {
                heard.push(event);
            }
        }
        for line in drain(&mut self.messages, &mut self.words) {
            let line: String = contract::text::line(&String::from_utf8_lossy(&line)).chars().take(WORDS).collect();
            self.last_words.clone_from(&line);
            said.push(line);
        }
        (heard, said)
    }

    /// Ends it for this reason. The rest follows when it is gone, which takes as long as a disk does not answer it.
    pub fn end(&mut self, reason: &str) {
        self.ended.get_or_insert_with(|| reason.to_owned());
        self.kill();
    }

    fn kill(&self) {
        if self.cgroup.as_ref().is_none_or(|cgroup| cgroup.kill().is_err()) {
            kill_session(self.pid);
        }
    }

    /// A process ended. Returns whether it was this one.
    pub fn exited(&mut self, pid: Pid, exit: Exit) -> bool {
        let mine = self.pid == pid;
        if mine {
            self.exit = Some(exit);
        }
        mine
    }

    /// What came of it, when it is gone and all it said was heard.
    pub fn outcome(&mut self) -> Option<Outcome> {
        let exit = self.exit?;
        // Nothing of it stays behind.
        self.kill();
        Some(outcome(self.ended.take(), exit, self.last.take(), self.dry_run, &self.last_words))
    }

    /// What it planned, for a dry run's end.
    #[must_use]
    pub fn last(&self) -> Option<&UpdateEvent> {
        self.last.as_ref()
    }
}

fn outcome(ended: Option<String>, exit: Exit, last: Option<UpdateEvent>, dry_run: bool, words: &str) -> Outcome {
    match (ended, exit, last) {
        (Some(reason), _, _) => Outcome::Failed(reason),
        (None, _, Some(UpdateEvent::Failed { reason })) => Outcome::Failed(reason),
        (None, Exit::Status(0), Some(UpdateEvent::Plan { dry_run: true, .. })) if dry_run => Outcome::DryRun,
        (None, Exit::Status(0), Some(event @ UpdateEvent::Installed { .. })) if !dry_run => Outcome::Installed(event),
        (None, Exit::Status(0), Some(event @ UpdateEvent::AlreadyRunning { .. })) => Outcome::AlreadyRunning(event),
        (None, exit, _) if words.is_empty() => Outcome::Failed(format!("the installer {exit}")),
        (None, exit, _) => Outcome::Failed(format!("the installer {exit}: {words}")),
    }
}

/// Reads what waits in a pipe; at its end the pipe is closed. One that never ends is read again at the next turn.
fn drain(pipe: &mut Option<OwnedFd>, lines: &mut Lines) -> Vec<Vec<u8>> {
    let mut whole = Vec::new();
    let mut buffer = [0; 16 * 1024];
    for _ in 0..16 {
        let Some(open) = pipe.as_ref() else { break };
        match rustix::io::read(open, &mut buffer) {
            Ok(0) => *pipe = None,
            Ok(length) => whole.extend(lines.add(buffer.get(..length).unwrap_or_default())),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => break,
            Err(_) => *pipe = None,
        }
    }
    whole
}

/// A file in memory, to be read from its start.
fn memory_file(bytes: &[u8]) -> std::io::Result<File> {
    let file = rustix::fs::memfd_create("order", rustix::fs::MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::hash::Digest;
    use contract::layout::Slot;
    use contract::update::Release;
    use proptest::prelude::*;

    fn installed() -> UpdateEvent {
        let release = Release { version: "2".to_owned(), manifest: Digest::of(b"2"), rollback_index: 1 };
        UpdateEvent::Installed { release, slot: Slot::B, written: 1, fetched_bytes: 1, seconds: 1.0 }
    }

    #[test]
    fn only_a_child_that_ends_well_after_saying_so_has_installed_anything() {
        let ok = Exit::Status(0);
        assert_eq!(outcome(None, ok, Some(installed()), false, ""), Outcome::Installed(installed()));
        for (ended, exit, last, dry_run) in [
            (None, ok, None, false),
            (None, Exit::Status(1), Some(installed()), false),
            (None, Exit::Signal(9), Some(installed()), false),
            (None, ok, Some(installed()), true),
            (Some("cancelled".to_owned()), ok, Some(installed()), false),
            (None, ok, Some(UpdateEvent::Failed { reason: "x".to_owned() }), false),
        ] {
            assert!(matches!(outcome(ended, exit, last, dry_run, ""), Outcome::Failed(_)));
        }
        let UpdateEvent::Installed { release, .. } = installed() else { panic!() };
        let running = UpdateEvent::AlreadyRunning { release, slot: Slot::A };
        for dry_run in [false, true] {
            let found = outcome(None, ok, Some(running.clone()), dry_run, "");
            assert_eq!(found, Outcome::AlreadyRunning(running.clone()), "nothing is tried after it");
        }
        let died = outcome(None, Exit::OutOfMemory, None, false, "the last words");
        assert_eq!(died, Outcome::Failed("the installer killed: out of memory: the last words".to_owned()));
    }

    #[test]
    fn lines_come_whole_however_they_are_cut_and_none_grows_without_bound() {
        let mut lines = Lines::default();
        assert_eq!(lines.add(b"one\ntw"), [b"one"]);
        assert_eq!(lines.add(b"o\n\n"), [&b"two"[..], b""]);
        for _ in 0..100 {
            lines.add(&[b'x'; 8192]);
            assert!(lines.0.len() <= LONGEST + 8192);
        }
    }

    proptest! {
        #[test]
        fn no_line_makes_the_reader_panic(line in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = event(&line);
        }
    }
}
