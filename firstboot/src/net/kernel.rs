//! Requests to the kernel's network side (rtnetlink(7)), by number of the interface.

use super::life::Life;
use super::plan::{Make, Step};
use super::seen::{Address, BY_DHCP, Link, Route, Seen};
use super::sysfs;
use futures::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol, CacheInfo};
use rtnetlink::packet_route::link::{BridgeStpState, LinkMessage};
use rtnetlink::packet_route::route::{RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType};
use rtnetlink::{
    Error, Handle, LinkBridge, LinkUnspec, LinkVlan, LinkWireguard, MulticastGroup, RouteMessageBuilder,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use tokio::sync::Notify;

/// The connection.
#[derive(Clone, Debug)]
pub struct Kernel(Handle);

/// What can happen to interfaces and addresses. Not routes: on a router a table of BGP routes comes and goes.
const GROUPS: [MulticastGroup; 3] = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];

impl Kernel {
    /// Opens the connection; its task ends with the runtime.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn open() -> std::io::Result<Kernel> {
        // With strict checks the kernel itself picks out the routes that are asked for.
        let (connection, handle, _) = rtnetlink::new_connection_with_strict_check()?;
        tokio::spawn(connection);
        Ok(Kernel(handle))
    }

    /// Rings `bell` at every change that the kernel tells of, until the runtime ends.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn listen(bell: Rc<Notify>) -> std::io::Result<()> {
        use futures::StreamExt as _;
        let (connection, _, mut messages) = rtnetlink::new_multicast_connection(&GROUPS)?;
        tokio::spawn(connection);
        tokio::task::spawn_local(async move {
            while messages.next().await.is_some() {
                bell.notify_one();
            }
        });
        Ok(())
    }

    /// Everything that is there now.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn snapshot(&self) -> Result<Seen, Error> {
        let links: Vec<LinkMessage> = self.0.link().get().execute().try_collect().await?;
        let addresses: Vec<AddressMessage> = self.0.address().get().execute().try_collect().await?;
        let mut routes = self.routes_by(RouteProtocol::Static, RouteType::Unicast).await?;
        routes.extend(self.routes_by(RouteProtocol::Dhcp, RouteType::Unicast).await?);
        routes.extend(self.routes_by(RouteProtocol::Dhcp, RouteType::Unreachable).await?);
        Ok(Seen {
            links: links.iter().filter_map(Link::of).collect(),
            addresses: addresses.iter().filter_map(Address::of).collect(),
            routes: routes.iter().filter_map(Route::of).collect(),
        })
    }

    /// Takes one step.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn take(&self, step: &Step) -> Result<(), Error> {
        let set = |message| self.0.link().set(message).execute();
        match step {
            Step::Make { name, make } => {
                let message = match make {
                    Make::Vlan { on, id } => LinkVlan::new(name, *on, *id).build(),
                    Make::Bridge { stp } => {
                        let state = if *stp { BridgeStpState::KernelStp } else { BridgeStpState::Disabled };
                        LinkBridge::new(name).stp_state(state).build()
                    }
                    Make::WireGuard => LinkWireguard::new(name).build(),
                };
                self.0.link().add(message).execute().await
            }
            Step::Unmake { index, .. } => self.0.link().del(*index).execute().await,
            Step::Advertisements { name, take } => {
                sysfs::set_accept_ra(name, *take);
                Ok(())
            }
            Step::Mtu { index, mtu, .. } => set(LinkUnspec::new_with_index(*index).mtu(*mtu).build()).await,
            Step::Join { index, controller, .. } => {
                let link = LinkUnspec::new_with_index(*index);
                set(controller
                    .map_or(link.nocontroller(), |to| LinkUnspec::new_with_index(*index).controller(to))
                    .build())
                .await
            }
            Step::Up { index, .. } => set(LinkUnspec::new_with_index(*index).up().build()).await,
            Step::AddAddress { index, net, life } => {
                // When an address gets an end, the kernel gives its route a wrong one, which counts as long over; with the next
                // change it is right (net/ipv6/addrconf.c, `modify_prefix_route`; seen with Linux 6.18).
                if net.addr().is_ipv6() && matches!(life, Life::Leased { .. }) {
                    self.add_address(*index, *net, *life).await?;
                }
                self.add_address(*index, *net, *life).await
            }
            Step::RemoveAddress { index, net } => self.remove_address(*index, *net).await,
            Step::AddRoute(route) => self.0.route().add(message(route)).replace().execute().await,
            Step::RemoveRoute(route) => match self.0.route().del(message(route)).execute().await {
                Err(Error::NetlinkError(error)) if error.raw_code() == -libc::ESRCH => Ok(()),
                other => other,
            },
        }
    }

    /// Adds an address, or gives the one that is there another life.
    async fn add_address(&self, index: u32, net: IpNet, life: Life) -> Result<(), Error> {
        let mut request = self.0.address().add(index, net.addr(), net.prefix_len()).replace();
        let attributes = &mut request.message_mut().attributes;
        if let Life::Leased { preferred_s, valid_s } = life {
            // The kernel takes it away in time even when no one is there to do it.
            let mut info = CacheInfo::default();
            info.ifa_valid = valid_s.unwrap_or(u32::MAX);
            info.ifa_preferred = preferred_s.unwrap_or(u32::MAX).min(info.ifa_valid);
            attributes.push(AddressAttribute::CacheInfo(info));
        }
        if life != Life::Fixed {
            attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(BY_DHCP)));
        }
        request.execute().await
    }

    /// Gives an interface an address for so many seconds, or for so many more. No connection of IPv6 begins from it unless asked to
    /// (a preferred lifetime of zero: RFC 4862, section 5.5.4).
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn lend_address(&self, index: u32, net: IpNet, valid_s: u32) -> Result<(), Error> {
        let mut request = self.0.address().add(index, net.addr(), net.prefix_len()).replace();
        let mut info = CacheInfo::default();
        info.ifa_valid = valid_s;
        info.ifa_preferred = if net.addr().is_ipv4() { valid_s } else { 0 };
        request.message_mut().attributes.push(AddressAttribute::CacheInfo(info));
        request.execute().await
    }

    /// The addresses of an interface.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn addresses(&self, index: u32) -> Result<Vec<IpNet>, Error> {
        let found: Vec<AddressMessage> =
            self.0.address().get().set_link_index_filter(index).execute().try_collect().await?;
        Ok(found.iter().filter_map(Address::of).map(|address| address.net).collect())
    }

    /// Takes an address from an interface, if it has it.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn remove_address(&self, index: u32, net: IpNet) -> Result<(), Error> {
        let messages: Vec<AddressMessage> =
            self.0.address().get().set_link_index_filter(index).execute().try_collect().await?;
        for message in messages {
            if Address::of(&message).is_some_and(|found| found.net == net) {
                self.0.address().del(message).execute().await?;
            }
        }
        Ok(())
    }

    /// All routes of the main table, those of IPv4 first.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn routes(&self) -> Result<Vec<RouteMessage>, Error> {
        self.routes_by(RouteProtocol::Unspec, RouteType::Unspec).await
    }

    async fn routes_by(&self, protocol: RouteProtocol, kind: RouteType) -> Result<Vec<RouteMessage>, Error> {
        let mut routes = Vec::new();
        let four = RouteMessageBuilder::<Ipv4Addr>::new().protocol(protocol).kind(kind).build();
        let six = RouteMessageBuilder::<Ipv6Addr>::new().protocol(protocol).kind(kind).build();
        for question in [four, six] {
            match self.0.route().get(question).execute().try_collect::<Vec<_>>().await {
                Ok(found) => routes.extend(found),
                // A table that nothing was ever put into is not there.
                Err(Error::NetlinkError(error)) if error.raw_code() == -libc::ENOENT => {}
                Err(error) => return Err(error),
            }
        }
        routes.retain(|route| route.header.table == RouteHeader::RT_TABLE_MAIN);
        Ok(routes)
    }
}

