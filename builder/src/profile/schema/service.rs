//! Services, as a profile writes them.

use super::super::quantity::{Bytes, Milliseconds};
use super::super::spanned::Spanned;
use super::health::Http;
use contract::role::{Capability, Cause, Kill, Sandbox, ServiceKind};
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;

/// A program that firstboot runs.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The program's absolute path, and its arguments.
    pub run: Vec<String>,
    /// `daemon` keeps running, `oneshot` runs to completion, `before-network` runs to completion before the network comes up.
    #[serde(default = "daemon")]
    pub kind: ServiceKind,
    /// The user that it runs as, with its supplementary groups.
    #[serde(default = "root")]
    pub user: String,
    /// Linux capabilities that it keeps, named without `CAP_`; it has no others.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// What must be ready before it starts: names of services, `network`, `time`.
    #[serde(default)]
    pub after: Vec<String>,
    /// When a daemon is ready. Default: as soon as it runs.
    pub ready: Option<Ready>,
    /// A program that must accept the service's rendered files before a node takes a new node.toml: the program and its
    /// arguments, such as `["/usr/sbin/nft", "-c", "-f", "/run/nftables.conf"]`. It runs as the service would, for at most
    /// 20 s.
    pub check: Option<Check>,
    /// What lines of its log mean, such as `[{ line = "address already in use", means = "port 80 is taken: ..." }]`. While it is
    /// not ready, the health report begins with the meaning of the last such line.
    #[serde(default)]
    pub causes: Vec<Cause>,
    /// Restart delays.
    #[serde(default)]
    pub restart: Restart,
    /// What ends when it is restarted or its program ends: `all` of its processes, or `main`, its program alone, so that
    /// what it has started (containers) lives on and is found again by its next start. When the node stops, everything ends.
    #[serde(default)]
    pub kill: Kill,
    /// Time that its processes have to end after SIGTERM, first its program, then what that has left; then they get SIGKILL.
    #[serde(default = "ten_seconds")]
    pub stop_timeout: Milliseconds,
    /// Time within which it must become ready. Default: 30 s for a daemon. A one-shot has no limit unless this sets
    /// one.
    pub start_timeout: Option<Milliseconds>,
    /// For a one-shot: run it only once per node. `state` records that it succeeded.
    #[serde(default)]
    pub once: bool,
    /// For a one-shot: do not run it, and treat it as done, while this path exists.
    pub unless: Option<String>,
    /// For a one-shot: it runs again this long after its last run, instead of once after power-on. Runs that were missed
    /// while the node was off are made up for by one.
    pub every: Option<Milliseconds>,
    /// For a one-shot: as `every`, each day at this time (UTC), like `"03:30"`. With `after = ["time"]` the clock is right.
    pub at: Option<String>,
    /// With `every` or `at`: it runs up to this much later, at random, so that nodes do not all run it at once. Default: a
    /// tenth of `every`, at most 5 m; 5 m with `at`.
    pub jitter: Option<Milliseconds>,
    /// Limits of the service and all its children.
    #[serde(default)]
    pub limits: Limits,
    /// Environment variables. A value with `{{ ... }}` is rendered as a template, from the node's own node.toml.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// Files of `KEY=value` lines; a `-` before the path means that the file may be missing.
    #[serde(default)]
    pub environment_files: Vec<String>,
    /// Working directory. Default: `/`.
    pub working_folder: Option<String>,
    /// Its programs may gain privileges by setuid bits and file capabilities.
    #[serde(default)]
    pub new_privileges: bool,
    /// Folders owned by its user (0750), kept on `state` across reboots and updates. With a `limit`, writes beyond it fail:
    /// `{ path = "/var/lib/web", limit = "200MiB" }`.
    #[serde(default)]
    pub persistent: Vec<Folder>,
    /// Like `persistent`, but on `data`: without a file system there, the service is not started.
    #[serde(default)]
    pub data: Vec<Folder>,
    /// Private folders in memory, removed with its last process.
    #[serde(default)]
    pub temporary: Vec<String>,
    /// Bind mounts that only it sees.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// Folders and files that it cannot change, whatever its privileges.
    #[serde(default)]
    pub read_only: Vec<String>,
    /// Folders that it sees empty, and files that it sees as `/dev/null`.
    #[serde(default)]
    pub hidden: Vec<String>,
    /// Exceptions from its confinement.
    #[serde(default)]
    pub sandbox: Sandbox,
    /// Dotted path in the node config: the service runs only where this key is set. With `or` between several, one is enough:
    /// `"bgp or router.asn"`.
    pub when: Option<Spanned<String>>,
}

/// When a daemon is ready.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ready {
    /// A TCP port accepts connections: `address:port`.
    Tcp(String),
    /// A Unix socket accepts connections: its path.
    Unix(String),
    /// A file exists: its path.
    Path(String),
    /// It sends `READY=1`, as sd_notify(3) does.
    Notify(bool),
    /// It has been running this long.
    Alive(Milliseconds),
    /// An HTTP request gets the expected answer.
    Http(Http),
    /// A program that must exit with status 0: the program and its arguments, or `{ program = [...], capabilities = [...] }`.
    Run(Looker),
}

/// A program that looks whether a service is ready.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "expected a program and its arguments, or { program = [...], capabilities = [...] }"
)]
pub enum Looker {
    Program(Vec<String>),
    With {
        /// The program and its arguments.
        program: Vec<String>,
        /// Linux capabilities that it has, named without `CAP_`, such as `["NET_RAW"]` for `ping`.
        capabilities: Vec<Capability>,
    },
}

/// A program that checks files.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "expected a program and its arguments, or { run = [...], mistake = \"words\" }"
)]
pub enum Check {
    Run(Vec<String>),
    Reports {
        /// The program and its arguments.
        run: Vec<String>,
        /// Words in a line of its output that mean a mistake, whatever its exit status.
        mistake: String,
    },
}

/// A folder that a service keeps.
#[derive(Clone, Debug, PartialEq, JsonSchema)]
#[schemars(untagged)]
pub enum Folder {
    /// Its absolute path.
    Path(String),
    Limited(LimitedFolder),
}

/// A folder that a service keeps, with the most that it may hold.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitedFolder {
    /// Its absolute path.
    pub path: String,
    /// The most that it may hold.
    pub limit: Spanned<Bytes>,
}

impl Folder {
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Folder::Path(path) | Folder::Limited(LimitedFolder { path, .. }) => path,
        }
    }

    #[must_use]
    pub fn limit(&self) -> Option<&Spanned<Bytes>> {
        match self {
            Folder::Path(_) => None,
            Folder::Limited(folder) => Some(&folder.limit),
        }
    }
}

/// By hand, so that a mistake in a table is told as it is.
impl<'de> Deserialize<'de> for Folder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Folder, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Folder;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path, or { path = \"/var/lib/web\", limit = \"200MiB\" }")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<Folder, E> {
                Ok(Folder::Path(path.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Folder, A::Error> {
                LimitedFolder::deserialize(MapAccessDeserializer::new(map)).map(Folder::Limited)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// A bind mount.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Absolute path of the source.
    pub from: String,
    /// Absolute path of the mount point.
    pub to: String,
    /// The mount is read-only.
    #[serde(default)]
    pub read_only: bool,
}

/// Restart with back-off.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Restart {
    /// Delay before the first restart; it doubles each time. Default: 0.2 s.
    pub first_delay: Option<Milliseconds>,
    /// Longest delay. Default: 30 s.
    pub longest_delay: Option<Milliseconds>,
    /// After running this long, it starts again with the first delay.
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
    /// Share of the processor, 1 to 10000; every service has 100 by default.
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
