//! Router advertisements (RFC 4861, section 4.2) with one prefix, a resolver in it and a domain.

use std::net::Ipv6Addr;

/// Hardware address and link-local address of the router that says so.
const MAC: [u8; 6] = [2, 0xaa, 0, 0, 0, 1];
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The frame: everyone on the link may give themselves an address of `prefix`/64 and send to [`ROUTER`] what they do not
/// know the way of.
#[must_use]
pub fn frame(prefix: Ipv6Addr) -> Vec<u8> {
    // Hop limit, no flags, lifetime of the router 1800 s, reachable and retransmission times unspecified.
    let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    message.extend([1, 1]);
    message.extend(MAC);
    // Prefix information: on the link, for addresses of your own, valid for 3600 s.
    message.extend([3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0]);
    message.extend(prefix.octets());
    // A resolver and a domain (RFC 8106), for 600 s.
    message.extend([25, 3, 0, 0, 0, 0, 2, 88]);
    message.extend(Ipv6Addr::from_bits(prefix.to_bits() | 0x53).octets());
    message.extend([31, 3, 0, 0, 0, 0, 2, 88]);
    message.extend(b"\x03six\x07example\0\0\0\0");
    let length = u16::try_from(message.len()).unwrap_or(0);
    let pseudo =
        [&ROUTER.octets()[..], &ALL_NODES.octets(), &[0, 0], &length.to_be_bytes(), &[0, 0, 0, 58], &message];
    let mut sum: u32 = pseudo.concat().chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let mut frame = vec![0x33, 0x33, 0, 0, 0, 1];
    frame.extend(MAC);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([58, 255]);
    frame.extend(ROUTER.octets());
    frame.extend(ALL_NODES.octets());
    frame.extend(message);
    frame
}
