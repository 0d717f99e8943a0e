//! `node.toml`: what the operator says of one node. The same code checks it on the host and on the node.

mod disks;
mod metrics;
mod network;
mod router;
mod ssh;

pub use disks::{DataKind, Disks, Serial};
pub use metrics::Metrics;
pub use network::{Interface, InterfaceName, Network};
pub use router::{Dhcp, Firewall, Neighbor, Router};
pub use ssh::{PublicKey, Ssh};

use serde::{Deserialize, Serialize};

/// Longest `node.toml` that is read, in bytes.
pub const MAX_LENGTH: usize = 64 * 1024;

/// The whole of `node.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// Host name: one label of RFC 1123.
    pub name: HostName,
    #[serde(default)]
    pub cluster: Cluster,
    #[serde(default)]
    pub disks: Disks,
    #[serde(default)]
    pub network: Network,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Router>,
    #[serde(default)]
    pub ssh: Ssh,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    #[serde(default)]
    pub time: Time,
}

/// The cluster that a node belongs to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// 1 to 63 bytes: it stands in the markers of claimed disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Where the time comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// NTP servers, by name or address.
    #[serde(default = "Time::default_servers")]
    pub servers: Vec<String>,
}

impl Time {
    fn default_servers() -> Vec<String> {
        vec!["pool.ntp.org".to_owned()]
    }
}

impl Default for Time {
    fn default() -> Time {
        Time { servers: Time::default_servers() }
    }
}

/// A host name: letters, digits and hyphens, 1 to 63 of them, no hyphen at either end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a node that nobody named: `microdc`.
impl Default for HostName {
    fn default() -> HostName {
        HostName("microdc".to_owned())
    }
}

impl TryFrom<String> for HostName {
    type Error = String;

    fn try_from(text: String) -> Result<HostName, String> {
        let fine = (1..=63).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if fine {
            Ok(HostName(text))
        } else {
            Err(format!("{text:?} is no host name: 1 to 63 letters, digits and hyphens, no hyphen at either end"))
        }
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> String {
        name.0
    }
}

/// A `node.toml` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeConfigError {
    #[error("it is {0} bytes long; the limit is {MAX_LENGTH}")]
    TooLong(usize),
    #[error("byte {0} is not UTF-8")]
    NotUtf8(usize),
    /// Line and column count from 1.
    #[error("line {line}, column {column}: {message}")]
    Toml { line: usize, column: usize, message: String },
    #[error("{0}")]
    Meaning(String),
}

impl NodeConfig {
    /// Reads and checks a `node.toml`.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(bytes: &[u8]) -> Result<NodeConfig, NodeConfigError> {
        if bytes.len() > MAX_LENGTH {
            return Err(NodeConfigError::TooLong(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| NodeConfigError::NotUtf8(error.valid_up_to()))?;
        let config: NodeConfig = toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start.min(text.len()));
            let before = text.get(..start).unwrap_or("");
            NodeConfigError::Toml {
                line: before.matches('\n').count() + 1,
                column: before.rsplit('\n').next().unwrap_or("").chars().count() + 1,
                message: error.message().to_owned(),
            }
        })?;
        config.check().map_err(NodeConfigError::Meaning)?;
        Ok(config)
    }

    /// What types alone cannot say.
    fn check(&self) -> Result<(), String> {
        if let Some(name) = &self.cluster.name
            && !(1..=63).contains(&name.len())
        {
            return Err(format!("cluster.name: {} bytes; 1 to 63 are possible", name.len()));
        }
        self.disks.check()?;
        self.network.check()?;
        if let Some(router) = &self.router {
            router.check(&self.network)?;
        }
        if let Some(metrics) = &self.metrics {
            metrics.check(&self.network)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_shortest_node_config_is_a_name() {
        let config = NodeConfig::parse(b"name = \"r1\"\n").unwrap();
        assert_eq!(config.name.as_str(), "r1");
        assert!(config.network.interfaces().is_empty());
    }

    #[test]
    fn a_mistake_is_shown_with_its_line_and_column() {
        let found =
            NodeConfig::parse(b"name = \"r1\"\n\n[network.eth0]\naddresses = [\"10.0.0.300/24\"]\n").unwrap_err();
        assert!(matches!(found, NodeConfigError::Toml { line: 4, .. }), "{found}");
        let found = NodeConfig::parse(b"name = \"r1\"\nnmae = 3\n").unwrap_err();
        assert!(matches!(found, NodeConfigError::Toml { line: 2, column: 1, .. }), "{found}");
    }

    #[test]
    fn names_that_no_host_can_have_are_refused() {
        for name in ["", "-a", "a-", "a b", "ä", &"x".repeat(64)] {
            assert!(NodeConfig::parse(format!("name = {name:?}").as_bytes()).is_err(), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = NodeConfig::parse(&bytes);
        }
    }
}
