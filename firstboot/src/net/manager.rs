//! The loop that keeps the network as configured.

use super::advertised::{Advertised, Listener};
use super::board::Board;
use super::dhcp::{self, Cable, Leases};
use super::endpoints::{Names, There};
use super::job::NetworkJob;
use super::kernel::{Kernel, plain};
use super::plan::{Step, plan};
use super::report::{defaults, tunnel_report};
use super::seen::Seen;
use super::settled::{has_all, missing};
use super::sysfs;
use super::wanted::{Wanted, wanted};
use super::wireguard::{Tunnel, Tunnels};
use contract::network::{InterfaceReport, LeaseReport, NetworkReport};
use contract::node::{Endpoint, Interface, InterfaceName, Network, WireGuardKey};
use ipnet::IpNet;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

/// How long those that wait for the network wait for an interface that does not get what it should have.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long they wait for an interface that is not there at all: drivers were loaded before, and find their ports soon. One
/// that comes later is set up all the same.
const ABSENT_PATIENCE: Duration = Duration::from_secs(3);
/// How long they wait for a link, where no lease is needed.
const LINK_PATIENCE: Duration = Duration::from_secs(5);
/// Most rounds of looking and acting in a row; five are enough for a tunnel over a VLAN of a bridge.
const ROUNDS: usize = 12;
/// Shortest time between two checks, so that a storm of changes does not keep the node busy.
const BREATH: Duration = Duration::from_millis(50);
/// Time between two tries after an error, and between two checks when nothing happens.
const RETRY_EVERY: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Time between two checks while there are tunnels, whose handshakes no one tells of.
const TUNNEL_EVERY: Duration = Duration::from_secs(5);

/// Everything the loop knows.
struct Manager {
    network: Network,
    host_name: Rc<str>,
    kernel: Kernel,
    tunnels: Option<Tunnels>,
    names: Names,
    advertised: Rc<RefCell<Advertised>>,
    listener: Rc<Listener>,
    leases: Rc<RefCell<Leases>>,
    bell: Rc<Notify>,
    board: Board,
    cables: BTreeMap<String, watch::Sender<Option<Cable>>>,
    /// Addresses that were added here, by number of the interface, and the interfaces that were cleared of what an earlier
    /// run may have left. Others may add addresses of their own (a virtual one for a cluster, say): they stay.
    ours: BTreeSet<(u32, IpNet)>,
    cleared: BTreeSet<u32>,
    /// The last thing that could not be done, by interface.
    troubles: BTreeMap<String, String>,
    /// What was said of each interface's presence and link.
    said: BTreeMap<String, &'static str>,
    /// Ports whose default routes were put in order, by number.
    ordered: BTreeSet<u32>,
    /// Interfaces that were not there before either.
    absent: BTreeSet<String>,
    /// Whether time servers of leases are used.
    time_servers: bool,
    begin: Instant,
    ready: bool,
}

/// Keeps the network for ever.
///
/// # Errors
/// When the kernel cannot be talked to at all.
pub async fn manage(job: NetworkJob) -> std::io::Result<()> {
    let bell = Rc::new(Notify::new());
    Kernel::listen(Rc::clone(&bell))?;
    let advertised: Rc<RefCell<Advertised>> = Rc::default();
    let mut manager = Manager {
        network: job.network,
        host_name: job.host_name.into(),
        kernel: Kernel::open()?,
        tunnels: None,
        names: Names::default(),
        listener: Listener::start(Rc::clone(&advertised), Rc::clone(&bell)),
        advertised,
        leases: Rc::default(),
        bell,
        board: Board::new(std::env::var_os("NOTIFY_SOCKET").map(Into::into)),
        cables: BTreeMap::new(),
        ours: BTreeSet::new(),
        cleared: BTreeSet::new(),
        troubles: BTreeMap::new(),
        said: BTreeMap::new(),
        ordered: BTreeSet::new(),
        absent: job.absent,
        time_servers: job.time_servers,
        begin: Instant::now(),
        ready: false,
    };
    if manager.network.interfaces().is_empty() {
        manager.network = first_port().await;
    }
    manager.network.add_loopback();
    loop {
        let again = manager.turn().await;
        let bell = Rc::clone(&manager.bell);
        // What rings meanwhile is not lost: a notify keeps one ring.
        let _ = timeout(again, bell.notified()).await;
        sleep(BREATH).await;
    }
}

