//! The plan against a model of the kernel: steps are carried out on plain values until none is left.

use super::*;
use crate::net::dhcp::tests::offered;
use crate::net::dhcp::{Lease, Leases};
use crate::net::dhcp6::{self, Held, Leases6, Names};
use crate::net::seen::{Address, Seen};
use crate::net::subnets::Subnets;
use crate::net::wanted::{Learnt, Wanted, wanted};
use contract::node::NodeConfig;
use proptest::prelude::*;
use std::time::Duration;
use tokio::time::Instant;

const KEY: &str = "Zmlyc3Qga2V5IGZvciB0ZXN0cywgbm90IGEgc2VjcmU=";

fn config(network: &str) -> Wanted {
    wanted_with(network, &Leases::default(), Instant::now())
}

fn wanted_with(network: &str, leases: &Leases, now: Instant) -> Wanted {
    wanted_of(network, leases, &Leases6::default(), now)
}

/// With what servers of IPv6 have given; parts of prefixes go where `[router.subnet]` says.
fn wanted_of(network: &str, leases: &Leases, leases6: &Leases6, now: Instant) -> Wanted {
    let mut config = NodeConfig::parse(format!("name = \"r1\"\n{network}").as_bytes()).unwrap();
    config.network.add_loopback();
    let subnets = config.router.map(|router| router.subnets).unwrap_or_default();
    let subnets: Subnets = subnets.into_iter().map(|(name, subnet)| (String::from(name), subnet)).collect();
    wanted(&config.network, Learnt { leases, leases6, subnets: &subnets }, now)
}

fn port(index: u32, name: &str) -> Link {
    Link {
        index,
        name: name.to_owned(),
        kind: Kind::Port,
        up: false,
        carrier: true,
        mtu: 1500,
        controller: None,
        mac: None,
        accept_ra: Some(1),
    }
}

fn ports() -> Seen {
    Seen { links: vec![port(1, "lo"), port(2, "eth0"), port(3, "eth1")], ..Seen::default() }
}

/// What the kernel would make of a step.
fn take(seen: &mut Seen, step: &Step) {
    let next = seen.links.iter().map(|link| link.index).max().unwrap_or(0) + 1;
    let link = |seen: &mut Seen, name: &str, change: &dyn Fn(&mut Link)| {
        seen.links.iter_mut().filter(|link| link.name == name).for_each(change);
    };
    match step.clone() {
        Step::Make { name, make } => {
            assert!(!seen.links.iter().any(|link| link.name == name), "{name} is there");
            let kind = match make {
                Make::Vlan { on, id } => Kind::Vlan { on, id },
                Make::Bridge { .. } => Kind::Bridge,
                Make::WireGuard => Kind::WireGuard,
            };
            seen.links.push(Link { kind, ..port(next, &name) });
        }
        Step::Unmake { index, .. } => {
            seen.links.retain(|link| link.index != index);
            seen.addresses.retain(|address| address.index != index);
            seen.routes.retain(|route| route.index != index);
        }
        Step::Advertisements { name, take } => {
            link(seen, &name, &|link| link.accept_ra = Some(accept_ra_value(take)));
        }
        Step::Mtu { name, mtu, .. } => link(seen, &name, &|link| link.mtu = mtu),
        Step::Join { name, controller, .. } => link(seen, &name, &|link| link.controller = controller),
        Step::Up { name, .. } => link(seen, &name, &|link| link.up = true),
        Step::AddAddress { index, net, life } => {
            seen.addresses.retain(|address| (address.index, address.net) != (index, net));
            let (preferred_s, valid_s) = match life {
                Life::Fixed | Life::Tried => (None, None),
                Life::Leased { preferred_s, valid_s } => (preferred_s, valid_s),
            };
            seen.addresses.push(Address { preferred_s, valid_s, ..address(index, net) });
        }
        Step::RemoveAddress { index, net } => {
            seen.addresses.retain(|address| (address.index, address.net) != (index, net));
            let addresses = seen.addresses.clone();
            seen.routes.retain(|route| {
                route.index != index || route.via.is_none_or(|via| addresses.iter().any(|own| own.net.contains(&via)))
            });
        }
        Step::AddRoute(route) => {
            // The kernel has one IPv4 route for a net and a metric, whatever its port.
            let four = route.to.addr().is_ipv4();
            seen.routes.retain(|there| {
                (there.to, there.metric) != (route.to, route.metric) || (!four && there.index != route.index)
            });
            seen.routes.push(Route { on_link: false, ..route });
        }
        Step::RemoveRoute(route) => seen.routes.retain(|there| !there.same(&route)),
    }
}

