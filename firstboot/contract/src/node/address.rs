//! Addresses that are no interface's own: one that several nodes have in turn, or one that is mapped to another.

use super::network::Network;
use std::net::IpAddr;

/// Whether a host can be reached from other networks at this address, and this node does not have it for good.
///
/// # Errors
/// What is wrong with it.
pub fn check(address: IpAddr, network: &Network) -> Result<(), String> {
    let special = match address {
        IpAddr::V4(four) => four.is_broadcast() || four.is_link_local(),
        IpAddr::V6(six) => six.is_unicast_link_local(),
    };
    if special || address.is_unspecified() || address.is_loopback() || address.is_multicast() {
        return Err(format!("{address} is not an address at which other networks reach a host"));
    }
    match own(address, network) {
        Some(name) => Err(format!("{address} is this node's own address, under network.{name}")),
        None => Ok(()),
    }
}

/// The interface that has this address for good.
fn own(address: IpAddr, network: &Network) -> Option<&str> {
    let mut with_it =
        network.interfaces().iter().filter(|(_, port)| port.addresses.iter().any(|net| net.addr() == address));
    with_it.next().map(|(name, _)| name.as_str())
}

/// The interface in whose network this address is: hosts there look for it by ARP or neighbour discovery.
pub fn on_link(address: IpAddr, network: &Network) -> Option<&str> {
    let nets = network.interfaces().iter().filter(|(name, _)| name.as_str() != "lo");
    let mut around = nets.filter(|(_, port)| port.addresses.iter().any(|net| net.contains(&address)));
    around.next().map(|(name, _)| name.as_str())
}
