//! The wanted state: from the node config and the current leases.

use super::dhcp::{self, Leases};
use super::dhcp6::Leases6;
use super::life::Life;
use super::route::WantedRoute;
use super::subnets::{self, Subnets};
use contract::node::{Interface, Network};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::BTreeMap;
use std::net::IpAddr;
use tokio::time::Instant;

/// What servers have given, and where prefixes go.
#[derive(Clone, Copy, Debug)]
pub struct Learnt<'l> {
    pub leases: &'l Leases,
    pub leases6: &'l Leases6,
    pub subnets: &'l Subnets,
}

/// Everything, each interface behind those that it is on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    pub links: Vec<WantedLink>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct WantedLink {
    pub name: String,
    pub made: Option<Made>,
    pub mtu: Option<u32>,
    /// The bridge that it is a port of.
    pub port_of: Option<String>,
    /// Whether router advertisements are taken.
    pub advertisements: bool,
    pub addresses: Vec<WantedAddress>,
    pub routes: Vec<WantedRoute>,
    pub lease: WantedLease,
    /// The same for IPv6; where a part of a prefix goes, whether there was one.
    pub lease6: WantedLease,
    /// Why it cannot have what node.toml says.
    pub trouble: Option<String>,
    /// How its default routes stand to those of other ports; `None`: it can have none, or it is the only one that can.
    pub uplink: Option<u32>,
}

/// MTU of an Ethernet port that nobody set, in bytes.
const ETHERNET_MTU: u32 = 1500;

