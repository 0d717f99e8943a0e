//! `[vip]`: one address for all servers of a cluster's API. A server has it only while its own API answers.

use super::address;
use super::bgp::Neighbor;
use super::network::InterfaceName;
use super::problem::{Problem, problem};
use super::section::{Common, Section};
use super::values;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The address of all servers together. Every server that answers announces it by BGP (`[bgp]`), or with `vrrp` one of them
/// holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Vip {
    /// One address, or one of each family; the same on every server.
    #[serde(deserialize_with = "values::one_or_many")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::OneOrMany<IpAddr>"))]
    pub address: Vec<IpAddr>,
    /// The servers elect one that holds the address, by VRRP (RFC 5798): for a network without BGP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vrrp: Option<Vrrp>,
}

/// How a holder is elected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Vrrp {
    /// Interface in the network of the address, on which the servers hear one another.
    pub interface: InterfaceName,
    /// Number of the virtual router, 1 to 255; the same on every server, and no one else's in this network.
    #[serde(default = "Vrrp::default_id")]
    pub id: u8,
    /// Of several candidates, the one with the highest priority takes the address, 1 to 254. One that holds it keeps it.
    #[serde(default = "Vrrp::default_priority")]
    pub priority: u8,
    /// Addresses of the other servers, for networks without multicast.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<IpAddr>,
}

impl Vrrp {
    fn default_id() -> u8 {
        64
    }

    fn default_priority() -> u8 {
        100
    }
}

impl Vip {
    /// Whether somebody hears of the address. `speaker` are the neighbours that BGP announces it to, and whether a complete
    /// frr.conf says what is announced.
    ///
    /// # Errors
    /// That nobody does.
    pub(super) fn check_announced(&self, speaker: Option<(bool, &[Neighbor])>) -> Result<(), Problem> {
        if self.vrrp.is_some() {
            return Ok(());
        }
        let Some((whole, neighbors)) = speaker else {
            return Err(problem(
                ["vip"],
                "needs [bgp], which announces the address, or [vip.vrrp], which elects a holder",
            ));
        };
        for (at, address) in self.address.iter().enumerate() {
            if !whole && !neighbors.iter().any(|neighbor| neighbor.address.is_ipv4() == address.is_ipv4()) {
                let number = at.to_string();
                let message = format!("no BGP neighbour of the family of {address} hears of it");
                return Err(problem(["vip", "address", number.as_str()], message));
            }
        }
        Ok(())
    }
}

impl Section for Vip {
    fn check(&self, node: &Common<'_>, found: &mut Vec<Problem>) {
        found.extend(self.addresses(node).err());
    }
}

impl Vip {
    fn addresses(&self, node: &Common<'_>) -> Result<(), Problem> {
        let network = node.network;
        if self.address.is_empty() || !values::one_of_each(self.address.iter().map(IpAddr::is_ipv4)) {
            return Err(problem(["vip", "address"], "one address, or one of each family"));
        }
        for (at, vip) in self.address.iter().enumerate() {
            let number = at.to_string();
            let here = |message| problem(["vip", "address", number.as_str()], message);
            address::check(*vip, network).map_err(here)?;
            if let Some(port) = address::on_link(*vip, network).filter(|_| self.vrrp.is_none()) {
                return Err(here(format!(
                    "{vip} is in the network of network.{port}, where all servers would answer for it at once; announce an \
                     address of no interface's network, or elect a holder with [vip.vrrp]"
                )));
            }
        }
        self.vrrp.as_ref().map_or(Ok(()), |vrrp| vrrp.check(&self.address, node))
    }
}

impl Vrrp {
    fn check(&self, addresses: &[IpAddr], node: &Common<'_>) -> Result<(), Problem> {
        let here = |key: &str, message: String| Err(problem(["vip", "vrrp", key], message));
        let name = self.interface.as_str();
        let Some(port) = node.network.interfaces().get(&self.interface) else {
            return here("interface", format!("network.{name} does not exist"));
        };
        if name == "lo" {
            return here("interface", "the loopback interface leads to no other server".to_owned());
        }
        for (at, address) in addresses.iter().enumerate() {
            let number = at.to_string();
            if !port.reaches(address) {
                let message =
                    format!("{address} is not in a network of network.{name}: nobody there would look for it");
                return Err(problem(["vip", "address", number.as_str()], message));
            }
            if port.gateway.contains(address) {
                let message = format!("{address} is the gateway of network.{name}");
                return Err(problem(["vip", "address", number.as_str()], message));
            }
        }
        if self.id == 0 {
            return here("id", "1 to 255".to_owned());
        }
        if !(1..=254).contains(&self.priority) {
            return here("priority", "1 to 254".to_owned());
        }
        // One election decides about both families: it is held by IPv4 where there is an address of it.
        let four = addresses.iter().any(IpAddr::is_ipv4);
        for (at, peer) in self.peers.iter().enumerate() {
            let number = at.to_string();
            let here = |message| Err(problem(["vip", "vrrp", "peers", number.as_str()], message));
            if peer.is_ipv4() != four {
                return here(format!("{peer}: the election is held by {}", if four { "IPv4" } else { "IPv6" }));
            }
            if addresses.contains(peer) {
                return here(format!("{peer} is the address that is elected for"));
            }
            if port.addresses.iter().any(|net| net.addr() == *peer) {
                return here(format!("{peer} is this node itself; list the others"));
            }
            if self.peers.get(..at).unwrap_or_default().contains(peer) {
                return here("this peer is listed twice".to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "vip_tests.rs"]
mod tests;
