//! A host that is the test itself: it has an address on a network, answers ARP and pings, and sends and receives.

use super::frame::{self, Body, Content, Mac, Packet};
use super::{Network, Plug};
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Packets kept for the test; older ones go.
const KEPT: usize = 4096;

/// A test's host. It goes off the network when dropped.
#[derive(Debug)]
pub struct Host {
    plug: Plug,
    own: Own,
    gateway: Option<Ipv4Addr>,
    seen: Arc<Seen>,
}

#[derive(Clone, Copy, Debug)]
struct Own {
    mac: Mac,
    address: Ipv4Addr,
    prefix: u8,
}

#[derive(Debug, Default)]
struct Seen {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    neighbours: BTreeMap<Ipv4Addr, Mac>,
    packets: VecDeque<Received>,
}

/// A packet that reached a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Hardware address of who sent it on this network: the router, when it was forwarded.
    pub sender: Mac,
    pub packet: Packet,
}

/// What a host waited for and did not get.
#[derive(Debug, thiserror::Error)]
#[error("host {host}: no {what} within {} s; it saw {seen}", patience.as_secs_f32())]
pub struct NothingCame {
    host: Ipv4Addr,
    what: String,
    patience: Duration,
    seen: String,
}

impl Network {
    /// Puts a host with this address on the network.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn host(&self, address: Ipv4Addr, prefix: u8, gateway: Option<Ipv4Addr>) -> std::io::Result<Host> {
        let [a, b, c, d] = address.octets();
        // Locally administered, and known by the address in a capture.
        let own = Own { mac: Mac([0x02, 0xaa, a, b, c, d]), address, prefix };
        let (plug, frames) = self.open_host();
        let seen = Arc::new(Seen::default());
        let (hub, number, into) = (Arc::clone(&plug.hub), plug.number, Arc::clone(&seen));
        std::thread::Builder::new().name(format!("host {address}")).spawn(move || {
            listen(own, &frames, &into, |answer| hub.carry(number, &answer));
        })?;
        Ok(Host { plug, own, gateway, seen })
    }
}

/// Takes frames until the host is off the network.
fn listen(own: Own, frames: &Receiver<Vec<u8>>, seen: &Seen, answer: impl Fn(Vec<u8>)) {
    for bytes in frames {
        let Some((to, sender, content)) = frame::parse(&bytes) else { continue };
        if to != own.mac && to != Mac::BROADCAST {
            continue;
        }
        match content {
            Content::Arp { reply, sender: (mac, address), target } if target == own.address => {
                if !reply {
                    let reply = Content::Arp { reply: true, sender: (own.mac, own.address), target: address };
                    answer(frame::build(mac, own.mac, &reply));
                }
                seen.state().neighbours.insert(address, mac);
            }
            // Whatever a neighbour says of its address corrects what is known of it (RFC 826, "Packet Reception").
            Content::Arp { sender: (mac, address), .. } => {
                if let Some(known) = seen.state().neighbours.get_mut(&address) {
                    *known = mac;
                }
                continue;
            }
            Content::Ip(packet) => {
                if let Body::Echo { reply: false, id, sequence, data } = &packet.body
                    && packet.to == own.address
                {
                    let body = Body::Echo { reply: true, id: *id, sequence: *sequence, data: data.clone() };
                    let reply = Packet { from: own.address, to: packet.from, ttl: 64, body };
                    answer(frame::build(sender, own.mac, &Content::Ip(reply)));
                }
                let mut state = seen.state();
                if state.packets.len() == KEPT {
                    state.packets.pop_front();
                }
                state.packets.push_back(Received { sender, packet });
            }
        }
        seen.changed.notify_all();
    }
}

