//! What the network says of itself: written by the network's child, read by the console's page and by `nodectl`. No
//! secret is in it.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// All interfaces that the node config names, and the resolvers in use. As JSON at [`crate::names::NETWORK_REPORT`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkReport {
    pub interfaces: Vec<InterfaceReport>,
    pub resolvers: Vec<IpAddr>,
    /// NTP servers that leases named and that are used.
    #[serde(default)]
    pub time_servers: Vec<IpAddr>,
    /// Domains that are tried behind a short name, in order.
    #[serde(default)]
    pub search: Vec<String>,
    /// Default routes of the node config and of leases, those of IPv4 first, the ones that are used before others.
    #[serde(default)]
    pub defaults: Vec<DefaultRoute>,
}

/// A default route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultRoute {
    pub interface: String,
    /// Of IPv4; else of IPv6.
    pub four: bool,
    pub via: Option<IpAddr>,
    /// The lowest one is used.
    pub metric: u32,
    /// Whether packets go by it: of several, those whose ports have no link do not count.
    pub used: bool,
}

impl NetworkReport {
    /// Whether a node can be reached: an interface has a link and an address. A node that is configured without any
    /// counts as reachable.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.interfaces.is_empty()
            || self.interfaces.iter().any(|interface| interface.link && !interface.addresses.is_empty())
    }
}

/// One interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct InterfaceReport {
    pub name: String,
    pub present: bool,
    pub up: bool,
    /// Whether it has a link.
    pub link: bool,
    /// Bytes; 0 while it is not there.
    pub mtu: u32,
    pub mac: Option<String>,
    /// The bridge that it is a port of.
    pub bridge: Option<String>,
    pub addresses: Vec<IpNet>,
    pub lease: Option<LeaseReport>,
    /// What servers of IPv6 have given.
    #[serde(default)]
    pub leases6: Vec<Lease6Report>,
    pub wireguard: Option<WireGuardReport>,
    /// What failed.
    pub trouble: Option<String>,
}

/// A DHCP lease in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseReport {
    pub address: Ipv4Net,
    pub server: Ipv4Addr,
    /// Seconds since the node was switched on, at which it ends.
    pub until_s: u64,
}

/// An address (a net of 128 bits) or a delegated prefix, in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lease6Report {
    pub net: Ipv6Net,
    pub delegated: bool,
    pub server: Ipv6Addr,
    /// Seconds since the node was switched on, at which it ends; `None`: never.
    pub until_s: Option<u64>,
}

/// A WireGuard tunnel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WireGuardReport {
    pub public_key: String,
    pub port: u16,
    pub peers: Vec<PeerReport>,
}

/// A tunnel's peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerReport {
    pub public_key: String,
    pub endpoint: Option<SocketAddr>,
    /// Seconds since 1970, by the node's clock; `None`: there was none yet.
    pub handshake: Option<u64>,
    /// Bytes.
    pub received: u64,
    pub sent: u64,
}

impl std::fmt::Display for NetworkReport {
    /// A line for each fact, beginning with `link`, `lease`, `prefix`, `tunnel`, `peer`, `default`, `time server`, `resolver` or `search`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for interface in &self.interfaces {
            writeln!(f, "{}", line(interface))?;
            if let Some(lease) = &interface.lease {
                let LeaseReport { address, server, until_s } = lease;
                writeln!(f, "lease {} {address} from {server} until uptime {until_s} s", interface.name)?;
            }
            for Lease6Report { net, delegated, server, until_s } in &interface.leases6 {
                let name = &interface.name;
                match delegated {
                    true => write!(f, "prefix {name} {net}")?,
                    false => write!(f, "lease {name} {}", net.addr())?,
                }
                match until_s {
                    Some(until_s) => writeln!(f, " from {server} until uptime {until_s} s")?,
                    None => writeln!(f, " from {server} for good")?,
                }
            }
            if let Some(tunnel) = &interface.wireguard {
                writeln!(f, "tunnel {} public key {} port {}", interface.name, tunnel.public_key, tunnel.port)?;
                for peer in &tunnel.peers {
                    let endpoint = peer.endpoint.map_or("nowhere yet".to_owned(), |endpoint| endpoint.to_string());
                    let handshake = peer.handshake.map_or("none".to_owned(), |seconds| seconds.to_string());
                    writeln!(
                        f,
                        "peer {} of {} at {endpoint} handshake {handshake} received {} sent {}",
                        peer.public_key, interface.name, peer.received, peer.sent
                    )?;
                }
            }
        }
        for route in &self.defaults {
            let DefaultRoute { interface, via, metric, used, .. } = route;
            let via = via.map_or_else(String::new, |via| format!(" via {via}"));
            writeln!(f, "default {interface}{via} metric {metric} {}", if *used { "used" } else { "not used" })?;
        }
        self.time_servers.iter().try_for_each(|server| writeln!(f, "time server {server}"))?;
        self.resolvers.iter().try_for_each(|resolver| writeln!(f, "resolver {resolver}"))?;
        self.search.iter().try_for_each(|domain| writeln!(f, "search {domain}"))
    }
}

