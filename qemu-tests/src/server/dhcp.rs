//! A DHCP server with one lease to give, as short as the test wants it.

use super::Serving;
use emulator::network::frame::{Body, Content, Mac, Packet, build};
use emulator::network::{Host, Received};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// What the server does now.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// The address that it gives, of a /24.
    pub address: Ipv4Addr,
    /// Seconds.
    pub lease: u32,
    /// Whether it answers at all.
    pub answers: bool,
    /// Whether it answers as servers do that nobody has thought of: see [`odd_options`].
    pub odd: bool,
}

#[derive(Debug)]
struct State {
    manner: Manner,
    acknowledged: u32,
    refused: u32,
}

/// The server. It is its own gateway and resolver.
#[derive(Debug)]
pub struct DhcpServer {
    state: Arc<Mutex<State>>,
    _serving: Serving,
}

impl DhcpServer {
    /// Serves from this host.
    #[must_use]
    pub fn start(host: Arc<Host>, manner: Manner) -> DhcpServer {
        let state = Arc::new(Mutex::new(State { manner, acknowledged: 0, refused: 0 }));
        let shared = Arc::clone(&state);
        let serving = Serving::start(move || {
            let question = host.receive("a DHCP question", Duration::from_millis(200), |packet| {
                matches!(packet.body, Body::Udp { to: 67, .. })
            });
            if let Ok(Received { packet: Packet { body: Body::Udp { data, .. }, .. }, .. }) = question
                && let Some(frame) = answer(&host, &data, &mut shared.lock().unwrap_or_else(PoisonError::into_inner))
            {
                host.send_frame(&frame);
            }
        });
        DhcpServer { state, _serving: serving }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what it does from now on.
    pub fn change(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.state().manner);
    }

    /// How often it has given or renewed the lease, and how often it has refused one.
    #[must_use]
    pub fn count(&self) -> (u32, u32) {
        let state = self.state();
        (state.acknowledged, state.refused)
    }
}

/// The answer to a question, as a frame.
fn answer(host: &Host, question: &[u8], state: &mut State) -> Option<Vec<u8>> {
    let Manner { address, lease, answers, odd } = state.manner;
    if !answers {
        return None;
    }
    let options = options(question.get(236..)?)?;
    let own = Ipv4Addr::from(<[u8; 4]>::try_from(question.get(12..16)?).ok()?);
    let asked = find(&options, 50).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map_or(own, Ipv4Addr::from);
    let kind = match *find(&options, 53)?.first()? {
        DISCOVER => OFFER,
        REQUEST if asked == address => ACK,
        REQUEST => NAK,
        _ => return None,
    };
    state.acknowledged += u32::from(kind == ACK);
    state.refused += u32::from(kind == NAK);
    let mut data = vec![2, 1, 6, 0];
    data.extend(question.get(4..8)?);
    data.extend([0; 8]);
    data.extend(if kind == NAK { [0; 4] } else { address.octets() });
    data.extend([0; 8]);
    data.extend(question.get(28..44)?);
    data.resize(236, 0);
    data.extend(COOKIE);
    let server = host.address().octets();
    data.extend([53, 1, kind, 54, 4]);
    data.extend(server);
    if kind != NAK && odd {
        odd_options(&mut data, lease, server);
    } else if kind != NAK {
        data.extend([51, 4]);
        data.extend(lease.to_be_bytes());
        data.extend([1, 4, 255, 255, 255, 0]);
        for option in [3, 6] {
            data.extend([option, 4]);
            data.extend(server);
        }
    }
    data.push(255);
    // A client without an address is told by broadcast, and so is every refusal.
    let unicast = kind == ACK && !own.is_unspecified();
    let mac = Mac(question.get(28..34)?.try_into().ok()?);
    let (to, address) = if unicast { (mac, own) } else { (Mac::BROADCAST, Ipv4Addr::BROADCAST) };
    let body = Body::Udp { from: 67, to: 68, data };
    Some(build(to, host.mac(), &Content::Ip(Packet { from: host.address(), to: address, ttl: 64, body })))
}

/// No mask; times that cannot be (T1 and T2 as long as the lease); two domains with a space between them and a final dot; a list
/// of domains in two parts (RFC 3396); an MTU and a time server; gateway and resolver in the fields for names (RFC 2132, option 52).
fn odd_options(data: &mut Vec<u8>, lease: u32, server: [u8; 4]) {
    let mut put = |code: u8, value: &[u8]| {
        data.extend([code, value.len() as u8]);
        data.extend(value);
    };
    for code in [51, 58, 59] {
        put(code, &lease.to_be_bytes());
    }
    put(15, b"one.example two.example.");
    let (first, second) = b"\x05three\x07example\x00\x04four\x07example\x00".split_at(9);
    put(119, first);
    put(26, &1400_u16.to_be_bytes());
    put(119, second);
    put(42, &[10, 0, 0, 123]);
    put(52, &[3]);
    let mut field = |at: usize, code: u8| {
        let option = [&[code, 4], &server[..], &[255]].concat();
        if let Some(place) = data.get_mut(at..at + option.len()) {
            place.copy_from_slice(&option);
        }
    };
    // `file`, then `sname` (RFC 2131, section 2).
    field(108, 3);
    field(44, 6);
}

/// Options behind the cookie (RFC 2132), by their codes.
fn options(bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut rest = bytes.strip_prefix(&COOKIE)?;
    let mut found = Vec::new();
    while let [code, after @ ..] = rest {
        rest = match code {
            0 => after,
            255 => break,
            _ => {
                let (length, after) = after.split_first()?;
                found.push((*code, after.get(..usize::from(*length))?));
                after.get(usize::from(*length)..)?
            }
        };
    }
    Some(found)
}

fn find<'b>(options: &[(u8, &'b [u8])], code: u8) -> Option<&'b [u8]> {
    options.iter().find(|(found, _)| *found == code).map(|(_, value)| *value)
}
