//! `[router]`: what a router announces, to whom, and what it does for its own networks.

use super::bgp::{Neighbor, Speaker};
use super::elastic::Elastic;
use super::lan::{Dhcp, Dns, Forward, Subnet};
use super::network::InterfaceName;
use super::problem::{Problem, problem};
use super::section::{Common, Section};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Settings of the router role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Own autonomous system number. Without one, and without `config`, this router speaks no BGP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// BGP identifier. Default: the first static IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_id: Option<Ipv4Addr>,
    /// Networks to announce.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<crate::schema::Net>"))]
    pub announce: Vec<IpNet>,
    #[serde(default, rename = "neighbor")]
    pub neighbors: Vec<Neighbor>,
    /// A complete frr.conf, instead of `asn` and the keys that go with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// Interfaces that lead outside: what leaves by them has their IPv4 address, and what comes in by them reaches the networks
    /// behind this router only as an answer, or by a `forward`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masquerade: Vec<InterfaceName>,
    /// Ports that lead from outside to a host behind this router.
    #[serde(default, rename = "forward", skip_serializing_if = "Vec::is_empty")]
    pub forwards: Vec<Forward>,
    /// Public addresses that are mapped to hosts behind this router, both ways, and announced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elastic: Vec<Elastic>,
    /// Interfaces on which this router gives addresses and answers DNS.
    #[serde(default)]
    pub dhcp: BTreeMap<InterfaceName, Dhcp>,
    /// Interfaces that have a /64 of an IPv6 prefix which the provider delegates to this router. The prefix is asked for on the
    /// interfaces that they are `from`.
    #[serde(default, rename = "subnet", skip_serializing_if = "BTreeMap::is_empty")]
    pub subnets: BTreeMap<InterfaceName, Subnet>,
    #[serde(default)]
    pub dns: Dns,
    #[serde(default)]
    pub firewall: Firewall,
}

/// What the firewall lets in besides the defaults (established connections, ICMP, ssh, BGP from neighbours).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Firewall {
    /// TCP ports of the router itself that are open to everyone.
    #[serde(default)]
    pub tcp: Vec<u16>,
    /// UDP ports of the router itself that are open to everyone.
    #[serde(default)]
    pub udp: Vec<u16>,
    /// Whole native rule set (nftables), in place of the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
}

impl Section for Router {
    fn check(&self, node: &Common<'_>, found: &mut Vec<Problem>) {
        let Common { network, .. } = *node;
        let Router { asn, router_id, announce, neighbors, config, .. } = self;
        let (asn, router_id, config) = (*asn, *router_id, config.as_deref());
        Speaker { table: "router", asn, router_id, announce, neighbors, config }.check(network, found);
        for (at, port) in self.masquerade.iter().enumerate() {
            if !network.interfaces().contains_key(port) {
                let at = at.to_string();
                let message = format!("network.{} does not exist", port.as_str());
                found.push(problem(["router", "masquerade", at.as_str()], message));
            }
        }
        for (at, forward) in self.forwards.iter().enumerate() {
            let number = at.to_string();
            let wrong = forward.check(self.forwards.get(..at).unwrap_or_default(), network);
            found.extend(wrong.map(|(key, message)| problem(["router", "forward", number.as_str(), key], message)));
            if self.masquerade.is_empty() {
                let message = "needs router.masquerade, which says where outside is";
                found.push(problem(["router", "forward", number.as_str()], message));
            }
        }
        for (at, elastic) in self.elastic.iter().enumerate() {
            let number = at.to_string();
            let wrong = elastic.check(self.elastic.get(..at).unwrap_or_default(), network).into_iter();
            found.extend(wrong.map(|(key, message)| problem(["router", "elastic", number.as_str(), key], message)));
        }
        if self.firewall.rules.is_some() && !self.elastic.is_empty() {
            let message = "a complete ruleset in router.firewall.rules does the mapping itself";
            found.push(problem(["router", "elastic"], message));
        }
        for (name, dhcp) in &self.dhcp {
            dhcp.check(name, network, found);
        }
        let mut before = BTreeMap::new();
        for (name, subnet) in &self.subnets {
            subnet.check(name, &before, network, found);
            before.insert(name, subnet);
        }
        self.dns.check(found);
    }
}

