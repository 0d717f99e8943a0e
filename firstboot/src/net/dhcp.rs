//! DHCP for IPv4 (RFC 2131) by mozim: a task an interface keeps a lease in the shared [`Leases`]; putting it on the
//! interface is the reconciling loop's.
//!
//! mozim hears no refusals (DHCPNAK). So when a renewal stays without an answer for [`UNANSWERED`], a lease is asked for
//! anew beside it, while the old one stays in use: the first that comes counts.

use super::route::WantedRoute;
use ipnet::{IpNet, Ipv4Net};
use mozim::{DhcpV4Client, DhcpV4Config, DhcpV4Lease, DhcpV4State};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

/// Routes by DHCP come after static ones.
const METRIC: u32 = 1024;
/// Time between two tries after an error.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// How long a renewal may stay unanswered.
const UNANSWERED: Duration = Duration::from_secs(5);
/// One try to get a lease: mozim waits longer and longer between its questions, up to 64 s, and a server that is back
/// should not have to wait for that.
const ONE_TRY: Duration = Duration::from_secs(14);

/// What a lease gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    pub address: Ipv4Net,
    pub routes: Vec<WantedRoute>,
    pub dns: Vec<IpAddr>,
    pub search: Vec<String>,
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

    /// Seconds left.
    #[must_use]
    pub fn left_s(&self, now: Instant) -> u32 {
        u32::try_from(self.until.saturating_duration_since(now).as_secs()).unwrap_or(u32::MAX - 1)
    }
}

/// The last lease of each interface; one that is over stays here and counts as none.
#[derive(Debug, Default)]
pub struct Leases(BTreeMap<String, Lease>);

impl Leases {
    #[must_use]
    pub fn of(&self, interface: &str) -> Option<&Lease> {
        self.0.get(interface)
    }

    /// When the next one ends.
    #[must_use]
    pub fn next_end(&self, now: Instant) -> Option<Instant> {
        self.0.values().map(|lease| lease.until).filter(|&until| until > now).min()
    }