/// Whether an interface is to have a lease, and how far that has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WantedLease {
    #[default]
    NotAsked,
    /// It has had none yet.
    Pending,
    InForce,
    Over,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Made {
    Vlan { on: String, id: u16 },
    Bridge { stp: bool },
    WireGuard,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WantedAddress {
    pub net: IpNet,
    pub life: Life,
}

/// The default route of the gateway's family.
fn default_of(gateway: IpAddr) -> IpNet {
    match gateway {
        IpAddr::V4(_) => Ipv4Net::default().into(),
        IpAddr::V6(_) => Ipv6Net::default().into(),
    }
}

/// All interfaces that are named, those that others are on included.
#[must_use]
pub fn wanted(network: &Network, learnt: Learnt<'_>, now: Instant) -> Wanted {
    let mut links: BTreeMap<String, (WantedLink, Vec<String>)> = BTreeMap::new();
    let uplinks = network.interfaces().values().filter(|interface| has_default(interface)).count();
    // Each port that learns its routes has a metric of its own, in the order of their names: the kernel has one IPv4 route
    // for a net and a metric, and the routes of two ports would replace each other for ever.
    let mut next = dhcp::METRIC;
    for (name, interface) in network.interfaces() {
        let name = name.as_str();
        let metric = interface.metric.unwrap_or(next);
        next += u32::from(learns(interface));
        let mut link = one(name, interface, learnt.leases, now, metric);
        take_six(&mut link, interface, learnt, now);
        link.uplink = (has_default(interface) && (uplinks > 1 || interface.metric.is_some())).then_some(metric);
        links.insert(name.to_owned(), (link, below(interface)));
    }
    for (name, interface) in network.interfaces() {
        for below in below(interface) {
            let named = WantedLink { name: below.clone(), ..WantedLink::default() };
            let (link, _) = links.entry(below).or_insert((named, Vec::new()));
            if interface.bridge.is_some() {
                link.port_of = Some(name.as_str().to_owned());
            }
        }
    }
    if let Some((loopback, _)) = links.get_mut("lo") {
        loopback.routes.extend(subnets::refused(learnt.subnets, learnt.leases6, now));
    }
    Wanted { links: ordered(links) }
}

/// Whether a port learns routes from others.
fn learns(interface: &Interface) -> bool {
    interface.dhcp || interface.takes_advertisements()
}

fn has_default(interface: &Interface) -> bool {
    learns(interface)
        || !interface.gateway.is_empty()
        || interface.routes.iter().any(|route| route.to.prefix_len() == 0)
}

fn below(interface: &Interface) -> Vec<String> {
    let vlan = interface.vlan.iter().map(|vlan| vlan.on.as_str().to_owned());
    let ports = interface.bridge.iter().flat_map(|bridge| &bridge.ports).map(|port| port.as_str().to_owned());
    vlan.chain(ports).collect()
}

/// Those that others are on first. The node config was checked: there is no loop, and one would only end the order.
fn ordered(mut links: BTreeMap<String, (WantedLink, Vec<String>)>) -> Vec<WantedLink> {
    let mut order: Vec<WantedLink> = Vec::new();
    while !links.is_empty() {
        let free = links.iter().find(|(_, (_, below))| !below.iter().any(|name| links.contains_key(name)));
        let Some(name) = free.or_else(|| links.iter().next()).map(|(name, _)| name.clone()) else { break };
        order.extend(links.remove(&name).map(|(link, _)| link));
    }
    order
}

/// What DHCPv6 brings to an interface: its own address, and a part of another one's prefix.
fn take_six(link: &mut WantedLink, interface: &Interface, learnt: Learnt<'_>, now: Instant) {
    let state = |known: bool, in_force: bool| match (known, in_force) {
        (false, _) => WantedLease::Pending,
        (true, true) => WantedLease::InForce,
        (true, false) => WantedLease::Over,
    };
    if interface.takes_advertisements() {
        let lease = learnt.leases6.of(&link.name);
        let held = lease.into_iter().flat_map(|lease| &lease.addresses).filter(|held| held.in_force(now));
        let mut any = false;
        for held in held {
            any = true;
            let net = IpNet::V6(held.value.into());
            let (preferred_s, valid_s) = held.left_s(now);
            if !interface.addresses.contains(&net) {
                link.addresses.push(WantedAddress { net, life: Life::Leased { preferred_s, valid_s } });
            }
        }
        link.lease6 = state(lease.is_some(), any);
    }
    if let Some(subnet) = learnt.subnets.get(link.name.as_str()) {
        let parts = subnets::parts(subnet, learnt.leases6, now);
        link.lease6 = state(learnt.leases6.of(subnet.from.as_str()).is_some(), !parts.is_empty());
        for part in parts {
            match part {
                Ok((net, life)) => link.addresses.push(WantedAddress { net, life }),
                Err(trouble) => link.trouble = Some(trouble),
            }
        }
    }
}

/// `metric` is that of routes by DHCP.
fn one(name: &str, interface: &Interface, leases: &Leases, now: Instant, metric: u32) -> WantedLink {
    let vlan = interface.vlan.as_ref().map(|vlan| Made::Vlan { on: vlan.on.as_str().to_owned(), id: vlan.id });
    let bridge = interface.bridge.as_ref().map(|bridge| Made::Bridge { stp: bridge.stp });
    let wireguard = interface.wireguard.as_ref().map(|_| Made::WireGuard);
    let last_lease = leases.of(name);
    let lease = last_lease.and_then(|lease| lease.in_force(now));
    let mut addresses: Vec<WantedAddress> =
        interface.addresses.iter().map(|&net| WantedAddress { net, life: Life::Fixed }).collect();
    let fixed = |to, via, metric| WantedRoute { to, via, metric, on_link: false, dhcp: false, unreachable: false };
    let mut routes: Vec<WantedRoute> = interface
        .gateway
        .iter()
        .map(|&gateway| fixed(default_of(gateway), Some(gateway), interface.metric.unwrap_or(0)))
        .collect();
    routes.extend(interface.routes.iter().map(|route| fixed(route.to, route.via, route.metric)));
    if let Some(lease) = lease {
        let net = IpNet::V4(lease.offer.address);
        if !interface.addresses.contains(&net) {
            let left_s = Some(lease.left_s(now));
            addresses.push(WantedAddress { net, life: Life::Leased { preferred_s: left_s, valid_s: left_s } });
        }
        routes.extend(lease.offer.routes.iter().map(|route| WantedRoute { metric, ..*route }));
    }
    // What a lease once set is set back when none says it any more.
    let by_lease = lease.and_then(|lease| lease.offer.mtu);
    let set_back = || leases.had_mtu(name).then_some(ETHERNET_MTU);
    // Behind a tunnel there is what its peers may send, but for what its own nets say already.
    let peers = interface.wireguard.iter().flat_map(|wireguard| &wireguard.peers);
    for &net in peers.flat_map(|peer| &peer.allowed).filter(|net| net.prefix_len() > 0) {
        let said =
            interface.addresses.iter().any(|own| own.contains(&net)) || routes.iter().any(|route| route.to == net);
        if !said {
            routes.push(fixed(net, None, 0));
        }
    }
    WantedLink {
        name: name.to_owned(),
        made: vlan.or(bridge).or(wireguard),
        mtu: interface.mtu.or(by_lease).or_else(set_back),
        port_of: None,
        advertisements: interface.takes_advertisements(),
        addresses,
        routes,
        lease: match (interface.dhcp, last_lease, lease) {
            (false, ..) => WantedLease::NotAsked,
            (true, None, _) => WantedLease::Pending,
            (true, Some(_), Some(_)) => WantedLease::InForce,
            (true, Some(_), None) => WantedLease::Over,
        },
        lease6: WantedLease::NotAsked,
        trouble: None,
        uplink: None,
    }
}
