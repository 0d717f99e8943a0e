//! What a router does for the networks behind it: addresses by DHCP, parts of a delegated prefix, names by DNS, ports that lead
//! inside.

use super::host::{Addresses, HostName};
use super::network::{InterfaceName, Network, is_domain};
use super::problem::{Problem, problem};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

/// Addresses for others, from dnsmasq.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Dhcp {
    pub first: Ipv4Addr,
    pub last: Ipv4Addr,
    /// Lease time in seconds.
    #[serde(default = "Dhcp::default_lease")]
    pub lease: u32,
    /// Hosts that always get the same address.
    #[serde(default, rename = "host", skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<Reservation>,
}

/// A /64 of an IPv6 prefix that is delegated to this router (RFC 8415, section 6.3), announced by router advertisements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// The interface on which a DHCPv6 server delegates the prefix: the one to the provider.
    pub from: InterfaceName,
    /// Which /64 of the prefix, counted from 0.
    #[serde(default)]
    pub number: u16,
}

impl Subnet {
    /// `before` are the subnets of interfaces that were looked at already.
    pub(super) fn check(
        &self,
        name: &InterfaceName,
        before: &BTreeMap<&InterfaceName, &Subnet>,
        network: &Network,
        found: &mut Vec<Problem>,
    ) {
        let named = name.as_str();
        let mut wrong = |key: Option<&str>, message: String| {
            found.push(problem(["router", "subnet", named].into_iter().chain(key), message));
        };
        match network.interfaces().get(name) {
            None => wrong(None, format!("network.{named} does not exist")),
            Some(interface) if interface.takes_advertisements() => {
                wrong(
                    None,
                    format!("network.{named} gets its IPv6 addresses from another router; set ra = false there"),
                );
            }
            Some(interface) if interface.wireguard.is_some() || named == "lo" => {
                wrong(None, format!("network.{named} cannot carry router advertisements"));
            }
            Some(_) if network.bridge_of(name).is_some() => {
                let bridge = network.bridge_of(name).map_or("", InterfaceName::as_str);
                wrong(None, format!("{named} is a port of {bridge}; give the subnet to {bridge}"));
            }
            Some(_) => {}
        }
        let from = self.from.as_str();
        if self.from == *name {
            wrong(Some("from"), format!("a subnet of {named} cannot be from {named} itself"));
        } else {
            match network.interfaces().get(&self.from) {
                None => wrong(Some("from"), format!("network.{from} does not exist")),
                Some(interface) if interface.wireguard.is_some() || from == "lo" => {
                    wrong(Some("from"), format!("network.{from} carries no DHCP"));
                }
                Some(_) => {}
            }
        }
        let same = before.iter().find(|(_, other)| other.from == self.from && other.number == self.number);
        if let Some((other, _)) = same {
            let message = format!("{} already has subnet {} of {from}", other.as_str(), self.number);
            wrong(Some("number"), message);
        }
    }
}

/// An address for one host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    pub mac: Mac,
    pub address: Ipv4Addr,
    /// Its name in DNS. Default: the one that it asks with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<HostName>,
}

/// A hardware address, such as `dc:a6:32:01:02:03`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct Mac(String);

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Mac, String> {
        let parts: Vec<&str> = text.split([':', '-']).collect();
        let is_byte = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        if parts.len() == 6 && parts.iter().all(is_byte) {
            return Ok(Mac(parts.join(":").to_ascii_lowercase()));
        }
        Err(format!("{text:?} is not a hardware address; write it like \"dc:a6:32:01:02:03\""))
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.0
    }
}

impl Dhcp {
    fn default_lease() -> u32 {
        3600
    }

    pub(super) fn check(&self, name: &InterfaceName, network: &Network, found: &mut Vec<Problem>) {
        let named = name.as_str();
        let nets = network.interfaces().get(name).map(|interface| interface.addresses.as_slice());
        let Some(nets) = nets else {
            found.push(problem(["router", "dhcp", named], format!("network.{named} does not exist")));
            return;
        };
        let inside = |address: Ipv4Addr| nets.iter().any(|net| net.contains(&IpAddr::V4(address)));
        if !inside(self.first) || !inside(self.last) || self.first > self.last {
            let message =
                format!("{} to {} is not a range within the addresses of network.{named}", self.first, self.last);
            found.push(problem(["router", "dhcp", named, "first"], message));
        }
        for (at, host) in self.hosts.iter().enumerate() {
            let number = at.to_string();
            let here = |key, message| problem(["router", "dhcp", named, "host", number.as_str(), key], message);
            let before = self.hosts.get(..at).unwrap_or_default();
            if before.iter().any(|other| other.mac == host.mac) {
                found.push(here("mac", "this host is listed twice".to_owned()));
            }
            if before.iter().any(|other| other.address == host.address) {
                found.push(here("address", format!("{} is already for another host", host.address)));
            }
            if !inside(host.address) {
                found.push(here("address", format!("{} is not in a network of network.{named}", host.address)));
            } else if nets.iter().any(|net| net.addr() == IpAddr::V4(host.address)) {
                found.push(here("address", format!("{} is this router itself", host.address)));
            }
        }
    }
}

