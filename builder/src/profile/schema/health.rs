//! Checks of the health gate, as a profile writes them.

use super::super::quantity::{Bytes, Milliseconds, Percent};
use super::super::spanned::Spanned;
use contract::role::{Capability, KubernetesQuestion};
use schemars::JsonSchema;
use serde::Deserialize;

/// A check of the health gate: exactly one of `service`, `tcp`, `http`, `kubernetes`, `run`, `route`, `neighbour`, `disk`
/// and `memory`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Name of the check. Default: derived from what it checks.
    pub name: Option<String>,
    /// A service that must be ready.
    pub service: Option<String>,
    /// With `service`: how long it must be ready without interruption.
    pub stable: Option<Milliseconds>,
    /// A TCP port that must accept connections, as `address:port`.
    pub tcp: Option<Spanned<Target>>,
    /// An HTTP request and the expected answer.
    pub http: Option<Http>,
    /// What the Kubernetes API must say, asked by the kubelet's certificate.
    pub kubernetes: Option<Kubernetes>,
    /// A program that must exit with status 0.
    pub run: Option<Vec<String>>,
    /// With `run`: the user that it runs as.
    pub user: Option<String>,
    /// With `run`: Linux capabilities that it has, named without `CAP_`, such as `["NET_RAW"]` for `ping`.
    #[serde(default)]
    pub capabilities: Vec<Capability>,
    /// An address that the routing table has a route to, or a prefix that it contains.
    pub route: Option<Spanned<Target>>,
    /// An address that must answer on a directly connected link.
    pub neighbour: Option<Spanned<Target>>,
    /// Free space that a file system must have.
    pub disk: Option<Disk>,
    /// Memory that must be available.
    pub memory: Option<Bytes>,
    /// Time since power-on by which it must have passed once.
    #[serde(default = "two_minutes")]
    pub deadline: Milliseconds,
    /// Time between two checks.
    #[serde(default = "ten_seconds")]
    pub every: Milliseconds,
    /// How long one check may take.
    #[serde(default = "five_seconds")]
    pub timeout: Milliseconds,
    /// Dotted path in the node config: the check applies only where this key is set.
    pub when: Option<Spanned<String>>,
}

/// A string, or the path of one in the node config.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields, expecting = "expected a string, or { config = \"a.path.in.node.toml\" }")]
pub enum Target {
    Is(String),
    Config {
        /// Dotted path in the node config; one check for each value there.
        config: String,
    },
}

/// An HTTP request and the expected answer.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// `http://` or `https://`, an address, a port and a path.
    pub url: String,
    /// Expected status. Default: 200 to 299.
    pub status: Option<u16>,
    /// A string that the answer must contain.
    pub body: Option<String>,
    /// Absolute path of the certificate to trust.
    pub ca: Option<String>,
    /// Accept any certificate: fine for a node's own service on its loopback interface.
    #[serde(default)]
    pub insecure: bool,
}

/// What the Kubernetes API must say.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kubernetes {
    /// `api`: the API server and its etcd are ready (`/readyz`). `node`: this node is part of the cluster, and its kubelet has
    /// reported since power-on that it is ready.
    pub asks: KubernetesQuestion,
    /// `https://`, an address or `localhost`, and a port.
    pub api: String,
    /// Absolute path of the certificate that the API's is signed by.
    pub ca: String,
    /// Absolute path of the client's certificate.
    pub certificate: String,
    /// Absolute path of its private key (ECDSA with P-256, `EC PRIVATE KEY`).
    pub key: String,
}

/// Free space that a file system must have: `free`, `free_percent`, or both.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// A path on the file system.
    pub path: String,
    /// Bytes that must be free.
    pub free: Option<Bytes>,
    /// Percentage that must be free.
    pub free_percent: Option<Percent>,
}

fn two_minutes() -> Milliseconds {
    Milliseconds(120_000)
}

fn ten_seconds() -> Milliseconds {
    Milliseconds(10_000)
}

fn five_seconds() -> Milliseconds {
    Milliseconds(5_000)
}
