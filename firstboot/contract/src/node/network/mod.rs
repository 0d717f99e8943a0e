//! `[network]`: interfaces by name. What each may have is in this file; what must hold between them in [`check`].

mod check;
mod wireguard;

pub(super) use check::check;
pub use check::is_domain;
pub use wireguard::{Endpoint, Peer, WireGuard, WireGuardKey};

use super::values::one_or_many;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Interfaces by name. Default: DHCP on the first Ethernet port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
pub struct Network(BTreeMap<InterfaceName, Interface>);

/// A kernel interface name: 1 to 15 bytes, no `/`, no white space (net/core/dev.c, `dev_valid_name`); neither `%`, by which
/// the kernel numbers names, nor `all` and `default`, which are folders of settings (net.ipv4.conf).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceName(String);

impl InterfaceName {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for InterfaceName {
    type Error = String;

    fn try_from(text: String) -> Result<InterfaceName, String> {
        let fine = (1..=15).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:%".contains(&byte))
            && ![".", "..", "all", "default"].contains(&text.as_str());
        if fine { Ok(InterfaceName(text)) } else { Err(format!("{text:?} is not a valid interface name")) }
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> String {
        name.0
    }
}

/// One interface: a port of the board, or one that is made: a VLAN, a bridge or a WireGuard tunnel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Obtain an IPv4 address by DHCP.
    #[serde(default)]
    pub dhcp: bool,
    /// Take IPv6 addresses, routes, resolvers and search domains from router advertisements. Default: as `dhcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ra: Option<bool>,
    /// Static addresses, each with its prefix length.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<crate::schema::Net>"))]
    pub addresses: Vec<IpNet>,
    /// Default route, or one of each family. Where several ports have one of a family, each needs a `metric` of its own.
    #[serde(default, deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::OneOrMany<IpAddr>"))]
    pub gateway: Vec<IpAddr>,
    /// Metric of its default routes and of all that DHCP brings: of several ports' the lowest is used while that port has a
    /// link. Default: 0 for `gateway`; from 1024 on for DHCP and router advertisements, in the order of the ports' names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<u32>,
    /// Bytes. Default: what DHCP says, from 1280 to 1500; else the port's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Resolvers, in order. They replace those that DHCP brings.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// Domains that are tried behind a short name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    #[serde(default, rename = "route", skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<StaticRoute>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<Vlan>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bridge: Option<Bridge>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wireguard: Option<WireGuard>,
}

/// A route that is always there while its interface is up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StaticRoute {
    #[cfg_attr(feature = "schema", schemars(with = "crate::schema::Net"))]
    pub to: IpNet,
    /// Next hop; without it the destination is on the link itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<IpAddr>,
    /// The lower one is taken; 0 means the kernel's own choice.
    #[serde(default)]
    pub metric: u32,
}

/// Tagged frames (IEEE 802.1Q) of another interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Vlan {
    /// Whose frames.
    pub on: InterfaceName,
    /// 1 to 4094.
    pub id: u16,
}

/// A switch between its ports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Bridge {
    pub ports: Vec<InterfaceName>,
    /// Spanning tree (IEEE 802.1D).
    #[serde(default)]
    pub stp: bool,
}

impl Interface {
    /// Whether router advertisements are taken.
    #[must_use]
    pub fn takes_advertisements(&self) -> bool {
        self.ra.unwrap_or(self.dhcp)
    }

    /// Whether the kernel must be asked to create it.
    #[must_use]
    pub fn is_made(&self) -> bool {
        self.vlan.is_some() || self.bridge.is_some() || self.wireguard.is_some()
    }

    /// Whether `address` can be reached on the link, as far as the config tells.
    pub(super) fn reaches(&self, address: &IpAddr) -> bool {
        let link_local = matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
        let may_come = match address {
            IpAddr::V4(_) => self.dhcp,
            IpAddr::V6(_) => self.takes_advertisements(),
        };
        link_local || may_come || self.addresses.iter().any(|net| net.contains(address))
    }
}

impl Network {
    #[must_use]
    pub fn interfaces(&self) -> &BTreeMap<InterfaceName, Interface> {
        &self.0
    }

    /// The bridge that an interface is a port of.
    #[must_use]
    pub fn bridge_of(&self, port: &InterfaceName) -> Option<&InterfaceName> {
        let ports =
            |interface: &Interface| interface.bridge.as_ref().is_some_and(|bridge| bridge.ports.contains(port));
        self.0.iter().find(|(_, interface)| ports(interface)).map(|(name, _)| name)
    }

    /// One interface.
    #[must_use]
    pub fn of(name: InterfaceName, interface: Interface) -> Network {
        Network(BTreeMap::from([(name, interface)]))
    }

    /// Adds the loopback interface, which everything takes for granted.
    pub fn add_loopback(&mut self) {
        self.0.entry(InterfaceName("lo".to_owned())).or_default();
    }
}