fn address(index: u32, net: IpNet) -> Address {
    Address { index, net, by_kernel: false, preferred_s: None, valid_s: None, in_doubt: false, duplicate: false }
}

/// Rounds until nothing is left to do.
fn settle(wanted: &Wanted, seen: &mut Seen) -> usize {
    for round in 0..12 {
        let steps = plan(wanted, seen);
        if steps.is_empty() {
            return round;
        }
        steps.iter().for_each(|step| take(seen, step));
    }
    panic!("there is always something to do: {:?}", plan(wanted, seen));
}

fn addresses(seen: &Seen, name: &str) -> Vec<String> {
    let index = seen.links.iter().find(|link| link.name == name).unwrap().index;
    seen.addresses.iter().filter(|address| address.index == index).map(|address| address.net.to_string()).collect()
}

const STICK: &str = "[network.\"eth0.10\"]\nvlan = { on = \"eth0\", id = 10 }\naddresses = [\"10.10.0.1/24\"]\n\
                     [network.br0]\nbridge.ports = [\"eth0.20\", \"eth1\"]\naddresses = [\"10.20.0.1/24\"]\ngateway = \"10.20.0.254\"\n\
                     [network.\"eth0.20\"]\nvlan = { on = \"eth0\", id = 20 }\nmtu = 1400\n";

#[test]
fn vlans_and_bridges_are_made_from_what_is_below_up_to_the_top() {
    let mut seen = ports();
    let wanted = config(STICK);
    assert!(settle(&wanted, &mut seen) <= 5);
    let link = |name: &str| seen.links.iter().find(|link| link.name == name).unwrap();
    assert_eq!(link("eth0.10").kind, Kind::Vlan { on: 2, id: 10 });
    assert_eq!(link("eth1").controller, Some(link("br0").index));
    assert_eq!(link("eth0.20").controller, Some(link("br0").index));
    assert_eq!((link("eth0.20").mtu, link("eth0").up, link("eth0").accept_ra), (1400, true, Some(0)));
    assert_eq!(addresses(&seen, "br0"), ["10.20.0.1/24"]);
    assert_eq!(seen.routes.len(), 1);
}

#[test]
fn an_interface_that_comes_late_is_taken_when_it_comes() {
    let mut seen = ports();
    let late = seen.links.remove(1);
    let wanted = config(STICK);
    settle(&wanted, &mut seen);
    assert!(!seen.links.iter().any(|link| link.name.starts_with("eth0")));
    seen.links.push(late);
    settle(&wanted, &mut seen);
    assert_eq!(addresses(&seen, "eth0.10"), ["10.10.0.1/24"]);
}

#[test]
fn what_somebody_takes_away_comes_back() {
    let mut seen = ports();
    let wanted = config(STICK);
    settle(&wanted, &mut seen);
    let good = seen.clone();
    seen.addresses.clear();
    seen.routes.clear();
    seen.links.iter_mut().for_each(|link| (link.up, link.mtu) = (false, 1300));
    settle(&wanted, &mut seen);
    assert_eq!((seen.addresses.len(), seen.routes.len()), (good.addresses.len(), good.routes.len()));
}

#[test]
fn a_vlan_with_another_number_is_made_anew() {
    let mut seen = ports();
    settle(&config("[network.v]\nvlan = { on = \"eth0\", id = 10 }\naddresses = [\"10.0.0.1/24\"]\n"), &mut seen);
    settle(&config("[network.v]\nvlan = { on = \"eth1\", id = 11 }\naddresses = [\"10.0.0.2/24\"]\n"), &mut seen);
    let link = seen.links.iter().find(|link| link.name == "v").unwrap();
    assert_eq!((&link.kind, addresses(&seen, "v")), (&Kind::Vlan { on: 3, id: 11 }, vec!["10.0.0.2/24".to_owned()]));
}

#[test]
fn advertisements_are_refused_unless_they_are_wanted() {
    for (network, setting) in [
        ("[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n", 0),
        ("[network.eth0]\ndhcp = true\n", 2),
        ("[network.eth0]\ndhcp = true\nra = false\n", 0),
        ("[network.eth0]\nra = true\n", 2),
    ] {
        let mut seen = ports();
        settle(&config(network), &mut seen);
        assert_eq!(seen.links[1].accept_ra, Some(setting), "{network}");
    }
}

