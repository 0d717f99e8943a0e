//! `[bgp]`: what a node announces, and to whom, whatever its role. A router says it in `[router]`.

use super::network::Network;
use super::problem::{Problem, problem};
use super::section::{Common, Section};
use crate::secret::Secret;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// What a node announces by BGP. The addresses of its interface `lo` are announced without being listed here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Bgp {
    /// Own autonomous system number; required unless `config` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// BGP identifier. Default: the first static IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_id: Option<Ipv4Addr>,
    /// Additional networks to announce.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<crate::schema::Net>"))]
    pub announce: Vec<IpNet>,
    #[serde(default, rename = "neighbor")]
    pub neighbors: Vec<Neighbor>,
    /// A complete frr.conf, instead of all other keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
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
    /// Both ends sign their segments with it (TCP MD5, RFC 2385).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Most hops to a neighbour that is not on a common link, 2 to 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multihop: Option<u8>,
    /// The session is ended when the neighbour announces more prefixes than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prefix: Option<u32>,
    /// Seconds without a sign of life after which the neighbour counts as gone: 0 (never) or 3 to 65535. Default: 9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<u16>,
    /// Seconds between two signs of life. Default: a third of `hold`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keepalive: Option<u16>,
    /// Prefixes that are accepted from it, and no others.
    #[serde(default, rename = "in", skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<PrefixRule>,
    /// Prefixes that are announced to it, and no others.
    #[serde(default, rename = "out", skip_serializing_if = "Vec::is_empty")]
    pub announced: Vec<PrefixRule>,
}

/// A prefix, and how much longer ones may be: `10.0.0.0/8`, `10.0.0.0/8 le 24`, `0.0.0.0/0 ge 8 le 24`, as in a prefix list of
/// FRR (docs.frrouting.org, "Filtering").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(try_from = "String", into = "String")]
pub struct PrefixRule(String);

impl PrefixRule {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<PrefixRule> for String {
    fn from(rule: PrefixRule) -> String {
        rule.0
    }
}

impl TryFrom<String> for PrefixRule {
    type Error = String;

    /// It becomes words of a configuration file.
    fn try_from(text: String) -> Result<PrefixRule, String> {
        let unknown = || format!("{text:?} is not a prefix; write it like \"10.0.0.0/8\" or \"10.0.0.0/8 le 24\"");
        let mut words = text.split(' ');
        let net: IpNet = words.next().and_then(|word| word.parse().ok()).ok_or_else(unknown)?;
        if net.addr() != net.network() {
            return Err(format!("{net} has host bits set; the network is {}", net.trunc()));
        }
        let (mut least, mut most) = (None, None);
        while let Some(word) = words.next() {
            let length = words.next().filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()));
            let length: u8 = length.and_then(|word| word.parse().ok()).ok_or_else(unknown)?;
            match word {
                "ge" if least.is_none() && most.is_none() => least = Some(length),
                "le" if most.is_none() => most = Some(length),
                _ => return Err(unknown()),
            }
        }
        let lengths: Vec<u8> = least.into_iter().chain(most).collect();
        let in_order = lengths.is_sorted() && lengths.iter().all(|length| *length > net.prefix_len());
        if !in_order || lengths.iter().any(|length| *length > net.max_prefix_len()) {
            let (own, longest) = (net.prefix_len(), net.max_prefix_len());
            return Err(format!("{text:?}: the lengths must satisfy {own} < ge <= le <= {longest}"));
        }
        Ok(PrefixRule(text))
    }
}

/// What `[bgp]` and `[router]` have in common.
pub(super) struct Speaker<'s> {
    /// Name of the table.
    pub table: &'static str,
    pub asn: Option<u32>,
    pub router_id: Option<Ipv4Addr>,
    pub announce: &'s [IpNet],
    pub neighbors: &'s [Neighbor],
    pub config: Option<&'s str>,
}

