//! What a router advertisement says of names (RFC 4861, section 4.2; RFC 8106): resolvers (RDNSS) and domains to search (DNSSL);
//! and whether servers have more to give.

use super::super::dhcp::valid_names;
use std::net::Ipv6Addr;

/// Length of an advertisement before its options, in bytes.
const HEADER: usize = 16;
const ADVERTISEMENT: u8 = 134;
/// Where the flags are, and those for DHCPv6: addresses come from it, or other things do.
const FLAGS: usize = 5;
const MANAGED: u8 = 0x80;
const OTHER: u8 = 0x40;
/// Options, and the unit of their lengths in bytes.
const RDNSS: u8 = 25;
const DNSSL: u8 = 31;
const UNIT: usize = 8;

/// What is said, each with its lifetime in seconds: 0 takes back, `u32::MAX` is for good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertisement {
    /// The M flag.
    pub managed: bool,
    /// The O flag.
    pub other: bool,
    pub resolvers: Vec<(Ipv6Addr, u32)>,
    pub domains: Vec<(String, u32)>,
}

impl Advertisement {
    /// Reads a message from its ICMPv6 header on. `None` for what is no advertisement, or is damaged: a message with an option
    /// without length counts as none (RFC 4861, section 6.1.2).
    #[must_use]
    pub fn read(message: &[u8]) -> Option<Advertisement> {
        if message.first() != Some(&ADVERTISEMENT) || message.get(1) != Some(&0) {
            return None;
        }
        let mut rest = message.get(HEADER..)?;
        let flags = message.get(FLAGS).copied().unwrap_or(0);
        let (managed, other) = (flags & MANAGED != 0, flags & OTHER != 0);
        let mut found = Advertisement { managed, other, ..Advertisement::default() };
        while let [kind, units, ..] = rest {
            let length = usize::from(*units) * UNIT;
            if length == 0 {
                return None;
            }
            let (option, after) = rest.split_at_checked(length)?;
            found.take(*kind, option);
            rest = after;
        }
        rest.is_empty().then_some(found)
    }

    /// Options that are wrong are passed over.
    fn take(&mut self, kind: u8, option: &[u8]) {
        let Some(lifetime) = option.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes) else {
            return;
        };
        let value = option.get(8..).unwrap_or_default();
        match kind {
            RDNSS if value.len().is_multiple_of(16) => {
                let addresses = value.chunks_exact(16).filter_map(|bytes| <[u8; 16]>::try_from(bytes).ok());
                let usable = |address: &Ipv6Addr| {
                    !address.is_unspecified() && !address.is_multicast() && !address.is_loopback()
                };
                let addresses = addresses.map(Ipv6Addr::from).filter(usable);
                self.resolvers.extend(addresses.map(|address| (address, lifetime)));
            }
            DNSSL => self.domains.extend(valid_names(value).into_iter().map(|domain| (domain, lifetime))),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An advertisement with these options behind its header.
    fn message(options: &[&[u8]]) -> Vec<u8> {
        let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend(options.concat());
        message
    }

    fn rdnss(lifetime: u32, addresses: &[&str]) -> Vec<u8> {
        let mut option = vec![25, 1 + 2 * addresses.len() as u8, 0, 0];
        option.extend(lifetime.to_be_bytes());
        option.extend(addresses.iter().flat_map(|text| text.parse::<Ipv6Addr>().unwrap().octets()));
        option
    }

    fn dnssl(lifetime: u32, names: &[u8]) -> Vec<u8> {
        let units = names.len().div_ceil(8);
        let mut option = vec![31, 1 + units as u8, 0, 0];
        option.extend(lifetime.to_be_bytes());
        option.extend(names);
        option.resize(8 + units * 8, 0);
        option
    }

    #[test]
    fn resolvers_and_domains_are_read_with_their_lifetimes() {
        let mut prefix = vec![3, 4, 64, 0xc0];
        prefix.resize(32, 0);
        let found = Advertisement::read(&message(&[
            &prefix,
            &rdnss(600, &["fd00::53", "fe80::1"]),
            &dnssl(0, b"\x03lan\x00\x04home\x07example\x00"),
            &rdnss(u32::MAX, &["::", "ff02::1", "fd00::54"]),
        ]))
        .unwrap();
        let address = |text: &str| text.parse::<Ipv6Addr>().unwrap();
        let resolvers = [(address("fd00::53"), 600), (address("fe80::1"), 600), (address("fd00::54"), u32::MAX)];
        assert_eq!(found.resolvers, resolvers);
        assert_eq!(found.domains, [("lan".to_owned(), 0), ("home.example".to_owned(), 0)]);
    }

    #[test]
    fn flags_say_what_servers_give() {
        for (flags, managed, other) in
            [(0, false, false), (0x80, true, false), (0x40, false, true), (0xff, true, true)]
        {
            let mut message = message(&[]);
            message[5] = flags;
            let found = Advertisement::read(&message).unwrap();
            assert_eq!((found.managed, found.other), (managed, other), "{flags:#x}");
        }
    }

    #[test]
    fn what_is_damaged_or_something_else_says_nothing() {
        let good = message(&[&rdnss(600, &["fd00::53"])]);
        assert!(Advertisement::read(&good).is_some());
        for wrong in [
            good[..good.len() - 1].to_vec(),
            good[..10].to_vec(),
            Vec::new(),
            message(&[&[25, 0, 0, 0, 0, 0, 0, 0]]),
            [&[136], &good[1..]].concat(),
            [&[134, 1], &good[2..]].concat(),
        ] {
            assert_eq!(Advertisement::read(&wrong), None, "{wrong:?}");
        }
        // Half an address, and a name that ends in the middle: the option is passed over, the rest is taken.
        let mut half = rdnss(600, &["fd00::53"]);
        half[1] = 2;
        half.truncate(16);
        let found = Advertisement::read(&message(&[&half, &dnssl(5, b"\x09lan"), &rdnss(1, &["fd00::9"])])).unwrap();
        assert_eq!((found.resolvers.len(), found.domains.len()), (1, 0));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Advertisement::read(&bytes);
            let _ = Advertisement::read(&message(&[&bytes]));
        }
    }
}
