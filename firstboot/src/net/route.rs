//! A route that there should be.

use ipnet::IpNet;
use std::net::IpAddr;

/// From the node config, or from a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedRoute {
    pub to: IpNet,
    pub via: Option<IpAddr>,
    pub metric: u32,
    pub on_link: bool,
    pub dhcp: bool,
    /// What goes there is refused, but for what a longer prefix leads to.
    pub unreachable: bool,
}