#[test]
fn a_tunnel_has_routes_to_what_is_behind_its_peers_but_no_default_route() {
    let mut seen = ports();
    let text = format!(
        "[network.wg0]\naddresses = [\"10.9.0.1/24\"]\n[network.wg0.wireguard]\nprivate_key = \"{KEY}\"\n\
         [[network.wg0.wireguard.peer]]\npublic_key = \"{KEY}\"\n\
         allowed = [\"10.9.0.2/32\", \"10.77.0.0/16\", \"0.0.0.0/0\", \"fd77::/16\"]\n"
    );
    settle(&config(&text), &mut seen);
    let routes: Vec<String> = seen.routes.iter().map(|route| route.to.to_string()).collect();
    assert_eq!(routes, ["10.77.0.0/16", "fd77::/16"]);
}

#[test]
fn an_ipv6_gateway_waits_for_the_link() {
    let mut seen = ports();
    seen.links[1].carrier = false;
    let wanted = config(
        "[network.eth0]\naddresses = [\"10.0.0.1/24\", \"fd00::1/64\"]\ngateway = [\"10.0.0.2\", \"fd00::2\"]\n",
    );
    settle(&wanted, &mut seen);
    assert_eq!(seen.routes.len(), 1);
    seen.links[1].carrier = true;
    settle(&wanted, &mut seen);
    assert_eq!(seen.routes.len(), 2);
}

const MASK: (u8, &[u8]) = (1, &[255, 255, 255, 0]);
const GATEWAY: (u8, &[u8]) = (3, &[10, 0, 2, 2]);

fn lease(last: u8, until: Instant) -> Leases {
    let mut offer = offered(&[MASK, GATEWAY]).unwrap();
    offer.address = format!("10.0.2.{last}/24").parse().unwrap();
    Leases::with("eth0", Lease { offer, until })
}

fn defaults(seen: &Seen) -> Vec<(u32, u32)> {
    let mut found: Vec<_> = seen.routes.iter().map(|route| (route.index, route.metric)).collect();
    found.sort_unstable();
    found
}

#[test]
fn two_ports_with_leases_have_a_default_route_each_and_come_to_rest() {
    let now = Instant::now();
    let until = now + Duration::from_secs(100);
    let second = || {
        let mut offer = offered(&[MASK, GATEWAY]).unwrap();
        offer.address = "10.0.2.99/24".parse().unwrap();
        lease(15, until).and("eth1", Lease { offer, until })
    };
    let ports_of = |first: &str, other: &str| {
        format!("[network.eth0]\ndhcp = true\n{first}[network.eth1]\ndhcp = true\n{other}")
    };
    for (first, other, metrics) in [
        ("", "", [(2, 1024), (3, 1025)]),
        ("metric = 3000\n", "", [(2, 3000), (3, 1025)]),
        ("", "metric = 7\n", [(2, 1024), (3, 7)]),
    ] {
        let mut seen = ports();
        settle(&wanted_with(&ports_of(first, other), &second(), now), &mut seen);
        assert_eq!(defaults(&seen), metrics, "{first}{other}");
    }
    // One goes: the other stays as it was.
    let mut seen = ports();
    let both = ports_of("", "");
    settle(&wanted_with(&both, &second(), now), &mut seen);
    settle(&wanted_with(&both, &lease(15, until), until - Duration::from_secs(1)), &mut seen);
    assert!(defaults(&seen).contains(&(2, 1024)));
    // A static gateway beside a lease.
    let mut seen = ports();
    let mixed =
        "[network.eth0]\ndhcp = true\n[network.eth1]\naddresses = [\"10.1.0.1/24\"]\ngateway = \"10.1.0.2\"\n";
    settle(&wanted_with(mixed, &lease(15, until), now), &mut seen);
    assert_eq!(defaults(&seen), [(2, 1024), (3, 0)]);
}

#[test]
fn a_lease_s_mtu_is_taken_and_set_back_and_node_toml_s_comes_first() {
    let now = Instant::now();
    let until = now + Duration::from_secs(100);
    let leased = || Leases::with("eth0", Lease { offer: offered(&[MASK, (26, &[5, 170])]).unwrap(), until });
    let mut seen = ports();
    let dhcp = "[network.eth0]\ndhcp = true\n";
    settle(&wanted_with(dhcp, &leased(), now), &mut seen);
    assert_eq!(seen.links[1].mtu, 1450);
    let plain = Lease { offer: offered(&[MASK]).unwrap(), until };
    settle(&wanted_with(dhcp, &leased().and("eth0", plain), now), &mut seen);
    assert_eq!(seen.links[1].mtu, 1500, "the next lease says none");
    settle(&wanted_with("[network.eth0]\ndhcp = true\nmtu = 1400\n", &leased(), now), &mut seen);
    assert_eq!(seen.links[1].mtu, 1400);
}