fn message(route: &Route) -> RouteMessage {
    let protocol = if route.dhcp { RouteProtocol::Dhcp } else { RouteProtocol::Static };
    macro_rules! common {
        ($builder:expr) => {{
            let mut builder = $builder.output_interface(route.index).protocol(protocol);
            if route.metric > 0 {
                builder = builder.priority(route.metric);
            }
            if route.on_link { builder.onlink() } else { builder }
        }};
    }
    match route.to {
        IpNet::V4(to) => {
            let builder = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to.network(), to.prefix_len());
            let builder = common!(builder);
            match route.via {
                Some(IpAddr::V4(via)) => builder.gateway(via).build(),
                _ => builder.scope(RouteScope::Link).build(),
            }
        }
        IpNet::V6(to) => {
            let builder = RouteMessageBuilder::<Ipv6Addr>::new().destination_prefix(to.network(), to.prefix_len());
            let builder = common!(builder);
            match route.via {
                Some(IpAddr::V6(via)) => builder.gateway(via).build(),
                _ if route.unreachable => builder.kind(RouteType::Unreachable).build(),
                _ => builder.build(),
            }
        }
    }
}

/// The kernel's answer in plain words.
#[must_use]
pub fn plain(error: &Error) -> String {
    match error {
        Error::NetlinkError(message) => {
            std::io::Error::from_raw_os_error(message.raw_code().saturating_abs()).to_string()
        }
        other => other.to_string(),
    }
}
