//! Where services keep their files.

use super::confine::Ground;
use std::path::PathBuf;

/// Where `PATH` of services and of programs that look at something leads.
pub const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Where the supervisor keeps things.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Folder of the cgroup above the services' ones; without it, services have none and no limits.
    pub cgroups: Option<PathBuf>,
    /// Folder of the cgroup above those of children that look at something.
    pub looks: Option<PathBuf>,
    /// Folder of log files; without it, logs are in memory only.
    pub logs: Option<PathBuf>,
    /// Folder of marks of services that are run once; without it, nothing is remembered.
    pub once: Option<PathBuf>,
    /// Folder of the times at which services were last run by the clock; without it, they are not remembered.
    pub timers: Option<PathBuf>,
    /// Folder of notify sockets.
    pub notify: PathBuf,
    /// What services are confined by; without it, by nothing.
    pub ground: Option<Ground>,
}
