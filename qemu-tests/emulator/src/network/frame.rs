//! The few headers that a test needs to send and to recognise: Ethernet, ARP (RFC 826), IPv4 (RFC 791), ICMP echo
//! (RFC 792), UDP (RFC 768).

use std::net::Ipv4Addr;

/// A hardware address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    pub const BROADCAST: Mac = Mac([0xff; 6]);
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::fmt::Debug for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// What is in an Ethernet frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Arp { reply: bool, sender: (Mac, Ipv4Addr), target: Ipv4Addr },
    Ip(Packet),
}

/// An IPv4 packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    pub ttl: u8,
    pub body: Body,
}

/// What an IPv4 packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    Echo { reply: bool, id: u16, sequence: u16, data: Vec<u8> },
    Udp { from: u16, to: u16, data: Vec<u8> },
    Other { protocol: u8 },
}

fn two(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(Ipv4Addr::from(four))
}

fn mac(bytes: &[u8], at: usize) -> Option<Mac> {
    Some(Mac(bytes.get(at..at + 6)?.try_into().ok()?))
}

/// The frame's receiver, its sender and its content; `None` for what a test has no use for.
#[must_use]
pub fn parse(frame: &[u8]) -> Option<(Mac, Mac, Content)> {
    let (to, from, rest) = (mac(frame, 0)?, mac(frame, 6)?, frame.get(14..)?);
    let content = match two(frame, 12)? {
        0x0806 => Content::Arp {
            reply: match two(rest, 6)? {
                1 => false,
                2 => true,
                _ => return None,
            },
            sender: (mac(rest, 8)?, address(rest, 14)?),
            target: address(rest, 24)?,
        },
        0x0800 => Content::Ip(packet(rest)?),
        _ => return None,
    };
    Some((to, from, content))
}

fn packet(bytes: &[u8]) -> Option<Packet> {
    let first = *bytes.first()?;
    let header = usize::from(first & 15) * 4;
    let total = usize::from(two(bytes, 2)?);
    if first >> 4 != 4 || header < 20 || sum(bytes.get(..header)?) != 0 {
        return None;
    }
    let payload = bytes.get(header..total)?;
    let body = match *bytes.get(9)? {
        1 if matches!(payload.first(), Some(0 | 8)) && sum(payload) == 0 => Body::Echo {
            reply: payload[0] == 0,
            id: two(payload, 4)?,
            sequence: two(payload, 6)?,
            data: payload.get(8..)?.to_vec(),
        },
        17 => Body::Udp { from: two(payload, 0)?, to: two(payload, 2)?, data: payload.get(8..)?.to_vec() },
        protocol => Body::Other { protocol },
    };
    Some(Packet { from: address(bytes, 12)?, to: address(bytes, 16)?, ttl: *bytes.get(8)?, body })
}

/// The Internet checksum (RFC 1071); 0 over bytes that hold a right one.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The bytes of a frame.
#[must_use]
pub fn build(to: Mac, from: Mac, content: &Content) -> Vec<u8> {
    let mut frame = [to.0, from.0].concat();
    match content {
        Content::Arp { reply, sender, target } => {
            frame.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1 + u8::from(*reply)]);
            frame.extend(sender.0.0);
            frame.extend(sender.1.octets());
            frame.extend(if *reply { to.0 } else { [0; 6] });
            frame.extend(target.octets());
        }
        Content::Ip(packet) => {
            frame.extend([0x08, 0x00]);
            frame.extend(packet_bytes(packet));
        }
    }
    // The shortest frame that Ethernet has, without its check sequence.
    frame.resize(frame.len().max(60), 0);
    frame
}

fn packet_bytes(packet: &Packet) -> Vec<u8> {
    let mut payload = Vec::new();
    let protocol = match &packet.body {
        Body::Echo { reply, id, sequence, data } => {
            payload.extend([if *reply { 0 } else { 8 }, 0, 0, 0]);
            payload.extend(id.to_be_bytes());
            payload.extend(sequence.to_be_bytes());
            payload.extend(data);
            let check = sum(&payload);
            payload[2..4].copy_from_slice(&check.to_be_bytes());
            1
        }
        Body::Udp { from, to, data } => {
            for word in [*from, *to, data.len() as u16 + 8, 0] {
                payload.extend(word.to_be_bytes());
            }
            payload.extend(data);
            // Zero would say "no checksum"; over IPv4 that is allowed, but a router need not like it.
            let pseudo = [
                &packet.from.octets()[..],
                &packet.to.octets(),
                &[0, 17],
                &(payload.len() as u16).to_be_bytes(),
                &payload,
            ];
            let check = match sum(&pseudo.concat()) {
                0 => 0xffff,
                check => check,
            };
            payload[6..8].copy_from_slice(&check.to_be_bytes());
            17
        }
        Body::Other { protocol } => *protocol,
    };
    let mut bytes = vec![0x45, 0];
    bytes.extend((20 + payload.len() as u16).to_be_bytes());
    bytes.extend([0, 0, 0, 0, packet.ttl, protocol, 0, 0]);
    bytes.extend(packet.from.octets());
    bytes.extend(packet.to.octets());
    let check = sum(&bytes);
    bytes[10..12].copy_from_slice(&check.to_be_bytes());
    bytes.extend(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const B: Mac = Mac([2, 0, 0, 0, 0, 2]);

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        assert_eq!(sum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    }

    #[test]
    fn a_packet_with_a_wrong_header_checksum_is_none() {
        let (from, to) = (Ipv4Addr::new(10, 1, 0, 10), Ipv4Addr::new(10, 2, 0, 10));
        let body = Body::Udp { from: 1, to: 2, data: vec![7] };
        let mut frame = build(B, A, &Content::Ip(Packet { from, to, ttl: 64, body }));
        assert!(parse(&frame).is_some());
        frame[22] -= 1;
        assert!(parse(&frame).is_none());
    }

    fn packets() -> impl Strategy<Value = Packet> {
        let data = || prop::collection::vec(any::<u8>(), 18..80);
        let body =
            prop_oneof![
                (any::<bool>(), any::<u16>(), any::<u16>(), data())
                    .prop_map(|(reply, id, sequence, data)| Body::Echo { reply, id, sequence, data }),
                (any::<u16>(), any::<u16>(), data()).prop_map(|(from, to, data)| Body::Udp { from, to, data }),
            ];
        (any::<u32>(), any::<u32>(), any::<u8>(), body).prop_map(|(from, to, ttl, body)| Packet {
            from: from.into(),
            to: to.into(),
            ttl,
            body,
        })
    }

    proptest! {
        #[test]
        fn what_is_built_is_read_back(packet in packets()) {
            let content = Content::Ip(packet);
            prop_assert_eq!(parse(&build(B, A, &content)), Some((B, A, content)));
        }

        #[test]
        fn arp_is_read_back(reply: bool, sender: u32, target: u32) {
            let content = Content::Arp { reply, sender: (A, sender.into()), target: target.into() };
            prop_assert_eq!(parse(&build(B, A, &content)), Some((B, A, content)));
        }

        #[test]
        fn no_frame_makes_the_parser_panic(frame in prop::collection::vec(any::<u8>(), 0..100), kind: bool) {
            let mut frame = frame;
            if frame.len() > 15 {
                frame[12..15].copy_from_slice(if kind { &[8, 0, 0x45] } else { &[8, 6, 0] });
            }
            let _ = parse(&frame);
        }
    }
}
