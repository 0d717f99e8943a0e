//! Checks of the health gate, as a profile writes them.

use super::super::quantity::{Bytes, Milliseconds, Percent};
use schemars::JsonSchema;
use serde::Deserialize;

/// A check of the health gate: exactly one of `service`, `tcp`, `http`, `run`, `route`, `neighbour`, `disk` and
/// `memory`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// For people; without it, made from what is looked at.
    pub name: Option<String>,
    pub service: Option<String>,
    /// With `service`: for how long it must be ready without a break.
    pub stable: Option<Milliseconds>,
    /// `address:port`
    pub tcp: Option<Target>,
    pub http: Option<Http>,
    /// A program that ends with status 0.
    pub run: Option<Vec<String>>,
    /// With `run`: whose rights it has.
    pub user: Option<String>,
    /// An address that the routing table leads to, or a prefix that it holds.
    pub route: Option<Target>,
    /// An address that answers on a directly connected link.
    pub neighbour: Option<Target>,
    pub disk: Option<Disk>,
    /// What must be available.
    pub memory: Option<Bytes>,
    /// Time since power-on by which it must have passed.
    #[serde(default = "two_minutes")]
    pub deadline: Milliseconds,
    #[serde(default = "ten_seconds")]
    pub every: Milliseconds,
    #[serde(default = "five_seconds")]
    pub timeout: Milliseconds,
    /// Dotted path in the node config: the check counts only where something stands there.
    pub when: Option<String>,
}

/// A text, or the place in the node config where it stands.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a text, or { config = \"a.path.in.node.toml\" }")]
pub enum Target {
    Is(String),
    Config { config: String },
}

/// A request and its good answer.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Http {
    pub url: String,
    pub status: Option<u16>,
    pub body: Option<String>,
    pub ca: Option<String>,
    #[serde(default)]
    pub insecure: bool,
}

/// What must be free on a file system: one of both, or both.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    pub path: String,
    pub free: Option<Bytes>,
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
