//! DHCP messages as bytes (RFC 2131, 2132): questions are written, answers are read. Options may be split over several
//! (RFC 3396) and stand in the fields for names too (overload, RFC 2132 9.3). What comes is hostile until it is proven
//! otherwise: no length in it is believed.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Ports of servers and clients.
pub const SERVER: u16 = 67;
pub const CLIENT: u16 = 68;

/// Options, by their numbers in RFC 2132 and others.
pub mod option {
    pub const MASK: u8 = 1;
    pub const ROUTERS: u8 = 3;
    pub const RESOLVERS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN: u8 = 15;
    pub const MTU: u8 = 26;
    pub const TIME_SERVERS: u8 = 42;
    pub const ADDRESS: u8 = 50;
    pub const LEASE: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const KIND: u8 = 53;
    pub const SERVER: u8 = 54;
    pub const WANTED: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const LONGEST: u8 = 57;
    pub const T1: u8 = 58;
    pub const T2: u8 = 59;
    pub const CLIENT_ID: u8 = 61;
    /// RFC 3397.
    pub const SEARCH: u8 = 119;
    /// RFC 3442, and Microsoft's number for the same.
    pub const ROUTES: u8 = 121;
    pub const ROUTES_249: u8 = 249;
}

/// What a server is asked for. Times are among it: some servers send them only when asked.
const WANTED: [u8; 14] = [
    option::MASK,
    option::ROUTES,
    option::ROUTERS,
    option::RESOLVERS,
    option::DOMAIN,
    option::SEARCH,
    option::MTU,
    option::TIME_SERVERS,
    option::LEASE,
    option::SERVER,
    option::T1,
    option::T2,
    option::ROUTES_249,
    option::MESSAGE,
];

const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Where the fields of a message stand.
const YIADDR: usize = 16;
const SNAME: std::ops::Range<usize> = 44..108;
const FILE: std::ops::Range<usize> = 108..236;
const OPTIONS: usize = 240;
/// Shortest message that every server takes: that of BOOTP (RFC 951).
const SHORTEST: usize = 300;
/// Longest one that is taken, with its headers.
pub const LONGEST: usize = 1500;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Discover = 1,
    Offer = 2,
    Request = 3,
    Ack = 5,
    Nak = 6,
}

/// A message of this node.
#[derive(Clone, Copy, Debug)]
pub struct Question<'q> {
    pub kind: Kind,
    /// By which the answer is known.
    pub number: u32,
    pub mac: [u8; 6],
    pub host_name: &'q str,
    /// The node's address, when it has one that is to be renewed.
    pub own: Option<Ipv4Addr>,
    /// The address that is asked for, and the server that has offered it.
    pub asked: Option<(Ipv4Addr, Ipv4Addr)>,
}

impl Question<'_> {
    /// The message, as the content of a UDP packet.
    #[must_use]
    pub fn to_bytes(self) -> Vec<u8> {
        // A request by Ethernet (1), addresses of 6 bytes.
        let mut bytes = vec![1, 1, 6, 0];
        bytes.extend(self.number.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.own.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        bytes.extend([0; 12]);
        bytes.extend(self.mac);
        bytes.resize(FILE.end, 0);
        bytes.extend(COOKIE);
        let mut put = |code: u8, value: &[u8]| {
            let value = value.get(..255).unwrap_or(value);
            bytes.extend([code, value.len() as u8]);
            bytes.extend(value);
        };
        put(option::KIND, &[self.kind as u8]);
        let id: Vec<u8> = [1].into_iter().chain(self.mac).collect();
        put(option::CLIENT_ID, &id);
        if !self.host_name.is_empty() {
            put(option::HOST_NAME, self.host_name.as_bytes());
        }
        if let Some((address, server)) = self.asked {
            put(option::ADDRESS, &address.octets());
            put(option::SERVER, &server.octets());
        }
        put(option::LONGEST, &(LONGEST as u16).to_be_bytes());
        put(option::WANTED, &WANTED);
        bytes.push(255);
        if bytes.len() < SHORTEST {
            bytes.resize(SHORTEST, 0);
        }
        bytes
    }
}

/// The options of a message, each with all that stands in its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<u8, Vec<u8>>);

impl Options {
    #[must_use]
    pub fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.get(&code).map(Vec::as_slice)
    }

    /// Adds what stands in one field of a message. One that is cut off at the end is left out.
    fn read(&mut self, mut rest: &[u8]) {
        while let [code, after @ ..] = rest {
            rest = match code {
                0 => after,
                255 => return,
                _ => {
                    let Some((&length, after)) = after.split_first() else { return };
                    let Some((value, after)) = after.split_at_checked(length.into()) else { return };
                    self.0.entry(*code).or_default().extend(value);
                    after
                }
            };
        }
    }

    #[cfg(test)]
    pub fn of(options: &[(u8, &[u8])]) -> Options {
        Options(options.iter().map(|&(code, value)| (code, value.to_vec())).collect())
    }
}

