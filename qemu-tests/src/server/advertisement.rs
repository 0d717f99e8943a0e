//! Router advertisements (RFC 4861, section 4.2) with one prefix, a resolver in it and a domain; or of a link whose addresses come
//! from servers; and what other routers advertise.

use std::net::Ipv6Addr;

/// Hardware address and link-local address of the router that says so.
const MAC: [u8; 6] = [2, 0xaa, 0, 0, 0, 1];
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The frame: everyone on the link may give themselves an address of `prefix`/64 and send to [`ROUTER`] what they do not
/// know the way of.
#[must_use]
pub fn frame(prefix: Ipv6Addr) -> Vec<u8> {
    let mut message = head(0, 0xc0, prefix);
    // A resolver and a domain (RFC 8106), for 600 s.
    message.extend([25, 3, 0, 0, 0, 0, 2, 88]);
    message.extend(Ipv6Addr::from_bits(prefix.to_bits() | 0x53).octets());
    message.extend([31, 3, 0, 0, 0, 0, 2, 88]);
    message.extend(b"\x03six\x07example\0\0\0\0");
    framed(message)
}

/// The frame: `prefix`/64 is on the link, but addresses of it, and all else, come from servers (the flags M and O).
#[must_use]
pub fn managed(prefix: Ipv6Addr) -> Vec<u8> {
    framed(head(0xc0, 0x80, prefix))
}

/// Whether a frame is another router's advertisement of `prefix`/64: the preferred lifetime that it says, in seconds.
#[must_use]
pub fn preferred(frame: &[u8], prefix: Ipv6Addr) -> Option<u32> {
    // Ethernet, IPv6 and ICMPv6 headers.
    let is = frame.get(12..14) == Some(&[0x86, 0xdd]) && frame.get(20) == Some(&58) && frame.get(54) == Some(&134);
    let mut rest = frame.get(54 + 16..).filter(|_| is)?;
    while let [kind, units, ..] = rest {
        let (option, after) = rest.split_at_checked(usize::from(*units).max(1) * 8)?;
        if *kind == 3 && option.get(16..32) == Some(&prefix.octets()) {
            return option.get(8..12)?.try_into().ok().map(u32::from_be_bytes);
        }
        rest = after;
    }
    None
}

/// An advertisement up to its first prefix.
fn head(flags: u8, prefix_flags: u8, prefix: Ipv6Addr) -> Vec<u8> {
    // Hop limit, flags, lifetime of the router 1800 s, reachable and retransmission times unspecified.
    let mut message = vec![134, 0, 0, 0, 64, flags, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    message.extend([1, 1]);
    message.extend(MAC);
    // Prefix information, valid for 3600 s.
    message.extend([3, 4, 64, prefix_flags, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0]);
    message.extend(prefix.octets());
    message
}

/// As a frame to every node of the link.
fn framed(mut message: Vec<u8>) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertisement_is_known_by_its_prefix() {
        let prefix = "fd00:5::".parse().unwrap();
        for frame in [frame(prefix), managed(prefix)] {
            assert_eq!(preferred(&frame, prefix), Some(3600));
            assert_eq!(preferred(&frame, "fd00:6::".parse().unwrap()), None);
            assert_eq!(preferred(&frame[..frame.len() / 2], prefix), None);
        }
    }
}
