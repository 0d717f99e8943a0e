//! What the network says of itself: interfaces with their leases, default routes, tunnels, and the names that servers and routers
//! have told.

use super::advertised::Advertised;
use super::dhcp::{Lease, Leases};
use super::dhcp6::Leases6;
use super::seen::{Address, Link, Seen};
use super::wanted::{Wanted, WantedLink};
use super::wireguard::Tunnel;
use contract::network::{
    DefaultRoute, InterfaceReport, Lease6Report, LeaseReport, NetworkReport, PeerReport, WireGuardReport,
};
use contract::node::{Interface, Network};
use ipnet::Ipv6Net;
use std::cell::Ref;
use std::collections::BTreeMap;
use std::net::IpAddr;
use tokio::time::Instant;

/// Everything that is told of, at one time.
pub struct Facts<'f> {
    pub network: &'f Network,
    pub leases: Ref<'f, Leases>,
    pub leases6: Ref<'f, Leases6>,
    pub advertised: Ref<'f, Advertised>,
    /// What could not be done, by interface.
    pub troubles: &'f BTreeMap<String, String>,
    /// Whether time servers of leases are used.
    pub take_time_servers: bool,
    pub wanted: &'f Wanted,
    pub seen: &'f Seen,
    pub tunnels: &'f BTreeMap<String, Tunnel>,
    pub now: Instant,
}

/// Puts what is new behind what is there.
fn add<T: PartialEq>(list: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    for one in more {
        if !list.contains(&one) {
            list.push(one);
        }
    }
}

impl Facts<'_> {
    /// `links` gets on which interface a resolver is whose address is of the link.
    pub fn report(&self, links: &mut BTreeMap<IpAddr, String>) -> NetworkReport {
        let mut report = NetworkReport { defaults: defaults(self.seen), ..NetworkReport::default() };
        for want in self.wanted.links.iter().filter(|want| want.name != "lo" || !want.addresses.is_empty()) {
            // The operator's resolvers replace those of the lease.
            let own = self.interface(&want.name).map_or(&[][..], |interface| &interface.dns);
            if own.is_empty() {
                let given = self.resolvers(&want.name);
                let of_link = |address: &&IpAddr| matches!(address, IpAddr::V6(six) if six.is_unicast_link_local());
                links.extend(given.iter().filter(of_link).map(|address| (*address, want.name.clone())));
                add(&mut report.resolvers, given);
            } else {
                add(&mut report.resolvers, own.iter().copied());
            }
            if self.take_time_servers {
                add(&mut report.time_servers, self.time_servers(&want.name));
            }
            report.interfaces.push(self.interface_report(want));
        }
        report.interfaces.sort_by(|a, b| a.name.cmp(&b.name));
        report.search = self.search();
        report
    }

    fn interface(&self, name: &str) -> Option<&Interface> {
        let mut named = self.network.interfaces().iter();
        named.find_map(|(key, interface)| (key.as_str() == name).then_some(interface))
    }

    fn lease(&self, name: &str) -> Option<&Lease> {
        self.leases.of(name).and_then(|lease| lease.in_force(self.now))
    }

    fn resolvers(&self, name: &str) -> Vec<IpAddr> {
        let mut found = Vec::new();
        add(&mut found, self.lease(name).into_iter().flat_map(|lease| lease.offer.dns.iter().copied()));
        let six = self.leases6.names(name, self.now).flat_map(|names| &names.resolvers);
        add(&mut found, six.map(|address| IpAddr::from(*address)));
        if let Some(link) = self.seen.link(name) {
            add(&mut found, self.advertised.resolvers(link.index, self.now).into_iter().map(IpAddr::from));
        }
        found
    }

    fn time_servers(&self, name: &str) -> Vec<IpAddr> {
        let mut found = Vec::new();
        add(&mut found, self.lease(name).into_iter().flat_map(|lease| lease.offer.time_servers.iter().copied()));
        let six = self.leases6.names(name, self.now).flat_map(|names| &names.time_servers);
        add(&mut found, six.map(|address| IpAddr::from(*address)));
        found
    }

    /// Domains to search, each once, in the order of the interfaces.
    fn search(&self) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for (name, interface) in self.network.interfaces() {
            if !interface.search.is_empty() {
                add(&mut found, interface.search.iter().cloned());
                continue;
            }
            let name = name.as_str();
            add(&mut found, self.lease(name).into_iter().flat_map(|lease| lease.offer.search.iter().cloned()));
            add(&mut found, self.leases6.names(name, self.now).flat_map(|names| names.search.iter().cloned()));
            if let Some(link) = self.seen.link(name) {
                add(&mut found, self.advertised.domains(link.index, self.now));
            }
        }
        found
    }

    fn interface_report(&self, want: &WantedLink) -> InterfaceReport {
        let link = self.seen.link(&want.name);
        let here = |address: &&Address| link.is_some_and(|link| link.index == address.index);
        let shown = |address: &&Address| {
            let own = address.net.addr();
            let link_local = matches!(own, IpAddr::V6(six) if six.is_unicast_link_local());
            here(address) && !link_local && !own.is_loopback()
        };
        let lease = self.lease(&want.name).map(|lease| LeaseReport {
            address: lease.offer.address,
            server: lease.offer.server,
            until_s: uptime_s() + u64::from(lease.left_s(self.now)),
        });
        let duplicate = self
            .seen
            .addresses
            .iter()
            .filter(here)
            .find(|address| address.duplicate)
            .map(|address| format!("{} is in use by another host on the link", address.net.addr()));
        let trouble = self.troubles.get(&want.name).cloned().or(duplicate).or_else(|| want.trouble.clone());
        InterfaceReport {
            name: want.name.clone(),
            present: link.is_some(),
            up: link.is_some_and(|link| link.up),
            link: link.is_some_and(|link| link.carrier),
            mtu: link.map_or(0, |link| link.mtu),
            mac: link.and_then(|link: &Link| link.mac.clone()),
            bridge: want.port_of.clone(),
            addresses: self.seen.addresses.iter().filter(shown).map(|address| address.net).collect(),
            lease,
            leases6: self.leases6(&want.name),
            wireguard: self.tunnels.get(&want.name).map(tunnel_report),
            trouble,
        }
    }

    fn leases6(&self, name: &str) -> Vec<Lease6Report> {
        let Some(lease) = self.leases6.of(name) else { return Vec::new() };
        let (now, server) = (self.now, lease.server);
        let until = |left: Option<u32>| left.map(|seconds| uptime_s() + u64::from(seconds));
        let addresses = lease.addresses.iter().filter(|held| held.in_force(now)).map(|held| Lease6Report {
            net: Ipv6Net::from(held.value),
            delegated: false,
            server,
            until_s: until(held.left_s(now).1),
        });
        let prefixes = lease.prefixes.iter().filter(|held| held.in_force(now)).map(|held| Lease6Report {
            net: held.value,
            delegated: true,
            server,
            until_s: until(held.left_s(now).1),
        });
        addresses.chain(prefixes).collect()
    }
}

fn uptime_s() -> u64 {
    let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec;
    u64::try_from(uptime).unwrap_or(0)
}

/// The default routes that the node config and leases brought, and which of them the kernel takes: of each family the one
/// with the lowest metric whose port has a link.
fn defaults(seen: &Seen) -> Vec<DefaultRoute> {
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
fn tunnel_report(tunnel: &Tunnel) -> WireGuardReport {
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
