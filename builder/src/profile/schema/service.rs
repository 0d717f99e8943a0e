//! Services, as a profile writes them.

use super::super::quantity::{Bytes, Milliseconds};
use super::health::Http;
use contract::role::{Capability, ServiceKind};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A program that firstboot runs.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    pub run: Vec<String>,
    #[serde(default = "daemon")]
    pub kind: ServiceKind,
    #[serde(default = "root")]
    pub user: String,
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    #[serde(default)]
    pub after: Vec<String>,
    pub ready: Option<Ready>,
    #[serde(default)]
    pub restart: Restart,
    #[serde(default = "ten_seconds")]
    pub stop_timeout: Milliseconds,
    #[serde(default = "thirty_seconds")]
    pub start_timeout: Milliseconds,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Files of `KEY=value` lines; one that may be missing is written with `-` before its path.
    #[serde(default)]
    pub environment_files: Vec<String>,
    pub working_folder: Option<String>,
    /// Its programs may gain rights by setuid bits and file capabilities.
    #[serde(default)]
    pub new_privileges: bool,
    /// Folders of its user (0750), kept on `state` across reboots and updates.
    #[serde(default)]
    pub persistent: Vec<String>,
    /// As `persistent`, on `data`: without a file system there the service is not started.
    #[serde(default)]
    pub data: Vec<String>,
    /// Folders of its own in memory, gone with its last process.
    #[serde(default)]
    pub temporary: Vec<String>,
    /// `/tmp` and `/var/tmp` of its own.
    #[serde(default)]
    pub private_tmp: bool,
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Folders and files that it cannot change, whatever its rights.
    #[serde(default)]
    pub read_only: Vec<String>,
    /// Folders that it sees empty, and files that it sees as `/dev/null`.
    #[serde(default)]
    pub hidden: Vec<String>,
    /// Dotted path in the node config: the service runs only where something stands there.
    pub when: Option<String>,
}

/// When a daemon counts as ready.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    Tcp(String),
    Unix(String),
    Path(String),
    Notify(bool),
    Alive(Milliseconds),
    Http(Http),
    /// A program that ends with status 0.
    Run(Vec<String>),
}

/// Something that lies elsewhere and is seen here.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    pub from: String,
    pub to: String,
    #[serde(default)]
    pub read_only: bool,
}

/// Restart with back-off.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    pub first_delay: Option<Milliseconds>,
    pub longest_delay: Option<Milliseconds>,
    pub quiet: Option<Milliseconds>,
}

/// Limits of a service and all its children.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    pub memory: Option<Bytes>,
    pub pids: Option<u64>,
    pub cpu_weight: Option<u32>,
    pub open_files: Option<u64>,
}

fn root() -> String {
    "root".to_owned()
}

fn daemon() -> ServiceKind {
    ServiceKind::Daemon
}

fn ten_seconds() -> Milliseconds {
    Milliseconds(10_000)
}

fn thirty_seconds() -> Milliseconds {
    Milliseconds(30_000)
}
