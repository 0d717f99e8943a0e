//! Checks of the health gate, as a profile writes them.

use super::super::quantity::{Bytes, Milliseconds, Percent};
use super::super::spanned::Spanned;
use schemars::JsonSchema;
use serde::Deserialize;

/// A check of the health gate: exactly one of `service`, `tcp`, `http`, `run`, `route`, `neighbour`, `disk` and
/// `memory`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// For people; without it, made from what is looked at.
    pub name: Option<String>,
    /// A service that must be ready.
    pub service: Option<String>,
    /// With `service`: for how long it must be ready without a break.
    pub stable: Option<Milliseconds>,
    /// `address:port`
    pub tcp: Option<Spanned<Target>>,
    /// A request and its good answer.
    pub http: Option<Http>,
    /// A program that ends with status 0.
    pub run: Option<Vec<String>>,
    /// With `run`: whose rights it has.
    pub user: Option<String>,
    /// An address that the routing table leads to, or a prefix that it holds.
    pub route: Option<Spanned<Target>>,
    /// An address that answers on a directly connected link.
    pub neighbour: Option<Spanned<Target>>,
    /// What must be free on a file system.
    pub disk: Option<Disk>,
    /// What must be available.
    pub memory: Option<Bytes>,
    /// Time since power-on by which it must have passed.
    #[serde(default = "two_minutes")]
    pub deadline: Milliseconds,
    /// Time between two looks.
    #[serde(default = "ten_seconds")]
    pub every: Milliseconds,
    /// Time that one look may take.
    #[serde(default = "five_seconds")]
    pub timeout: Milliseconds,
    /// Dotted path in the node config: the check counts only where something stands there.
    pub when: Option<Spanned<String>>,
}

/// A text, or the place in the node config where it stands.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields, expecting = "expected a string, or { config = \"a.path.in.node.toml\" }")]
pub enum Target {
    Is(String),
    Config {
        /// Dotted path in the node config; one check for each value that stands there.
        config: String,
    },
}

/// A request and its good answer.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// `http://` or `https://`, an address, a port and a path.
    pub url: String,
    /// Status that it must have; without it, 200 to 299.
    pub status: Option<u16>,
    /// A text that the answer must contain.
    pub body: Option<String>,
    /// Certificate that is trusted, by its absolute path.
    pub ca: Option<String>,
    /// Trust any certificate: right for a node's own service on its loopback.
    #[serde(default)]
    pub insecure: bool,
}

/// What must be free on a file system: one of both, or both.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// A path on the file system.
    pub path: String,
    /// Bytes that must be free.
    pub free: Option<Bytes>,
    /// Share that must be free.
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
