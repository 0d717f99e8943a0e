//! `[garage]`: object storage by Garage, on one node or on several that replicate to one another.

use super::disks::DataKind;
use super::listen;
use super::network::is_domain;
use super::problem::{Problem, problem};
use super::secrets::is_kept;
use super::section::{Common, Section};
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Digits of the secret that the nodes of a cluster share, and of a node's identifier: 32 bytes in hexadecimal (Garage's
/// reference manual, `rpc_secret` and `bootstrap_peers`).
const DIGITS: usize = 64;
/// Shortest token of the administrator, in bytes. Garage takes any; whoever guesses it owns every object.
const SHORTEST_TOKEN: usize = 16;
/// Copies that Garage's documentation names ("replication_factor").
const REPLICAS: std::ops::RangeInclusive<u8> = 1..=7;

/// Settings of Garage. Its data is on the node's `data`, which must be a file system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Garage {
    /// 64 hexadecimal digits, the same on every node of the cluster: `openssl rand -hex 32`.
    pub rpc_secret: Secret,
    /// What the administrator's programs say to the node, at least 16 letters and digits.
    pub admin_token: Secret,
    /// Copies of each object, on as many nodes; the same on every node, and it cannot be changed later. Default: 3.
    #[serde(default = "replicas")]
    pub replicas: u8,
    /// This node's address for the other nodes. Default: Garage chooses one of the node's addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Other nodes to connect to at start, each as `ID@HOST:PORT`. A node remembers all that it has met.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<String>,
    /// Address for S3, on port 3900. Default: every address of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<IpAddr>,
    /// Whether others than the node itself reach the administrator's API and the metrics, on port 3903. Default: no.
    #[serde(default)]
    pub admin_api: bool,
    /// Name of the region that S3 clients must give. Default: `garage`.
    #[serde(default = "region")]
    pub region: String,
}

fn replicas() -> u8 {
    3
}

fn region() -> String {
    "garage".to_owned()
}

