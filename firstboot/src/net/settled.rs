//! Whether an interface has what it should have.

use super::seen::Seen;
use super::wanted::{WantedLease, WantedLink};

/// Whether it is there with its addresses, and with its lease if it is to have one, or else with a link. Only what was
/// wanted and seen in one turn counts: a lease that came meanwhile is not on the interface yet.
#[must_use]
pub fn has_all(want: &WantedLink, seen: &Seen, without_link: bool) -> bool {
    let Some(link) = seen.link(&want.name) else { return false };
    let has = |net| seen.addresses.iter().any(|address| address.index == link.index && address.net == net);
    let leased = match want.lease {
        WantedLease::NotAsked => link.carrier || without_link,
        WantedLease::InForce => true,
        WantedLease::Pending | WantedLease::Over => false,
    };
    leased && want.addresses.iter().all(|address| has(address.net))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::seen::{Address, Kind, Link};
    use crate::net::wanted::WantedAddress;

    const LEASED: &str = "10.0.0.50/24";

    fn want(lease: WantedLease, addresses: &[&str]) -> WantedLink {
        let addresses = addresses.iter().map(|net| WantedAddress { net: net.parse().unwrap(), valid_s: None });
        WantedLink { name: "eth0".to_owned(), lease, addresses: addresses.collect(), ..WantedLink::default() }
    }

    fn seen(carrier: bool, addresses: &[&str]) -> Seen {
        let link = Link {
            index: 2,
            name: "eth0".to_owned(),
            kind: Kind::Port,
            up: true,
            carrier,
            mtu: 1500,
            controller: None,
            mac: None,
            accept_ra: None,
        };
        let one = |net: &&str| Address { index: 2, net: net.parse().unwrap(), by_kernel: false, valid_s: None };
        Seen { links: vec![link], addresses: addresses.iter().map(one).collect(), ..Seen::default() }
    }

    #[test]
    fn a_lease_counts_when_its_address_is_on_the_interface() {
        let in_force = want(WantedLease::InForce, &[LEASED]);
        assert!(has_all(&in_force, &seen(true, &[LEASED]), false));
        assert!(!has_all(&in_force, &seen(true, &[]), false), "its address was not added yet");
        let mut elsewhere = seen(true, &[LEASED]);
        elsewhere.addresses[0].index = 3;
        assert!(!has_all(&in_force, &elsewhere, false));
        for lease in [WantedLease::Pending, WantedLease::Over] {
            assert!(!has_all(&want(lease, &[]), &seen(true, &[LEASED]), true), "{lease:?}");
        }
    }

    #[test]
    fn without_dhcp_its_addresses_and_a_link_are_enough_and_the_link_is_not_waited_for_long() {
        let fixed = want(WantedLease::NotAsked, &["10.0.0.1/24"]);
        assert!(has_all(&fixed, &seen(true, &["10.0.0.1/24"]), false));
        assert!(!has_all(&fixed, &seen(false, &["10.0.0.1/24"]), false));
        assert!(has_all(&fixed, &seen(false, &["10.0.0.1/24"]), true));
        assert!(!has_all(&fixed, &seen(true, &[]), true));
        assert!(!has_all(&fixed, &Seen::default(), true), "it is not there at all");
    }
}