/// DHCP on the first Ethernet port, once there is one.
async fn first_port() -> Network {
    for turn in 0_u32.. {
        let named = sysfs::first_ethernet().and_then(|(name, _)| InterfaceName::try_from(name).ok());
        if let Some(name) = named {
            return Network::of(name, Interface { dhcp: true, ..Interface::default() });
        }
        if turn == 25 {
            println!("no Ethernet port yet; waiting for one");
        }
        sleep(Duration::from_millis(200)).await;
    }
    Network::default()
}

impl Manager {
    /// Brings everything as far as it goes now, and tells about it. Gives the longest time until the next turn.
    async fn turn(&mut self) -> Duration {
        let now = Instant::now();
        let wanted = wanted(&self.network, &self.leases.borrow(), now);
        let mut troubles = BTreeMap::new();
        let seen = self.act(&wanted, &mut troubles).await;
        let tunnels = self.tend_tunnels(&seen, &mut troubles).await;
        for (interface, trouble) in &troubles {
            if self.troubles.get(interface) != Some(trouble) {
                println!("{interface}: {trouble}; trying again every {} s", RETRY_EVERY.as_secs());
            }
        }
        self.troubles = troubles;
        self.order_uplinks(&wanted, &seen);
        self.watch_links(&wanted, &seen);
        self.lead_clients(&seen);
        self.hear_routers(&wanted, &seen);
        let settled = self.settled(&wanted, &seen);
        if settled && !self.ready {
            self.ready = true;
        }
        let mut links = BTreeMap::new();
        let report = self.report(&wanted, &seen, &tunnels, &mut links, now);
        self.board.tell(&report, &links, self.ready);
        let lease = self.leases.borrow().next_end(now).map(|end| end - now + Duration::from_millis(10));
        let deadlines = [
            Some(if self.troubles.is_empty() { LOOK_EVERY } else { RETRY_EVERY }),
            (!tunnels.is_empty()).then_some(TUNNEL_EVERY),
            (!self.ready).then_some(Duration::from_millis(500)),
            lease,
            self.advertised.borrow().next_end(now).map(|end| end - now + Duration::from_millis(10)),
        ];
        deadlines.into_iter().flatten().min().unwrap_or(LOOK_EVERY)
    }

    /// Looks and acts until there is nothing left to do, or nothing that works.
    async fn act(&mut self, wanted: &Wanted, troubles: &mut BTreeMap<String, String>) -> Seen {
        let mut seen = Seen::default();
        let mut failed: Vec<Step> = Vec::new();
        for _ in 0..ROUNDS {
            match self.kernel.snapshot().await {
                Ok(now) => seen = now,
                Err(error) => {
                    troubles
                        .insert("network".to_owned(), format!("cannot read the kernel's state: {}", plain(&error)));
                    return seen;
                }
            }
            let mut steps = plan(wanted, &seen);
            steps.retain(|step| !failed.contains(step) && self.may(step));
            if steps.is_empty() {
                break;
            }
            for step in steps {
                if let Step::RemoveAddress { net, .. } = &step {
                    println!("{}: the address {net} is released", step.interface(&seen));
                }
                let taken = self.kernel.take(&step).await;
                if let (Ok(()), Step::AddAddress { index, net, .. }) = (&taken, &step) {
                    self.ours.insert((*index, *net));
                }
                if let Err(error) = taken {
                    let name = step.interface(&seen).to_owned();
                    troubles.entry(name).or_insert_with(|| format!("cannot {step}: {}", plain(&error)));
                    failed.push(step);
                }
            }
        }
        let there = wanted.links.iter().filter_map(|want| seen.link(&want.name));
        self.cleared.extend(there.filter(|link| link.up).map(|link| link.index));
        seen
    }

    /// Whether a step is for this program to take.
    fn may(&self, step: &Step) -> bool {
        match step {
            Step::RemoveAddress { index, net } => {
                !self.cleared.contains(index) || self.ours.contains(&(*index, *net))
            }
            _ => true,
        }
    }

