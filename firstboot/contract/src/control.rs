//! The control sockets of PID 1: what `nodectl` asks and what PID 1 answers. Both sides use these types.
//!
//! Stream sockets at [`SOCKET`], where operators may ask everything, and at [`FACTS_SOCKET`], where children that serve metrics
//! or watch a service may ask for [`Request::Metrics`] and nothing else. The client sends one [`Call`] as a line of JSON of at
//! most [`MAX_REQUEST`] bytes; the node sends one [`Reply`] as a line of JSON and closes. After a request to follow
//! logs, lines of [`Reply::Logs`] come until the client closes.
//!
//! ```json
//! {"version":1,"request":{"verb":"restart","service":"bgpd"}}
//! {"reply":"done","content":"bgpd is being restarted"}
//!
//! {"version":1,"request":{"verb":"services"}}
//! {"reply":"services","content":[{"name":"bgpd","state":"back-off","pid":null,"restarts":2,"up_s":null,"memory_bytes":0,"note":"killed by signal 11"}]}
//! ```
//!
//! A slot is `"A"` or `"B"`, the state of a service one of [`ServiceState`]'s words, the phase of updates an object whose
//! `is` is one of [`crate::update::PhaseKind`]'s. A key that is added gets a default, so that each side reads what the
//! other's earlier versions write; what changes the meaning of a key raises [`VERSION`].

use crate::board::Board;
use crate::health::HealthReport;
use crate::layout::Slot;
use crate::storage::{FolderUse, Storage};
use crate::update::{UpdateEvent, UpdateStatus};
use crate::words::words;
use serde::{Deserialize, Serialize};

/// Version of these types. A node refuses calls of another one.
pub const VERSION: u32 = 1;
/// Where the socket is.
pub const SOCKET: &str = "/run/microdc/control";
/// Besides root, users with this primary group may connect.
pub const GROUP: &str = "operator";
/// The read-only socket, and the group that may use it.
pub const FACTS_SOCKET: &str = "/run/microdc/facts";
pub const FACTS_GROUP: &str = "metrics";
/// Longest request, in bytes with its line end.
pub const MAX_REQUEST: usize = 4096;
/// Most log lines of one service in a reply.
pub const MAX_LINES: u32 = 1000;

/// A request with the version of its types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// [`VERSION`].
    pub version: u32,
    pub request: Request,
}

/// Requests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    Status,
    Services,
    Logs {
        /// Only this service; otherwise all.
        #[serde(default)]
        service: Option<String>,
        /// The last lines of each service, at most [`MAX_LINES`].
        lines: u32,
        /// Follow new lines.
        #[serde(default)]
        follow: bool,
    },
    Restart {
        service: String,
    },
    Health,
    Disks,
    Network,
    Config,
    /// The administrator's kubeconfig of a k3s server.
    Kubeconfig {
        /// A name or an IP address under which the node is reached.
        address: String,
    },
    /// The token by which nodes join the cluster of a k3s server.
    K3sToken,
    /// Make a snapshot of the cluster's database. The answer comes when it is made.
    K3sSnapshot,
    /// The snapshots that k3s knows: of all servers, and in the bucket.
    K3sSnapshots,
    /// Put a snapshot in place of the cluster's database, with this server as its only member. The answer comes when that is
    /// done, and k3s starts again.
    K3sRestore {
        snapshot: String,
        /// This node's name, as a confirmation.
        node: String,
    },
    /// Make this server the only member of the cluster's database. As [`Request::K3sRestore`], without a snapshot.
    K3sReset {
        node: String,
    },
    Metrics,
    Reboot,
    Poweroff,
    /// Install an update, then try it. Lines of [`Reply::Update`] follow until it is done, refused or failed.
    Update {
        /// URLs of the bundle, tried in turn. Empty: the bundle follows the request on this connection.
        #[serde(default)]
        urls: Vec<String>,
        /// Report what would be fetched, and change nothing.
        #[serde(default)]
        dry_run: bool,
        /// Also accept a lower rollback index, a release that failed here, and another profile.
        #[serde(default)]
        force: bool,
    },
    /// Cancel an update. What has arrived is not fetched again the next time.
    Cancel,
    /// During a trial: end it and return. Otherwise: try the previous slot, and keep it when its health gate passes.
    Rollback {
        /// Also accept a lower rollback index, a release that failed here, or another profile.
        #[serde(default)]
        force: bool,
    },
}

