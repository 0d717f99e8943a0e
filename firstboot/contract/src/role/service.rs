//! What firstboot runs: programs, as whom, with which rights and limits, in which surroundings.

use super::health::HttpProbe;
use super::{Capability, Identity, Sandbox};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A program that firstboot runs and keeps running.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Program (absolute path) and arguments.
    pub run: Vec<String>,
    pub kind: ServiceKind,
    pub identity: Identity,
    /// Capability names without `CAP_`, kept across exec as ambient ones; everything else is dropped.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<Capability>,
    /// Services, or [`NETWORK`], that must be ready first. No cycle: the build checks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
    /// What must accept the files rendered for it before a node config is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// What lines of its log mean for whoever asks why it is not ready.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    pub restart: Restart,
    /// What ends with its program.
    #[serde(default, skip_serializing_if = "Kill::is_all")]
    pub kill: Kill,
    /// Time between SIGTERM and the killing of what is left, in milliseconds.
    pub stop_timeout_ms: u64,
    /// Time in which it must become ready, in milliseconds; for a one-shot, in which it must end: [`NO_TIMEOUT_MS`] where
    /// it may take as long as it takes.
    pub start_timeout_ms: u64,
    /// For a one-shot: once it has ended well on this node, it is not run again. `state` remembers it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
    /// For a one-shot: it is not run while this path (absolute) exists, and counts as done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<String>,
    /// For a one-shot: it is run by the clock in place of once after power-on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<Timer>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Read before each start, in this order; what is in [`Service::environment`] wins over them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub environment_files: Vec<EnvironmentFile>,
    /// Absolute path; without it `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_folder: Option<String>,
    /// Whether its programs may gain rights by setuid bits and file capabilities. For container engines, whose
    /// containers would otherwise inherit the ban.
    #[serde(default)]
    pub new_privileges: bool,
    /// What it sees otherwise than the rest of the node. With any of these it has a mount namespace of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// What it may reach beyond what every service may.
    #[serde(default, skip_serializing_if = "Sandbox::is_strict")]
    pub sandbox: Sandbox,
    /// Whether it keeps something on `data`: without a file system there it is not started.
    #[serde(default)]
    pub needs_data: bool,
    /// Dotted path in the node config, such as `router.dhcp`: without that key, or with an empty list or table there,
    /// the service is not started and counts as not wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// When a service is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timer {
    pub schedule: Schedule,
    /// It runs up to so much later, by chance, in milliseconds.
    pub jitter_ms: u64,
}

/// How often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// So long after its last run, in milliseconds.
    EveryMs(u64),
    /// Every day in this minute of the day, UTC.
    AtMinute(u32),
}

/// A [`Service::start_timeout_ms`] that never comes.
pub const NO_TIMEOUT_MS: u64 = u64::MAX;

/// The name by which services wait for the network, as if it were a service. A service that the network waits for
/// (see [`Service::after`]) is named in [`RoleSpec`] by the network's own `after`: services with
/// [`ServiceKind::BeforeNetwork`].
pub const NETWORK: &str = "network";

/// The name by which services wait for the true time: the clock was set by a time server. As [`NETWORK`], it is no
/// service of the profile's.
pub const TIME: &str = "time";

/// How a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ServiceKind {
    /// Stays in the foreground.
    Daemon,
    /// Ends with status 0 and is then ready.
    Oneshot,
    /// As [`ServiceKind::Oneshot`], and the network is not brought up before it has ended well.
    BeforeNetwork,
}

/// What ends when a service is restarted, or its program has ended by itself. When the node stops, everything does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Kill {
    /// Every process of it, before its program is started again.
    #[default]
    All,
    /// Its program alone. What that has started lives on, and is found by its next start, as containers are by their
    /// engine (`KillMode=process` of systemd.kill(5)).
    Main,
}

impl Kill {
    /// Whether nothing of a service outlives its program.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Kill::All
    }
}

/// When a daemon counts as ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Ready {
    /// `address:port` accepts a connection.
    Tcp(String),
    /// A Unix stream socket at this path accepts a connection.
    Unix(String),
    /// This path exists.
    Path(String),
    /// It said `READY=1` on `NOTIFY_SOCKET`.
    Notify,
    /// It has been running for this many milliseconds.
    AliveMs(u64),
    /// A request is answered well.
    Http(HttpProbe),
    /// This program (absolute path) with these arguments ends with status 0, run as the service's user without
    /// capabilities.
    Program(Vec<String>),
    /// As [`Ready::Program`], with these capabilities.
    ProgramWith { run: Vec<String>, capabilities: Vec<Capability> },
}

/// A program that reads the files of a service and says whether the service could use them. It runs as the service's user, with
/// its capabilities and confinement, and sees the files at their usual places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Program (absolute path) and arguments. Status 0 means that the files are good.
    pub run: Vec<String>,
    /// Words in a line of its output that mean a mistake, whatever its status: some programs report mistakes and end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mistake: Option<String>,
}

/// Words that a service writes to its log when something known is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Cause {
    /// What a line of its log contains.
    pub line: String,
    /// What is wrong, and what to do. `{name}` stands for the node's name.
    pub means: String,
}

/// A file of lines `KEY=value`, as in systemd's `EnvironmentFile`: blank lines and those beginning with `#` or `;` do not
/// count, a value may be in single or double quotes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentFile {
    /// Absolute path.
    pub path: String,
    /// Whether the service starts without it.
    #[serde(default)]
    pub optional: bool,
}

/// A difference between what a service sees and what the rest of the node sees. In the order given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Mount {
    /// An empty folder in memory, which belongs to the service's user (0700) and is gone with its last process.
    Temporary { path: String, size_bytes: u64 },
    /// What is at `from` is seen at `to` too.
    Bind { from: String, to: String, read_only: bool },
    /// Nothing at or below this path can be changed.
    ReadOnly(String),
    /// A folder is seen empty; a file, as `/dev/null`.
    Hidden(String),
}

/// Restart with back-off: the delay doubles from the first to the longest, and falls back after a quiet time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    pub first_delay_ms: u64,
    pub longest_delay_ms: u64,
    /// Uptime after which the delay starts from the first one again.
    pub quiet_ms: u64,
}

impl Default for Restart {
    fn default() -> Restart {
        Restart { first_delay_ms: 200, longest_delay_ms: 30_000, quiet_ms: 60_000 }
    }
}

/// Limits of a service: of its cgroup (cgroup v2 files `memory.max`, `pids.max`, `cpu.weight`) and of its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pids: Option<u64>,
    /// 1 to 10,000; the kernel's default is 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_weight: Option<u32>,
    /// File descriptors of each of its processes (`RLIMIT_NOFILE`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
}
