//! This node, as the stages found it.

use super::board::Watch;
use super::events::Warnings;
use super::limits::Limited;
use crate::config::intake::Intake;
use contract::initramfs::BootReport;
use contract::role::RoleSpec;
use contract::storage::{FolderUse, State, Storage};

/// What the stages found out about this node.
pub struct Node {
    pub report: BootReport,
    pub role: RoleSpec,
    pub intake: Intake,
    /// The disks, and what became of `state` and `data`.
    pub storage: Storage,
    /// The folders of services whose limits hold.
    pub limits: Vec<Limited>,
    pub board: Watch,
    pub warnings: Warnings,
}

impl Node {
    /// What is in the folders that have limits, now.
    pub fn folders(&self) -> Vec<FolderUse> {
        self.limits.iter().filter_map(Limited::look).collect()
    }

    /// Whether `state` is on a disk.
    pub fn state_is_kept(&self) -> bool {
        matches!(self.storage.state, State::Persistent { .. })
    }
}