/// Names for the hosts behind a router. Those of `[hosts]` and of hosts with a lease are known without being listed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Dns {
    /// The domain of these hosts, such as `home.lan`: nobody else is asked about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Resolvers that are asked about all other names. Default: those of the network.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstream: Vec<IpAddr>,
    /// Addresses by name. `*.apps.lan` stands for `apps.lan` and every name below it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub records: BTreeMap<String, Addresses>,
}

impl Dns {
    pub(super) fn check(&self, found: &mut Vec<Problem>) {
        if let Some(domain) = self.domain.as_ref().filter(|domain| !is_domain(domain)) {
            found.push(problem(["router", "dns", "domain"], format!("{domain:?} is not a valid domain name")));
        }
        for (at, resolver) in self.upstream.iter().enumerate() {
            if resolver.is_unspecified() || resolver.is_loopback() || resolver.is_multicast() {
                let message = format!("{resolver} is no resolver");
                found.push(problem(["router", "dns", "upstream", at.to_string().as_str()], message));
            }
        }
        for name in self.records.keys().filter(|name| !is_domain(name.strip_prefix("*.").unwrap_or(name))) {
            found.push(problem(["router", "dns", "records", name.as_str()], format!("{name:?} is not a valid name")));
        }
    }
}

/// A port that leads to a host behind the router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Forward {
    #[serde(default)]
    pub protocol: Protocol,
    /// The port outside.
    pub port: u16,
    /// The host. One with an IPv6 address is reached at this address itself.
    pub to: IpAddr,
    /// Its port. Default: `port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_port: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    #[default]
    Tcp,
    Udp,
}

