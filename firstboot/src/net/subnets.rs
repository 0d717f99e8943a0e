//! Parts of a prefix that a server has delegated, for the interfaces behind this router (RFC 7084, section 4.3).

use super::dhcp6::{Held, Leases6};
use super::life::Life;
use super::route::WantedRoute;
use super::seen::IPV6_METRIC;
use contract::node::Subnet;
use ipnet::{IpNet, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use tokio::time::Instant;

/// By the interfaces that have them.
pub type Subnets = BTreeMap<String, Subnet>;

/// Length of what one link has.
const PART: u8 = 64;
/// This router's own number on each link.
const HOST: u128 = 1;

/// The addresses of this router in an interface's parts, or why there is none; empty while there is no prefix.
pub fn parts(subnet: &Subnet, leases: &Leases6, now: Instant) -> Vec<Result<(IpNet, Life), String>> {
    let one = |held: &Held<Ipv6Net>| {
        let prefix = held.value;
        let (preferred_s, valid_s) = held.left_s(now);
        let number = subnet.number;
        let part = part(prefix, number).ok_or_else(|| {
            format!("the prefix {prefix} of {} has no subnet number {number}", subnet.from.as_str())
        })?;
        Ok((IpNet::V6(part), Life::Leased { preferred_s, valid_s }))
    };
    in_force(subnet.from.as_str(), leases, now).map(one).collect()
}

fn in_force<'l>(from: &str, leases: &'l Leases6, now: Instant) -> impl Iterator<Item = &'l Held<Ipv6Net>> {
    leases.of(from).into_iter().flat_map(|lease| &lease.prefixes).filter(move |held| held.in_force(now))
}

/// This router's address in a part of a prefix.
fn part(prefix: Ipv6Net, number: u16) -> Option<Ipv6Net> {
    let bits = PART.checked_sub(prefix.prefix_len())?;
    if bits < 16 && number >> bits != 0 {
        return None;
    }
    let address = prefix.network().to_bits() | u128::from(number) << PART | HOST;
    Ipv6Net::new(Ipv6Addr::from_bits(address), PART).ok()
}

/// What of the prefixes no link has is refused, so that it does not go back to the provider and forth (RFC 7084, WPD-5).
pub fn refused(subnets: &Subnets, leases: &Leases6, now: Instant) -> Vec<WantedRoute> {
    let from: BTreeSet<&str> = subnets.values().map(|subnet| subnet.from.as_str()).collect();
    let prefixes = from.into_iter().flat_map(|from| in_force(from, leases, now)).map(|held| held.value);
    let route = |prefix| WantedRoute {
        to: IpNet::V6(prefix),
        via: None,
        metric: IPV6_METRIC,
        on_link: false,
        dhcp: true,
        unreachable: true,
    };
    prefixes.map(route).collect()
}

/// The length of the prefix that an interface is to ask for: of the shortest that has room for every part, in steps of four bits;
/// `None`: no part is taken from it.
pub fn length(subnets: &Subnets, from: &str) -> Option<u8> {
    let numbers = subnets.values().filter(|subnet| subnet.from.as_str() == from).map(|subnet| subnet.number);
    let bits = 16 - numbers.max()?.leading_zeros();
    Some(PART - (bits.div_ceil(4) * 4) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subnet(number: u16) -> Subnet {
        Subnet { from: "eth0".to_owned().try_into().unwrap(), number }
    }

    #[test]
    fn a_part_is_counted_from_the_prefix_and_has_this_router_in_it() {
        for (prefix, number, address) in [
            ("2001:db8:1::/48", 0, Some("2001:db8:1::1/64")),
            ("2001:db8:1::/48", 0xffff, Some("2001:db8:1:ffff::1/64")),
            ("2001:db8:1:10::/60", 15, Some("2001:db8:1:1f::1/64")),
            ("2001:db8:1:10::/60", 16, None),
            ("2001:db8:1:10::/64", 0, Some("2001:db8:1:10::1/64")),
            ("2001:db8:1:10::/64", 1, None),
            ("2001:db8::/32", 0xffff, Some("2001:db8:0:ffff::1/64")),
        ] {
            let found = part(prefix.parse().unwrap(), number).map(|net| net.to_string());
            assert_eq!(found.as_deref(), address, "{prefix} {number}");
        }
    }

    #[test]
    fn as_long_a_prefix_is_asked_for_as_has_room_for_all_parts() {
        let of = |numbers: &[u16]| {
            let all = numbers.iter().map(|number| (format!("eth{}", number + 1), subnet(*number)));
            length(&all.collect(), "eth0")
        };
        assert_eq!(of(&[]), None);
        assert_eq!(
            (of(&[0]), of(&[0, 1]), of(&[15]), of(&[16]), of(&[255])),
            (Some(64), Some(60), Some(60), Some(56), Some(56))
        );
        assert_eq!(of(&[256, 3]), Some(52));
        assert_eq!(length(&BTreeMap::from([("eth1".to_owned(), subnet(3))]), "eth2"), None);
    }

    proptest! {
        #[test]
        fn a_part_lies_in_its_prefix_and_no_two_are_the_same(
            bits in any::<u128>(), length in 16_u8..=64, one in any::<u16>(), other in any::<u16>(),
        ) {
            let prefix = Ipv6Net::new(bits.into(), length).unwrap().trunc();
            let (first, second) = (part(prefix, one), part(prefix, other));
            for part in [first, second].into_iter().flatten() {
                prop_assert!(prefix.contains(&part) && part.prefix_len() == 64);
            }
            if let (Some(first), Some(second)) = (first, second) {
                prop_assert_eq!(one == other, first == second);
            }
        }
    }
}