/// A server's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    pub kind: Kind,
    pub number: u32,
    pub mac: [u8; 6],
    /// The address that is given.
    pub address: Ipv4Addr,
    pub options: Options,
}

impl Reply {
    /// Reads the content of a UDP packet. `None`: it is not a DHCP server's message.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Reply> {
        let field = |at: usize| bytes.get(at..at + 4)?.try_into().ok();
        if bytes.first() != Some(&2) || bytes.get(FILE.end..OPTIONS)? != COOKIE {
            return None;
        }
        let mut options = Options::default();
        options.read(bytes.get(OPTIONS..)?);
        // The order of RFC 3396, section 5: options, file, sname.
        let overload = options.get(option::OVERLOAD).and_then(|value| value.first().copied()).unwrap_or(0);
        for (field, bit) in [(FILE, 1), (SNAME, 2)] {
            if overload & bit != 0 && overload <= 3 {
                options.read(bytes.get(field)?);
            }
        }
        let kind = match options.get(option::KIND)?.first()? {
            2 => Kind::Offer,
            5 => Kind::Ack,
            6 => Kind::Nak,
            _ => return None,
        };
        Some(Reply {
            kind,
            number: u32::from_be_bytes(field(4)?),
            mac: bytes.get(28..34)?.try_into().ok()?,
            address: Ipv4Addr::from(field(YIADDR)?),
            options,
        })
    }
}

/// A UDP packet from no address to everybody, from the IPv4 header on (RFC 791, 768).
#[must_use]
pub fn to_everybody(content: &[u8]) -> Vec<u8> {
    let length = |more: usize| u16::try_from(content.len() + more).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet = vec![0x45, 0];
    packet.extend(length(28));
    // No fragments; 64 hops; UDP; the sum comes below.
    packet.extend([0, 0, 0x40, 0, 64, 17, 0, 0]);
    packet.extend([0; 4]);
    packet.extend([255; 4]);
    let sum = checksum(&packet).to_be_bytes();
    if let Some(place) = packet.get_mut(10..12) {
        place.copy_from_slice(&sum);
    }
    packet.extend(CLIENT.to_be_bytes());
    packet.extend(SERVER.to_be_bytes());
    packet.extend(length(8));
    // No sum: over IPv4 a UDP packet may go without.
    packet.extend([0, 0]);
    packet.extend(content);
    packet
}

