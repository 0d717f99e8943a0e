//! Where a service of the node listens: at an address that the node has, or at all of them.

use super::network::Network;
use super::problem::{Problem, problem};
use std::net::{IpAddr, SocketAddr};

/// Refuses port 0, and addresses that this node can never have. `path` leads to the value.
pub fn check(path: &[&str], listen: SocketAddr, network: &Network) -> Result<(), Problem> {
    if listen.port() == 0 {
        return Err(problem(path.iter().copied(), "0 is not a valid port"));
    }
    check_address(path, listen.ip(), network)
}

/// As [`check`], for an address alone.
pub fn check_address(path: &[&str], address: IpAddr, network: &Network) -> Result<(), Problem> {
    if address.is_unspecified() || address.is_loopback() || may_be_own(address, network) {
        return Ok(());
    }
    let message = format!("{address} is not one of this node's addresses, which are under network.*");
    Err(problem(path.iter().copied(), message))
}

/// Whether the node has this address, as far as the config tells: one that comes by DHCP or router advertisement is not
/// known beforehand.
pub fn may_be_own(address: IpAddr, network: &Network) -> bool {
    let dynamic = network.interfaces().is_empty() || network.interfaces().values().any(|port| port.dhcp);
    dynamic || network.interfaces().values().any(|port| port.addresses.iter().any(|net| net.addr() == address))
}
