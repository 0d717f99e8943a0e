//! Whether an interface has what it should have.

use super::seen::{Address, Seen};
use super::wanted::{Made, Wanted, WantedLease, WantedLink};
use std::net::IpAddr;

/// Whether it is there with its addresses, and with its lease if it is to have one, or else with a link. Only what was
/// wanted and seen in one turn counts: a lease that came meanwhile is not on the interface yet. `managed`: a router has said that
/// IPv6 addresses come from servers.
#[must_use]
pub fn has_all(want: &WantedLink, seen: &Seen, without_link: bool, managed: bool) -> bool {
    let Some(link) = seen.link(&want.name) else { return false };
    let here = || seen.addresses.iter().filter(|address| address.index == link.index);
    // Without a link nobody can be asked whose an address is.
    let usable = |address: &Address| !address.in_doubt || (without_link && !link.carrier);
    let has = |net| here().any(|address| address.net == net && usable(address));
    // Where nothing else brings an address, that of a router advertisement is waited for; or of a server, where a router says so.
    let awaits_router = want.advertisements && want.addresses.is_empty() && want.lease == WantedLease::NotAsked;
    let advertised = |address: &Address| match address.net.addr() {
        IpAddr::V6(six) => address.by_kernel && !six.is_unicast_link_local() && usable(address),
        IpAddr::V4(_) => false,
    };
    if awaits_router && (managed || !here().any(advertised)) {
        return false;
    }
    let leased = match want.lease {
        WantedLease::NotAsked => link.carrier || without_link,
        WantedLease::InForce => true,
        WantedLease::Pending | WantedLease::Over => false,
    };
    leased && want.addresses.iter().all(|address| has(address.net))
}

