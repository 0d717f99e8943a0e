//! This node, as the stages found it.

use super::board::Watch;
use super::events::Warnings;
use crate::config::intake::Intake;
use contract::initramfs::BootReport;
use contract::role::RoleSpec;
use contract::storage::{State, Storage};

/// What the stages found out about this node.
pub struct Node {
    pub report: BootReport,
    pub role: RoleSpec,
    pub intake: Intake,
    /// The disks, and what became of `state` and `data`.
    pub storage: Storage,
    pub board: Watch,
    pub warnings: Warnings,
}

impl Node {
    /// Whether `state` is on a disk.
    pub fn state_is_kept(&self) -> bool {
        matches!(self.storage.state, State::Persistent { .. })
    }
}
