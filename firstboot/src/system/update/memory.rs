//! What a node remembers of its updates, on `state`: what it committed, the trial that it asked for, and what failed here.
//!
//! Both slots read and write it, each with its own version of this program: unknown fields are ignored. Without it
//! (`state` lost, or the file damaged) a node continues with what it runs.

use super::baseline::Baseline;
use super::reserve::Reserve;
use crate::config::store::{Access, write_atomic};
use contract::hash::Digest;
use contract::layout::Slot;
use contract::names::STATE_UPDATES;
use contract::update::{FailedRelease, Release};
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read as _};
use std::path::Path;

/// Format number that this program writes and reads.
const FORMAT: u32 = 1;
/// Longest file, in bytes; with all that is kept it is far shorter.
const LONGEST: u64 = 64 * 1024;
/// Failed releases that are kept, and characters of each reason.
const MOST_FAILED: usize = 16;
const LONGEST_REASON: usize = 500;

/// How far a trial has come. Written down at each step, so that the old slot can say where one ended without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The firmware is about to be asked, and services stop.
    Asked,
    /// All is stopped, and the node restarts.
    Restarting,
    /// PID 1 runs on the new root.
    System,
    Network,
    /// Every wanted service has been ready.
    Services,
    /// Every check of the health gate has passed.
    Health,
}

impl Stage {
    /// Where a trial was that ended without a word.
    fn words(self) -> &'static str {
        match self {
            Stage::Asked | Stage::Restarting => {
                "it ended without a report, before it reached the system stage: kernel, initramfs, verity, or power"
            }
            Stage::System => {
                "it ended without a report in the system stage, before its network was up: panic, hang, or power"
            }
            Stage::Network => {
                "it ended without a report after its network was up, before its services were: panic, hang, or power"
            }
            Stage::Services => {
                "it ended without a report after its services were up, before its health gate passed: panic, hang, or \
                    power"
            }
            Stage::Health => {
                "it ended without a report after its health gate had passed, before it was committed: panic, hang, or \
                    power"
            }
        }
    }
}

/// A trial that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    pub release: Release,
    pub slot: Slot,
    /// Seconds since 1970.
    pub asked_at: u64,
    pub stage: Stage,
    /// Why it was ended, where it could still be written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

impl Pending {
    /// Why the trial failed, as far as is known.
    #[must_use]
    pub fn reason(&self) -> String {
        self.ended.clone().unwrap_or_else(|| self.stage.words().to_owned())
    }
}

/// What was committed last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    pub release: Release,
    pub slot: Slot,
}

/// The whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    format: u32,
    /// The highest one that was ever committed.
    pub rollback_index: u64,
    #[serde(default)]
    pub committed: Option<Committed>,
    #[serde(default)]
    pub pending: Option<Pending>,
    /// The last one first.
    #[serde(default)]
    pub failed: Vec<FailedRelease>,
    /// How many trials have ever failed.
    #[serde(default)]
    pub failures: u64,
    /// What the committed system managed of this node, which trials are judged by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Baseline>,
    /// Counts the writes, so that no two of them are the same.
    #[serde(default)]
    writes: u64,
}

/// Where it was put.
#[derive(Debug)]
pub enum Stored {
    InPlace,
    /// Into the reserve, since its file could not be written for this reason.
    InReserve(io::Error),
}