    #[cfg(test)]
    pub fn with(interface: &str, lease: Lease) -> Leases {
        Leases(BTreeMap::from([(interface.to_owned(), lease)]))
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
    /// Rung when the lease has changed.
    pub bell: Rc<Notify>,
    /// `None` while the interface is not there, is down, or has no link.
    pub cable: watch::Receiver<Option<Cable>>,
}

/// Keeps a lease for ever.
pub async fn keep(mut task: Task) {
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
            () = hold(&mut task, &cable) => {}
            changed = cable_rx.wait_for(|now| now.as_ref() != Some(&other)) => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Gets a lease and keeps it, on one cable.
async fn hold(task: &mut Task, cable: &Cable) {
    let mut client = acquire(task, cable).await;
    loop {
        // mozim returns when it has begun to renew, to rebind, to begin again, or when it has a lease.
        let state = client.run().await;
        match state {
            Ok(DhcpV4State::Done(lease)) => {
                if !task.accept(&lease) {
                    client = acquire(task, cable).await;
                }
            }
            Ok(DhcpV4State::Renewing | DhcpV4State::Rebinding) => {
                let anew = async {
                    sleep(UNANSWERED).await;
                    acquire(task, cable).await
                };
                let renewed = tokio::select! {
                    state = client.run() => Err(state),
                    other = anew => Ok(other),
                };
                match renewed {
                    Ok(other) => client = other,
                    Err(Ok(DhcpV4State::Done(lease))) if task.accept(&lease) => {}
                    Err(_) => client = acquire(task, cable).await,
                }
            }
            // The lease has ended, or mozim cannot go on.
            Ok(DhcpV4State::InitReboot | DhcpV4State::Selecting) => client = acquire(task, cable).await,
            Err(error) => {
                println!("{}: DHCP: {error}", task.name);
                sleep(RETRY_EVERY).await;
                client = acquire(task, cable).await;
            }
        }
    }
}

/// Asks until there is a lease; gives the client that has it.
async fn acquire(task: &Task, cable: &Cable) -> DhcpV4Client {
    let mut last_error = String::new();
    loop {
        match timeout(ONE_TRY, ask(task, cable)).await {
            Ok(Ok((client, lease))) if task.accept(&lease) => return client,
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error != last_error => {
                println!("{}: DHCP: {error}; trying again", task.name);
                last_error = error;
            }
            Ok(Err(_)) | Err(_) => {}
        }
        sleep(RETRY_EVERY).await;
    }
}

async fn ask(task: &Task, cable: &Cable) -> Result<(DhcpV4Client, Box<DhcpV4Lease>), String> {
    let mut config = DhcpV4Config::new(&task.name);
    config.set_iface_index(cable.index).set_iface_mac(&cable.mac).map_err(|error| error.to_string())?;
    config.use_mac_as_client_id().set_host_name(&task.host_name);
    let mut client = DhcpV4Client::init(config, None).await.map_err(|error| error.to_string())?;
    loop {
        if let DhcpV4State::Done(lease) = client.run().await.map_err(|error| error.to_string())? {
            return Ok((client, lease));
        }
    }
}

impl Task {
    /// Takes a lease into use, and tells if it is another one. `false` when it cannot be used.
    fn accept(&self, lease: &DhcpV4Lease) -> bool {
        let offer = match offer(lease) {
            Ok(offer) => offer,
            Err(error) => {
                println!("{}: DHCP: {error}", self.name);
                return false;
            }
        };
        let until = Instant::now() + Duration::from_secs(lease.lease_time_sec.into());
        let mut leases = self.leases.borrow_mut();
        let before = leases.0.insert(self.name.clone(), Lease { offer: offer.clone(), until });
        let before = before.filter(|before| before.in_force(Instant::now()).is_some());
        match before.map(|before| before.offer) {
            Some(before) if before == offer => {}
            Some(before) if before.address != offer.address => {
                println!("{}: lease of {} in place of {}", self.name, offer.address, before.address);
            }
            _ => println!("{}: lease of {} from {}", self.name, offer.address, offer.server),
        }
        self.bell.notify_one();
        true
    }
}

/// What a server's answer means. It comes from outside: nothing in it is taken for granted.
pub fn offer(lease: &DhcpV4Lease) -> Result<Offer, String> {
    let address = Ipv4Net::with_netmask(lease.yiaddr, lease.subnet_mask)
        .map_err(|_| format!("the server offers the net mask {}", lease.subnet_mask))?;
    if lease.yiaddr.is_unspecified() || lease.yiaddr.is_loopback() || lease.yiaddr.is_multicast() {
        return Err(format!("the server offers the address {}", lease.yiaddr));
    }
    let route = |to: Ipv4Net, gateway: Ipv4Addr| WantedRoute {
        to: IpNet::V4(to.trunc()),
        via: (!gateway.is_unspecified()).then_some(IpAddr::V4(gateway)),
        on_link: !gateway.is_unspecified() && !address.contains(&gateway),
        metric: METRIC,
        dhcp: true,
    };
    // RFC 3442: with classless routes the router option does not count.
    let mut routes: Vec<WantedRoute> = match (&lease.classless_routes, &lease.gateways) {
        (Some(classless), _) => classless
            .iter()
            .filter_map(|given| Some(route(Ipv4Net::new(given.destination, given.prefix_length).ok()?, given.router)))
            .collect(),
        (None, Some(gateways)) => gateways.first().map(|&by| route(Ipv4Net::default(), by)).into_iter().collect(),
        (None, None) => Vec::new(),
    };
    // What is on the link must be there before what goes through it.
    routes.sort_by_key(|route| route.via.is_some());
    routes.dedup_by_key(|route| route.to);
    let dns = lease.dns_srvs.iter().flatten().map(|&address| IpAddr::V4(address)).collect();
    let search = lease.domain_name.iter().filter(|name| contract::node::is_domain(name)).cloned().collect();
    Ok(Offer { address, routes, dns, search, server: lease.srv_id })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> DhcpV4Lease {
        let mut lease = DhcpV4Lease::default();
        lease.yiaddr = Ipv4Addr::new(10, 0, 2, 15);
        lease.subnet_mask = Ipv4Addr::new(255, 255, 255, 0);
        lease.gateways = Some(vec![Ipv4Addr::new(10, 0, 2, 2), Ipv4Addr::new(10, 0, 2, 3)]);
        lease.dns_srvs = Some(vec![Ipv4Addr::new(10, 0, 2, 3)]);
        lease.domain_name = Some("rack.lan".to_owned());
        lease
    }

    #[test]
    fn a_lease_gives_an_address_the_first_gateway_and_resolvers() {
        let offer = offer(&lease()).unwrap();
        assert_eq!(offer.address.to_string(), "10.0.2.15/24");
        let [route] = offer.routes.as_slice() else { panic!("{offer:?}") };
        assert_eq!((route.to.to_string(), route.via), ("0.0.0.0/0".into(), Some(IpAddr::from([10, 0, 2, 2]))));
        assert!(!route.on_link && route.metric == 1024 && route.dhcp);
        assert_eq!((offer.dns, offer.search), (vec![IpAddr::from([10, 0, 2, 3])], vec!["rack.lan".to_owned()]));
    }

    #[test]
    fn a_gateway_outside_the_net_is_taken_to_be_on_the_link() {
        let mut lease = lease();
        lease.subnet_mask = Ipv4Addr::BROADCAST;
        assert!(offer(&lease).unwrap().routes.iter().all(|route| route.on_link));
    }

    #[test]
    fn an_impossible_lease_is_refused() {
        let mut odd_mask = lease();
        odd_mask.subnet_mask = Ipv4Addr::new(255, 0, 255, 0);
        let mut loopback = lease();
        loopback.yiaddr = Ipv4Addr::LOCALHOST;
        for lease in [odd_mask, loopback, DhcpV4Lease::default()] {
            assert!(offer(&lease).is_err(), "{lease:?}");
        }
    }

    #[test]
    fn a_domain_that_would_break_the_resolvers_file_is_left_out() {
        let mut lease = lease();
        lease.domain_name = Some("a\nnameserver 6.6.6.6".to_owned());
        assert_eq!(offer(&lease).unwrap().search, Vec::<String>::new());
    }
}
