//! `node.toml`: what the operator says of one node. The same code checks it on the host and on the node.
//!
//! - [`NodeConfig`] the whole · [`network`] interfaces · [`disks`] · [`ssh`] · [`metrics`]
//! - roles and parts, each by its table: [`router`] · [`k3s`] · [`tinkerbell`] · [`minio`] · [`bgp`] · [`haproxy`] · [`nas`] · [`node_exporter`] ·
//!   [`tailscale`]; [`listen`] where a service may listen
//! - [`secrets`] what is moved off bootsel
//! - [`problem`] what is wrong, and where
//!
//! The doc comments of the fields are what editors and `microdc schema node` show: each type derives `JsonSchema` under
//! the feature `schema`, and what is written as plain text says how it looks with `schemars(with = ...)`.

mod bgp;
mod disks;
mod haproxy;
mod k3s;
mod listen;
mod metrics;
mod minio;
mod nas;
mod network;
mod node_exporter;
mod problem;
mod router;
pub mod secrets;
mod ssh;
mod tailscale;
mod tinkerbell;
mod values;

pub use bgp::{Bgp, Neighbor};
pub use disks::{DataKind, Disks, Serial};
pub use haproxy::{Haproxy, Server};
pub use k3s::{Component, K3s, LabelKey, LabelValue, ServerUrl, Taint};
pub use metrics::Metrics;
pub use minio::Minio;
pub use nas::{Initiator, Nas};
pub use network::{
    Bridge, Interface, InterfaceName, Network, Peer, StaticRoute, Vlan, WireGuard, WireGuardKey, is_domain,
};
pub use node_exporter::NodeExporter;
pub use problem::{MAX_LENGTH, NodeConfigError};
pub use router::{Dhcp, Firewall, Router};
pub use ssh::{PublicKey, Ssh};
pub use tailscale::Tailscale;
pub use tinkerbell::{Api, DhcpMode, Netboot, Tinkerbell, Url};

use ipnet::IpNet;
use problem::{Problem, problem};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Format of `node.toml` that this code reads. A later format that old files do not fit gets the next number.
pub const FORMAT: u32 = 1;

/// The whole of `node.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// [`FORMAT`]; may be left out.
    #[serde(default = "format")]
    pub format: u32,
    /// Host name: one label of RFC 1123.
    pub name: HostName,
    #[serde(default)]
    pub cluster: Cluster,
    #[serde(default)]
    pub disks: Disks,
    #[serde(default)]
    pub network: Network,
    /// Addresses of other hosts by their names, for `/etc/hosts`: the peers of a cluster, say.
    #[serde(default, skip_serializing_if = "Hosts::is_empty")]
    pub hosts: Hosts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<Router>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub k3s: Option<K3s>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tinkerbell: Option<Tinkerbell>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minio: Option<Minio>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bgp: Option<Bgp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub haproxy: Option<Haproxy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nas: Option<Nas>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_exporter: Option<NodeExporter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tailscale: Option<Tailscale>,
    #[serde(default)]
    pub ssh: Ssh,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    #[serde(default)]
    pub time: Time,
}

fn format() -> u32 {
    FORMAT
}

/// Addresses by host name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Hosts(BTreeMap<String, Addresses>);

/// One address, or a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
struct Addresses(
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::OneOrMany<IpAddr>"))]
    #[serde(deserialize_with = "values::one_or_many")]
    Vec<IpAddr>,
);

impl Hosts {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each name with each of its addresses.
    pub fn iter(&self) -> impl Iterator<Item = (&str, IpAddr)> {
        self.0.iter().flat_map(|(name, list)| list.0.iter().map(move |address| (name.as_str(), *address)))
    }

    fn check(&self) -> Result<(), Problem> {
        match self.0.keys().find(|name| !network::is_domain(name)) {
            Some(name) => Err(problem(["hosts", name.as_str()], format!("{name:?} is no host name"))),
            None => Ok(()),
        }
    }
}

/// The cluster that a node belongs to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// 1 to 63 bytes: it stands in the markers of claimed disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Where the time comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// NTP servers, by name or address.
    #[serde(default = "Time::default_servers")]
    pub servers: Vec<String>,
    /// Nets whose hosts may ask this node for the time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<crate::schema::Net>"))]
    pub serve: Vec<IpNet>,
}

impl Time {
    fn default_servers() -> Vec<String> {
        vec!["pool.ntp.org".to_owned()]
    }

    fn check(&self) -> Result<(), Problem> {
        for (at, server) in self.servers.iter().enumerate() {
            // It becomes a word of a configuration file.
            if server.parse::<IpAddr>().is_err() && !network::is_domain(server) {
                let at = at.to_string();
                let message = format!("{server:?} is neither a name nor an address");
                return Err(problem(["time", "servers", at.as_str()], message));
            }
        }
        Ok(())
    }
}

impl Default for Time {
    fn default() -> Time {
        Time { servers: Time::default_servers(), serve: Vec::new() }
    }
}

/// A host name: letters, digits and hyphens, 1 to 63 of them, no hyphen at either end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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

impl NodeConfig {
    /// The config of a node that has a name and nothing else: DHCP on its first Ethernet port.
    #[must_use]
    pub fn named(name: HostName) -> NodeConfig {
        NodeConfig {
            format: FORMAT,
            name,
            cluster: Cluster::default(),
            disks: Disks::default(),
            network: Network::default(),
            hosts: Hosts::default(),
            router: None,
            k3s: None,
            tinkerbell: None,
            minio: None,
            bgp: None,
            haproxy: None,
            nas: None,
            node_exporter: None,
            tailscale: None,
            ssh: Ssh::default(),
            metrics: None,
            time: Time::default(),
        }
    }