#[test]
fn a_lease_comes_changes_and_goes_with_its_address_and_route() {
    let now = Instant::now();
    let mut seen = ports();
    let dhcp = "[network.eth0]\ndhcp = true\naddresses = [\"192.168.0.1/24\"]\n";
    let until = now + Duration::from_secs(100);
    settle(&wanted_with(dhcp, &lease(15, until), now), &mut seen);
    assert_eq!(addresses(&seen, "eth0"), ["192.168.0.1/24", "10.0.2.15/24"]);
    assert_eq!(seen.addresses[1].valid_s, Some(100));
    // Renewed: the kernel's own time to live moves along.
    let later = now + Duration::from_secs(50);
    seen.addresses[1].valid_s = Some(50);
    settle(&wanted_with(dhcp, &lease(15, later + Duration::from_secs(100)), later), &mut seen);
    assert_eq!(seen.addresses[1].valid_s, Some(100));
    settle(&wanted_with(dhcp, &lease(16, until), now), &mut seen);
    assert_eq!(addresses(&seen, "eth0"), ["192.168.0.1/24", "10.0.2.16/24"]);
    assert_eq!(seen.routes.len(), 1);
    settle(&wanted_with(dhcp, &lease(16, until), until), &mut seen);
    assert_eq!((addresses(&seen, "eth0"), seen.routes.len()), (vec!["192.168.0.1/24".to_owned()], 0));
}

#[test]
fn an_address_leased_before_a_restart_stays_until_there_is_an_answer() {
    let now = Instant::now();
    let mut seen = ports();
    settle(&wanted_with("[network.eth0]\ndhcp = true\n", &lease(15, now + Duration::from_secs(9)), now), &mut seen);
    // A new run knows of no lease.
    settle(&config("[network.eth0]\ndhcp = true\n"), &mut seen);
    assert_eq!((addresses(&seen, "eth0"), seen.routes.len()), (vec!["10.0.2.15/24".to_owned()], 1));
    settle(&wanted_with("[network.eth0]\ndhcp = true\n", &lease(16, now + Duration::from_secs(9)), now), &mut seen);
    assert_eq!(addresses(&seen, "eth0"), ["10.0.2.16/24"]);
}

/// A lease of these addresses and prefixes, in force for 100 s, preferred for 60.
fn lease6(addresses: &[&str], prefixes: &[&str], now: Instant) -> Leases6 {
    let (preferred, valid) = (Some(now + Duration::from_secs(60)), Some(now + Duration::from_secs(100)));
    Leases6::with(
        "eth0",
        dhcp6::Lease {
            server: "fe80::1".parse().unwrap(),
            server_id: vec![1],
            addresses: addresses.iter().map(|text| Held { value: text.parse().unwrap(), preferred, valid }).collect(),
            prefixes: prefixes.iter().map(|text| Held { value: text.parse().unwrap(), preferred, valid }).collect(),
            names: Names::default(),
            renew: None,
            rebind: None,
        },
    )
}

#[test]
fn an_address_of_ipv6_gets_its_end_when_it_is_known_to_be_no_one_elses() {
    let now = Instant::now();
    let wanted =
        wanted_of("[network.eth0]\nra = true\n", &Leases::default(), &lease6(&["2001:db8::5"], &[], now), now);
    let mut seen = ports();
    seen.links.iter_mut().for_each(|link| (link.up, link.accept_ra) = (true, Some(2)));
    let steps = plan(&wanted, &seen);
    let [.., Step::AddAddress { life: Life::Tried, .. }] = &steps[..] else { panic!("{steps:?}") };
    steps.iter().for_each(|step| take(&mut seen, step));
    seen.addresses[0].in_doubt = true;
    assert!(!plan(&wanted, &seen).iter().any(|step| matches!(step, Step::AddAddress { .. })), "it is waited for");
    // One that is someone else's stays as it is, to be seen, until its lease is declined.
    seen.addresses[0].duplicate = true;
    assert!(!plan(&wanted, &seen).iter().any(|step| matches!(step, Step::AddAddress { .. })));
    (seen.addresses[0].in_doubt, seen.addresses[0].duplicate) = (false, false);
    settle(&wanted, &mut seen);
    assert_eq!((seen.addresses[0].preferred_s, seen.addresses[0].valid_s), (Some(60), Some(100)));
    let gone = wanted_of("[network.eth0]\nra = true\n", &Leases::default(), &lease6(&[], &[], now), now);
    settle(&gone, &mut seen);
    assert_eq!(addresses(&seen, "eth0"), Vec::<String>::new());
}