impl Request {
    /// Whether it may be asked at [`FACTS_SOCKET`] too. Everything may be asked at [`SOCKET`].
    #[must_use]
    pub fn is_for_facts(&self) -> bool {
        matches!(self, Request::Metrics)
    }
}

/// Replies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "content", rename_all = "kebab-case")]
pub enum Reply {
    Status(Box<Status>),
    Services(Vec<ServiceStatus>),
    Logs(Vec<LogLine>),
    Health(HealthReport),
    Disks(Box<Storage>),
    Network(NetworkStatus),
    Config(ConfigInForce),
    /// YAML, with a private key.
    Kubeconfig(String),
    /// A secret, in one word.
    K3sToken(String),
    /// Oldest first.
    K3sSnapshots(Vec<K3sSnapshot>),
    Metrics(Box<Facts>),
    /// Progress of an update; more follow until [`UpdateEvent::is_last`].
    Update(UpdateEvent),
    /// Done or started, in words.
    Done(String),
    /// Refused, and why.
    Refused(String),
}

/// The node's identity and state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub name: String,
    pub cluster: Option<String>,
    pub role: String,
    /// The profile whose updates this node takes; nodes from before this key do not say it.
    #[serde(default)]
    pub profile: String,
    /// Version of the image.
    pub version: String,
    pub slot: Slot,
    /// Whether this is the first boot of a new slot, not committed yet.
    pub trial: bool,
    /// Name of the system disk.
    pub disk: String,
    /// Whether `state` is on a disk; otherwise it is in memory and will be lost.
    pub state_persistent: bool,
    /// Where the node config in force came from.
    pub config: String,
    /// Seconds since power-on.
    pub uptime_s: f64,
    /// As the network says them.
    pub addresses: String,
    /// Wanted services that are not ready.
    pub not_ready: Vec<String>,
    /// Services that are ready, done or not wanted.
    pub ready: u32,
    /// Resident memory of PID 1, in bytes.
    pub pid1_resident_bytes: u64,
    /// The verdict over the checks of its role.
    pub health: HealthReport,
    /// The state of updates.
    pub update: UpdateStatus,
    /// The board, as far as it says something of itself.
    #[serde(default)]
    pub board: Board,
    /// Current problems, each in a few words, warnings last.
    pub problems: Vec<String>,
    /// Warnings since power-on, each a sentence.
    pub warnings: Vec<String>,
}

/// Everything that becomes a metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    pub status: Status,
    pub services: Vec<ServiceStatus>,
    pub storage: Storage,
    /// Folders that have limits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub folders: Vec<FolderUse>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub name: String,
    pub state: ServiceState,
    pub pid: Option<i32>,
    pub restarts: u32,
    /// Seconds since it became ready.
    pub up_s: Option<f64>,
    /// Memory of all its processes, page cache included, in bytes (`memory.current` of its cgroup).
    pub memory_bytes: Option<u64>,
    /// Why it failed, or the status it reports.
    pub note: Option<String>,
}

words! {
    /// The state of a service.
    pub enum ServiceState {
        /// The node config does not enable it.
        NotWanted = "not wanted",
        /// A service that it depends on is not ready yet.
        Waiting = "waiting",
        Starting = "starting",
        Ready = "ready",
        /// It finished successfully.
        Done = "done",
        Stopping = "stopping",
        /// It failed, and will be restarted.
        BackOff = "back-off",
        /// It cannot run at all.
        Failed = "failed",
        Stopped = "stopped",
    }
}

/// A line that a service wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub service: String,
    pub line: String,
}

/// A snapshot of a cluster's database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct K3sSnapshot {
    /// By which it is restored.
    pub name: String,
    pub size_bytes: u64,
    /// When it was made, as RFC 3339 writes it.
    pub created: String,
    /// `file://` and its path on the server that made it, or `s3://`, the bucket and its place there.
    pub location: String,
    /// Whether it is on this node.
    pub here: bool,
}

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkStatus {
    /// State of the service that sets it up.
    pub state: ServiceState,
    /// As that service says them.
    pub addresses: String,
    /// The kernel's main routing table. `nodectl` reads it itself; PID 1 leaves it empty.
    #[serde(default)]
    pub routes: Vec<String>,
}

/// The node config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConfigInForce {
    /// Where it came from.
    pub origin: String,
    /// Notes from when it was accepted.
    pub notes: Vec<String>,
    /// The config without its secrets.
    pub config: serde_json::Value,
}