    /// Makes the tunnels as they are wanted; gives them as they are.
    async fn tend_tunnels(
        &mut self,
        seen: &Seen,
        troubles: &mut BTreeMap<String, String>,
    ) -> BTreeMap<String, Tunnel> {
        let mut found = BTreeMap::new();
        for (name, interface) in self.network.interfaces() {
            let Some(wanted) = &interface.wireguard else { continue };
            let name = name.as_str();
            if !seen.links.iter().any(|link| link.name == name) {
                continue;
            }
            if self.tunnels.is_none() {
                self.tunnels = Tunnels::open().map_err(|error| println!("no generic netlink: {error}")).ok();
            }
            let Some(tunnels) = &mut self.tunnels else { continue };
            let (names, bell) = (&mut self.names, &self.bell);
            let tended = async {
                let there = tunnels.tunnel(name).await?;
                let address = |endpoint: &Endpoint| names.address(endpoint, bell);
                tunnels.apply(name, wanted, &there, address).await?;
                let there = tunnels.tunnel(name).await?;
                let now_s = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
                let peer = |key: &WireGuardKey| {
                    let peer = there.peers.get(key)?;
                    Some(There { endpoint: peer.endpoint, handshake: peer.handshake })
                };
                let moved = names.moved(name, wanted, peer, now_s, bell);
                if moved.is_empty() {
                    return Ok(there);
                }
                tunnels.seek(name, &moved).await?;
                tunnels.tunnel(name).await
            };
            match tended.await {
                Ok(tunnel) => drop(found.insert(name.to_owned(), tunnel)),
                Err(error) => drop(troubles.insert(name.to_owned(), error)),
            }
        }
        found
    }

    /// Says once when an interface is missing, or has lost or got its link.
    fn watch_links(&mut self, wanted: &Wanted, seen: &Seen) {
        let patient = self.begin.elapsed() < LINK_PATIENCE;
        for want in &wanted.links {
            let link = seen.link(&want.name);
            let state = match link {
                None => "there is no such interface; waiting for it",
                Some(link) if !link.carrier => "no link",
                Some(_) => "up",
            };
            let before = self.said.get(&want.name).copied();
            // At the beginning everything takes its time.
            if before == Some(state) || (state != "up" && before.is_none() && patient) {
                continue;
            }
            if before.is_some() || state != "up" {
                println!("{}: {state}", want.name);
            }
            self.said.insert(want.name.clone(), state);
        }
    }

    /// Tells the kernel once for each port how its default routes stand to those of other ports.
    fn order_uplinks(&mut self, wanted: &Wanted, seen: &Seen) {
        for want in &wanted.links {
            if let (Some(metric), Some(link)) = (want.uplink, seen.link(&want.name))
                && self.ordered.insert(link.index)
            {
                sysfs::set_uplink(&want.name, metric);
            }
        }
    }

    /// Gives each DHCP client its interface, or takes it away from it.
    fn lead_clients(&mut self, seen: &Seen) {
        let of = |(name, interface): (&InterfaceName, &Interface)| {
            let own = interface.addresses.iter().map(|net| (name.as_str().to_owned(), net.addr()));
            own.collect::<Vec<_>>()
        };
        let fixed: Rc<[(String, IpAddr)]> = self.network.interfaces().iter().flat_map(of).collect();
        for (name, interface) in self.network.interfaces() {
            if !interface.dhcp {
                continue;
            }
            let name = name.as_str();
            let cable = seen.link(name).filter(|link| link.up && link.carrier).and_then(|link| {
                let mac = link.mac.clone()?;
                Some(Cable { index: link.index, mac })
            });
            let sender = self.cables.entry(name.to_owned()).or_insert_with(|| {
                let (sender, receiver) = watch::channel(None);
                tokio::task::spawn_local(dhcp::keep(dhcp::Task {
                    name: name.to_owned(),
                    host_name: Rc::clone(&self.host_name),
                    leases: Rc::clone(&self.leases),
                    fixed: fixed.clone(),
                    bell: Rc::clone(&self.bell),
                    said: RefCell::default(),
                    cable: receiver,
                }));
                sender
            });
            sender.send_if_modified(|now| {
                let changed = *now != cable;
                *now = cable;
                changed
            });
        }
    }

    /// Asks the routers of ports that listen to them, and forgets what those of other ports have said.
    fn hear_routers(&mut self, wanted: &Wanted, seen: &Seen) {
        let listening = wanted.links.iter().filter(|want| want.advertisements);
        let links: Vec<_> = listening.filter_map(|want| seen.link(&want.name)).collect();
        for link in &links {
            self.listener.ask(link.index, link.up && link.carrier);
        }
        self.advertised.borrow_mut().only(&links.iter().map(|link| link.index).collect());
    }

