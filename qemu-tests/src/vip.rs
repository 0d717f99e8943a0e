//! Servers that share an address, and a client that wants to know which of them it reaches.

use crate::images;
use crate::probe::PORT as PROBE;
use crate::router::{Router, STEP};
use emulator::network::Host;
use emulator::network::frame::Body;
use emulator::{Machine, Network, Node};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// The address that BGP announces, in no network of the servers', and the one that a holder is elected for, which is in theirs.
/// The image's profile names both.
pub const BY_BGP: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
pub const BY_VRRP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 10);
/// Port of the API.
const API: u16 = 6443;
/// AS number of a speaker beside the node's own.
pub const SECOND_ASN: u16 = 65_020;
/// A client's port for questions one after the other, and the first of those for questions side by side.
const ONE_FLOW: u16 = 30_000;
const FLOWS: u16 = 40_000;
/// Time between two questions.
const EVERY: Duration = Duration::from_millis(20);

/// A server on the backbone 10.0.0.0/24: `s1` is 10.0.0.11.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Counts from 1.
    pub number: u8,
}

impl Server {
    pub const ALL: [Server; 3] = [Server { number: 1 }, Server { number: 2 }, Server { number: 3 }];

    #[must_use]
    pub fn name(self) -> String {
        format!("s{}", self.number)
    }

    #[must_use]
    pub fn address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, 10 + self.number)
    }

    /// A second address, for a BGP speaker beside the node's own.
    #[must_use]
    pub fn second_address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, 20 + self.number)
    }

    /// Place of a server in [`Server::ALL`], by its name.
    ///
    /// # Panics
    /// When it is none of them.
    #[must_use]
    pub fn place(name: &str) -> usize {
        Server::ALL
            .iter()
            .position(|server| server.name() == name)
            .unwrap_or_else(|| panic!("{name} is not a server"))
    }

    /// With the routers `r1` and `r2` as neighbours.
    #[must_use]
    pub fn by_bgp(self) -> String {
        let mut config = self.config("gateway = \"10.0.0.1\"\n[bgp]\nasn = 65010\n");
        for router in [1, 2] {
            let _ = write!(
                config,
                "[[bgp.neighbor]]\naddress = \"10.0.0.{router}\"\nasn = {}\nbfd = true\n",
                65_000 + router
            );
        }
        config + &format!("[vip]\naddress = \"{BY_BGP}\"\n")
    }

    #[must_use]
    pub fn by_vrrp(self) -> String {
        self.config(&format!("[vip]\naddress = \"{BY_VRRP}\"\n[vip.vrrp]\ninterface = \"eth0\"\n"))
    }

    fn config(self, more: &str) -> String {
        let (name, own, second) = (self.name(), self.address(), self.second_address());
        format!("name = \"{name}\"\n[network.eth0]\naddresses = [\"{own}/24\", \"{second}/24\"]\n{more}")
    }

    /// Switches it on.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(self, config: String, backbone: &Network) -> Node {
        let machine = Machine::new(images::vip()).name(&self.name()).serial(&format!("MICRODCS{}", self.number));
        machine.memory(512).port(PROBE).network(backbone).node_config(config).start().expect("a server starts")
    }
}

/// A router with all servers and the other router as neighbours, and further lines of its own.
#[must_use]
pub fn router_config(router: Router, other: Router, more: &str) -> String {
    let mut config = router.node_config(&[other]);
    for server in Server::ALL {
        let (own, second) = (server.address(), server.second_address());
        let _ = write!(
            config,
            "[[router.neighbor]]\naddress = \"{own}\"\nasn = 65010\nbfd = true\n\
             [[router.neighbor]]\naddress = \"{second}\"\nasn = {SECOND_ASN}\n"
        );
    }
    config + more
}

/// Asks the API at an address.
#[derive(Debug)]
pub struct Client<'h> {
    host: &'h Host,
    vip: Ipv4Addr,
    asked: u32,
}

impl Client<'_> {
    #[must_use]
    pub fn of(host: &Host, vip: Ipv4Addr) -> Client<'_> {
        Client { host, vip, asked: 0 }
    }

    /// Asks from this port until a server that `wanted` likes answers one of these questions.
    fn until(&mut self, from: u16, wanted: impl Fn(&str) -> bool) -> String {
        let (begin, first) = (Instant::now(), self.asked + 1);
        loop {
            self.asked += 1;
            let body = Body::Udp { from, to: API, data: self.asked.to_string().into_bytes() };
            // Nobody may have the address yet: then nobody says where it is.
            let sent = self.host.send(self.vip, 64, body, EVERY);
            if let Some((name, question)) = sent.ok().and_then(|()| self.answer(from))
                // Answers to earlier questions may still come.
                && question >= first
                && wanted(&name)
            {
                return name;
            }
            assert!(begin.elapsed() < STEP, "no server answers at {}", self.vip);
        }
    }

    /// The server and the number of the question of the next answer to this port, if one comes before the next question is due.
    fn answer(&self, port: u16) -> Option<(String, u32)> {
        let received = self.host.receive("an answer", EVERY, |packet| {
            packet.from == self.vip && matches!(&packet.body, Body::Udp { from: API, to, .. } if *to == port)
        });
        let Body::Udp { data, .. } = received.ok()?.packet.body else { return None };
        let text = String::from_utf8(data).ok()?;
        let (name, question) = text.split_once(' ')?;
        Some((name.to_owned(), question.parse().ok()?))
    }

    /// The server that answers now.
    ///
    /// # Panics
    /// When none does.
    pub fn server(&mut self) -> String {
        self.until(ONE_FLOW, |_| true)
    }

    /// Waits for the answer of another server; gives its name, and the time since `begin`.
    ///
    /// # Panics
    /// When none answers.
    pub fn other_than(&mut self, name: &str, begin: Instant) -> (String, Duration) {
        let other = self.until(ONE_FLOW, |found| found != name);
        (other, begin.elapsed())
    }

    /// The servers that answer so many flows, each of which must be answered.
    ///
    /// # Panics
    /// When one is not.
    pub fn servers_of_flows(&mut self, count: u16) -> BTreeSet<String> {
        (FLOWS..FLOWS + count).map(|from| self.until(from, |_| true)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::node::NodeConfig;

    #[test]
    fn the_node_configs_are_ones_that_a_node_accepts() {
        let [one, two] = [1, 2].map(|number| Router { number });
        let elastic = "[[router.elastic]]\npublic = \"203.0.113.7\"\nprivate = \"10.1.0.20\"\n";
        for config in Server::ALL.iter().flat_map(|server| [server.by_bgp(), server.by_vrrp()]) {
            NodeConfig::parse(config.as_bytes()).unwrap();
        }
        let config = NodeConfig::parse(router_config(one, two, elastic).as_bytes()).unwrap();
        assert_eq!(config.router.unwrap().neighbors.len(), 7);
        assert_eq!(Server::place("s2"), 1);
    }
}