impl Default for Memory {
    fn default() -> Memory {
        Memory {
            format: FORMAT,
            rollback_index: 0,
            committed: None,
            pending: None,
            failed: Vec::new(),
            failures: 0,
            baseline: None,
            writes: 0,
        }
    }
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("it cannot be read")]
    Io(#[from] io::Error),
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    #[error("it is damaged")]
    Damaged(#[from] serde_json::Error),
    #[error("it has format {0}; this program reads format {FORMAT}")]
    Format(u32),
}

impl Memory {
    /// Reads the bytes of the file.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Memory, MemoryError> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        if bytes.len() as u64 > LONGEST {
            return Err(MemoryError::TooLong);
        }
        let Head { format } = serde_json::from_slice(bytes)?;
        if format != FORMAT {
            return Err(MemoryError::Format(format));
        }
        let mut memory: Memory = serde_json::from_slice(bytes)?;
        memory.failed.truncate(MOST_FAILED);
        Ok(memory)
    }

    /// What stands in `folder`; `None` when there is no such file. What was put into the reserve since counts in its place.
    ///
    /// # Errors
    /// When there is one that cannot be used.
    pub fn load(folder: &Path) -> Result<Option<Memory>, MemoryError> {
        let standing = standing(folder)?;
        let reserved = Reserve::at(folder).read(standing.as_deref().unwrap_or_default());
        if let Some(memory) = reserved.and_then(|bytes| Memory::parse(&bytes).ok()) {
            return Ok(Some(memory));
        }
        standing.map(|bytes| Memory::parse(&bytes)).transpose()
    }

    /// Puts it into `folder`, synced; after a power cut there is the old one or the new one. Where there is no room, into the
    /// reserve.
    ///
    /// # Errors
    /// What the kernel says, when the reserve cannot take it either.
    pub fn store(&mut self, folder: &Path) -> io::Result<Stored> {
        self.writes = self.writes.wrapping_add(1);
        let bytes = serde_json::to_vec(self)?;
        let reserve = Reserve::at(folder);
        match write_atomic(&folder.join(STATE_UPDATES), &bytes, Access::root(0o600)) {
            Ok(()) => {
                reserve.clear();
                Ok(Stored::InPlace)
            }
            Err(error) => {
                let standing = standing(folder).ok().flatten().unwrap_or_default();
                match reserve.write(&standing, &bytes) {
                    Ok(()) => Ok(Stored::InReserve(error)),
                    Err(_) => Err(error),
                }
            }
        }
    }

    /// What is written down about a digest that failed here.
    #[must_use]
    pub fn failure(&self, manifest: &Digest) -> Option<&FailedRelease> {
        self.failed.iter().find(|failed| failed.release.manifest == *manifest)
    }

    /// A release runs as the committed one.
    pub fn commit(&mut self, release: &Release, slot: Slot) {
        self.rollback_index = self.rollback_index.max(release.rollback_index);
        self.failed.retain(|failed| failed.release.manifest != release.manifest);
        self.committed = Some(Committed { release: release.clone(), slot });
    }

    /// A trial failed at `at` (seconds since 1970).
    pub fn fail(&mut self, release: &Release, reason: &str, at: u64) {
        self.failed.retain(|failed| failed.release.manifest != release.manifest);
        let reason = reason.chars().take(LONGEST_REASON).collect();
        self.failed.insert(0, FailedRelease { release: release.clone(), reason, at });
        self.failed.truncate(MOST_FAILED);
        self.failures = self.failures.saturating_add(1);
    }
}

