//! `[[router.elastic]]`: public addresses that stand for hosts behind a router.

use super::address;
use super::network::Network;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A public address that is mapped to a host and back, with all ports and protocols. BGP announces it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Elastic {
    /// The address by which others reach the host. It belongs to no interface.
    pub public: IpAddr,
    /// The host's own address, of the same family.
    pub private: IpAddr,
}

impl Elastic {
    /// What is wrong, each with its key. `before` are those before it.
    pub(super) fn check(&self, before: &[Elastic], network: &Network) -> Vec<(&'static str, String)> {
        let Elastic { public, private } = *self;
        let mut found = Vec::new();
        for (key, address) in [("public", public), ("private", private)] {
            found.extend(address::check(address, network).err().map(|message| (key, message)));
        }
        if public.is_ipv4() != private.is_ipv4() {
            found.push(("private", format!("{private} is not of the family of {public}")));
        }
        if let Some(port) = address::on_link(public, network) {
            let message = format!(
                "{public} is in the network of network.{port}, whose hosts look for it there and find nobody; use an \
                 address that is routed to this router"
            );
            found.push(("public", message));
        }
        let uses = |address: IpAddr, other: &&Elastic| other.public == address || other.private == address;
        for (key, address) in [("public", public), ("private", private)] {
            if before.iter().any(|other| uses(address, &other)) {
                found.push((key, format!("{address} is already mapped")));
            }
        }
        if public == private {
            found.push(("private", format!("{private} would be mapped to itself")));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use crate::node::NodeConfig;

    const HEAD: &str = "name = \"r1\"\n[network.eth0]\naddresses = [\"192.0.2.2/30\"]\ngateway = \"192.0.2.1\"\n\
        [network.eth1]\naddresses = [\"10.1.0.1/24\", \"fd00:1::1/64\"]\n\
        [router]\nasn = 65001\nannounce = [\"10.1.0.0/24\"]\n";

    fn parse(more: &str) -> Result<NodeConfig, String> {
        NodeConfig::parse(format!("{HEAD}{more}\n").as_bytes()).map_err(|error| error.to_string())
    }

    fn elastic(public: &str, private: &str) -> String {
        format!("[[router.elastic]]\npublic = \"{public}\"\nprivate = \"{private}\"\n")
    }

    #[test]
    fn mappings_that_cannot_work_are_refused_at_their_key() {
        for (public, private, place, reason) in [
            ("10.1.0.1", "10.1.0.20", "line 11, column 10", "this node's own address, under network.eth1"),
            ("203.0.113.7", "10.1.0.1", "line 12, column 11", "this node's own address"),
            ("10.1.0.9", "10.1.0.20", "line 11, column 10", "is in the network of network.eth1"),
            ("192.0.2.1", "10.1.0.20", "line 11, column 10", "is in the network of network.eth0"),
            ("203.0.113.7", "fd00:1::20", "line 12, column 11", "is not of the family of 203.0.113.7"),
            ("2001:db8::7", "10.1.0.20", "line 12, column 11", "is not of the family of 2001:db8::7"),
            ("203.0.113.7", "203.0.113.7", "line 12, column 11", "mapped to itself"),
            ("224.0.0.1", "10.1.0.20", "line 11, column 10", "not an address at which other networks reach"),
            ("127.0.0.2", "10.1.0.20", "line 11, column 10", "not an address at which other networks reach"),
            ("203.0.113.7", "169.254.1.1", "line 12, column 11", "not an address at which other networks reach"),
            ("203.0.113.7", "fe80::1", "line 12, column 11", "not an address at which other networks reach"),
            ("0.0.0.0", "10.1.0.20", "line 11, column 10", "not an address at which other networks reach"),
            ("255.255.255.255", "10.1.0.20", "line 11, column 10", "not an address at which other networks reach"),
            ("203.0.113.0/24", "10.1.0.20", "line 11, column 10", "invalid IP address"),
        ] {
            let found = parse(&elastic(public, private)).unwrap_err();
            assert!(found.contains(place) && found.contains(reason), "{public} {private}: {found}");
        }
    }

    #[test]
    fn an_address_is_mapped_once() {
        let first = elastic("203.0.113.7", "10.1.0.20");
        for (public, private, place) in [
            ("203.0.113.7", "10.1.0.21", "router.elastic.1.public"),
            ("203.0.113.8", "10.1.0.20", "router.elastic.1.private"),
            ("203.0.113.8", "203.0.113.7", "router.elastic.1.private"),
        ] {
            let found = parse(&(first.clone() + &elastic(public, private))).unwrap_err();
            assert!(found.contains(place) && found.contains("is already mapped"), "{found}");
        }
        let six = elastic("2001:db8::7", "fd00:1::20");
        let config = parse(&(first + &six)).unwrap();
        assert_eq!(config.router.unwrap().elastic.len(), 2);
        let rules = format!("{}[router.firewall]\nrules = \"table ip x {{}}\"\n", six);
        assert!(parse(&rules).unwrap_err().contains("a complete ruleset"), "nothing would map it");
    }

    /// The lines that a template makes of a config.
    fn rendered(name: &str, source: &str, more: &str) -> Vec<String> {
        let text = crate::template::render(name, source, &parse(more).unwrap()).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    fn has_once(lines: &[String], wanted: &[&str]) {
        for line in wanted {
            assert_eq!(lines.iter().filter(|found| found == line).count(), 1, "{line} in {lines:#?}");
        }
    }

    #[test]
    fn the_firewall_maps_both_ways_and_bgp_announces() {
        let both = elastic("203.0.113.7", "10.1.0.20") + &elastic("2001:db8::7", "fd00:1::20");
        let nft = include_str!("../../../../overlays/router/usr/lib/microdc/templates/nftables.conf.j2");
        let lines = rendered("nftables.conf.j2", nft, &both);
        has_once(
            &lines,
            &[
                "table ip nat {",
                "ip daddr 203.0.113.7 dnat to 10.1.0.20",
                "iifname \"eth1\" oifname \"eth1\" ip daddr 10.1.0.20 ct status dnat snat to 203.0.113.7",
                "ip saddr 10.1.0.20 ip daddr 10.1.0.1/24 accept",
                "ip saddr 10.1.0.20 snat to 203.0.113.7",
                "table ip6 nat {",
                "ip6 daddr 2001:db8::7 dnat to fd00:1::20",
                "ip6 saddr fd00:1::20 ip6 daddr fd00:1::1/64 accept",
                "ip6 saddr fd00:1::20 snat to 2001:db8::7",
            ],
        );
        // The provider's side is outside.
        assert!(!lines.iter().any(|line| line.contains("192.0.2.")), "{lines:#?}");
        let none = rendered("nftables.conf.j2", nft, "");
        assert!(!none.iter().any(|line| line.contains("nat")), "{none:#?}");

        let frr = include_str!("../../../../overlays/bgp/usr/lib/microdc/templates/bgpd.conf.j2");
        let lines = rendered("bgpd.conf.j2", frr, &both);
        has_once(&lines, &["network 10.1.0.0/24", "network 203.0.113.7/32", "network 2001:db8::7/128"]);
    }

    #[test]
    fn a_mapped_host_is_reached_before_ports_are_forwarded_and_leaves_before_the_rest_is_masqueraded() {
        let more = "masquerade = [\"eth0\"]\n[[router.forward]]\nport = 443\nto = \"10.1.0.5\"\n";
        let nft = include_str!("../../../../overlays/router/usr/lib/microdc/templates/nftables.conf.j2");
        let lines = rendered("nftables.conf.j2", nft, &(more.to_owned() + &elastic("203.0.113.7", "10.1.0.20")));
        let at = |wanted: &str| lines.iter().position(|line| line.contains(wanted)).unwrap();
        assert!(at("dnat to 10.1.0.20") < at("dnat to 10.1.0.5"), "{lines:#?}");
        assert!(at("ip saddr 10.1.0.20 snat to 203.0.113.7") < at("masquerade"), "{lines:#?}");
    }
}