impl Seen {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.own.mac
    }

    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.own.address
    }

    /// Sends a frame as it is.
    pub fn send_frame(&self, frame: &[u8]) {
        self.plug.hub.carry(self.plug.number, frame);
    }

    fn wait<T>(
        &self,
        what: &str,
        patience: Duration,
        mut look: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, NothingCame> {
        let deadline = Instant::now() + patience;
        let mut state = self.seen.state();
        loop {
            if let Some(found) = look(&mut state) {
                return Ok(found);
            }
            let Some(left) = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) else {
                let packets: Vec<&Packet> = state.packets.iter().map(|received| &received.packet).collect();
                let seen = format!("{} neighbours and {packets:?}", state.neighbours.len());
                return Err(NothingCame { host: self.own.address, what: what.to_owned(), patience, seen });
            };
            state = self.seen.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Hardware address of a neighbour, asked for by ARP each half second.
    ///
    /// # Errors
    /// When no one answers.
    pub fn resolve(&self, neighbour: Ipv4Addr, patience: Duration) -> Result<Mac, NothingCame> {
        let own = (self.own.mac, self.own.address);
        let question = Content::Arp { reply: false, sender: own, target: neighbour };
        let question = frame::build(Mac::BROADCAST, self.own.mac, &question);
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            self.send_frame(&question);
            let what = format!("answer to ARP for {neighbour}");
            let slice = left.min(Duration::from_millis(500));
            match self.wait(&what, slice, |state| state.neighbours.get(&neighbour).copied()) {
                Ok(mac) => return Ok(mac),
                Err(error) if left.is_zero() => return Err(NothingCame { patience, ..error }),
                Err(_) => {}
            }
        }
    }

    /// Sends a packet to its neighbour or, for another net, to the gateway.
    ///
    /// # Errors
    /// When the next hop does not answer ARP.
    pub fn send(&self, to: Ipv4Addr, ttl: u8, body: Body, patience: Duration) -> Result<(), NothingCame> {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.own.prefix)).unwrap_or(0);
        let near = u32::from(to) & mask == u32::from(self.own.address) & mask;
        let next = if near { to } else { self.gateway.unwrap_or(to) };
        let mac = self.resolve(next, patience)?;
        let packet = Packet { from: self.own.address, to, ttl, body };
        self.send_frame(&frame::build(mac, self.own.mac, &Content::Ip(packet)));
        Ok(())
    }

    /// Takes the first packet that `wanted` likes, among those seen already and those to come.
    ///
    /// # Errors
    /// When none comes.
    pub fn receive(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Packet) -> bool,
    ) -> Result<Received, NothingCame> {
        self.wait(what, patience, |state| {
            let at = state.packets.iter().position(|received| wanted(&received.packet))?;
            state.packets.remove(at)
        })
    }

    /// Pings `to` each half second until it answers; gives the answer as it arrived.
    ///
    /// # Errors
    /// When it does not.
    pub fn ping(&self, to: Ipv4Addr, patience: Duration) -> Result<Received, NothingCame> {
        let deadline = Instant::now() + patience;
        for sequence in 0.. {
            let left = deadline.saturating_duration_since(Instant::now());
            let body = Body::Echo { reply: false, id: 0x6d64, sequence, data: vec![0x2a; 32] };
            self.send(to, 64, body, left)?;
            let slice = left.min(Duration::from_millis(500));
            let answer = self.receive(&format!("answer to a ping of {to}"), slice, |packet| {
                packet.from == to && matches!(packet.body, Body::Echo { reply: true, id: 0x6d64, .. })
            });
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) if left.is_zero() => return Err(NothingCame { patience, ..error }),
                Err(_) => {}
            }
        }
        unreachable!("more pings than a u16 can count")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(5);

    fn hosts() -> (Network, Host, Host) {
        let network = Network::new();
        let a = network.host(Ipv4Addr::new(10, 0, 0, 1), 24, None).unwrap();
        let b = network.host(Ipv4Addr::new(10, 0, 0, 2), 24, None).unwrap();
        (network, a, b)
    }

    #[test]
    fn hosts_find_and_ping_each_other() {
        let (_network, a, b) = hosts();
        assert_eq!(a.resolve(b.address(), LONG).unwrap(), b.mac());
        let answer = b.ping(a.address(), LONG).unwrap();
        assert_eq!((answer.sender, answer.packet.ttl), (a.mac(), 64));
    }

    #[test]
    fn udp_arrives_with_its_ttl_and_content() {
        let (_network, a, b) = hosts();
        let body = Body::Udp { from: 5000, to: 6000, data: b"over the hub, more than the padding".to_vec() };
        a.send(b.address(), 7, body.clone(), LONG).unwrap();
        let got = b.receive("udp", LONG, |packet| packet.body == body).unwrap();
        assert_eq!((got.packet.from, got.packet.ttl), (a.address(), 7));
    }

    #[test]
    fn an_address_that_moves_is_followed_when_its_new_holder_says_so() {
        let (network, a, b) = hosts();
        let shared = Ipv4Addr::new(10, 0, 0, 9);
        let says = |host: &Host| {
            let content = Content::Arp { reply: false, sender: (host.mac(), shared), target: shared };
            host.send_frame(&frame::build(Mac::BROADCAST, host.mac(), &content));
        };
        // Nobody asked for it: it is not kept.
        says(&b);
        assert!(a.resolve(shared, Duration::from_millis(600)).is_err());
        let first = network.host(shared, 24, None).unwrap();
        assert_eq!(a.resolve(shared, LONG).unwrap(), first.mac());
        drop(first);
        says(&b);
        let begin = Instant::now();
        while a.resolve(shared, LONG).unwrap() != b.mac() {
            assert!(begin.elapsed() < LONG, "the old holder is still believed");
        }
    }

    #[test]
    fn nobody_answers_for_an_address_that_is_not_there() {
        let (_network, a, _b) = hosts();
        let error = a.ping(Ipv4Addr::new(10, 0, 0, 9), Duration::from_millis(700)).unwrap_err().to_string();
        assert!(error.contains("ARP for 10.0.0.9"), "{error}");
    }

    #[test]
    fn a_capture_is_a_pcap_file_of_every_frame() {
        let (network, a, b) = hosts();
        let file = tempfile::NamedTempFile::new().unwrap();
        network.capture(file.path()).unwrap();
        a.ping(b.address(), LONG).unwrap();
        let bytes = std::fs::read(file.path()).unwrap();
        assert_eq!(bytes[..4], 0xa1b2_c3d4_u32.to_le_bytes());
        let mut at = 24;
        let mut frames = 0;
        while at < bytes.len() {
            let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
            assert!(frame::parse(&bytes[at + 16..at + 16 + length]).is_some());
            at += 16 + length;
            frames += 1;
        }
        // At least: ARP and its answer, echo and its answer.
        assert!(frames >= 4, "{frames}");
    }
}