    /// Reads and checks a `node.toml`.
    ///
    /// # Errors
    /// What is wrong and where.
    pub fn parse(bytes: &[u8]) -> Result<NodeConfig, NodeConfigError> {
        if bytes.len() > MAX_LENGTH {
            return Err(NodeConfigError::TooLong);
        }
        let text =
            std::str::from_utf8(bytes).map_err(|error| NodeConfigError::not_utf8(bytes, error.valid_up_to()))?;
        if let Some(at) = text.find('\0') {
            let message = "a zero byte, which no text has: the file was not written whole, or is no text".to_owned();
            return Err(NodeConfigError::at(text, at..at + 1, message, None));
        }
        let table = toml::de::DeTable::parse(text).map_err(|error| NodeConfigError::toml(text, &error))?;
        // Asked first: in another format anything may stand elsewhere.
        if let Some((_, value)) = table.get_ref().iter().find(|(key, _)| key.get_ref() == "format")
            && let Some(number) = value.get_ref().as_integer()
            && number.as_str() != FORMAT.to_string()
        {
            let message = format!("format {number} is not known here; this version reads format {FORMAT}");
            return Err(NodeConfigError::at(text, value.span(), message, None));
        }
        let config: NodeConfig = toml::from_str(text).map_err(|error| NodeConfigError::toml(text, &error))?;
        config.check().map_err(|problem| problem.locate(text))?;
        Ok(config)
    }

    /// What types alone cannot say.
    fn check(&self) -> Result<(), Problem> {
        if let Some(name) = &self.cluster.name
            && !(1..=63).contains(&name.len())
        {
            let message = format!("{} bytes; 1 to 63 are possible", name.len());
            return Err(problem(["cluster", "name"], message));
        }
        self.disks.check()?;
        network::check(&self.network)?;
        self.hosts.check()?;
        self.time.check()?;
        if let Some(router) = &self.router {
            router.check(&self.network)?;
        }
        if let Some(k3s) = &self.k3s {
            k3s.check(&self.disks, &self.network)?;
        }
        if let Some(tinkerbell) = &self.tinkerbell {
            tinkerbell.check(&self.disks, &self.network)?;
        }
        if let Some(metrics) = &self.metrics {
            metrics.check(&self.network)?;
        }
        if let Some(minio) = &self.minio {
            minio.check(&self.name, &self.disks, &self.network, &self.hosts)?;
        }
        if let Some(bgp) = &self.bgp {
            if self.router.is_some() {
                return Err(problem(["bgp"], "a router says under [router] what it announces and to whom"));
            }
            bgp.check(&self.network)?;
        }
        if let Some(haproxy) = &self.haproxy {
            haproxy.check(&self.network)?;
        }
        if let Some(exporter) = &self.node_exporter {
            exporter.check(&self.network)?;
        }
        if let Some(tailscale) = &self.tailscale {
            tailscale.check()?;
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
        assert!(matches!(found, NodeConfigError::At { line: 4, .. }), "{found}");
        let found = NodeConfig::parse(b"name = \"r1\"\nnmae = 3\n").unwrap_err();
        assert!(matches!(found, NodeConfigError::At { line: 2, column: 1, .. }), "{found}");
    }

    #[test]
    fn names_that_no_host_can_have_are_refused() {
        for name in ["", "-a", "a-", "a b", "ä", &"x".repeat(64)] {
            assert!(NodeConfig::parse(format!("name = {name:?}").as_bytes()).is_err(), "{name:?}");
        }
    }

    #[test]
    fn another_format_is_refused_before_anything_else() {
        assert!(NodeConfig::parse(b"format = 1\nname = \"r1\"").is_ok());
        let error = NodeConfig::parse(b"title = 3\nformat = 2").unwrap_err().to_string();
        assert!(error.contains("line 2, column 10") && error.contains("reads format 1"), "{error}");
    }

    #[test]
    fn names_of_other_hosts_have_one_address_or_more() {
        let config =
            NodeConfig::parse(b"name = \"r1\"\n[hosts]\nr2 = \"10.0.0.2\"\n\"db.lan\" = [\"10.0.0.3\", \"fd00::3\"]");
        let hosts: Vec<String> = config.unwrap().hosts.iter().map(|(name, ip)| format!("{name} {ip}")).collect();
        assert_eq!(hosts, ["db.lan 10.0.0.3", "db.lan fd00::3", "r2 10.0.0.2"]);
        for hosts in ["\"a b\" = \"10.0.0.2\"", "r2 = \"10.0.0\"", "r2 = 3", "r2 = [3]"] {
            assert!(NodeConfig::parse(format!("name = \"r1\"\n[hosts]\n{hosts}").as_bytes()).is_err(), "{hosts}");
        }
    }

    #[test]
    fn a_time_server_is_one_word() {
        assert!(NodeConfig::parse(b"name = \"r1\"\n[time]\nservers = [\"ntp.lan\", \"fd00::1\"]").is_ok());
        let error = NodeConfig::parse(b"name = \"r1\"\n[time]\nservers = [\"a\\nallow\"]").unwrap_err();
        assert!(error.to_string().contains("line 3"), "{error}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = NodeConfig::parse(&bytes);
        }
    }
}
