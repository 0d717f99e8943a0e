//! What PID 1 sends to the installer, and the files that it passes on open. PID 1 and the child both use this.

use contract::hash::Digest;
use contract::keys::PublicKey;
use contract::layout::Slot;
use contract::manifest::Manifest;
use contract::role::Compatible;
use contract::update::FailedRelease;
use serde::{Deserialize, Serialize};

/// Longest order, in bytes.
pub const LONGEST: u64 = 1 << 20;

/// The files that the child finds open, by number. Messages for the log go to standard error (2).
pub mod files {
    use std::os::fd::RawFd;

    /// The [`super::Order`] as JSON, to the end of the file.
    pub const ORDER: RawFd = 0;
    /// Lines of [`contract::update::UpdateEvent`] as JSON, for PID 1. Only PID 1 reports to the client.
    pub const EVENTS: RawFd = 1;
    /// The slot that is written, for reading and writing.
    pub const STANDBY_BOOT: RawFd = 3;
    pub const STANDBY_ROOT: RawFd = 4;
    /// The slot that runs, for reading.
    pub const RUNNING_BOOT: RawFd = 5;
    pub const RUNNING_ROOT: RawFd = 6;
    /// The bundle, front to back, when the order has no address. Nothing is written to it.
    pub const STREAM: RawFd = 7;
}

/// What to install.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Which slot is written; for events alone.
    pub slot: Slot,
    /// Where the bundle is, each tried in turn. None: it comes as a stream.
    #[serde(default)]
    pub urls: Vec<String>,
    /// Who may sign.
    pub keys: Vec<PublicKey>,
    /// What this node runs: bundles for others are refused.
    pub node_is: Compatible,
    /// A lower one is refused.
    pub rollback_index: u64,
    /// The manifest of the slot that runs. Without it nothing is copied from there.
    #[serde(default)]
    pub running: Option<Manifest>,
    /// Digest of the manifest of what runs: a bundle of the same release changes nothing, forced or not.
    #[serde(default)]
    pub runs: Option<Digest>,
    /// What failed here and is refused.
    #[serde(default)]
    pub refused: Vec<FailedRelease>,
    /// Take also what has a lower rollback index, failed here, or is for another profile of the same role.
    #[serde(default)]
    pub force: bool,
    /// Say what would be fetched, and write nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Name of this node, for the servers' logs.
    #[serde(default)]
    pub node: String,
}