/// The content of a UDP packet from a DHCP server, of a packet from its IPv4 header on. Sums are left to the kernel, which
/// does not fill them in on virtual links.
#[must_use]
pub fn from_server(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    let length: [u8; 2] = packet.get(2..4)?.try_into().ok()?;
    let packet = packet.get(..u16::from_be_bytes(length).into())?;
    let header = usize::from(first & 15) * 4;
    if first >> 4 != 4 || header < 20 || packet.get(9) != Some(&17) {
        return None;
    }
    let udp = packet.get(header..)?;
    let number = |at: usize| Some(u16::from_be_bytes(udp.get(at..at + 2)?.try_into().ok()?));
    if number(0)? != SERVER || number(2)? != CLIENT {
        return None;
    }
    udp.get(8..number(4)?.into())
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes.as_chunks::<2>().0.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A server's message: options, file and sname as given.
    pub fn message(kind: u8, address: [u8; 4], options: &[u8], file: &[u8], sname: &[u8]) -> Vec<u8> {
        let mut bytes = vec![2, 1, 6, 0, 0, 0, 0, 9];
        bytes.resize(YIADDR, 0);
        bytes.extend(address);
        bytes.resize(28, 0);
        bytes.extend([2, 0, 0, 0, 0, 1]);
        bytes.resize(SNAME.start, 0);
        bytes.extend(sname);
        bytes.resize(FILE.start, 0);
        bytes.extend(file);
        bytes.resize(FILE.end, 0);
        bytes.extend(COOKIE);
        bytes.extend([53, 1, kind]);
        bytes.extend(options);
        bytes
    }

    fn options(bytes: &[u8]) -> Options {
        Reply::parse(bytes).unwrap().options
    }

    #[test]
    fn a_question_says_who_asks_for_what() {
        let question = Question {
            kind: Kind::Request,
            number: 0x0102_0304,
            mac: [2, 0, 0, 0, 0, 1],
            host_name: "r1",
            own: None,
            asked: Some((Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(10, 0, 0, 1))),
        };
        let mut bytes = question.to_bytes();
        assert!(bytes.len() >= SHORTEST && bytes[4..8] == [1, 2, 3, 4] && bytes[12..16] == [0; 4]);
        // It reads like an answer when it is marked as one.
        bytes[0] = 2;
        let at = bytes.windows(3).position(|three| three == [53, 1, 3]).unwrap();
        bytes[at + 2] = 5;
        let found = Reply::parse(&bytes).unwrap();
        assert_eq!((found.number, found.mac), (0x0102_0304, [2, 0, 0, 0, 0, 1]));
        assert_eq!(found.options.get(option::HOST_NAME), Some(&b"r1"[..]));
        assert_eq!(found.options.get(option::ADDRESS), Some(&[10, 0, 0, 5][..]));
        assert_eq!(found.options.get(option::CLIENT_ID), Some(&[1, 2, 0, 0, 0, 0, 1][..]));
        assert!(found.options.get(option::WANTED).unwrap().contains(&119));
        let renewal = Question { own: Some(Ipv4Addr::new(10, 0, 0, 5)), asked: None, ..question };
        assert_eq!(renewal.to_bytes()[12..16], [10, 0, 0, 5]);
    }

    #[test]
    fn an_option_in_several_parts_is_one_and_the_parts_may_stand_in_the_fields_for_names() {
        let split =
            options(&message(5, [10, 0, 0, 5], &[6, 4, 10, 0, 0, 1, 15, 1, b'a', 6, 4, 10, 0, 0, 2, 255], b"", b""));
        assert_eq!(split.get(6), Some(&[10, 0, 0, 1, 10, 0, 0, 2][..]));
        let file = [15, 2, b'b', b'c', 255];
        let sname = [15, 1, b'd', 26, 2, 5, 0, 255];
        for (overload, domain, mtu) in [(1, "abc", false), (2, "ad", true), (3, "abcd", true), (0, "a", false)] {
            let found = options(&message(5, [0; 4], &[52, 1, overload, 15, 1, b'a', 255], &file, &sname));
            assert_eq!(found.get(15), Some(domain.as_bytes()), "overload {overload}");
            assert_eq!(found.get(26).is_some(), mtu, "overload {overload}");
        }
        // Names that are no options stay names.
        assert_eq!(options(&message(5, [0; 4], &[255], b"\x0f\x01x", b"")).get(15), None);
    }

    #[test]
    fn an_option_that_is_cut_off_is_left_out_and_the_ones_before_it_stay() {
        let found = options(&message(5, [10, 0, 0, 5], &[1, 4, 255, 255, 255, 0, 3, 200, 1, 2], b"", b""));
        assert_eq!((found.get(1), found.get(3)), (Some(&[255, 255, 255, 0][..]), None));
        assert!(Reply::parse(&message(9, [0; 4], &[255], b"", b"")).is_none(), "no kind of a server's");
        let mut request = message(5, [0; 4], &[255], b"", b"");
        request[0] = 1;
        assert_eq!(Reply::parse(&request), None);
    }

    #[test]
    fn a_packet_to_everybody_has_a_true_header() {
        let packet = to_everybody(b"hello");
        assert_eq!(checksum(&packet[..20]), 0, "the sum of a header with its sum is nothing");
        assert_eq!((packet.len(), packet[2..4].to_vec()), (33, vec![0, 33]));
        assert_eq!(from_server(&packet), None, "it comes from a client");
        let mut answer = packet;
        answer[20..24].copy_from_slice(&[0, 67, 0, 68]);
        assert_eq!(from_server(&answer), Some(&b"hello"[..]));
        // Ethernet pads short packets.
        assert_eq!(from_server(&[answer.as_slice(), &[0; 20]].concat()), Some(&b"hello"[..]));
        answer[25] = 200;
        assert_eq!(from_server(&answer), None, "it says that it is longer than it is");
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_readers_panic(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
            let _ = (Reply::parse(&bytes), from_server(&bytes));
        }

        #[test]
        fn no_fields_of_a_message_make_the_reader_panic_or_grow(
            options in prop::collection::vec(any::<u8>(), 0..600),
            file in prop::collection::vec(any::<u8>(), 0..128),
            sname in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let bytes = message(2, [10, 0, 0, 5], &options, &file, &sname);
            if let Some(reply) = Reply::parse(&bytes) {
                prop_assert!(reply.options.0.values().map(Vec::len).sum::<usize>() <= bytes.len());
            }
        }

        #[test]
        fn an_option_comes_through_however_it_is_split(
            value in prop::collection::vec(any::<u8>(), 1..500), cuts in prop::collection::vec(1_usize..255, 1..20),
        ) {
            let mut parts = Vec::new();
            let mut rest = value.as_slice();
            for cut in cuts.iter().cycle() {
                let (part, after) = rest.split_at(rest.len().min(*cut));
                parts.extend([119, part.len() as u8]);
                parts.extend(part);
                rest = after;
                if rest.is_empty() { break }
            }
            let found = options(&message(5, [0; 4], &parts, b"", b""));
            prop_assert_eq!(found.get(119), Some(value.as_slice()));
        }
    }
}
