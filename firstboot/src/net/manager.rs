//! The loop that keeps the network as configured.

use super::advertised::{Advertised, Listener};
use super::board::Board;
use super::clients::Clients;
use super::endpoints::{Names, There};
use super::job::NetworkJob;
use super::kernel::{Kernel, plain};
use super::plan::{Step, plan};
use super::report::Facts;
use super::seen::Seen;
use super::settled::{has_all, missing};
use super::sysfs;
use super::wanted::{Learnt, Wanted, wanted};
use super::wireguard::{Tunnel, Tunnels};
use contract::node::{Endpoint, Interface, InterfaceName, Network, WireGuardKey};
use ipnet::IpNet;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
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
    kernel: Kernel,
    tunnels: Option<Tunnels>,
    names: Names,
    advertised: Rc<RefCell<Advertised>>,
    listener: Rc<Listener>,
    clients: Clients,
    bell: Rc<Notify>,
    board: Board,
    /// Addresses that were added here, by number of the interface, and the interfaces that were cleared of what an earlier
    /// run may have left. Others may add addresses of their own (a virtual one for a cluster, say): they stay.
    ours: BTreeSet<(u32, IpNet)>,
    cleared: BTreeSet<u32>,
    /// The last thing that could not be done, by interface.
    troubles: BTreeMap<String, String>,
    /// What node.toml asks for in vain, as it was said.
    said_troubles: BTreeMap<String, String>,
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
        kernel: Kernel::open()?,
        tunnels: None,
        names: Names::default(),
        listener: Listener::start(Rc::clone(&advertised), Rc::clone(&bell)),
        advertised,
        clients: Clients::new(job.host_name.into(), job.subnets, Rc::clone(&bell)),
        bell,
        board: Board::new(crate::notify::Notify::inherited()),
        ours: BTreeSet::new(),
        cleared: BTreeSet::new(),
        troubles: BTreeMap::new(),
        said_troubles: BTreeMap::new(),
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
        let wanted = self.wanted(now);
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
        self.hear_routers(&wanted, &seen);
        self.clients.lead(&self.network, &seen, &self.advertised.borrow());
        self.say_troubles(&wanted);
        let settled = self.settled(&wanted, &seen);
        if settled && !self.ready {
            self.ready = true;
        }
        let mut links = BTreeMap::new();
        let report = self.facts(&wanted, &seen, &tunnels, now).report(&mut links);
        self.board.tell(&report, &links, self.ready);
        let lease = self.clients.next_end(now).map(|end| end - now + Duration::from_millis(10));
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

    /// Asks the routers of ports that listen to them, and forgets what those of other ports have said.
    fn hear_routers(&mut self, wanted: &Wanted, seen: &Seen) {
        let listening = wanted.links.iter().filter(|want| want.advertisements);
        let links: Vec<_> = listening.filter_map(|want| seen.link(&want.name)).collect();
        for link in &links {
            let there = link.up && link.carrier;
            self.listener.ask(link.index, there);
            if !there {
                self.advertised.borrow_mut().link_lost(link.index);
            }
        }
        self.advertised.borrow_mut().only(&links.iter().map(|link| link.index).collect());
    }

    /// Whether every interface has what it should have, or was waited for long enough.
    fn settled(&self, wanted: &Wanted, seen: &Seen) -> bool {
        let waited = self.begin.elapsed();
        wanted.links.iter().all(|want| {
            let fine = !self.troubles.contains_key(&want.name) && {
                let link = seen.link(&want.name);
                let managed = link.is_some_and(|link| self.advertised.borrow().managed(link.index));
                has_all(want, seen, waited >= LINK_PATIENCE, managed)
            };
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

    fn wanted(&self, now: Instant) -> Wanted {
        let (leases, leases6) = (self.clients.leases.borrow(), self.clients.leases6.borrow());
        wanted(&self.network, Learnt { leases: &leases, leases6: &leases6, subnets: &self.clients.subnets }, now)
    }

    /// Says once what cannot be as node.toml says.
    fn say_troubles(&mut self, wanted: &Wanted) {
        for want in &wanted.links {
            match &want.trouble {
                Some(trouble) if self.said_troubles.get(&want.name) != Some(trouble) => {
                    println!("{}: {trouble}", want.name);
                    self.said_troubles.insert(want.name.clone(), trouble.clone());
                }
                Some(_) => {}
                None => drop(self.said_troubles.remove(&want.name)),
            }
        }
    }

    fn facts<'m>(
        &'m self,
        wanted: &'m Wanted,
        seen: &'m Seen,
        tunnels: &'m BTreeMap<String, Tunnel>,
        now: Instant,
    ) -> Facts<'m> {
        Facts {
            network: &self.network,
            leases: self.clients.leases.borrow(),
            leases6: self.clients.leases6.borrow(),
            advertised: self.advertised.borrow(),
            troubles: &self.troubles,
            take_time_servers: self.time_servers,
            wanted,
            seen,
            tunnels,
            now,
        }
    }
}
