//! DHCP for IPv4 (RFC 2131): a task an interface keeps a lease in the shared [`Leases`]; putting it on the interface is the
//! reconciling loop's.
//!
//! When a renewal is refused or stays without an answer, a lease is asked for anew, while the old one stays in use until
//! there is another one or its time is over.
//!
//! - here leases and what they give · [`client`] the conversation · [`socket`] its wire · [`message`] bytes · [`answer`] what
//!   they mean, [`search`] for domains

mod answer;
mod client;
mod message;
mod search;
mod socket;

pub use search::valid as valid_names;

use super::random::unguessable;
use super::route::WantedRoute;
use super::said::{Said, say_once};
use super::sysfs::hardware;
use answer::{Answer, ClasslessRoute};
use client::{Client, Pace, Renewal};
use ipnet::{IpNet, Ipv4Net};
use message::Reply;
use socket::Link;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until};

/// Routes by DHCP come after static ones; each port has a metric of its own from here on.
pub const METRIC: u32 = 1024;
/// Most resolvers of a lease: the C library asks three, and no server has more than a few.
const RESOLVERS: usize = 6;
/// Shortest prefix of a net that a server may have: no site has more than one part in 256 of all addresses.
const SHORTEST_PREFIX: u8 = 8;
/// Time between two tries after an error.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// How long an answer is waited for. A server that is back should not have to wait for the RFC's 64 s.
const PACE: Pace = Pace { first: Duration::from_millis(2500), longest: Duration::from_secs(10) };
/// A lease is not renewed more often, whatever its server says.
const LEAST: Duration = Duration::from_secs(1);

/// What a lease gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub address: Ipv4Net,
    pub routes: Vec<WantedRoute>,
    pub dns: Vec<IpAddr>,
    pub search: Vec<String>,
    pub time_servers: Vec<IpAddr>,
    /// Bytes.
    pub mtu: Option<u32>,
    pub server: Ipv4Addr,
}

/// A lease, in force until its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub offer: Offer,
    pub until: Instant,
}

impl Lease {
    /// Itself, unless it is over.
    #[must_use]
    pub fn in_force(&self, now: Instant) -> Option<&Lease> {
        (now < self.until).then_some(self)
    }

    /// Seconds left, at least one: the kernel takes no address whose time is over.
    #[must_use]
    pub fn left_s(&self, now: Instant) -> u32 {
        u32::try_from(self.until.saturating_duration_since(now).as_secs()).unwrap_or(u32::MAX - 1).max(1)
    }
}

/// The last lease of each interface; one that is over stays here and counts as none.
#[derive(Debug, Default)]
pub struct Leases {
    last: BTreeMap<String, Lease>,
    /// Interfaces whose MTU was once set by a lease.
    mtu: BTreeSet<String>,
}

impl Leases {
    #[must_use]
    pub fn of(&self, interface: &str) -> Option<&Lease> {
        self.last.get(interface)
    }

    /// Whether the MTU of an interface was once a lease's, and is to be set back when no lease says one.
    #[must_use]
    pub fn had_mtu(&self, interface: &str) -> bool {
        self.mtu.contains(interface)
    }

    /// Takes a lease; gives the one before.
    fn put(&mut self, interface: &str, lease: Lease) -> Option<Lease> {
        if lease.offer.mtu.is_some() {
            self.mtu.insert(interface.to_owned());
        }
        self.last.insert(interface.to_owned(), lease)
    }

    /// When the next one ends.
    #[must_use]
    pub fn next_end(&self, now: Instant) -> Option<Instant> {
        self.last.values().map(|lease| lease.until).filter(|&until| until > now).min()
    }

    #[cfg(test)]
    pub fn with(interface: &str, lease: Lease) -> Leases {
        let mut leases = Leases::default();
        leases.put(interface, lease);
        leases
    }

    #[cfg(test)]
    pub fn and(mut self, interface: &str, lease: Lease) -> Leases {
        self.put(interface, lease);
        self
    }
}

/// The interface as its task sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cable {
    pub index: u32,
    pub mac: String,
}

