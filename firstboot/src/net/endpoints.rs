//! Peers of tunnels that are known by name: the names are looked up for as long as the node runs, and a peer is sought at its new
//! address when that changes.

use contract::node::{Endpoint, WireGuard, WireGuardKey};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// Time between two look-ups of a name, and between two tries of one that is not known.
const AGAIN: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_secs(5);
/// Seconds without a handshake after which a peer is no longer where the kernel believes it (wireguard.com/protocol:
/// REJECT_AFTER_TIME).
const LOST_S: i64 = 180;

/// The addresses of names, as far as they are known.
#[derive(Debug, Default)]
pub struct Names {
    known: Rc<RefCell<BTreeMap<Endpoint, SocketAddr>>>,
    asked: RefCell<BTreeSet<Endpoint>>,
    /// Where each peer was last sent, by interface.
    sent: BTreeMap<(String, WireGuardKey), SocketAddr>,
}

/// A peer as the kernel has it.
#[derive(Clone, Copy, Debug)]
pub struct There {
    pub endpoint: Option<SocketAddr>,
    /// Seconds since 1970; 0 when there was none.
    pub handshake: i64,
}

impl Names {
    /// The address of an endpoint, where it is known. A name is looked up from now on; `bell` is rung when its address changes.
    pub fn address(&self, endpoint: &Endpoint, bell: &Rc<Notify>) -> Option<SocketAddr> {
        if endpoint.address().is_some() {
            return endpoint.address();
        }
        if self.asked.borrow_mut().insert(endpoint.clone()) {
            tokio::task::spawn_local(look_up(endpoint.clone(), Rc::clone(&self.known), Rc::clone(bell)));
        }
        self.known.borrow().get(endpoint).copied()
    }

    /// The peers of a tunnel that must be sought elsewhere: their name has another address than they were sent to, or they have
    /// been silent and the kernel believes them elsewhere. `now_s` is the time in seconds since 1970.
    pub fn moved(
        &mut self,
        interface: &str,
        wanted: &WireGuard,
        there: impl Fn(&WireGuardKey) -> Option<There>,
        now_s: i64,
        bell: &Rc<Notify>,
    ) -> Vec<(WireGuardKey, SocketAddr)> {
        let mut moved = Vec::new();
        for peer in &wanted.peers {
            let Some(endpoint) = peer.endpoint.as_ref().filter(|endpoint| endpoint.name().is_some()) else {
                continue;
            };
            let Some(address) = self.address(endpoint, bell) else { continue };
            let Some(state) = there(&peer.public_key) else { continue };
            let before = self.sent.insert((interface.to_owned(), peer.public_key), address);
            let silent = now_s.saturating_sub(state.handshake) > LOST_S;
            let elsewhere = state.endpoint != Some(address);
            if elsewhere && (before != Some(address) || silent) {
                moved.push((peer.public_key, address));
            }
        }
        moved
    }
}

/// Looks a name up for ever.
async fn look_up(endpoint: Endpoint, known: Rc<RefCell<BTreeMap<Endpoint, SocketAddr>>>, bell: Rc<Notify>) {
    let Some((name, port)) = endpoint.name() else { return };
    let mut told = false;
    loop {
        let found = tokio::net::lookup_host((name, port)).await.map(|addresses| addresses.collect::<Vec<_>>());
        let wait = match found.unwrap_or_default().as_slice() {
            [] => {
                if !told {
                    println!("{name} has no address; looking it up every {} s", RETRY.as_secs());
                    told = true;
                }
                RETRY
            }
            // One that is still among several is kept.
            [first, others @ ..] => {
                let before = known.borrow().get(&endpoint).copied();
                if before.is_none_or(|before| before != *first && !others.contains(&before)) {
                    println!("{name} is at {}", first.ip());
                    known.borrow_mut().insert(endpoint.clone(), *first);
                    bell.notify_one();
                }
                told = false;
                AGAIN
            }
        };
        sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::node::NodeConfig;

    const A: &str = "Zmlyc3Qga2V5IGZvciB0ZXN0cywgbm90IGEgc2VjcmU=";

    fn wanted(endpoint: &str) -> WireGuard {
        let text = format!(
            "name = \"r1\"\n[network.wg0.wireguard]\nprivate_key = \"{A}\"\n[[network.wg0.wireguard.peer]]\n\
             public_key = \"{A}\"\nallowed = []\nendpoint = \"{endpoint}\"\n"
        );
        let config = NodeConfig::parse(text.as_bytes()).unwrap();
        config.network.interfaces().values().next().unwrap().wireguard.clone().unwrap()
    }

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 5))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_peer_is_sought_where_its_name_leads_and_left_alone_while_it_roams() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let bell = Rc::new(Notify::new());
                let mut names = Names::default();
                let wanted = wanted("vpn.invalid:5");
                let endpoint = wanted.peers[0].endpoint.clone().unwrap();
                let moved = |names: &mut Names, there: Option<SocketAddr>, handshake: i64| {
                    let there = |_: &WireGuardKey| Some(There { endpoint: there, handshake });
                    let moved = names.moved("wg0", &wanted, there, 1000, &bell);
                    moved.into_iter().map(|(_, address)| address).collect::<Vec<_>>()
                };
                assert_eq!(moved(&mut names, None, 0), [], "its name is not known yet");
                names.known.borrow_mut().insert(endpoint.clone(), address(1));
                assert_eq!(moved(&mut names, None, 0), [address(1)]);
                assert_eq!(moved(&mut names, Some(address(1)), 990), []);
                assert_eq!(moved(&mut names, Some(address(9)), 990), [], "it roams and answers");
                assert_eq!(moved(&mut names, Some(address(9)), 700), [address(1)], "it is silent");
                names.known.borrow_mut().insert(endpoint, address(2));
                assert_eq!(moved(&mut names, Some(address(1)), 990), [address(2)], "its name leads elsewhere");
            })
            .await;
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_name_is_looked_up_and_rings_the_bell() {
        let local = tokio::task::LocalSet::new();
        local
            .run_until(async {
                let bell = Rc::new(Notify::new());
                let names = Names::default();
                let endpoint = Endpoint::try_from("localhost:7".to_owned()).unwrap();
                assert_eq!(names.address(&endpoint, &bell), None);
                tokio::time::timeout(Duration::from_secs(10), bell.notified()).await.unwrap();
                assert!(
                    names
                        .address(&endpoint, &bell)
                        .is_some_and(|found| found.ip().is_loopback() && found.port() == 7)
                );
            })
            .await;
    }
}