impl Speaker<'_> {
    /// Everything that is wrong. Without a number and a configuration nothing speaks BGP.
    pub fn check(&self, network: &Network, found: &mut Vec<Problem>) {
        let table = self.table;
        let with_number = [
            ("router_id", self.router_id.is_some()),
            ("announce", !self.announce.is_empty()),
            ("neighbor", !self.neighbors.is_empty()),
        ];
        let number = [("asn", self.asn.is_some())];
        let mut set = number.iter().chain(&with_number).filter(|(_, is_set)| *is_set).map(|(key, _)| *key);
        if self.config.is_some() {
            if let Some(key) = set.next() {
                let message = format!("a complete frr.conf in `config` sets `{key}` itself");
                found.push(problem([table, "config"], message));
            }
            return;
        }
        if self.asn.is_none() {
            if let Some(key) = set.next() {
                found.push(problem([table, key], format!("needs {table}.asn, the node's autonomous system number")));
            }
            return;
        }
        if self.asn == Some(0) {
            found.push(problem([table, "asn"], "0 is not a valid autonomous system number (RFC 7607)"));
        }
        for (at, net) in self.announce.iter().enumerate() {
            if net.addr() != net.network() {
                let at = at.to_string();
                let message = format!("{net} has host bits set; the network is {}", net.trunc());
                found.push(problem([table, "announce", at.as_str()], message));
            }
        }
        for (at, neighbor) in self.neighbors.iter().enumerate() {
            let number = at.to_string();
            let before = self.neighbors.get(..at).unwrap_or_default();
            let wrong = neighbor.check(before).into_iter();
            found.extend(wrong.map(|(key, message)| problem([table, "neighbor", number.as_str(), key], message)));
        }
        let has_id = self.router_id.is_some()
            || network.interfaces().values().any(|i| i.addresses.iter().any(|net| net.addr().is_ipv4()));
        if !has_id {
            found.push(problem([table, "router_id"], "required when no interface has a static IPv4 address"));
        }
    }
}

/// Longest password that the kernel signs with, in bytes (linux/tcp.h, `TCP_MD5SIG_MAXKEYLEN`).
const LONGEST_PASSWORD: usize = 80;

impl Neighbor {
    /// What is wrong, each with its key. `before` are the neighbours before it.
    fn check(&self, before: &[Neighbor]) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.asn == 0 {
            found.push(("asn", "0 is not a valid autonomous system number (RFC 7607)".to_owned()));
        }
        if before.iter().any(|other| other.address == self.address) {
            found.push(("address", "this neighbour is listed twice".to_owned()));
        }
        if let Some(password) = self.password.as_ref().map(Secret::expose)
            && (!(1..=LONGEST_PASSWORD).contains(&password.len())
                || !password.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            let message = format!("a password is 1 to {LONGEST_PASSWORD} printable ASCII characters without blanks");
            found.push(("password", message));
        }
        if self.multihop.is_some_and(|hops| hops < 2) {
            found.push(("multihop", "2 to 255 hops; leave it out for a neighbour on a common link".to_owned()));
        }
        if self.max_prefix == Some(0) {
            found.push(("max_prefix", "at least 1".to_owned()));
        }
        match (self.keepalive, self.hold) {
            (_, Some(1 | 2)) => found.push(("hold", "0 or at least 3 seconds (RFC 4271, section 4.2)".to_owned())),
            (Some(_), None) => found.push(("keepalive", "needs `hold` beside it".to_owned())),
            (Some(keepalive), Some(hold)) if hold > 0 && (keepalive == 0 || keepalive >= hold) => {
                found.push(("keepalive", format!("1 to {} seconds, less than `hold`", hold - 1)));
            }
            _ => {}
        }
        for (key, rules) in [("in", &self.accepted), ("out", &self.announced)] {
            for rule in rules.iter().filter(|rule| rule.as_str().contains(':') == self.address.is_ipv4()) {
                let message = format!("{} is not of the neighbour's address family", rule.as_str());
                found.push((key, message));
            }
        }
        found
    }
}

