//! `[network]`: interfaces by name.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Interfaces by name. Without any, a node asks for an address by DHCP on its first Ethernet port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Network(BTreeMap<InterfaceName, Interface>);

/// A kernel interface name: 1 to 15 bytes, no `/`, no white space (net/core/dev.c, `dev_valid_name`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
            && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':')
            && text != "."
            && text != "..";
        if fine { Ok(InterfaceName(text)) } else { Err(format!("{text:?} is no interface name")) }
    }
}

impl From<InterfaceName> for String {
    fn from(name: InterfaceName) -> String {
        name.0
    }
}

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Ask for an IPv4 address by DHCP.
    #[serde(default)]
    pub dhcp: bool,
    /// Static addresses, each with its prefix length.
    #[serde(default)]
    pub addresses: Vec<IpNet>,
    /// Default route. At most one of each family on the whole node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Resolvers, in order.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
}

impl Network {
    #[must_use]
    pub fn interfaces(&self) -> &BTreeMap<InterfaceName, Interface> {
        &self.0
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let mut gateways: BTreeMap<bool, &InterfaceName> = BTreeMap::new();
        for (name, interface) in &self.0 {
            let named = name.as_str();
            for address in &interface.addresses {
                if address.addr() == address.network() && address.prefix_len() < address.max_prefix_len() - 1 {
                    return Err(format!(
                        "network.{named}: {address} is the address of the net itself, not of a host"
                    ));
                }
            }
            if let Some(gateway) = interface.gateway {
                if !interface.dhcp && !interface.addresses.iter().any(|net| net.contains(&gateway)) {
                    return Err(format!("network.{named}: the gateway {gateway} is in none of its addresses' nets"));
                }
                if let Some(other) = gateways.insert(gateway.is_ipv4(), name) {
                    let other = other.as_str();
                    return Err(format!("network.{named}: {other} already has a default gateway of this family"));
                }
            }
            if let Some(mtu) = interface.mtu
                && !(1280..=9216).contains(&mtu)
            {
                return Err(format!("network.{named}: an MTU of {mtu} bytes; 1280 to 9216 are possible"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::node::NodeConfig;

    fn error(network: &str) -> String {
        NodeConfig::parse(format!("name = \"r1\"\n{network}").as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn impossible_networks_are_refused() {
        for (network, reason) in [
            ("[network.eth0]\naddresses = [\"10.0.0.0/24\"]", "the net itself"),
            ("[network.eth0]\naddresses = [\"10.0.0.1/24\"]\ngateway = \"10.0.1.1\"", "none of its addresses"),
            ("[network.eth0]\nmtu = 100", "MTU"),
            ("[network.\"eth0/1\"]", "no interface name"),
            (
                "[network.a]\naddresses=[\"10.0.0.1/24\"]\ngateway=\"10.0.0.2\"\n\
                 [network.b]\naddresses=[\"10.1.0.1/24\"]\ngateway=\"10.1.0.2\"",
                "already has a default gateway",
            ),
        ] {
            let found = error(network);
            assert!(found.contains(reason), "{network}: {found}");
        }
    }
}
