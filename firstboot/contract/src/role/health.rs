//! What must hold on a healthy node: the checks of the health gate, and the probes that they and readiness are made of.

use super::{Capability, Identity};
use serde::{Deserialize, Serialize};

/// A check of the health gate. It must pass once before its deadline; afterwards it is checked for as long as the
/// node runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// For people, and unique in a role.
    pub name: String,
    pub probe: Probe,
    /// Time since power-on by which it must have passed, in milliseconds.
    pub deadline_ms: u64,
    /// Time between two checks, in milliseconds.
    pub every_ms: u64,
    /// Time that one look may take, in milliseconds.
    pub timeout_ms: u64,
    /// Dotted path in the node config: without something there the check is left out, as with
    /// [`super::Service::when`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

/// One thing that can be inspected. All but [`Probe::Service`] are inspected by a child of PID 1, without rights but
/// for those that a program was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Probe {
    /// The service is ready, and has been for this long without a break, in milliseconds. One that the node config does
    /// not ask for passes.
    Service {
        name: String,
        stable_ms: u64,
    },
    /// Someone accepts connections at `address:port`.
    Tcp(Target),
    Http(HttpProbe),
    Kubernetes(KubernetesProbe),
    /// The program ends with status 0. It runs as this user, with these capabilities and no others.
    Program {
        run: Vec<String>,
        identity: Identity,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        capabilities: Vec<Capability>,
    },
    /// The kernel's main routing table leads to this address, or holds exactly this prefix. A default route does not
    /// count for an address.
    Route(Target),
    /// The address answers on a directly connected link (ARP, neighbour discovery).
    Neighbour(Target),
    /// The file system at `path` has at least so many bytes and so many percent free for ordinary users.
    Disk {
        path: String,
        free_bytes: u64,
        free_percent: u8,
    },
    /// The disk behind the file system at `path` takes a small write to the end and gives it back, past the kernel's
    /// cache. Every node has it for `state` and for `data`; a profile cannot ask for it.
    Storage {
        path: String,
    },
    /// The running slot's boot partition holds what the signed manifest of its slot says. Every node has it; a profile cannot
    /// ask for it.
    BootPartition,
    /// At least so many bytes can be had without swapping (`MemAvailable`).
    Memory {
        available_bytes: u64,
    },
}

/// What a probe looks at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Target {
    Is(String),
    /// Dotted path in the node config; through lists it goes into each element, so one check may become several or none.
    Config(String),
}

/// A request by HTTP, and the answer that counts as good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpProbe {
    /// `http://` or `https://`, a host that is an address or `localhost`, a port where it is not the usual one, a path.
    pub url: String,
    /// The status that is good; without it any of 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// What must be in the first 64 KiB of the body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// File of certificates (PEM) that the server's must be signed by, for `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Any certificate will do, for `https`: right for a node's own service on its own loopback.
    #[serde(default)]
    pub insecure: bool,
}

/// What a node asks the Kubernetes API, by its kubelet's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesProbe {
    pub asks: KubernetesQuestion,
    /// `https://`, a host that is an address or `localhost`, and a port.
    pub api: String,
    /// File of certificates (PEM) that the API's must be signed by.
    pub ca: String,
    /// Files of the client's certificate and of its private key (PEM; ECDSA with P-256).
    pub certificate: String,
    pub key: String,
    /// This node's name. PID 1 takes it from the node config: what makes containers may change the kernel's host name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
}

/// What must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum KubernetesQuestion {
    /// The API server is ready (`/readyz`), etcd included.
    Api,
    /// This node, under its name in the node config, is part of the cluster: its kubelet has reported in this run of the kernel that it
    /// is ready.
    Node,
}
