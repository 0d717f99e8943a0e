//! What the kernel has: interfaces, their addresses, and routes, as plain values.

use super::sysfs;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressProtocol};
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The whole of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub links: Vec<Link>,
    pub addresses: Vec<Address>,
    pub routes: Vec<Route>,
}

/// An interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub kind: Kind,
    pub up: bool,
    pub carrier: bool,
    /// Bytes.
    pub mtu: u32,
    /// Number of the bridge that it is a port of.
    pub controller: Option<u32>,
    /// Hardware address.
    pub mac: Option<String>,
    /// Its setting for router advertisements (`net.ipv6.conf.NAME.accept_ra`).
    pub accept_ra: Option<u8>,
}

/// What an interface is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A port, or something else that no one here makes.
    Port,
    Vlan {
        /// Number of the interface whose frames these are.
        on: u32,
        id: u16,
    },
    Bridge,
    WireGuard,
}

/// An address on an interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    pub index: u32,
    pub net: IpNet,
    /// It came from the kernel itself: link-local, loopback, or by router advertisement.
    pub by_kernel: bool,
    /// Seconds until it is used for nothing new, and until it goes by itself; `None`: never.
    pub preferred_s: Option<u32>,
    pub valid_s: Option<u32>,
    /// It is not known yet to be no one else's, or it is known to be (RFC 4862, section 5.4): nothing may use it.
    pub in_doubt: bool,
    /// It is known to be somebody else's.
    pub duplicate: bool,
}

/// A route of the main table to one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    pub index: u32,
    pub to: IpNet,
    /// `None`: on the link.
    pub via: Option<IpAddr>,
    /// As the kernel keeps it: never 0 for IPv6.
    pub metric: u32,
    /// Learnt by DHCP.
    pub dhcp: bool,
    /// The gateway is taken to be on the link although no address says so. Not told by the kernel; see [`Route::same`].
    pub on_link: bool,
    /// What goes there is refused; the interface is the loopback one.
    pub unreachable: bool,
}

impl Route {
    /// Whether two are the same to the kernel.
    #[must_use]
    pub fn same(&self, other: &Route) -> bool {
        Route { on_link: false, ..*self } == Route { on_link: false, ..*other }
    }
}

/// Mark of an address that a server gave (`IFA_PROTO`; the kernel's own are below it, linux/if_addr.h): the number of DHCP among
/// routes (linux/rtnetlink.h, `RTPROT_DHCP`).
pub const BY_DHCP: u8 = 16;

/// Metric that the kernel gives an IPv6 route without one (linux/ipv6_route.h, `IP6_RT_PRIO_USER`).
pub const IPV6_METRIC: u32 = 1024;

impl Seen {
    /// The interface of this name.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }
}

impl Link {
    #[must_use]
    pub fn of(message: &LinkMessage) -> Option<Link> {
        let flags = message.header.flags;
        let mut link = Link {
            index: message.header.index,
            name: String::new(),
            kind: Kind::Port,
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            mtu: 0,
            controller: None,
            mac: None,
            accept_ra: None,
        };
        let (mut below, mut id, mut kind) = (0, 0, None);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name.clone_from(name),
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::Controller(index) => link.controller = (*index != 0).then_some(*index),
                LinkAttribute::Link(index) => below = *index,
                LinkAttribute::Address(bytes) if bytes.len() == 6 => {
                    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                    link.mac = Some(bytes.join(":"));
                }
                LinkAttribute::LinkInfo(infos) => {
                    for info in infos {
                        match info {
                            LinkInfo::Kind(found) => kind = Some(found.clone()),
                            LinkInfo::Data(InfoData::Vlan(data)) => {
                                let found = data.iter().find_map(|info| match info {
                                    InfoVlan::Id(id) => Some(*id),
                                    _ => None,
                                });
                                id = found.unwrap_or(id);
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        link.kind = match kind {
            Some(InfoKind::Vlan) => Kind::Vlan { on: below, id },
            Some(InfoKind::Bridge) => Kind::Bridge,
            Some(InfoKind::Wireguard) => Kind::WireGuard,
            _ => Kind::Port,
        };
        link.accept_ra = sysfs::accept_ra(&link.name);
        (!link.name.is_empty()).then_some(link)
    }
}

impl Address {
    #[must_use]
    pub fn of(message: &AddressMessage) -> Option<Address> {
        let (mut own, mut preferred_s, mut valid_s, mut by_kernel) = (None, None, None, false);
        let mut ours = false;
        for attribute in &message.attributes {
            match attribute {
                // On a point-to-point link `Address` is the peer; `Local` is always one's own.
                AddressAttribute::Local(address) => own = Some(*address),
                AddressAttribute::Address(address) => own = own.or(Some(*address)),
                AddressAttribute::CacheInfo(info) => {
                    preferred_s = Some(info.ifa_preferred).filter(|&seconds| seconds != u32::MAX);
                    valid_s = Some(info.ifa_valid).filter(|&seconds| seconds != u32::MAX);
                }
                AddressAttribute::Protocol(protocol) => {
                    by_kernel |= !matches!(protocol, AddressProtocol::Other(_));
                    ours |= u8::from(*protocol) == BY_DHCP;
                }
                _ => {}
            }
        }
        let net = IpNet::new(own?, message.header.prefix_len).ok()?;
        let six = matches!(net, IpNet::V6(_));
        let duplicate = message.header.flags.contains(AddressHeaderFlags::Dadfailed);
        let in_doubt = duplicate || message.header.flags.contains(AddressHeaderFlags::Tentative);
        let permanent = message.header.flags.contains(AddressHeaderFlags::Permanent);
        // Before protocols were told (Linux 5.18) these were the marks.
        by_kernel |= net.addr().is_loopback()
            || (six && !permanent && !ours)
            || matches!(net, IpNet::V6(net) if net.addr().is_unicast_link_local());
        Some(Address { index: message.header.index, net, by_kernel, preferred_s, valid_s, in_doubt, duplicate })
    }
}

impl Route {
    /// `None` for routes that are none of ours: another kind, several hops, another protocol.
    #[must_use]
    pub fn of(message: &RouteMessage) -> Option<Route> {
        let header = &message.header;
        let dhcp = match header.protocol {
            RouteProtocol::Static => false,
            RouteProtocol::Dhcp => true,
            _ => return None,
        };
        let unreachable = header.kind == RouteType::Unreachable;
        if header.kind != RouteType::Unicast && !unreachable {
            return None;
        }
        let six = header.address_family == rtnetlink::packet_route::AddressFamily::Inet6;
        let none: IpAddr = if six { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let (mut to, mut via, mut index, mut metric) = (none, None, None, 0);
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => to = plain(address)?,
                RouteAttribute::Gateway(address) => via = Some(plain(address)?),
                RouteAttribute::Oif(number) => index = Some(*number),
                RouteAttribute::Priority(number) => metric = *number,
                _ => {}
            }
        }
        let to = IpNet::new(to, header.destination_prefix_length).ok()?;
        Some(Route { index: index?, to, via, metric, dhcp, on_link: false, unreachable })
    }
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}