const HOME: &str = "[network.eth0]\nra = true\n[network.eth1]\naddresses = [\"10.1.0.1/24\"]\n\
                    [router]\n[router.subnet.eth1]\nfrom = \"eth0\"\nnumber = 2\n";

#[test]
fn a_delegated_prefix_comes_to_the_ports_behind_and_goes_with_its_time() {
    let now = Instant::now();
    let home = |leases6: &Leases6, now| wanted_of(HOME, &Leases::default(), leases6, now);
    let lease = lease6(&[], &["2001:db8:1::/56"], now);
    let mut seen = ports();
    settle(&home(&lease, now), &mut seen);
    assert_eq!(addresses(&seen, "eth1"), ["10.1.0.1/24", "2001:db8:1:2::1/64"]);
    let refused: Vec<String> = seen
        .routes
        .iter()
        .filter(|route| route.unreachable)
        .map(|route| format!("{} {}", route.index, route.to))
        .collect();
    assert_eq!(refused, ["1 2001:db8:1::/56"]);
    // Another one: the old part goes with it.
    settle(&home(&lease6(&[], &["2001:db8:9::/60"], now), now), &mut seen);
    assert_eq!(addresses(&seen, "eth1"), ["10.1.0.1/24", "2001:db8:9:2::1/64"]);
    settle(&home(&lease, now + Duration::from_secs(100)), &mut seen);
    assert_eq!((addresses(&seen, "eth1"), seen.routes.len()), (vec!["10.1.0.1/24".to_owned()], 0));
    let small = home(&lease6(&[], &["2001:db8:1::/64"], now), now);
    let trouble = small.links.iter().find_map(|link| link.trouble.clone()).unwrap();
    assert_eq!(trouble, "the prefix 2001:db8:1::/64 of eth0 has no subnet number 2");
}

#[test]
fn what_was_leased_before_a_restart_stays_until_there_is_an_answer_of_ipv6_too() {
    let now = Instant::now();
    let home = |leases6: &Leases6| wanted_of(HOME, &Leases::default(), leases6, now);
    let mut seen = ports();
    settle(&home(&lease6(&["2001:db8::5"], &["2001:db8:1::/56"], now)), &mut seen);
    let before = seen.addresses.len();
    settle(&home(&Leases6::default()), &mut seen);
    assert_eq!(seen.addresses.len(), before, "a new run knows of no lease");
    settle(&home(&lease6(&["2001:db8::6"], &[], now)), &mut seen);
    assert_eq!(
        (addresses(&seen, "eth0"), addresses(&seen, "eth1")),
        (vec!["2001:db8::6/128".to_owned()], vec!["10.1.0.1/24".to_owned()])
    );
}

proptest! {
    /// Whatever was there before, the plan comes to an end, and asks for nothing more.
    #[test]
    fn from_any_state_the_plan_comes_to_rest(
        up in any::<[bool; 3]>(),
        carrier in any::<[bool; 3]>(),
        there in prop::collection::vec((1_u32..4, 0_u8..4, any::<bool>()), 0..8),
    ) {
        let mut seen = ports();
        for (at, link) in seen.links.iter_mut().enumerate() {
            (link.up, link.carrier) = (up[at], carrier[at]);
        }
        for (index, last, lasting) in there {
            let net: IpNet = format!("10.20.{last}.1/24").parse().unwrap();
            if !seen.addresses.iter().any(|address| (address.index, address.net) == (index, net)) {
                seen.addresses.push(Address { valid_s: (!lasting).then_some(60), ..address(index, net) });
            }
        }
        let wanted = config(STICK);
        settle(&wanted, &mut seen);
        prop_assert_eq!(addresses(&seen, "br0"), ["10.20.0.1/24"]);
        prop_assert!(addresses(&seen, "eth1").is_empty());
    }
}
