//! Services, as a profile writes them.

use super::super::quantity::{Bytes, Milliseconds};
use super::super::spanned::Spanned;
use super::health::Http;
use contract::role::{Capability, Sandbox, ServiceKind};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A program that firstboot runs.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The program by its absolute path, and its arguments.
    pub run: Vec<String>,
    /// Whether it stays (`daemon`), ends (`oneshot`), or ends before the network comes up (`before-network`).
    #[serde(default = "daemon")]
    pub kind: ServiceKind,
    /// Whose rights it has; its supplementary groups come along.
    #[serde(default = "root")]
    pub user: String,
    /// Rights of root that it keeps, by their names without `CAP_`; it has no others.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// What must be ready first: names of services, `network`, `time`.
    #[serde(default)]
    pub after: Vec<String>,
    /// When a daemon counts as ready; without it, once it runs.
    pub ready: Option<Ready>,
    /// How soon it is restarted.
    #[serde(default)]
    pub restart: Restart,
    /// Time between SIGTERM and the killing of its whole cgroup.
    #[serde(default = "ten_seconds")]
    pub stop_timeout: Milliseconds,
    /// Time in which it must become ready: 30 s for a daemon. A one-shot may take as long as it takes, unless this says in
    /// what time it must end.
    pub start_timeout: Option<Milliseconds>,
    /// For a one-shot: when it has ended well on a node, it is not run there again. `state` remembers it.
    #[serde(default)]
    pub once: bool,
    /// For a one-shot: it is not run while this path exists, and counts as done.
    pub unless: Option<String>,
    /// Limits of the service and all its children.
    #[serde(default)]
    pub limits: Limits,
    /// Variables of its environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Files of `KEY=value` lines; one that may be missing is written with `-` before its path.
    #[serde(default)]
    pub environment_files: Vec<String>,
    /// Where it starts; without it, `/`.
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
    /// What it sees at another place than where it lies.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Folders and files that it cannot change, whatever its rights.
    #[serde(default)]
    pub read_only: Vec<String>,
    /// Folders that it sees empty, and files that it sees as `/dev/null`.
    #[serde(default)]
    pub hidden: Vec<String>,
    /// What it may reach beyond what every service may: exceptions from its confinement.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// Dotted path in the node config: the service runs only where something stands there.
    pub when: Option<Spanned<String>>,
}

/// When a daemon counts as ready.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// A port answers: `address:port`.
    Tcp(String),
    /// A Unix socket answers, by its path.
    Unix(String),
    /// A file is there.
    Path(String),
    /// It says so itself: sd_notify's `READY=1`.
    Notify(bool),
    /// It has run for so long.
    Alive(Milliseconds),
    /// A request gets its good answer.
    Http(Http),
    /// A program that ends with status 0.
    Run(Vec<String>),
}

/// Something that lies elsewhere and is seen here.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Absolute path of what is shown.
    pub from: String,
    /// Absolute path where it is seen.
    pub to: String,
    /// It cannot be changed there.
    #[serde(default)]
    pub read_only: bool,
}

/// Restart with back-off.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// Before the first restart; it doubles from then on. Default: 0.2 s.
    pub first_delay: Option<Milliseconds>,
    /// No delay is longer. Default: 30 s.
    pub longest_delay: Option<Milliseconds>,
    /// After so long without an end, delays begin again.
    pub quiet: Option<Milliseconds>,
}

/// Limits of a service and all its children.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Memory of all its processes.
    pub memory: Option<Bytes>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Share of the processor, 1 to 10000, where 100 is everybody's.
    pub cpu_weight: Option<u32>,
    /// Open files of each process.
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
