//! Parts of what the network says of itself: default routes and tunnels.

use super::seen::Seen;
use super::wireguard::Tunnel;
use contract::network::{DefaultRoute, PeerReport, WireGuardReport};

/// The default routes that the node config and leases brought, and which of them the kernel takes: of each family the one
/// with the lowest metric whose port has a link.
pub fn defaults(seen: &Seen) -> Vec<DefaultRoute> {
    let mut found: Vec<(bool, DefaultRoute)> = Vec::new();
    for route in seen.routes.iter().filter(|route| route.to.prefix_len() == 0) {
        let Some(link) = seen.links.iter().find(|link| link.index == route.index) else { continue };
        let (interface, metric) = (link.name.clone(), route.metric);
        let four = route.to.addr().is_ipv4();
        found.push((link.carrier, DefaultRoute { interface, four, via: route.via, metric, used: false }));
    }
    found.sort_by_key(|(carrier, route)| (!route.four, !carrier, route.metric, route.interface.clone()));
    let mut defaults: Vec<DefaultRoute> = found.into_iter().map(|(_, route)| route).collect();
    for four in [true, false] {
        if let Some(first) = defaults.iter_mut().find(|route| route.four == four) {
            first.used = true;
        }
    }
    defaults
}

/// A tunnel as it is told of.
pub fn tunnel_report(tunnel: &Tunnel) -> WireGuardReport {
    let peers = tunnel.peers.iter().map(|(key, peer)| PeerReport {
        public_key: key.to_string(),
        endpoint: peer.endpoint,
        handshake: u64::try_from(peer.handshake).ok().filter(|&seconds| seconds > 0),
        received: peer.received,
        sent: peer.sent,
    });
    WireGuardReport {
        public_key: tunnel.public_key.map(|key| key.to_string()).unwrap_or_default(),
        port: tunnel.port,
        peers: peers.collect(),
    }
}
