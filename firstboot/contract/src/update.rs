//! What a node says of its updates: while one is taken ([`UpdateEvent`]), and at any time ([`UpdateStatus`]).

use crate::hash::Digest;
use crate::layout::Slot;
use crate::words::words;
use serde::{Deserialize, Serialize};

/// A slot's content, by its signed manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    pub version: String,
    /// Of the manifest's bytes.
    pub manifest: Digest,
    pub rollback_index: u64,
}

/// Something that happens while an update is taken. Counts are of 4 KiB blocks, over both images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum UpdateEvent {
    /// The bundle's manifest was verified, and what is on the disk already was inspected. The last one of a dry run.
    Plan {
        release: Release,
        /// Where it goes.
        slot: Slot,
        blocks: u64,
        /// Blocks that are at their place already.
        in_place: u64,
        /// Blocks that are copied from elsewhere in the node's slots.
        copied: u64,
        /// Blocks that must be fetched, and bytes of the bundle for them.
        fetched: u64,
        fetch_bytes: u64,
        dry_run: bool,
    },
    /// So many blocks are verified and in their place.
    Progress { done: u64, blocks: u64, fetched_bytes: u64 },
    /// A server failed; the next try comes after so many seconds.
    Retry { url: String, reason: String, delay_s: f64 },
    /// A server is not asked any more; the next one is.
    GivenUp { url: String, reason: String },
    /// The slot is whole, with its trailer. The node restarts into its trial.
    Installed {
        release: Release,
        slot: Slot,
        /// Blocks that were written, and bytes that were read from servers or the stream.
        written: u64,
        fetched_bytes: u64,
        seconds: f64,
    },
    /// It is the release that runs in this slot already. Nothing was changed: the other slot keeps what it holds.
    AlreadyRunning { release: Release, slot: Slot },
    /// It is not taken; the running slot and the choice of slot are as they were.
    Failed { reason: String },
}

impl UpdateEvent {
    /// Whether nothing follows.
    #[must_use]
    pub fn is_last(&self) -> bool {
        match self {
            UpdateEvent::Plan { dry_run, .. } => *dry_run,
            UpdateEvent::Installed { .. } | UpdateEvent::AlreadyRunning { .. } | UpdateEvent::Failed { .. } => true,
            UpdateEvent::Progress { .. } | UpdateEvent::Retry { .. } | UpdateEvent::GivenUp { .. } => false,
        }
    }
}

/// How a node stands with updates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateStatus {
    pub phase: Phase,
    /// What the EEPROM starts when no one asks otherwise; absent when `autoboot.txt` cannot be read.
    pub default_slot: Option<Slot>,
    /// The lowest rollback index that is accepted.
    pub rollback_index: u64,
    /// What is in the other slot; absent when it is empty, half written or not to be trusted.
    pub standby: Option<Release>,
    /// What failed here and is refused, the last one first.
    pub failed: Vec<FailedRelease>,
    /// How many trials have ever failed here.
    #[serde(default)]
    pub failures: u64,
    /// What fails in the trial, or failed when it was committed, and did not count: it failed before the update as well, or
    /// concerns a port that is not there. Each with its reason.
    #[serde(default)]
    pub tolerated: Vec<String>,
}

/// Where it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Phase {
    /// The running slot is the one that the EEPROM starts.
    Committed,
    /// An update is being taken.
    Installing { done: u64, blocks: u64, fetched_bytes: u64 },
    /// The running slot is on trial.
    Trial {
        /// What it waits for before it commits.
        waits_for: String,
        /// Seconds since power-on at which the trial is over.
        deadline_s: f64,
    },
    /// The running slot is neither on trial nor the one that the EEPROM starts.
    Stray { reason: String },
}

words! {
    /// What a [`Phase`] is, without its figures.
    pub enum PhaseKind {
        Committed = "committed",
        Installing = "installing",
        Trial = "trial",
        Stray = "stray",
    }
}

impl Phase {
    #[must_use]
    pub fn kind(&self) -> PhaseKind {
        match self {
            Phase::Committed => PhaseKind::Committed,
            Phase::Installing { .. } => PhaseKind::Installing,
            Phase::Trial { .. } => PhaseKind::Trial,
            Phase::Stray { .. } => PhaseKind::Stray,
        }
    }
}

/// A release whose trial failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedRelease {
    pub release: Release,
    /// In words.
    pub reason: String,
    /// Seconds since 1970.
    pub at: u64,
}

impl Default for UpdateStatus {
    fn default() -> UpdateStatus {
        UpdateStatus {
            phase: Phase::Committed,
            default_slot: None,
            rollback_index: 0,
            standby: None,
            failed: Vec::new(),
            failures: 0,
            tolerated: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_is_known_by_one_word_everywhere() {
        let (waits_for, reason) = (String::new(), String::new());
        let phases = [
            Phase::Committed,
            Phase::Installing { done: 1, blocks: 2, fetched_bytes: 3 },
            Phase::Trial { waits_for, deadline_s: 1.0 },
            Phase::Stray { reason },
        ];
        assert_eq!(phases.each_ref().map(Phase::kind), PhaseKind::ALL);
        for phase in &phases {
            assert_eq!(serde_json::to_value(phase).unwrap()["is"], phase.kind().word());
        }
    }

    #[test]
    fn an_event_is_one_object_with_its_name() {
        let event = UpdateEvent::Progress { done: 1, blocks: 2, fetched_bytes: 3 };
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(text, r#"{"event":"progress","done":1,"blocks":2,"fetched_bytes":3}"#);
        assert_eq!(serde_json::from_str::<UpdateEvent>(&text).unwrap(), event);
        assert!(!event.is_last() && UpdateEvent::Failed { reason: String::new() }.is_last());
        let release = Release { version: "1".to_owned(), manifest: Digest::of(b"1"), rollback_index: 1 };
        let running = UpdateEvent::AlreadyRunning { release, slot: Slot::A };
        assert!(running.is_last() && serde_json::to_string(&running).unwrap().contains("\"already-running\""));
    }
}