#[cfg(test)]
mod tests {
    use crate::node::NodeConfig;

    #[test]
    fn impossible_routers_are_refused() {
        let head = "name = \"r1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[router]\n";
        for (router, reason) in [
            ("asn = 0", "not a valid autonomous system"),
            ("announce = [\"10.1.0.0/16\"]", "router.announce: needs router.asn"),
            ("router_id = \"10.0.0.1\"", "router.router_id: needs router.asn"),
            ("config = \"x\"\nasn = 1", "sets `asn` itself"),
            ("masquerade = [\"eth7\"]", "network.eth7 does not exist"),
            ("asn = 1\nannounce = [\"10.1.0.1/16\"]", "the network is 10.1.0.0/16"),
            ("asn = 1\n[router.dhcp.eth1]\nfirst = \"10.0.0.5\"\nlast = \"10.0.0.9\"", "does not exist"),
            ("asn = 1\n[router.dhcp.eth0]\nfirst = \"10.0.0.9\"\nlast = \"10.0.0.5\"", "not a range"),
            (
                "asn = 1\n[[router.neighbor]]\naddress = \"10.0.0.2\"\nasn = 2\n\
                 [[router.neighbor]]\naddress = \"10.0.0.2\"\nasn = 3",
                "twice",
            ),
        ] {
            let found = NodeConfig::parse(format!("{head}{router}\n").as_bytes()).unwrap_err().to_string();
            assert!(found.contains(reason), "{router}: {found}");
        }
    }

    #[test]
    fn a_router_without_ipv4_needs_an_id() {
        let text = |id: &str| format!("name = \"r1\"\n[network.eth0]\ndhcp = true\n[router]\nasn = 1\n{id}");
        assert!(NodeConfig::parse(text("").as_bytes()).is_err());
        assert!(NodeConfig::parse(text("router_id = \"10.0.0.1\"").as_bytes()).is_ok());
    }

