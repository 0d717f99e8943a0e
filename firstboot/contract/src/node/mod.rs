//! `node.toml`: what the operator says of one node. The same code checks it on the host and on the node.
//!
//! - [`NodeConfig`] the whole · [`network`] interfaces · [`disks`] · [`ssh`] · [`metrics`]
//! - roles and parts, each by its table: [`router`], with [`lan`] and [`elastic`] · [`k3s`] · [`tinkerbell`] · [`minio`] ·
//!   [`garage`] · [`bgp`] · [`haproxy`] · [`vip`] · [`nas`] · [`node_exporter`] · [`tailscale`] · [`certificates`]; [`listen`]
//!   where a service may listen; [`address`] addresses that are no interface's own
//! - [`vars`] values of one's own
//! - [`section`] what a section is; the table of them is [`NodeConfig`]'s · [`host`] names of hosts
//! - [`secrets`] what is moved off bootsel · [`when`] what of it profiles ask for
//! - [`problem`] what is wrong, and where; [`mistakes`] all of it · [`native`] what a program says of a file that was rendered from it
//!
//! The doc comments of the fields are what editors and `microdc schema node` show: each type derives `JsonSchema` under
//! the feature `schema`, and what is written as plain text says how it looks with `schemars(with = ...)`.

mod address;
mod bgp;
mod certificates;
mod disks;
mod elastic;
mod garage;
mod haproxy;
mod host;
mod k3s;
mod lan;
mod listen;
mod metrics;
mod minio;
mod mistakes;
mod nas;
mod native;
mod network;
mod node_exporter;
mod problem;
mod proxy;
mod registries;
mod router;
pub mod secrets;
mod section;
mod snapshots;
mod ssh;
mod tailscale;
mod tinkerbell;
mod tinkerbell_flags;
mod values;
mod vars;
mod vip;
mod when;

pub use bgp::{Bgp, Neighbor, PrefixRule};
pub use certificates::Certificates;
pub use disks::{DataKind, Disks, Serial};
pub use elastic::Elastic;
pub use garage::Garage;
pub use haproxy::{Haproxy, Server};
pub use host::{HostName, Hosts};
pub use k3s::{Component, K3s, LabelKey, LabelValue, ServerUrl, Taint};
pub use lan::{Dhcp, Dns, Forward, Mac, Protocol, Reservation, Subnet};
pub use metrics::Metrics;
pub use minio::Minio;
pub use nas::{Initiator, Nas};
pub use native::{Refusal, Rendered};
pub use network::{
    Bridge, Endpoint, Interface, InterfaceName, Network, Peer, StaticRoute, Vlan, WireGuard, WireGuardKey, is_domain,
};
pub use node_exporter::NodeExporter;
pub use problem::{MAX_LENGTH, NodeConfigError};
pub use proxy::Proxy;
pub use registries::{Login, Registries};
pub use router::{Firewall, Router};
pub use snapshots::{S3, Snapshots};
pub use ssh::{PublicKey, Ssh};
pub use tailscale::Tailscale;
pub use tinkerbell::{Api, DhcpMode, Netboot, Tinkerbell, Url};
pub use vars::{VarProblem, Vars};
pub use vip::{Vip, Vrrp};
pub use when::{paths as when_paths, wanted};

use ipnet::IpNet;
use problem::{Problem, problem};
use section::{Common, Section as _};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Format of `node.toml` that this code reads. A later format that old files do not fit gets the next number.
pub const FORMAT: u32 = 1;

section::node_config! {
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
        #[serde(default)]
        pub ssh: Ssh,
        #[serde(default)]
        pub time: Time,
        /// Values of one's own, which the profile declares; secrets under `secret`.
        #[serde(default, skip_serializing_if = "Vars::is_empty")]
        pub vars: Vars,
    }

    sections {
        router: Router,
        k3s: K3s,
        tinkerbell: Tinkerbell,
        minio: Minio,
        garage: Garage,
        bgp: Bgp,
        haproxy: Haproxy,
        vip: Vip,
        nas: Nas,
        node_exporter: NodeExporter,
        tailscale: Tailscale,
        metrics: Metrics,
        certificates: Certificates,
        proxy: Proxy,
    }
}

fn format() -> u32 {
    FORMAT
}

/// The cluster that a node belongs to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// 1 to 63 bytes: it is in the markers of claimed disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Time sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// NTP servers, by name or address.
    #[serde(default = "Time::default_servers")]
    pub servers: Vec<String>,
    /// Networks whose hosts may ask this node for the time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<crate::schema::Net>"))]
    pub serve: Vec<IpNet>,
}

impl Time {
    fn default_servers() -> Vec<String> {
        vec!["pool.ntp.org".to_owned()]
    }

    fn check(&self, found: &mut Vec<Problem>) {
        for (at, server) in self.servers.iter().enumerate() {
            // It becomes a word of a configuration file.
            if server.parse::<IpAddr>().is_err() && !network::is_domain(server) {
                let at = at.to_string();
                let message = format!("{server:?} is neither a host name nor an address");
                found.push(problem(["time", "servers", at.as_str()], message));
            }
        }
    }
}

impl Default for Time {
    fn default() -> Time {
        Time { servers: Time::default_servers(), serve: Vec::new() }
    }
}

impl NodeConfig {
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
            let message = "a NUL byte: the file was not written completely, or is not text".to_owned();
            return Err(NodeConfigError::at(text, at..at + 1, message, None));
        }
        let table = toml::de::DeTable::parse(text).map_err(|error| NodeConfigError::toml(text, &error))?;
        // Asked first: in another format anything may stand elsewhere.
        if let Some((_, value)) = table.get_ref().iter().find(|(key, _)| key.get_ref() == "format")
            && let Some(number) = value.get_ref().as_integer()
            && number.as_str() != FORMAT.to_string()
        {
            let message = format!("format {number} is not supported; this version reads format {FORMAT}");
            return Err(NodeConfigError::at(text, value.span(), message, None));
        }
        let config: NodeConfig = toml::from_str(text).map_err(|error| NodeConfigError::toml(text, &error))?;
        match config.problems().into_iter().next() {
            Some(problem) => Err(problem.locate(text)),
            None => Ok(config),
        }
    }

    /// What types alone cannot say.
    fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        if let Some(name) = &self.cluster.name
            && !(1..=63).contains(&name.len())
        {
            let message = format!("{} bytes; it must be 1 to 63", name.len());
            found.push(problem(["cluster", "name"], message));
        }
        self.disks.check(&mut found);
        network::check(&self.network, &mut found);
        self.hosts.check(&mut found);
        self.time.check(&mut found);
        self.ssh.check(&self.network, &mut found);
        let sections = self.sections();
        let Self { name, disks, network, hosts, .. } = self;
        self.check_sections(&Common { name, disks, network, hosts, sections: &sections }, &mut found);
        if let Some(vip) = &self.vip {
            let of_router = || self.router.as_ref().map(|router| (router.config.is_some(), &router.neighbors));
            let speaker = self.bgp.as_ref().map(|bgp| (bgp.config.is_some(), &bgp.neighbors)).or_else(of_router);
            found.extend(vip.check_announced(speaker.map(|(whole, list)| (whole, list.as_slice()))).err());
        }
        found
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