impl Forward {
    /// What is wrong, each with its key.
    pub(super) fn check(
        &self,
        before: &[Forward],
        network: &Network,
    ) -> impl Iterator<Item = (&'static str, String)> + use<> {
        let same = |other: &&Forward| {
            let place = |forward: &Forward| (forward.protocol, forward.port, forward.to.is_ipv4());
            place(other) == place(self) && (self.to.is_ipv4() || other.to == self.to)
        };
        let own: BTreeSet<IpAddr> =
            network.interfaces().values().flat_map(|port| &port.addresses).map(IpNet::addr).collect();
        let found = [
            (self.port == 0).then(|| ("port", "0 is not a valid port".to_owned())),
            (self.to_port == Some(0)).then(|| ("to_port", "0 is not a valid port".to_owned())),
            before.iter().find(same).map(|_| ("port", format!("port {} already leads to a host", self.port))),
            own.contains(&self.to).then(|| ("to", format!("{} is this router itself", self.to))),
            (!self.to.is_ipv4() && self.to_port.is_some_and(|port| port != self.port))
                .then(|| ("to_port", "a host with an IPv6 address is reached at the same port".to_owned())),
        ];
        found.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use crate::node::NodeConfig;

    const HEAD: &str = "name = \"r1\"\n[network.eth0]\ndhcp = true\n[network.eth1]\naddresses = [\"10.1.0.1/24\"]\n\
                        [hosts]\nnas = [\"10.1.0.9\", \"fd00::9\"]\n[router]\nmasquerade = [\"eth0\"]\n";
    const DHCP: &str = "[router.dhcp.eth1]\nfirst = \"10.1.0.100\"\nlast = \"10.1.0.200\"\n";

    fn parse(text: &str) -> Result<NodeConfig, String> {
        NodeConfig::parse(format!("{HEAD}{text}").as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn impossible_home_networks_are_refused() {
        let host = |keys: &str| format!("{DHCP}[[router.dhcp.eth1.host]]\n{keys}\n");
        let two = |keys: &str| {
            format!(
                "{}[[router.dhcp.eth1.host]]\n{keys}\n",
                host("mac = \"dc:a6:32:01:02:03\"\naddress = \"10.1.0.5\"")
            )
        };
        let forward = |keys: &str| format!("[[router.forward]]\n{keys}\n");
        let subnet = |name: &str, from: &str, number: u16| {
            format!("[router.subnet.{name}]\nfrom = \"{from}\"\nnumber = {number}\n")
        };
        for (text, reason) in [
            (host("mac = \"dc:a6:32:01:02\"\naddress = \"10.1.0.5\""), "is not a hardware address"),
            (host("mac = \"dc:a6:32:01:02:03\"\naddress = \"10.2.0.5\""), "not in a network of network.eth1"),
            (host("mac = \"dc:a6:32:01:02:03\"\naddress = \"10.1.0.1\""), "this router itself"),
            (two("mac = \"DC-A6-32-01-02-03\"\naddress = \"10.1.0.6\""), "host.1.mac: this host is listed twice"),
            (two("mac = \"dc:a6:32:01:02:04\"\naddress = \"10.1.0.5\""), "already for another host"),
            ("[router.dns]\ndomain = \"a b\"\n".to_owned(), "not a valid domain"),
            ("[router.dns]\nupstream = [\"127.0.0.1\"]\n".to_owned(), "is no resolver"),
            ("[router.dns.records]\n\"a.*.b\" = \"10.1.0.5\"\n".to_owned(), "not a valid name"),
            (forward("port = 0\nto = \"10.1.0.5\""), "0 is not a valid port"),
            (forward("port = 80\nto = \"10.1.0.1\""), "this router itself"),
            (
                forward("port = 80\nto = \"10.1.0.5\"\n[[router.forward]]\nport = 80\nto = \"10.1.0.6\""),
                "already leads",
            ),
            (forward("port = 80\nto = \"fd00::5\"\nto_port = 81"), "at the same port"),
            (subnet("eth9", "eth0", 0), "router.subnet.eth9: network.eth9 does not exist"),
            (subnet("eth1", "eth9", 0), "router.subnet.eth1.from: network.eth9 does not exist"),
            (subnet("eth1", "eth1", 0), "from eth1 itself"),
            (subnet("eth0", "eth1", 0), "set ra = false there"),
            (subnet("eth1", "lo", 0), "network.lo does not exist"),
            (
                format!("{}{}[network.eth2]\n", subnet("eth1", "eth0", 3), subnet("eth2", "eth0", 3)),
                "router.subnet.eth2.number: eth1 already has subnet 3 of eth0",
            ),
            (
                format!("{}[network.eth2]\n[network.br0]\nbridge.ports = [\"eth2\"]\n", subnet("eth2", "eth0", 0)),
                "eth2 is a port of br0",
            ),
        ] {
            let found = parse(&text).unwrap_err();
            assert!(found.contains(reason), "{text}: {found}");
        }
        let nowhere = "name = \"r1\"\n[router]\n[[router.forward]]\nport = 80\nto = \"10.1.0.5\"\n";
        assert!(NodeConfig::parse(nowhere.as_bytes()).unwrap_err().to_string().contains("needs router.masquerade"));
    }

    /// The lines of a file that dnsmasq gets.
    fn dnsmasq(template: &str, config: &NodeConfig) -> Vec<String> {
        let text = crate::template::render("dnsmasq", template, config).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn dnsmasq_knows_reservations_names_wildcards_and_whom_to_ask() {
        let config = parse(&format!(
            "{DHCP}[[router.dhcp.eth1.host]]\nmac = \"DC:A6:32:01:02:03\"\naddress = \"10.1.0.5\"\nname = \"printer\"\n\
             [router.dns]\ndomain = \"home.lan\"\nupstream = [\"9.9.9.9\", \"2620:fe::fe\"]\n\
             [router.dns.records]\n\"*.apps.lan\" = \"10.1.0.7\"\n\"git.lan\" = [\"10.1.0.8\", \"fd00::8\"]\n"
        ))
        .unwrap();
        let conf =
            dnsmasq(include_str!("../../../../overlays/router/usr/lib/microdc/templates/dnsmasq.conf.j2"), &config);
        for line in [
            "interface=eth1",
            "dhcp-range=10.1.0.100,10.1.0.200,3600s",
            "dhcp-host=dc:a6:32:01:02:03,10.1.0.5,printer",
            "domain=home.lan",
            "local=/home.lan/",
            "expand-hosts",
            "no-resolv",
            "server=9.9.9.9",
            "server=2620:fe::fe",
            "address=/apps.lan/10.1.0.7",
        ] {
            assert_eq!(conf.iter().filter(|found| *found == line).count(), 1, "{line} in {conf:#?}");
        }
        let hosts =
            dnsmasq(include_str!("../../../../overlays/router/usr/lib/microdc/templates/dnsmasq.hosts.j2"), &config);
        for line in ["10.1.0.9 nas", "fd00::9 nas", "10.1.0.8 git.lan", "fd00::8 git.lan"] {
            assert!(hosts.iter().any(|found| found == line), "{line} in {hosts:#?}");
        }
        assert!(!hosts.iter().any(|line| line.contains('*')), "{hosts:#?}");
        assert!(!conf.iter().any(|line| line.starts_with("enable-ra")), "{conf:#?}");
        let six = parse("[router.subnet.eth1]\nfrom = \"eth0\"\n").unwrap();
        let conf =
            dnsmasq(include_str!("../../../../overlays/router/usr/lib/microdc/templates/dnsmasq.conf.j2"), &six);
        for line in ["enable-ra", "interface=eth1", "dhcp-range=::,constructor:eth1,ra-stateless,64"] {
            assert_eq!(conf.iter().filter(|found| *found == line).count(), 1, "{line} in {conf:#?}");
        }
        let plain = parse(DHCP).unwrap();
        let conf =
            dnsmasq(include_str!("../../../../overlays/router/usr/lib/microdc/templates/dnsmasq.conf.j2"), &plain);
        assert!(conf.iter().any(|line| line == "resolv-file=/run/network/resolv.conf"), "{conf:#?}");
    }
}
