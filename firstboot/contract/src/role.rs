//! The role spec: what the system half of firstboot runs. The builder makes it from the profile; names are resolved
//! to numbers and paths are checked by then.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Format number of role specs that this code writes and reads.
pub const FORMAT: u32 = 1;

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    K3sServer,
    K3sAgent,
    Minio,
    Router,
    Tinkerbell,
}

impl Role {
    pub const ALL: [Role; 5] = [Role::K3sServer, Role::K3sAgent, Role::Minio, Role::Router, Role::Tinkerbell];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::K3sServer => "k3s-server",
            Role::K3sAgent => "k3s-agent",
            Role::Minio => "minio",
            Role::Router => "router",
            Role::Tinkerbell => "tinkerbell",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

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
    pub restart: Restart,
    /// Time between SIGTERM and the killing of the whole cgroup, in milliseconds.
    pub stop_timeout_ms: u64,
    /// Time in which it must become ready, in milliseconds.
    pub start_timeout_ms: u64,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Dotted path in the node config, such as `router.dhcp`: without that key, or with an empty list or table there,
    /// the service is not started and counts as not wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// The name by which services wait for the network, as if it were a service. A service that the network waits for
/// (see [`Service::after`]) is named in [`RoleSpec`] by the network's own `after`: services with
/// [`ServiceKind::BeforeNetwork`].
pub const NETWORK: &str = "network";

/// How a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceKind {
    /// Stays in the foreground.
    Daemon,
    /// Ends with status 0 and is then ready.
    Oneshot,
    /// As [`ServiceKind::Oneshot`], and the network is not brought up before it has ended well.
    BeforeNetwork,
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

/// Limits of a service's cgroup (cgroup v2 files `memory.max`, `pids.max`, `cpu.weight`).
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
}

/// A check that must pass before a trial slot is committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// The service that must be ready.
    pub service: String,
    /// For how long without a break, in milliseconds.
    pub stable_ms: u64,
}

macro_rules! capabilities {
    ($($name:ident = $number:literal $text:literal),* $(,)?) => {
        /// A Linux capability by its name without `CAP_` (linux/capability.h).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Capability { $(#[serde(rename = $text)] $name = $number),* }

        impl Capability {
            pub const ALL: &[Capability] = &[$(Capability::$name),*];

            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Capability::$name => $text),* }
            }
        }
    };
}

capabilities! {
    Chown = 0 "CHOWN", DacOverride = 1 "DAC_OVERRIDE", DacReadSearch = 2 "DAC_READ_SEARCH", Fowner = 3 "FOWNER",
    Fsetid = 4 "FSETID", Kill = 5 "KILL", Setgid = 6 "SETGID", Setuid = 7 "SETUID", Setpcap = 8 "SETPCAP",
    LinuxImmutable = 9 "LINUX_IMMUTABLE", NetBindService = 10 "NET_BIND_SERVICE", NetBroadcast = 11 "NET_BROADCAST",
    NetAdmin = 12 "NET_ADMIN", NetRaw = 13 "NET_RAW", IpcLock = 14 "IPC_LOCK", IpcOwner = 15 "IPC_OWNER",
    SysModule = 16 "SYS_MODULE", SysChroot = 18 "SYS_CHROOT", SysPtrace = 19 "SYS_PTRACE", SysPacct = 20 "SYS_PACCT",
    SysAdmin = 21 "SYS_ADMIN", SysBoot = 22 "SYS_BOOT", SysNice = 23 "SYS_NICE", SysResource = 24 "SYS_RESOURCE",
    SysTime = 25 "SYS_TIME", SysTtyConfig = 26 "SYS_TTY_CONFIG", Mknod = 27 "MKNOD", Lease = 28 "LEASE",
    AuditWrite = 29 "AUDIT_WRITE", AuditControl = 30 "AUDIT_CONTROL", Setfcap = 31 "SETFCAP",
    Syslog = 34 "SYSLOG", WakeAlarm = 35 "WAKE_ALARM", BlockSuspend = 36 "BLOCK_SUSPEND",
    Perfmon = 38 "PERFMON", Bpf = 39 "BPF", CheckpointRestore = 40 "CHECKPOINT_RESTORE",
}

impl Capability {
    /// Bit number in the kernel's masks.
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32
    }
}
