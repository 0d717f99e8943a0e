//! The tasks that ask servers for leases, one of each family for an interface: what each is to do now follows from what is
//! configured, what the kernel shows, and what routers say.

use super::advertised::Advertised;
use super::dhcp::{self, Cable, Leases};
use super::dhcp6::{self, Leases6, Order, own_id};
use super::seen::{Link, Seen};
use super::subnets::{self, Subnets};
use super::sysfs;
use contract::node::{Interface, InterfaceName, Network};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// All of them.
pub struct Clients {
    host_name: Rc<str>,
    pub leases: Rc<RefCell<Leases>>,
    pub leases6: Rc<RefCell<Leases6>>,
    pub subnets: Subnets,
    bell: Rc<Notify>,
    cables: BTreeMap<String, watch::Sender<Option<Cable>>>,
    orders: BTreeMap<String, watch::Sender<Option<Order>>>,
    /// What the node calls itself to servers of IPv6, once it has a port.
    own_id: Option<Rc<[u8]>>,
}

impl Clients {
    pub fn new(host_name: Rc<str>, subnets: Subnets, bell: Rc<Notify>) -> Clients {
        Clients {
            host_name,
            leases: Rc::default(),
            leases6: Rc::default(),
            subnets,
            bell,
            cables: BTreeMap::new(),
            orders: BTreeMap::new(),
            own_id: None,
        }
    }

    /// When the next lease ends.
    pub fn next_end(&self, now: Instant) -> Option<Instant> {
        let ends = [self.leases.borrow().next_end(now), self.leases6.borrow().next_end(now)];
        ends.into_iter().flatten().min()
    }

    /// Gives each client its interface, or takes it away from it.
    pub fn lead(&mut self, network: &Network, seen: &Seen, advertised: &Advertised) {
        let of = |(name, interface): (&InterfaceName, &Interface)| {
            let own = interface.addresses.iter().map(|net| (name.as_str().to_owned(), net.addr()));
            own.collect::<Vec<_>>()
        };
        let fixed: Rc<[(String, IpAddr)]> = network.interfaces().iter().flat_map(of).collect();
        for (name, interface) in network.interfaces() {
            let link = seen.link(name.as_str()).filter(|link| link.up && link.carrier);
            if interface.dhcp {
                self.lead_four(name.as_str(), link, &fixed);
            }
            self.lead_six(name.as_str(), interface, link, seen, advertised, &fixed);
        }
    }

    fn lead_four(&mut self, name: &str, link: Option<&Link>, fixed: &Rc<[(String, IpAddr)]>) {
        let cable = link.and_then(|link| {
            let mac = link.mac.clone()?;
            Some(Cable { index: link.index, mac })
        });
        let sender = self.cables.entry(name.to_owned()).or_insert_with(|| {
            let (sender, receiver) = watch::channel(None);
            tokio::task::spawn_local(dhcp::keep(dhcp::Task {
                name: name.to_owned(),
                host_name: Rc::clone(&self.host_name),
                leases: Rc::clone(&self.leases),
                fixed: Rc::clone(fixed),
                bell: Rc::clone(&self.bell),
                said: RefCell::default(),
                cable: receiver,
            }));
            sender
        });
        tell(sender, cable);
    }

    fn lead_six(
        &mut self,
        name: &str,
        interface: &Interface,
        link: Option<&Link>,
        seen: &Seen,
        advertised: &Advertised,
        fixed: &Rc<[(String, IpAddr)]>,
    ) {
        let prefix = subnets::length(&self.subnets, name);
        if !interface.takes_advertisements() && prefix.is_none() {
            return;
        }
        let order = link.and_then(|link| self.order(name, prefix, link, seen, advertised));
        if self.own_id.is_none() {
            let mac = sysfs::first_ethernet().map(|(_, mac)| mac).or_else(|| link.and_then(|link| link.mac.clone()));
            self.own_id = mac.and_then(|mac| own_id(&mac)).map(Into::into);
        }
        // Most links have no server: there is no task until there is something to do.
        let Some(own_id) = self.own_id.clone().filter(|_| order.is_some() || self.orders.contains_key(name)) else {
            return;
        };
        if link.is_none() {
            self.leases6.borrow_mut().forget_information(name);
        }
        let sender = self.orders.entry(name.to_owned()).or_insert_with(|| {
            let (sender, receiver) = watch::channel(None);
            tokio::task::spawn_local(dhcp6::keep(dhcp6::Task {
                name: name.to_owned(),
                host_name: Rc::clone(&self.host_name),
                own_id,
                leases: Rc::clone(&self.leases6),
                fixed: Rc::clone(fixed),
                bell: Rc::clone(&self.bell),
                said: RefCell::default(),
                order: receiver,
                unit: Duration::from_secs(1),
            }));
            sender
        });
        tell(sender, order);
    }

    /// What is to be asked of servers of IPv6 on a link; `None` before the link's own address is certain.
    fn order(
        &self,
        name: &str,
        prefix: Option<u8>,
        link: &Link,
        seen: &Seen,
        advertised: &Advertised,
    ) -> Option<Order> {
        let own = || seen.addresses.iter().filter(|address| address.index == link.index);
        let six = |address: IpAddr| match address {
            IpAddr::V6(six) => Some(six),
            IpAddr::V4(_) => None,
        };
        let local = own().filter(|address| !address.in_doubt).filter_map(|address| six(address.net.addr()));
        let local = local.filter(Ipv6Addr::is_unicast_link_local).min()?;
        let (managed, other) = (advertised.managed(link.index), advertised.other(link.index));
        let wanted = dhcp6::Wanted { address: managed, prefix };
        // With an address come names, too.
        let information = other && !managed;
        if wanted == dhcp6::Wanted::default() && !information {
            return None;
        }
        let doubles = own().filter(|address| address.duplicate).filter_map(|address| six(address.net.addr()));
        let leases = self.leases6.borrow();
        let leased = |address: &Ipv6Addr| {
            leases.of(name).is_some_and(|lease| lease.addresses.iter().any(|held| held.value == *address))
        };
        let duplicates: BTreeSet<Ipv6Addr> = doubles.filter(leased).collect();
        Some(Order { index: link.index, local, wanted, information, duplicates })
    }
}

fn tell<T: PartialEq>(sender: &watch::Sender<Option<T>>, order: Option<T>) {
    sender.send_if_modified(|now| {
        let changed = *now != order;
        *now = order;
        changed
    });
}