impl Section for Garage {
    fn check(&self, node: &Common<'_>, found: &mut Vec<Problem>) {
        let here = |key: &str, message: String| problem(["garage", key], message);
        let kept = is_kept(self.rpc_secret.expose());
        if !kept && !is_hexadecimal(self.rpc_secret.expose()) {
            found.push(here("rpc_secret", format!("{DIGITS} hexadecimal digits are required: openssl rand -hex 32")));
        }
        let token = self.admin_token.expose();
        // RFC 6750, section 2.1: what a bearer token is made of.
        let bearer = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if !is_kept(token) && (token.len() < SHORTEST_TOKEN || !token.bytes().all(bearer)) {
            let message = format!("at least {SHORTEST_TOKEN} letters, digits and -._~+/= are required");
            found.push(here("admin_token", message));
        }
        if !REPLICAS.contains(&self.replicas) {
            found.push(here("replicas", format!("{} is not between 1 and 7", self.replicas)));
        }
        if let Some(address) = self.address {
            if address.is_unspecified() || address.is_loopback() {
                found.push(here("address", format!("other nodes cannot reach this one at {address}")));
            }
            found.extend(listen::check_address(&["garage", "address"], address, node.network).err());
        }
        for (at, peer) in self.peers.iter().enumerate() {
            let number = at.to_string();
            if let Err(message) = check_peer(peer) {
                found.push(problem(["garage", "peers", number.as_str()], message));
            }
        }
        if let Some(listen) = self.listen {
            found.extend(listen::check_address(&["garage", "listen"], listen, node.network).err());
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.region.is_empty() || self.region.len() > 63 || !self.region.bytes().all(plain) {
            found.push(here("region", "1 to 63 of a-z, 0-9 and - are required".to_owned()));
        }
        if !matches!(node.disks.data, DataKind::Xfs | DataKind::Ext4) {
            let message = "Garage keeps its objects on `data`: set data = \"xfs\" (or \"ext4\") under [disks]";
            found.push(problem(["garage"], message));
        }
    }
}

/// Garage reads the digits in either case, and prints them in lower case.
fn is_hexadecimal(text: &str) -> bool {
    text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// As `garage node id` prints it.
fn check_peer(peer: &str) -> Result<(), String> {
    let parts = peer.split_once('@').and_then(|(id, place)| Some((id, place.rsplit_once(':')?)));
    let Some((_, (host, port))) = parts.filter(|(id, _)| is_hexadecimal(id)) else {
        return Err(format!("{peer:?} is not ID@HOST:PORT, as `garage node id` prints it; 3901 is the usual port"));
    };
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(format!("{port:?} is not a port"));
    }
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = bracketed.map_or(host.parse::<Ipv4Addr>().is_ok(), |inner| inner.parse::<Ipv6Addr>().is_ok());
    if !address && !is_domain(host) {
        return Err(format!("{host:?} is neither a host name nor an address (an IPv6 address stands in brackets)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::node::NodeConfig;

    const HEAD: &str = "name = \"g1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[disks]\ndata = \"xfs\"\n";
    const SECRET: &str = "4425f5c26c5e11581d3223904324dcb5b5d5dfb14e5e7f35e38c595424f5f1e6";
    const TOKEN: &str = "correct-horse-battery";

    fn keys() -> String {
        format!("[garage]\nrpc_secret = \"{SECRET}\"\nadmin_token = \"{TOKEN}\"\n")
    }

    fn parse(head: &str, garage: &str) -> Result<NodeConfig, String> {
        NodeConfig::parse(format!("{head}{garage}\n").as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn two_secrets_are_enough_and_peers_are_as_garage_prints_them() {
        let garage = parse(HEAD, &keys()).unwrap().garage.unwrap();
        assert_eq!((garage.replicas, garage.region.as_str(), garage.admin_api), (3, "garage", false));
        for place in ["10.0.0.2:3901", "g2:3901", "g2.lan:3902", "[fd00::2]:3901"] {
            let text = format!("{}peers = [\"{SECRET}@{place}\"]", keys());
            assert_eq!(parse(HEAD, &text).unwrap().garage.unwrap().peers.len(), 1, "{place}");
        }
    }

    #[test]
    fn what_garage_would_refuse_is_refused_here() {
        let peer = |peer: &str| format!("{}peers = [\"{peer}\"]", keys());
        for (text, reason) in [
            (keys().replace(SECRET, "4425f5"), "64 hexadecimal digits"),
            (keys().replace(SECRET, &SECRET.replace('4', "g")), "64 hexadecimal digits"),
            (keys().replace(TOKEN, "short"), "at least 16"),
            (keys().replace(TOKEN, "one token and another"), "at least 16"),
            (keys().replace(TOKEN, "quoted\\\"and-more-of-it"), "at least 16"),
            (format!("{}replicas = 0", keys()), "not between 1 and 7"),
            (format!("{}replicas = 8", keys()), "not between 1 and 7"),
            (format!("{}address = \"10.0.0.9\"", keys()), "not one of this node's addresses"),
            (format!("{}address = \"127.0.0.1\"", keys()), "cannot reach this one"),
            (format!("{}listen = \"10.0.0.9\"", keys()), "not one of this node's addresses"),
            (format!("{}region = \"us east\"", keys()), "1 to 63 of a-z"),
            (peer("10.0.0.2:3901"), "is not ID@HOST:PORT"),
            (peer(&format!("{SECRET}@")), "is not ID@HOST:PORT"),
            (peer(&format!("{SECRET}@g2")), "is not ID@HOST:PORT"),
            (peer(&format!("{SECRET}@fd00::2:3901")), "in brackets"),
            (peer(&format!("{SECRET}@[g2]:3901")), "neither a host name"),
            (peer(&format!("{SECRET}@g2:0")), "is not a port"),
            (peer(&format!("{SECRET}@g 2:3901")), "neither a host name nor an address"),
        ] {
            let error = parse(HEAD, &text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
            assert!(!error.contains(SECRET) || text.contains("peers"), "a secret is shown: {error}");
        }
        let error = parse(&HEAD.replace("xfs", "lvm"), &keys()).unwrap_err();
        assert!(error.contains("keeps its objects on `data`"), "{error}");
    }
}
