//! Resolvers and domains by router advertisement, for as long as their lifetimes say (RFC 8106), and whether there is DHCPv6 on a
//! link. Addresses and routes are the kernel's business.

pub mod message;

use crate::sys::icmp6::AdvertisementSocket;
use message::Advertisement;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Most entries of each kind that an interface keeps (RFC 8106, section 5.3.1 asks for three at least).
const MOST: usize = 8;
/// Longest message that is read, in bytes: what fits into a frame, and more.
const LONGEST: usize = 9216;

/// What routers say of names, by number of the interface.
#[derive(Debug, Default)]
pub struct Advertised {
    links: BTreeMap<u32, Said>,
}

/// What was said on one interface, each with the time at which it ends; `None`: never.
#[derive(Debug, Default)]
struct Said {
    /// Whether a router has said, since there was a link, that servers give addresses, or other things. It is not taken back: of
    /// several routers not each says it (RFC 4862, section 5.2, asks for nothing else).
    managed: bool,
    other: bool,
    resolvers: Vec<(Ipv6Addr, Option<Instant>)>,
    domains: Vec<(String, Option<Instant>)>,
}

impl Advertised {
    /// Takes an advertisement. Returns whether anything has changed but lifetimes.
    fn take(&mut self, index: u32, advertisement: &Advertisement, now: Instant) -> bool {
        let said = self.links.entry(index).or_default();
        let flags = (said.managed, said.other);
        (said.managed, said.other) = (said.managed | advertisement.managed, said.other | advertisement.other);
        let flags = flags != (said.managed, said.other);
        let resolvers = keep(&mut said.resolvers, &advertisement.resolvers, now);
        let domains = keep(&mut said.domains, &advertisement.domains, now);
        flags || resolvers || domains
    }

    /// The resolvers of an interface that are in force.
    #[must_use]
    pub fn resolvers(&self, index: u32, now: Instant) -> Vec<Ipv6Addr> {
        let said = self.links.get(&index).into_iter().flat_map(|said| &said.resolvers);
        said.filter(|(_, end)| in_force(*end, now)).map(|(address, _)| *address).collect()
    }

    /// The domains of an interface that are in force.
    #[must_use]
    pub fn domains(&self, index: u32, now: Instant) -> Vec<String> {
        let said = self.links.get(&index).into_iter().flat_map(|said| &said.domains);
        said.filter(|(_, end)| in_force(*end, now)).map(|(domain, _)| domain.clone()).collect()
    }

    /// Whether addresses of an interface come from DHCPv6.
    #[must_use]
    pub fn managed(&self, index: u32) -> bool {
        self.links.get(&index).is_some_and(|said| said.managed)
    }

    /// Whether other things do.
    #[must_use]
    pub fn other(&self, index: u32) -> bool {
        self.links.get(&index).is_some_and(|said| said.other)
    }

    /// Takes note that an interface has lost its link: the next one may have other servers.
    pub fn link_lost(&mut self, index: u32) {
        if let Some(said) = self.links.get_mut(&index) {
            (said.managed, said.other) = (false, false);
        }
    }

    /// When the next of them ends.
    #[must_use]
    pub fn next_end(&self, now: Instant) -> Option<Instant> {
        let resolvers = self.links.values().flat_map(|said| said.resolvers.iter().map(|(_, end)| *end));
        let domains = self.links.values().flat_map(|said| said.domains.iter().map(|(_, end)| *end));
        resolvers.chain(domains).flatten().filter(|end| *end > now).min()
    }

    /// Forgets interfaces that are not among these: what was said there went with them.
    pub fn only(&mut self, indices: &BTreeSet<u32>) {
        self.links.retain(|index, _| indices.contains(index));
    }
}

fn in_force(end: Option<Instant>, now: Instant) -> bool {
    end.is_none_or(|end| end > now)
}

/// Takes what is said; what a full list has no room for is left out. Returns whether the list is another one.
fn keep<T: Clone + PartialEq>(list: &mut Vec<(T, Option<Instant>)>, said: &[(T, u32)], now: Instant) -> bool {
    let before: Vec<T> = list.iter().map(|(value, _)| value.clone()).collect();
    list.retain(|(_, end)| in_force(*end, now));
    for (value, lifetime) in said {
        let end = (*lifetime != u32::MAX).then(|| now + Duration::from_secs(u64::from(*lifetime)));
        let known = list.iter().position(|(known, _)| known == value);
        match (known, *lifetime) {
            (Some(at), 0) => drop(list.remove(at)),
            (Some(at), _) => {
                if let Some(entry) = list.get_mut(at) {
                    entry.1 = end;
                }
            }
            (None, 1..) if list.len() < MOST => list.push((value.clone(), end)),
            (None, _) => {}
        }
    }
    !list.iter().map(|(value, _)| value).eq(before.iter())
}

/// Who listens to routers, and asks them.
pub struct Listener {
    /// Without IPv6 there is nothing to hear.
    socket: Option<AsyncFd<AdvertisementSocket>>,
    /// Interfaces whose routers were asked, by number.
    asked: RefCell<BTreeSet<u32>>,
}