/// The bytes of the file, as far as one may be long.
fn standing(folder: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match std::fs::File::open(folder.join(STATE_UPDATES)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn release(version: &str, rollback_index: u64) -> Release {
        Release { version: version.to_owned(), manifest: Digest::of(version.as_bytes()), rollback_index }
    }

    #[test]
    fn it_is_read_back_as_written_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Memory::load(folder.path()).unwrap(), None);
        let mut memory = Memory::default();
        memory.commit(&release("1", 4), Slot::A);
        memory.fail(&release("2", 5), "its health gate stayed red", 77);
        memory.pending = Some(Pending {
            release: release("3", 5),
            slot: Slot::B,
            asked_at: 99,
            stage: Stage::Network,
            ended: None,
        });
        memory.store(folder.path()).unwrap();
        assert_eq!(Memory::load(folder.path()).unwrap(), Some(memory.clone()));
        memory.pending = None;
        memory.store(folder.path()).unwrap();
        assert_eq!(Memory::load(folder.path()).unwrap(), Some(memory));
    }

    /// A folder in which no file can be replaced any more, as on a disk that is full.
    fn full(folder: &Path) {
        let taken = folder.join(format!("{STATE_UPDATES}.new"));
        std::fs::create_dir(&taken).unwrap();
        std::fs::write(taken.join("x"), "").unwrap();
    }

    #[test]
    fn on_a_full_disk_a_failure_is_remembered_in_the_reserve_and_moves_back_when_there_is_room() {
        for written_before in [true, false] {
            let folder = tempfile::tempdir().unwrap();
            Reserve::at(folder.path()).prepare().unwrap();
            let mut memory = Memory::default();
            if written_before {
                memory.commit(&release("1", 4), Slot::A);
                memory.store(folder.path()).unwrap();
            }
            full(folder.path());
            for version in ["2", "3"] {
                memory.fail(&release(version, 5), "its health gate stayed red", 77);
                assert!(matches!(memory.store(folder.path()), Ok(Stored::InReserve(_))));
                let found = Memory::load(folder.path()).unwrap().unwrap();
                assert_eq!(found, memory);
                assert!(found.failure(&release(version, 0).manifest).is_some());
            }
            std::fs::remove_dir_all(folder.path().join(format!("{STATE_UPDATES}.new"))).unwrap();
            memory.fail(&release("4", 5), "again", 78);
            assert!(matches!(memory.store(folder.path()), Ok(Stored::InPlace)));
            assert_eq!(Memory::load(folder.path()).unwrap(), Some(memory));
        }
    }

    #[test]
    fn what_the_other_slot_s_program_wrote_since_counts_more_than_the_reserve() {
        let folder = tempfile::tempdir().unwrap();
        Reserve::at(folder.path()).prepare().unwrap();
        full(folder.path());
        Memory::default().store(folder.path()).unwrap();
        // It knows no reserve.
        std::fs::write(folder.path().join(STATE_UPDATES), br#"{"format":1,"rollback_index":9}"#).unwrap();
        assert_eq!(Memory::load(folder.path()).unwrap().unwrap().rollback_index, 9);
    }

    #[test]
    fn without_a_reserve_a_full_disk_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        full(folder.path());
        assert!(Memory::default().store(folder.path()).is_err());
    }

    #[test]
    fn what_another_version_of_this_program_added_is_passed_over() {
        let memory = Memory::parse(br#"{"format":1,"rollback_index":3,"colour":"blue"}"#).unwrap();
        assert_eq!(memory.rollback_index, 3);
        assert!(matches!(Memory::parse(br#"{"format":2}"#), Err(MemoryError::Format(2))));
        assert!(matches!(Memory::parse(&[b' '; 70_000]), Err(MemoryError::TooLong)));
        assert!(matches!(Memory::parse(b"{\"format\":1"), Err(MemoryError::Damaged(_))));
    }

    #[test]
    fn failures_are_bounded_newest_first_and_forgotten_when_the_release_is_committed_after_all() {
        let mut memory = Memory::default();
        for number in 0..100 {
            memory.fail(&release(&number.to_string(), 0), &"x".repeat(5000), number);
        }
        memory.fail(&release("90", 0), "again", 200);
        assert_eq!((memory.failed.len(), memory.failures), (MOST_FAILED, 101));
        assert_eq!(memory.failed[0].reason, "again");
        assert_eq!(memory.failed[1].at, 99);
        assert!(serde_json::to_vec(&memory).unwrap().len() < LONGEST as usize / 2);
        memory.commit(&release("90", 0), Slot::B);
        assert_eq!(memory.failure(&release("90", 0).manifest), None);
        assert!(memory.failure(&release("99", 0).manifest).is_some());
    }

    #[test]
    fn the_rollback_index_never_falls() {
        let mut memory = Memory::default();
        memory.commit(&release("1", 7), Slot::A);
        memory.commit(&release("0", 3), Slot::B);
        assert_eq!(memory.rollback_index, 7);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Memory::parse(&bytes);
        }
    }
}
