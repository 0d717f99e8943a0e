//! Requests to the kernel's network side (rtnetlink(7)), by number of the interface.

use futures::TryStreamExt as _;
use ipnet::IpNet;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::route::{RouteMessage, RouteProtocol};
use rtnetlink::{Error, Handle, LinkUnspec, RouteMessageBuilder};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The connection.
#[derive(Clone, Debug)]
pub struct Kernel(Handle);

/// A route of an interface through a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to; of the gateway's family.
    pub to: IpNet,
    /// Through whom; unspecified when the destination is on the link.
    pub gateway: IpAddr,
    /// The gateway is reachable although it is in none of the interface's nets.
    pub on_link: bool,
    /// The lower one is taken.
    pub metric: u32,
    /// Learnt by DHCP.
    pub dhcp: bool,
}

impl Route {
    /// The default route, as the node config states it.
    #[must_use]
    pub fn default_by(gateway: IpAddr) -> Route {
        let to = match gateway {
            IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
        };
        Route { to, gateway, on_link: false, metric: 0, dhcp: false }
    }

    fn message(&self, index: u32) -> RouteMessage {
        let protocol = if self.dhcp { RouteProtocol::Dhcp } else { RouteProtocol::Static };
        match (self.to, self.gateway) {
            (IpNet::V6(to), IpAddr::V6(gateway)) => {
                let mut builder = RouteMessageBuilder::<Ipv6Addr>::new()
                    .destination_prefix(to.network(), to.prefix_len())
                    .output_interface(index)
                    .protocol(protocol);
                if !gateway.is_unspecified() {
                    builder = builder.gateway(gateway);
                }
                if self.metric > 0 {
                    builder = builder.priority(self.metric);
                }
                if self.on_link { builder.onlink().build() } else { builder.build() }
            }
            (to, gateway) => {
                let to = if let IpNet::V4(to) = to { to } else { ipnet::Ipv4Net::default() };
                let mut builder = RouteMessageBuilder::<Ipv4Addr>::new()
                    .destination_prefix(to.network(), to.prefix_len())
                    .output_interface(index)
                    .protocol(protocol);
                match gateway {
                    IpAddr::V4(gateway) if !gateway.is_unspecified() => builder = builder.gateway(gateway),
                    _ => builder = builder.scope(rtnetlink::packet_route::route::RouteScope::Link),
                }
                if self.metric > 0 {
                    builder = builder.priority(self.metric);
                }
                if self.on_link { builder.onlink().build() } else { builder.build() }
            }
        }
    }
}

impl Kernel {
    /// Opens the connection; its task ends with the runtime.
    ///
    /// # Errors
    /// When the socket cannot be opened.
    pub fn open() -> std::io::Result<Kernel> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Kernel(handle))
    }

    /// Brings an interface up, with another MTU (bytes) if one is given.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn up(&self, index: u32, mtu: Option<u32>) -> Result<(), Error> {
        let mut link = LinkUnspec::new_with_index(index);
        if let Some(mtu) = mtu {
            link = link.mtu(mtu);
        }
        self.0.link().set(link.up().build()).execute().await
    }

    /// Adds an address, or confirms it.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn add_address(&self, index: u32, address: IpNet) -> Result<(), Error> {
        self.0.address().add(index, address.addr(), address.prefix_len()).replace().execute().await
    }

    /// Removes an address; one that is not there is no error.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn remove_address(&self, index: u32, address: IpNet) -> Result<(), Error> {
        for (found, message) in self.addresses(index).await? {
            if found == address {
                self.0.address().del(message).execute().await?;
            }
        }
        Ok(())
    }

    /// Removes the addresses that somebody gave the interface for good and that are not in `wanted`: left by an earlier
    /// run of this program. What the kernel made by itself stays.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn remove_others(&self, index: u32, wanted: &[IpNet]) -> Result<(), Error> {
        for (found, message) in self.addresses(index).await? {
            let by_kernel = match found {
                IpNet::V6(net) => net.addr().is_unicast_link_local(),
                IpNet::V4(_) => false,
            };
            let permanent = message.header.flags.contains(AddressHeaderFlags::Permanent);
            if permanent && !by_kernel && !wanted.contains(&found) {
                self.0.address().del(message).execute().await?;
            }
        }
        Ok(())
    }

    async fn addresses(&self, index: u32) -> Result<Vec<(IpNet, AddressMessage)>, Error> {
        let messages: Vec<AddressMessage> =
            self.0.address().get().set_link_index_filter(index).execute().try_collect().await?;
        let net = |message: &AddressMessage| {
            // On a point-to-point link `Address` is the peer; `Local` is always one's own.
            let own = |attribute: &AddressAttribute| match attribute {
                AddressAttribute::Local(address) => Some((0, *address)),
                AddressAttribute::Address(address) => Some((1, *address)),
                _ => None,
            };
            let (_, address) = message.attributes.iter().filter_map(own).min_by_key(|(rank, _)| *rank)?;
            IpNet::new(address, message.header.prefix_len).ok()
        };
        Ok(messages.into_iter().filter_map(|message| Some((net(&message)?, message))).collect())
    }

    /// Adds a route, or puts it in the place of one with the same destination and metric.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn add_route(&self, index: u32, route: &Route) -> Result<(), Error> {
        self.0.route().add(route.message(index)).replace().execute().await
    }

    /// Removes a route; one that is not there is no error.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn remove_route(&self, index: u32, route: &Route) -> Result<(), Error> {
        match self.0.route().del(route.message(index)).execute().await {
            Err(Error::NetlinkError(error)) if error.raw_code() == -libc::ESRCH => Ok(()),
            other => other,
        }
    }

    /// All routes of the main table, those of IPv4 first.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn routes(&self) -> Result<Vec<RouteMessage>, Error> {
        let main =
            |route: &RouteMessage| route.header.table == rtnetlink::packet_route::route::RouteHeader::RT_TABLE_MAIN;
        let four = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let six = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let mut routes: Vec<RouteMessage> = self.0.route().get(four).execute().try_collect().await?;
        routes.extend(self.0.route().get(six).execute().try_collect::<Vec<_>>().await?);
        routes.retain(main);
        Ok(routes)
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