/// The port of the board that is not there and without which this interface cannot be: itself, or what a VLAN lies on.
#[must_use]
pub fn missing<'w>(want: &'w WantedLink, wanted: &'w Wanted, seen: &Seen) -> Option<&'w str> {
    let mut at = want;
    // The node config was checked: a VLAN lies on no VLAN that lies on it. The bound is for one that was not.
    for _ in 0..=wanted.links.len() {
        if seen.link(&at.name).is_some() {
            return None;
        }
        match &at.made {
            None => return Some(&at.name),
            Some(Made::Vlan { on, .. }) => at = wanted.links.iter().find(|link| link.name == *on)?,
            Some(Made::Bridge { .. } | Made::WireGuard) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::life::Life;
    use crate::net::seen::{Kind, Link};
    use crate::net::wanted::WantedAddress;

    const LEASED: &str = "10.0.0.50/24";

    fn want(lease: WantedLease, addresses: &[&str]) -> WantedLink {
        let addresses = addresses.iter().map(|net| WantedAddress { net: net.parse().unwrap(), life: Life::Fixed });
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
        let one = |net: &&str| Address {
            index: 2,
            net: net.parse().unwrap(),
            by_kernel: false,
            preferred_s: None,
            valid_s: None,
            in_doubt: false,
            duplicate: false,
        };
        Seen { links: vec![link], addresses: addresses.iter().map(one).collect(), ..Seen::default() }
    }

    #[test]
    fn a_lease_counts_when_its_address_is_on_the_interface() {
        let in_force = want(WantedLease::InForce, &[LEASED]);
        assert!(has_all(&in_force, &seen(true, &[LEASED]), false, false));
        assert!(!has_all(&in_force, &seen(true, &[]), false, false), "its address was not added yet");
        let mut elsewhere = seen(true, &[LEASED]);
        elsewhere.addresses[0].index = 3;
        assert!(!has_all(&in_force, &elsewhere, false, false));
        for lease in [WantedLease::Pending, WantedLease::Over] {
            assert!(!has_all(&want(lease, &[]), &seen(true, &[LEASED]), true, false), "{lease:?}");
        }
    }

    #[test]
    fn an_address_counts_when_it_has_passed_duplicate_detection() {
        let fixed = want(WantedLease::NotAsked, &["fd00::1/64"]);
        let mut there = seen(true, &["fd00::1/64"]);
        assert!(has_all(&fixed, &there, false, false));
        there.addresses[0].in_doubt = true;
        assert!(
            !has_all(&fixed, &there, false, false) && !has_all(&fixed, &there, true, false),
            "somebody else may have it"
        );
        there.links[0].carrier = false;
        assert!(has_all(&fixed, &there, true, false), "without a link nobody can be asked");
    }

    #[test]
    fn a_port_with_router_advertisements_alone_waits_for_an_address_of_its_own() {
        let six = WantedLink { advertisements: true, ..want(WantedLease::NotAsked, &[]) };
        let by_kernel = |nets: &[&str]| {
            let mut there = seen(true, nets);
            there.addresses.iter_mut().for_each(|address| address.by_kernel = true);
            there
        };
        assert!(!has_all(&six, &by_kernel(&[]), true, false));
        assert!(!has_all(&six, &by_kernel(&["fe80::5/64"]), true, false), "the link's own address reaches nothing");
        assert!(has_all(&six, &by_kernel(&["fe80::5/64", "fd00:5::9/64"]), false, false));
        let mut doubtful = by_kernel(&["fd00:5::9/64"]);
        doubtful.addresses[0].in_doubt = true;
        assert!(!has_all(&six, &doubtful, true, false));
        // A router says that servers give addresses: one of its own making is not waited for.
        assert!(!has_all(&six, &by_kernel(&["fd00:5::9/64"]), true, true));
        let leased = WantedAddress { net: "fd00:5::7/128".parse().unwrap(), life: Life::Tried };
        let leased = WantedLink { addresses: vec![leased], lease6: WantedLease::InForce, ..six.clone() };
        let mut there = seen(true, &["fd00:5::7/128"]);
        assert!(has_all(&leased, &there, false, true));
        there.addresses[0].in_doubt = true;
        assert!(!has_all(&leased, &there, true, true));
        let both = WantedLink { advertisements: true, ..want(WantedLease::InForce, &[LEASED]) };
        assert!(has_all(&both, &seen(true, &[LEASED]), false, false), "a lease is enough");
    }

    #[test]
    fn a_port_that_is_not_there_is_named_for_itself_and_for_what_lies_on_it() {
        let port = |name: &str, made| WantedLink { name: name.to_owned(), made, ..WantedLink::default() };
        let vlan = |on: &str| Some(Made::Vlan { on: on.to_owned(), id: 7 });
        let wanted = Wanted {
            links: vec![
                port("eth0", None),
                port("eth1", None),
                port("v0", vlan("eth0")),
                port("v1", vlan("eth1")),
                port("deep", vlan("v1")),
                port("br0", Some(Made::Bridge { stp: false })),
                port("loop", vlan("loop")),
            ],
        };
        let seen = seen(true, &[]);
        let found: Vec<_> = wanted.links.iter().map(|want| missing(want, &wanted, &seen)).collect();
        assert_eq!(found, [None, Some("eth1"), None, Some("eth1"), Some("eth1"), None, None]);
    }

    #[test]
    fn without_dhcp_its_addresses_and_a_link_are_enough_and_the_link_is_not_waited_for_long() {
        let fixed = want(WantedLease::NotAsked, &["10.0.0.1/24"]);
        assert!(has_all(&fixed, &seen(true, &["10.0.0.1/24"]), false, false));
        assert!(!has_all(&fixed, &seen(false, &["10.0.0.1/24"]), false, false));
        assert!(has_all(&fixed, &seen(false, &["10.0.0.1/24"]), true, false));
        assert!(!has_all(&fixed, &seen(true, &[]), true, false));
        assert!(!has_all(&fixed, &Seen::default(), true, false), "it is not there at all");
    }
}
