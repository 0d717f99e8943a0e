//! The role spec: what the system half of firstboot runs. The builder makes it from the profile; names are resolved
//! to numbers and paths are checked by then.
//!
//! - here the whole, and what is made at boot · [`service`] programs that are kept running · [`capability`] their rights ·
//!   [`sandbox`] what confines them · [`health`] what must hold · [`name`] what a profile calls itself and its role

mod capability;
mod health;
mod name;
mod sandbox;
mod service;

pub use capability::Capability;
pub use health::{HealthCheck, HttpProbe, KubernetesProbe, KubernetesQuestion, Probe, Target};
pub use name::{Compatible, Incompatible, NameError, ProfileName, Role};
pub use sandbox::{Sandbox, SystemCalls};
pub use service::{
    Cause, Check, EnvironmentFile, Kill, Limits, Mount, NETWORK, NO_TIMEOUT_MS, Ready, Restart, Schedule, Service,
    ServiceKind, TIME, Timer,
};

use crate::var::Var;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Format number of role specs that this code writes and reads.
pub const FORMAT: u32 = 1;

/// Stored as JSON at [`crate::names::ROLE_SPEC`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleSpec {
    /// [`FORMAT`].
    pub format: u32,
    pub role: Role,
    pub summary: String,
    pub version: String,
    /// Absolute paths of kernel modules to load, in load order.
    pub modules: Vec<String>,
    /// Kernel settings by their path under `/proc/sys`, such as `net/ipv4/ip_forward`. `*` in place of an interface
    /// stands for `all` and `default`.
    pub sysctls: BTreeMap<String, String>,
    pub directories: Vec<Directory>,
    pub templates: Vec<Template>,
    pub services: BTreeMap<String, Service>,
    pub health: Vec<HealthCheck>,
    /// Values that each node sets for itself.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vars: BTreeMap<String, Var>,
    #[serde(default)]
    pub update: Trial,
}

/// What a trial of a new slot must show, and by when. All times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// For so long the health gate must have passed without a break before the slot is committed.
    pub settle_ms: u64,
    /// Since power-on: by then the network has an address,
    pub network_ms: u64,
    /// every wanted service is ready,
    pub services_ms: u64,
    /// and the slot is committed.
    pub commit_ms: u64,
}

impl Default for Trial {
    fn default() -> Trial {
        Trial { settle_ms: 30_000, network_ms: 120_000, services_ms: 180_000, commit_ms: 600_000 }
    }
}

/// Owner of files and processes, in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<u32>,
}

/// A directory made at boot, before services start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// Absolute path. When `persistent` it is kept on `state` and bound here; the path then exists in the image.
    pub path: String,
    pub owner: Identity,
    /// Permission bits, such as 0o750.
    pub mode: u32,
    #[serde(default)]
    pub persistent: bool,
    /// With `persistent`: kept on `data` in place of `state`.
    #[serde(default)]
    pub data: bool,
    /// With `persistent`: the most that it may hold, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bytes: Option<u64>,
}

/// For each of these bytes of its limit, a folder may hold one file or folder: as many as a file system of that size has
/// (`inode_ratio` in mke2fs.conf(5)).
const BYTES_A_FILE: u64 = 16 * 1024;
/// A folder with a limit may hold so many at least.
const LEAST_FILES: u64 = 1024;

/// How many files and folders a folder with this limit may hold.
#[must_use]
pub fn files_limit(limit_bytes: u64) -> u64 {
    (limit_bytes / BYTES_A_FILE).max(LEAST_FILES)
}

/// A file rendered from the node config at boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// Name in [`crate::names::TEMPLATES`].
    pub from: String,
    /// Absolute path under `/run`.
    pub to: String,
    pub owner: Identity,
    pub mode: u32,
}