    /// The lines of the firewall that such a router makes for itself.
    fn firewall(config: &str) -> Vec<String> {
        let source = include_str!("../../../../overlays/router/usr/lib/microdc/templates/nftables.conf.j2");
        let config = NodeConfig::parse(format!("name = \"r1\"\n{config}").as_bytes()).unwrap();
        let text = crate::template::render("nftables.conf.j2", source, &config).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    const OUTSIDE: &str = "[network.eth0]\naddresses = [\"10.0.0.1/24\"]\ngateway = \"10.0.0.254\"\n";
    const INSIDE: &str = "[network.eth1]\naddresses = [\"10.1.0.1/24\"]\n";

    #[test]
    fn operators_reach_a_router_from_inside_or_where_node_toml_says() {
        let ssh = |config: String| -> Vec<String> {
            firewall(&config).into_iter().filter(|line| line.contains("dport 22 ")).collect()
        };
        let inside = "iifname != { \"eth0\", } tcp dport 22 accept";
        let open = "tcp dport 22 accept";
        assert_eq!(ssh(format!("{OUTSIDE}{INSIDE}")), [inside]);
        assert_eq!(ssh(format!("[network.eth0]\ndhcp = true\n{INSIDE}")), [inside]);
        // What has nothing but an outside must be reached too, and so must a router without a config.
        for config in [OUTSIDE, "[network.eth0]\ndhcp = true\n", ""] {
            assert_eq!(ssh(config.to_owned()), [open], "{config}");
        }
        // A port that carries VLANs has no address: nobody comes by it.
        let vlan = "[network.eth0]\n[network.\"eth0.7\"]\naddresses = [\"10.0.0.1/24\"]\ngateway = \"10.0.0.254\"\n\
                    [network.\"eth0.7\".vlan]\non = \"eth0\"\nid = 7\n";
        assert_eq!(ssh(vlan.to_owned()), [open]);
        let listen = "[ssh]\nlisten = [\"10.0.0.1\", \"fd00::1\"]\n";
        let both = "[network.eth1]\naddresses = [\"fd00::1/64\"]\n";
        assert_eq!(
            ssh(format!("{OUTSIDE}{both}{listen}")),
            ["ip daddr 10.0.0.1 tcp dport 22 accept", "ip6 daddr fd00::1 tcp dport 22 accept"]
        );
    }

    #[test]
    fn the_firewall_lets_scrapes_in_where_metrics_listen_also_on_ports_with_dhcp() {
        let rules = |config: &str, listen: &str| -> Vec<String> {
            let lines = firewall(&format!("{config}[metrics]\nlisten = \"{listen}\"\n"));
            lines.into_iter().filter(|line| line.contains("9100")).collect()
        };
        let dhcp = "[network.eth0]\ndhcp = true\n";
        let open = "iifname \"eth0\" ip daddr 10.0.0.9 tcp dport 9100 accept";
        assert_eq!(rules(dhcp, "10.0.0.9:9100"), [open]);
        let both = format!("{dhcp}{INSIDE}");
        assert_eq!(rules(&both, "10.1.0.1:9100"), ["iifname \"eth1\" ip daddr 10.1.0.1 tcp dport 9100 accept"]);
        assert_eq!(rules(&both, "10.0.0.9:9100"), [open]);
        // At every address: nothing is opened by itself.
        assert_eq!(rules(&both, "0.0.0.0:9100"), Vec::<String>::new());
    }

    #[test]
    fn answers_of_dhcpv6_reach_a_router_where_it_asks_and_those_behind_may_ask_it() {
        let home = "[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[router]\n[router.subnet.eth1]\nfrom = \"eth0\"\n";
        let lines = firewall(&format!("{INSIDE}{home}"));
        let asks =
            |port: &str| format!("iifname \"{port}\" ip6 saddr fe80::/10 ip6 daddr fe80::/10 udp dport 546 accept");
        for line in [asks("eth0"), "iifname \"eth1\" udp dport { 53, 547 } accept".to_owned()] {
            assert_eq!(lines.iter().filter(|found| **found == line).count(), 1, "{line} in {lines:#?}");
        }
        assert!(firewall("[network.eth0]\ndhcp = true\n").contains(&asks("eth0")), "router advertisements are taken");
        let fixed = firewall(&format!("{OUTSIDE}{INSIDE}[router]\nasn = 1\n"));
        assert!(!fixed.iter().any(|line| line.contains("546") || line.contains("547")), "{fixed:#?}");
    }

    #[test]
    fn a_home_router_hides_its_network_and_lets_in_what_it_forwards() {
        let lines = firewall(&format!(
            "{INSIDE}[network.eth0]\ndhcp = true\n[router]\nmasquerade = [\"eth0\"]\n[[router.forward]]\nport = 443\n\
             to = \"10.1.0.5\"\nto_port = 8443\n[[router.forward]]\nprotocol = \"udp\"\nport = 53\nto = \"10.1.0.6\"\n\
             [[router.forward]]\nport = 22\nto = \"2001:db8::5\"\n"
        ));
        for line in [
            "oifname { \"eth0\", } masquerade",
            "iifname { \"eth0\", } tcp dport 443 dnat to 10.1.0.5:8443",
            "iifname { \"eth0\", } udp dport 53 dnat to 10.1.0.6",
            "iifname { \"eth0\", } ip6 daddr 2001:db8::5 tcp dport 22 accept",
            "iifname { \"eth0\", } drop",
        ] {
            assert_eq!(lines.iter().filter(|found| *found == line).count(), 1, "{line} in {lines:#?}");
        }
        let plain = firewall(&format!("{INSIDE}[router]\nasn = 1\n"));
        assert!(!plain.iter().any(|line| line.contains("nat") || line.ends_with("} drop")), "{plain:#?}");
    }
}