    /// Whether every interface has what it should have, or was waited for long enough.
    fn settled(&self, wanted: &Wanted, seen: &Seen) -> bool {
        let waited = self.begin.elapsed();
        wanted.links.iter().all(|want| {
            let fine = !self.troubles.contains_key(&want.name) && has_all(want, seen, waited >= LINK_PATIENCE);
            let patience = match missing(want, wanted, seen) {
                Some(port) if self.absent.contains(port) => Duration::ZERO,
                Some(_) => ABSENT_PATIENCE,
                None => PATIENCE,
            };
            let late = waited >= patience;
            if !fine && late && !self.ready && patience == PATIENCE {
                println!("{}: not settled after {} s; continuing without it", want.name, PATIENCE.as_secs());
            }
            fine || late
        })
    }

    fn interface(&self, name: &str) -> Option<&Interface> {
        let mut named = self.network.interfaces().iter();
        named.find_map(|(key, interface)| (key.as_str() == name).then_some(interface))
    }

    /// Domains to search, each once, in the order of the interfaces.
    fn search(&self, seen: &Seen, now: Instant) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        let leases = self.leases.borrow();
        for (name, interface) in self.network.interfaces() {
            let lease = leases.of(name.as_str()).and_then(|lease| lease.in_force(now));
            let mut given = lease.map_or_else(Vec::new, |lease| lease.offer.search.clone());
            let index = seen.link(name.as_str()).map(|link| link.index);
            given.extend(index.into_iter().flat_map(|index| self.advertised.borrow().domains(index, now)));
            let list = if interface.search.is_empty() { &given } else { &interface.search };
            for domain in list {
                if !found.contains(domain) {
                    found.push(domain.clone());
                }
            }
        }
        found
    }

    fn report(
        &self,
        wanted: &Wanted,
        seen: &Seen,
        tunnels: &BTreeMap<String, Tunnel>,
        links: &mut BTreeMap<IpAddr, String>,
        now: Instant,
    ) -> NetworkReport {
        let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Boottime).tv_sec;
        let leases = self.leases.borrow();
        let (mut resolvers, mut time_servers): (Vec<IpAddr>, Vec<IpAddr>) = (Vec::new(), Vec::new());
        let mut interfaces = Vec::new();
        for want in wanted.links.iter().filter(|want| want.name != "lo" || !want.addresses.is_empty()) {
            let lease = leases.of(&want.name).and_then(|lease| lease.in_force(now));
            // The operator's resolvers replace those of the lease.
            let own = self.interface(&want.name).map_or(&[][..], |interface| &interface.dns);
            let mut given: Vec<IpAddr> = lease.map_or_else(Vec::new, |lease| lease.offer.dns.clone());
            if let Some(link) = seen.link(&want.name) {
                for resolver in self.advertised.borrow().resolvers(link.index, now) {
                    given.push(resolver.into());
                    if resolver.is_unicast_link_local() {
                        links.insert(resolver.into(), want.name.clone());
                    }
                }
            }
            for resolver in if own.is_empty() { &given } else { own } {
                if !resolvers.contains(resolver) {
                    resolvers.push(*resolver);
                }
            }
            for server in lease.iter().flat_map(|lease| &lease.offer.time_servers) {
                if self.time_servers && !time_servers.contains(server) {
                    time_servers.push(*server);
                }
            }
            let lease = lease.map(|lease| LeaseReport {
                address: lease.offer.address,
                server: lease.offer.server,
                until_s: u64::try_from(uptime).unwrap_or(0) + u64::from(lease.left_s(now)),
            });
            let link = seen.link(&want.name);
            let shown = |address: &&super::seen::Address| {
                let own = address.net.addr();
                let link_local = matches!(own, IpAddr::V6(six) if six.is_unicast_link_local());
                link.is_some_and(|link| link.index == address.index) && !link_local && !own.is_loopback()
            };
            interfaces.push(InterfaceReport {
                name: want.name.clone(),
                present: link.is_some(),
                up: link.is_some_and(|link| link.up),
                link: link.is_some_and(|link| link.carrier),
                mtu: link.map_or(0, |link| link.mtu),
                mac: link.and_then(|link| link.mac.clone()),
                bridge: want.port_of.clone(),
                addresses: seen.addresses.iter().filter(shown).map(|address| address.net).collect(),
                lease,
                wireguard: tunnels.get(&want.name).map(tunnel_report),
                trouble: self.troubles.get(&want.name).cloned(),
            });
        }
        interfaces.sort_by(|a, b| a.name.cmp(&b.name));
        let search = self.search(seen, now);
        NetworkReport { interfaces, resolvers, time_servers, search, defaults: defaults(seen) }
    }
}