/// A request that is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("a request has at most {MAX_REQUEST} bytes")]
    TooLong,
    #[error("this is not a request: {0}")]
    Malformed(String),
    #[error("this node speaks version {VERSION} of the control interface, not {0}")]
    Version(u32),
}

impl Call {
    #[must_use]
    pub fn new(request: Request) -> Call {
        Call { version: VERSION, request }
    }

    /// Reads one line, without its end.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &[u8]) -> Result<Request, CallError> {
        /// The version is read first: other versions may ask in other ways.
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        if line.len() >= MAX_REQUEST {
            return Err(CallError::TooLong);
        }
        let malformed = |error: serde_json::Error| CallError::Malformed(error.to_string());
        let Version { version } = serde_json::from_slice(line).map_err(malformed)?;
        if version != VERSION {
            return Err(CallError::Version(version));
        }
        let call: Call = serde_json::from_slice(line).map_err(malformed)?;
        Ok(call.request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_is_one_line_of_json() {
        let logs = Request::Logs { service: Some("bgpd".to_owned()), lines: 20, follow: true };
        let line = serde_json::to_string(&Call::new(logs.clone())).unwrap();
        assert_eq!(line, r#"{"version":1,"request":{"verb":"logs","service":"bgpd","lines":20,"follow":true}}"#);
        assert_eq!(Call::parse(line.as_bytes()), Ok(logs));
        assert_eq!(Call::parse(br#"{"version":1,"request":{"verb":"poweroff"}}"#), Ok(Request::Poweroff));
    }

    #[test]
    fn the_lines_of_the_documentation_are_read_and_written_as_they_stand_there() {
        let documented = include_str!("control.rs").lines().filter_map(|line| line.strip_prefix("//! {"));
        let mut count = 0;
        for line in documented.map(|line| format!("{{{line}")) {
            let again = match Call::parse(line.as_bytes()) {
                Ok(request) => serde_json::to_string(&Call::new(request)),
                Err(_) => serde_json::to_string(&serde_json::from_str::<Reply>(&line).unwrap()),
            };
            assert_eq!(again.unwrap(), line);
            count += 1;
        }
        assert_eq!(count, 4);
    }

    #[test]
    fn states_are_written_as_they_are_read_by_people() {
        let words: Vec<String> =
            ServiceState::ALL.iter().map(|state| serde_json::to_string(state).unwrap()).collect();
        assert_eq!(
            words.join(" "),
            r#""not wanted" "waiting" "starting" "ready" "done" "stopping" "back-off" "failed" "stopped""#
        );
        for (state, word) in ServiceState::ALL.iter().zip(&words) {
            assert_eq!(serde_json::from_str::<ServiceState>(word).unwrap(), *state);
            assert_eq!(format!("{:?}", state.to_string()), *word);
        }
        let network = NetworkStatus { state: ServiceState::NotWanted, addresses: String::new(), routes: Vec::new() };
        assert!(serde_json::to_string(&network).unwrap().starts_with(r#"{"state":"not wanted","#));
        assert_eq!(serde_json::to_string(&Slot::B).unwrap(), "\"B\"");
    }

    #[test]
    fn what_is_no_request_of_this_version_is_refused_with_the_reason() {
        assert_eq!(Call::parse(br#"{"version":2,"request":{"new":1}}"#), Err(CallError::Version(2)));
        for bytes in [
            &b""[..],
            b"status",
            b"\xff\xfe",
            br#"{"version":1}"#,
            br#"{"version":1,"request":{"verb":"shell"}}"#,
            br#"{"version":1,"request":{"verb":"restart","service":"x","now":true}}"#,
            br#"{"version":1,"request":{"verb":"reboot"},"as":"root"}"#,
            br#"{"version":1,"request":{"verb":"restart"}}"#,
            &[b'['; 3000],
        ] {
            assert!(matches!(Call::parse(bytes), Err(CallError::Malformed(_))), "{bytes:?}");
        }
        assert_eq!(Call::parse(&[b' '; MAX_REQUEST]), Err(CallError::TooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_request_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Call::parse(&bytes);
        }

        #[test]
        fn every_request_comes_through_as_it_was(service in ".{0,40}", lines in any::<u32>(), follow in any::<bool>()) {
            for request in [
                Request::Logs { service: Some(service.clone()), lines, follow },
                Request::Restart { service: service.clone() },
            ] {
                let line = serde_json::to_vec(&Call::new(request.clone())).unwrap();
                prop_assert!(!line.contains(&b'\n'));
                prop_assert_eq!(Call::parse(&line), Ok(request));
            }
        }
    }
}