fn line(interface: &InterfaceReport) -> String {
    let mut text = format!("link {}", interface.name);
    if !interface.present {
        text.push_str(" not there");
    } else {
        text.push_str(match (interface.up, interface.link) {
            (false, _) => " down",
            (true, false) => " no link",
            (true, true) => " up",
        });
        let _ = write!(text, " mtu {}", interface.mtu);
    }
    if let Some(mac) = &interface.mac {
        let _ = write!(text, " mac {mac}");
    }
    if let Some(bridge) = &interface.bridge {
        let _ = write!(text, " port of {bridge}");
    }
    for address in &interface.addresses {
        let _ = write!(text, " {address}");
    }
    if let Some(trouble) = &interface.trouble {
        let _ = write!(text, " trouble: {trouble}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fact_is_a_line() {
        let report = NetworkReport {
            interfaces: vec![InterfaceReport {
                name: "wg0".to_owned(),
                present: true,
                up: true,
                link: true,
                mtu: 1420,
                addresses: vec!["10.9.0.1/24".parse().unwrap()],
                leases6: [("2001:db8::5/128", Some(90)), ("2001:db8:1::/56", None)]
                    .map(|(net, until_s)| Lease6Report {
                        net: net.parse().unwrap(),
                        delegated: until_s.is_none(),
                        server: "fe80::1".parse().unwrap(),
                        until_s,
                    })
                    .to_vec(),
                wireguard: Some(WireGuardReport {
                    public_key: "A=".to_owned(),
                    port: 51_820,
                    peers: vec![PeerReport {
                        public_key: "B=".to_owned(),
                        endpoint: Some("10.0.0.2:51820".parse().unwrap()),
                        handshake: None,
                        received: 1,
                        sent: 2,
                    }],
                }),
                ..InterfaceReport::default()
            }],
            resolvers: vec!["10.0.0.53".parse().unwrap()],
            time_servers: vec!["10.0.0.123".parse().unwrap()],
            search: vec!["rack.lan".to_owned()],
            defaults: [("eth0", 1024, true), ("eth1", 1025, false)]
                .map(|(name, metric, used)| DefaultRoute {
                    interface: name.to_owned(),
                    four: true,
                    via: "10.0.0.2".parse().ok(),
                    metric,
                    used,
                })
                .to_vec(),
        };
        assert_eq!(
            report.to_string(),
            "link wg0 up mtu 1420 10.9.0.1/24\nlease wg0 2001:db8::5 from fe80::1 until uptime 90 s\n\
             prefix wg0 2001:db8:1::/56 from fe80::1 for good\ntunnel wg0 public key A= port 51820\n\
             peer B= of wg0 at 10.0.0.2:51820 handshake none received 1 sent 2\n\
             default eth0 via 10.0.0.2 metric 1024 used\ndefault eth1 via 10.0.0.2 metric 1025 not used\n\
             time server 10.0.0.123\nresolver 10.0.0.53\nsearch rack.lan\n"
        );
        let back: NetworkReport = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(back, report);
    }
}