impl Listener {
    /// Opens the socket and listens in a task of its own, which rings the bell when something has changed.
    pub fn start(advertised: Rc<RefCell<Advertised>>, bell: Rc<Notify>) -> Rc<Listener> {
        let socket = AdvertisementSocket::waited_for();
        let socket = socket.map_err(|error| println!("router advertisements are not read: {error}")).ok();
        let listener = Rc::new(Listener { socket, asked: RefCell::default() });
        tokio::task::spawn_local(listen(Rc::clone(&listener), advertised, bell));
        listener
    }

    /// Asks the routers of an interface, once while it has a link: the kernel's own question may have been answered before anyone
    /// listened here.
    pub fn ask(&self, index: u32, link: bool) {
        if !link {
            self.asked.borrow_mut().remove(&index);
        } else if let Some(socket) = &self.socket
            && !self.asked.borrow().contains(&index)
            && socket.get_ref().solicit(index).is_ok()
        {
            self.asked.borrow_mut().insert(index);
        }
    }
}

async fn listen(listener: Rc<Listener>, advertised: Rc<RefCell<Advertised>>, bell: Rc<Notify>) {
    let Some(socket) = &listener.socket else { return };
    let mut buffer = vec![0; LONGEST];
    loop {
        let received = socket.async_io(Interest::READABLE, |socket| socket.receive(&mut buffer)).await;
        let Ok((length, index)) = received else {
            // A link that goes away is told to every socket.
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        };
        let message = buffer.get(..length).and_then(Advertisement::read);
        if let Some(message) = message
            && advertised.borrow_mut().take(index, &message, Instant::now())
        {
            bell.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(resolvers: &[(&str, u32)], domains: &[(&str, u32)]) -> Advertisement {
        Advertisement {
            resolvers: resolvers.iter().map(|(text, lifetime)| (text.parse().unwrap(), *lifetime)).collect(),
            domains: domains.iter().map(|(text, lifetime)| ((*text).to_owned(), *lifetime)).collect(),
            ..Advertisement::default()
        }
    }

    fn shown(advertised: &Advertised, now: Instant) -> String {
        let resolvers: Vec<String> = advertised.resolvers(2, now).iter().map(ToString::to_string).collect();
        format!("{} | {}", resolvers.join(" "), advertised.domains(2, now).join(" "))
    }

    #[test]
    fn what_is_said_holds_for_its_lifetime_and_is_taken_back_with_zero() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut advertised = Advertised::default();
        let first = said(&[("fd00::1", 60), ("fd00::2", u32::MAX)], &[("lan", 30)]);
        assert!(advertised.take(2, &first, begin));
        assert_eq!(shown(&advertised, at(1)), "fd00::1 fd00::2 | lan");
        assert_eq!(advertised.next_end(at(1)), Some(at(30)));
        assert!(!advertised.take(2, &first, at(20)), "nothing but the lifetimes is new");
        assert_eq!(shown(&advertised, at(45)), "fd00::1 fd00::2 | lan");
        assert_eq!(shown(&advertised, at(55)), "fd00::1 fd00::2 | ");
        assert_eq!(shown(&advertised, at(90)), "fd00::2 | ");
        assert!(advertised.take(2, &said(&[("fd00::2", 0)], &[]), at(91)));
        assert_eq!(shown(&advertised, at(91)), " | ");
        assert_eq!(shown(&Advertised::default(), begin), " | ");
    }

    #[test]
    fn that_there_are_servers_holds_until_the_link_is_lost() {
        let now = Instant::now();
        let mut advertised = Advertised::default();
        let managed = Advertisement { managed: true, ..Advertisement::default() };
        assert!(advertised.take(2, &managed, now));
        assert!(!advertised.take(2, &Advertisement::default(), now), "another router takes nothing back");
        assert!(advertised.managed(2) && !advertised.other(2) && !advertised.managed(3));
        advertised.link_lost(2);
        assert!(!advertised.managed(2));
        assert!(advertised.take(2, &managed, now), "it is news again");
    }

    #[test]
    fn each_interface_has_its_own_and_one_that_is_gone_has_none() {
        let now = Instant::now();
        let mut advertised = Advertised::default();
        advertised.take(2, &said(&[("fd00::1", 60)], &[]), now);
        advertised.take(3, &said(&[("fd00::3", 60)], &[]), now);
        assert_eq!(shown(&advertised, now), "fd00::1 | ");
        advertised.only(&BTreeSet::from([3]));
        assert_eq!(shown(&advertised, now), " | ");
    }

    #[test]
    fn a_flood_of_resolvers_leaves_the_first_ones() {
        let now = Instant::now();
        let mut advertised = Advertised::default();
        for last in 1..200 {
            advertised.take(2, &said(&[(&format!("fd00::{last:x}"), 60)], &[]), now);
        }
        let kept = advertised.resolvers(2, now);
        assert_eq!((kept.len(), kept[0]), (MOST, "fd00::1".parse().unwrap()));
    }
}
