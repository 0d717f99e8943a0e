//! `[bgp]`: what a node announces, and to whom, whatever its role. A router says it in `[router]`.

use super::network::Network;
use super::problem::{Problem, problem};
use super::section::{Common, Section};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// What a node announces by BGP. The addresses of its interface `lo` are announced without being listed here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Bgp {
    /// Own autonomous system number.
    pub asn: u32,
    /// BGP identifier. Default: the first static IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_id: Option<Ipv4Addr>,
    /// Additional networks to announce.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<crate::schema::Net>"))]
    pub announce: Vec<IpNet>,
    #[serde(default, rename = "neighbor")]
    pub neighbors: Vec<Neighbor>,
}

/// A BGP neighbour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Neighbor {
    pub address: IpAddr,
    pub asn: u32,
    /// Detect a dead neighbour by BFD (RFC 5880) as well.
    #[serde(default)]
    pub bfd: bool,
}

/// What `[bgp]` and `[router]` have in common.
pub(super) struct Speaker<'s> {
    /// Name of the table.
    pub table: &'static str,
    pub asn: u32,
    pub router_id: Option<Ipv4Addr>,
    pub announce: &'s [IpNet],
    pub neighbors: &'s [Neighbor],
}

impl Speaker<'_> {
    pub fn check(&self, network: &Network) -> Result<(), Problem> {
        let table = self.table;
        if self.asn == 0 {
            return Err(problem([table, "asn"], "0 is not a valid autonomous system number (RFC 7607)"));
        }
        for (at, net) in self.announce.iter().enumerate() {
            if net.addr() != net.network() {
                let at = at.to_string();
                let message = format!("{net} has host bits set; the network is {}", net.trunc());
                return Err(problem([table, "announce", at.as_str()], message));
            }
        }
        for (at, neighbor) in self.neighbors.iter().enumerate() {
            let number = at.to_string();
            let here = |key, message: &str| Err(problem([table, "neighbor", number.as_str(), key], message));
            if neighbor.asn == 0 {
                return here("asn", "0 is not a valid autonomous system number (RFC 7607)");
            }
            if self.neighbors.iter().take(at).any(|other| other.address == neighbor.address) {
                return here("address", "this neighbour is listed twice");
            }
        }
        let has_id = self.router_id.is_some()
            || network.interfaces().values().any(|i| i.addresses.iter().any(|net| net.addr().is_ipv4()));
        if !has_id {
            return Err(problem([table, "router_id"], "required when no interface has a static IPv4 address"));
        }
        Ok(())
    }
}

impl Section for Bgp {
    fn check(&self, node: &Common<'_>) -> Result<(), Problem> {
        if node.sections.contains(&"router") {
            return Err(problem(["bgp"], "a router sets what it announces, and to whom, under [router]"));
        }
        let network = node.network;
        let Bgp { asn, router_id, announce, neighbors } = self;
        Speaker { table: "bgp", asn: *asn, router_id: *router_id, announce, neighbors }.check(network)
    }
}

#[cfg(test)]
mod tests {
    use crate::node::NodeConfig;

    #[test]
    fn a_node_that_is_no_router_may_speak_bgp_and_a_router_says_it_once() {
        let head = "name = \"n1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n";
        let parse =
            |text: &str| NodeConfig::parse(format!("{head}{text}\n").as_bytes()).map_err(|error| error.to_string());
        let config = parse("[bgp]\nasn = 65010\n[[bgp.neighbor]]\naddress = \"10.0.0.254\"\nasn = 65000\nbfd = true");
        assert_eq!(config.unwrap().bgp.unwrap().neighbors.len(), 1);
        for (text, reason) in [
            ("[bgp]\nasn = 0", "not a valid autonomous system"),
            ("[bgp]\nasn = 1\nannounce = [\"10.1.0.1/16\"]", "the network is 10.1.0.0/16"),
            ("[bgp]\nasn = 1\n[router]\nasn = 1", "[router]"),
        ] {
            let found = parse(text).unwrap_err();
            assert!(found.contains(reason), "{text}: {found}");
        }
    }
}