/// What a task shares with the loop.
pub struct Task {
    pub name: String,
    pub host_name: Rc<str>,
    pub leases: Rc<RefCell<Leases>>,
    /// Addresses that the node config gives to ports, and which.
    pub fixed: Rc<[(String, IpAddr)]>,
    /// Rung when the lease has changed.
    pub bell: Rc<Notify>,
    /// What was said of useless answers and of what was left out of others.
    pub said: Said,
    /// `None` while the interface is not there, is down, or has no link.
    pub cable: watch::Receiver<Option<Cable>>,
}

/// Keeps a lease for ever.
pub async fn keep(task: Task) {
    let mut cable_rx = task.cable.clone();
    let mut before = false;
    loop {
        let Ok(cable) = cable_rx.wait_for(Option::is_some).await.map(|cable| cable.clone()) else { return };
        let Some(cable) = cable else { continue };
        if before {
            // After a pulled cable there may be another net. The old lease stays in use until there is another one.
            println!("{}: the link is back; asking for a new lease", task.name);
        }
        before = true;
        let other = cable.clone();
        tokio::select! {
            () = hold(&task, &cable) => {}
            changed = cable_rx.wait_for(|now| now.as_ref() != Some(&other)) => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// What is known of a lease that is in force: its server's address, and when to ask for more time.
struct Bound {
    own: Ipv4Addr,
    server: Ipv4Addr,
    renew_at: Instant,
}

/// Gets a lease and keeps it, on one cable.
async fn hold(task: &Task, cable: &Cable) {
    loop {
        let mut bound = match acquire(task, cable).await {
            Ok(bound) => bound,
            Err(error) => {
                task.refuse(format!("{error}; trying again"));
                sleep(RETRY_EVERY).await;
                continue;
            }
        };
        loop {
            sleep_until(bound.renew_at).await;
            match renew(task, cable, &bound).await {
                Ok(Renewal::Renewed(renewed)) => bound = renewed,
                Ok(Renewal::Refused) => {
                    println!(
                        "{}: DHCP: {} takes {} back; asking for a new lease",
                        task.name, bound.server, bound.own
                    );
                    break;
                }
                Ok(Renewal::Unanswered) => break,
                Err(error) => {
                    task.refuse(format!("the lease cannot be renewed: {error}"));
                    break;
                }
            }
        }
    }
}

/// Asks until there is a lease.
async fn acquire(task: &Task, cable: &Cable) -> Result<Bound, String> {
    let (client, link) = (task.client(cable)?, Link::open(cable.index)?);
    let mut judge = |reply: &Reply| task.judge(reply);
    let (reply, bound) = client.acquire(&link, unguessable, &mut judge).await.map_err(|error| error.to_string())?;
    task.accept(&reply);
    Ok(bound)
}

async fn renew(task: &Task, cable: &Cable, bound: &Bound) -> Result<Renewal<Bound>, String> {
    let client = task.client(cable)?;
    let link = Link::open(cable.index)?.towards(&task.name, bound.own, bound.server).await;
    let mut judge = |reply: &Reply| task.judge(reply);
    let renewal =
        client.renew(&link, unguessable(), bound.own, &mut judge).await.map_err(|error| error.to_string())?;
    Ok(match renewal {
        Renewal::Renewed((reply, bound)) => {
            task.accept(&reply);
            Renewal::Renewed(bound)
        }
        Renewal::Refused => Renewal::Refused,
        Renewal::Unanswered => Renewal::Unanswered,
    })
}

/// An answer that can be used.
struct Usable {
    offer: Offer,
    times: answer::Times,
    at: Instant,
}

impl Task {
    fn client(&self, cable: &Cable) -> Result<Client<'_>, String> {
        let mac = hardware(&cable.mac)
            .ok_or_else(|| format!("the hardware address {} is not one of Ethernet", cable.mac))?;
        Ok(Client { mac, host_name: &self.host_name, pace: PACE })
    }

    /// Says what is wrong with a server's answer, once.
    fn refuse(&self, why: String) {
        say_once(&self.said, format_args!("{}: DHCP", self.name), why);
    }

    /// What an answer gives; `None` when it is useless.
    fn judge(&self, reply: &Reply) -> Option<((Usable, Bound), Ipv4Addr)> {
        let usable = Answer::of(reply).and_then(|answer| {
            let offer = offer(&answer)?;
            of_another(&self.name, answer.address, &self.fixed, &self.leases.borrow(), Instant::now())?;
            answer.notes.iter().for_each(|note| self.refuse(format!("{}: {note}", answer.server)));
            Ok((offer, answer))
        });
        match usable {
            Ok((offer, answer)) => {
                let at = Instant::now();
                let server = answer.server;
                let renew_at = at + answer.times.renew.max(LEAST);
                let bound = Bound { own: answer.address, server, renew_at };
                Some(((Usable { offer, times: answer.times, at }, bound), server))
            }
            Err(why) => {
                self.refuse(why);
                None
            }
        }
    }

    /// Takes a lease into use, and tells if it is another one.
    fn accept(&self, usable: &Usable) {
        let offer = &usable.offer;
        let lease = Lease { offer: offer.clone(), until: usable.at + usable.times.lease };
        let before = self.leases.borrow_mut().put(&self.name, lease);
        let before = before.filter(|before| before.in_force(Instant::now()).is_some());
        match before.map(|before| before.offer) {
            Some(before) if before == *offer => {}
            Some(before) if before.address != offer.address => {
                println!("{}: lease of {} in place of {}", self.name, offer.address, before.address);
            }
            _ => println!("{}: lease of {} from {}", self.name, offer.address, offer.server),
        }
        self.bell.notify_one();
    }
}

/// What a server's answer means. It comes from outside: nothing in it is taken for granted.
pub fn offer(answer: &Answer) -> Result<Offer, String> {
    let own = answer.address;
    let address = Ipv4Net::new(own, answer.prefix_length()?).map_err(|error| error.to_string())?;
    if address.prefix_len() < SHORTEST_PREFIX {
        return Err(format!("the server offers the net mask {}, of more than a site can have", address.netmask()));
    }
    let of_the_net = address.prefix_len() < 31 && [address.network(), address.broadcast()].contains(&own);
    let [first, ..] = own.octets();
    if first == 0 || own.is_loopback() || own.is_multicast() || own.is_broadcast() || of_the_net {
        return Err(format!("the server offers the address {address}, which no host can have"));
    }
    let route = |to: Ipv4Net, gateway: Ipv4Addr| WantedRoute {
        to: IpNet::V4(to.trunc()),
        via: (!gateway.is_unspecified()).then_some(IpAddr::V4(gateway)),
        on_link: !gateway.is_unspecified() && !address.contains(&gateway),
        metric: METRIC,
        dhcp: true,
        unreachable: false,
    };
    let classless = |given: &ClasslessRoute| {
        Some(route(Ipv4Net::new(given.destination, given.prefix_length).ok()?, given.router))
    };
    // RFC 3442: with classless routes the router option does not count.
    let mut routes: Vec<WantedRoute> = match &answer.routes {
        Some(given) => given.iter().filter_map(classless).collect(),
        None => answer.gateways.first().map(|&by| route(Ipv4Net::default(), by)).into_iter().collect(),
    };
    // What is on the link must be there before what goes through it.
    routes.sort_by_key(|route| route.via.is_some());
    routes.dedup_by_key(|route| route.to);
    let addresses = |list: &[Ipv4Addr]| list.iter().map(|&address| IpAddr::V4(address)).collect();
    Ok(Offer {
        address,
        routes,
        dns: addresses(answer.resolvers.get(..RESOLVERS).unwrap_or(&answer.resolvers)),
        search: answer.search.clone(),
        time_servers: addresses(&answer.time_servers),
        mtu: answer.mtu.map(u32::from),
        server: answer.server,
    })
}

/// Refuses an address that another port of this node has.
fn of_another(
    name: &str,
    address: Ipv4Addr,
    fixed: &[(String, IpAddr)],
    leases: &Leases,
    now: Instant,
) -> Result<(), String> {
    let fixed = fixed.iter().find(|(_, own)| *own == address).map(|(port, _)| port);
    let leased = leases.last.iter().find(|(port, lease)| {
        port.as_str() != name && lease.in_force(now).is_some_and(|lease| lease.offer.address.addr() == address)
    });
    match fixed.or(leased.map(|(port, _)| port)) {
        Some(other) if other != name => {
            Err(format!("the server offers the address {address}, which {other} of this node has"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
pub mod tests;