impl Section for Bgp {
    fn check(&self, node: &Common<'_>, found: &mut Vec<Problem>) {
        if node.sections.contains(&"router") {
            found.push(problem(["bgp"], "a router sets what it announces, and to whom, under [router]"));
            return;
        }
        let Bgp { asn, router_id, announce, neighbors, config } = self;
        if asn.is_none() && config.is_none() {
            found.push(problem(["bgp", "asn"], "required: the node's own autonomous system number"));
            return;
        }
        let (asn, router_id, config) = (*asn, *router_id, config.as_deref());
        Speaker { table: "bgp", asn, router_id, announce, neighbors, config }.check(node.network, found);
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
            ("[bgp]", "bgp.asn: required"),
            ("[bgp]\nasn = 1\nconfig = \"x\"", "sets `asn` itself"),
        ] {
            let found = parse(text).unwrap_err();
            assert!(found.contains(reason), "{text}: {found}");
        }
    }

    fn neighbor(keys: &str) -> Result<NodeConfig, String> {
        let head = "name = \"n1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[bgp]\nasn = 1\n[[bgp.neighbor]]\n";
        let text = format!("{head}address = \"10.0.0.254\"\nasn = 2\n{keys}\n");
        NodeConfig::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn impossible_neighbours_are_refused_at_their_key() {
        for (keys, reason) in [
            ("password = \"\"", "line 9, column 12: bgp.neighbor.0.password: a password is 1 to 80"),
            ("password = \"a b\"", "without blanks"),
            ("password = \"a\\nneighbor x\"", "without blanks"),
            ("multihop = 1", "bgp.neighbor.0.multihop"),
            ("max_prefix = 0", "bgp.neighbor.0.max_prefix"),
            ("hold = 2", "RFC 4271"),
            ("keepalive = 3", "needs `hold`"),
            ("hold = 9\nkeepalive = 9", "1 to 8 seconds"),
            ("in = [\"10.0.0.1/8\"]", "the network is 10.0.0.0/8"),
            ("in = [\"10.0.0.0/8 le 7\"]", "8 < ge <= le <= 32"),
            ("out = [\"10.0.0.0/8 ge 24 le 16\"]", "8 < ge <= le <= 32"),
            ("out = [\"10.0.0.0/8 le\"]", "is not a prefix"),
            ("out = [\"10.0.0.0/8 le +9\"]", "is not a prefix"),
            ("out = [\"any\"]", "is not a prefix"),
            ("in = [\"fd00::/8\"]", "not of the neighbour's address family"),
        ] {
            let found = neighbor(keys).unwrap_err();
            assert!(found.contains(reason), "{keys}: {found}");
        }
    }

    /// The lines about the neighbour and its lists that bgpd gets.
    fn bgpd(config: &NodeConfig) -> Vec<String> {
        let source = include_str!("../../../../overlays/bgp/usr/lib/microdc/templates/bgpd.conf.j2");
        let text = crate::template::render("bgpd.conf.j2", source, config).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn what_a_provider_asks_for_reaches_bgpd() {
        let config = neighbor(
            "password = \"geheim\"\nmultihop = 3\nmax_prefix = 1000\nhold = 30\nin = [\"0.0.0.0/0\"]\n\
             out = [\"198.51.100.0/24\", \"10.0.0.0/8 le 24\"]",
        );
        let lines = bgpd(&config.unwrap());
        for line in [
            "neighbor 10.0.0.254 password geheim",
            "neighbor 10.0.0.254 ebgp-multihop 3",
            "neighbor 10.0.0.254 timers 10 30",
            "neighbor 10.0.0.254 maximum-prefix 1000",
            "neighbor 10.0.0.254 prefix-list in-1 in",
            "neighbor 10.0.0.254 prefix-list out-1 out",
            "ip prefix-list in-1 seq 1 permit 0.0.0.0/0",
            "ip prefix-list out-1 seq 2 permit 10.0.0.0/8 le 24",
        ] {
            assert_eq!(lines.iter().filter(|found| *found == line).count(), 1, "{line} in {lines:#?}");
        }
        let plain = bgpd(&neighbor("").unwrap());
        let more = ["password", "multihop", "timers 1", "maximum-prefix", "prefix-list"];
        assert!(!plain.iter().any(|line| more.iter().any(|word| line.contains(word))), "{plain:#?}");
    }

    #[test]
    fn a_neighbours_password_is_a_secret() {
        let config = neighbor("password = \"hunter2\"").unwrap();
        assert!(!format!("{config:?}{}", serde_json::to_string(&config).unwrap()).contains("hunter2"));
    }
}
