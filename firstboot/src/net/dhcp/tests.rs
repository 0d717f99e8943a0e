//! What answers of servers become.

use super::super::said::MOST_SAID;
use super::answer::tests::reply;
use super::*;

/// What an answer for 10.0.2.15 with these options gives.
pub fn offered(options: &[(u8, &[u8])]) -> Result<Offer, String> {
    offer(&Answer::of(&reply(options))?)
}

const MASK: (u8, &[u8]) = (1, &[255, 255, 255, 0]);
const GATEWAYS: (u8, &[u8]) = (3, &[10, 0, 2, 2, 10, 0, 2, 3]);

#[test]
fn a_lease_gives_an_address_the_first_gateway_and_resolvers() {
    let offer =
        offered(&[MASK, GATEWAYS, (6, &[10, 0, 2, 3]), (15, b"rack.lan"), (26, &[5, 170]), (42, &[10, 0, 2, 9])]);
    let offer = offer.unwrap();
    assert_eq!(offer.address.to_string(), "10.0.2.15/24");
    let [route] = offer.routes.as_slice() else { panic!("{offer:?}") };
    assert_eq!((route.to.to_string(), route.via), ("0.0.0.0/0".into(), Some(IpAddr::from([10, 0, 2, 2]))));
    assert!(!route.on_link && route.metric == 1024 && route.dhcp);
    assert_eq!((offer.dns, offer.search), (vec![IpAddr::from([10, 0, 2, 3])], vec!["rack.lan".to_owned()]));
    assert_eq!((offer.mtu, offer.time_servers), (Some(1450), vec![IpAddr::from([10, 0, 2, 9])]));
}

#[test]
fn a_gateway_outside_the_net_is_taken_to_be_on_the_link() {
    for mask in [&[255, 255, 255, 255][..], &[0, 0, 0, 0]] {
        let offer = offered(&[(1, mask), GATEWAYS]).unwrap();
        assert_eq!(offer.address.prefix_len(), 32);
        assert!(offer.routes.iter().all(|route| route.on_link));
    }
}

#[test]
fn an_address_that_another_port_has_is_refused() {
    let now = Instant::now();
    let offer = offered(&[MASK]).unwrap();
    let address = offer.address.addr();
    let leases = Leases::with("eth0", Lease { offer, until: now + Duration::from_secs(60) });
    let none = Leases::default();
    let check =
        |name: &str, fixed: &[(String, IpAddr)], leases: &Leases, now| of_another(name, address, fixed, leases, now);
    let error = check("eth1", &[], &leases, now).unwrap_err();
    assert_eq!(error, "the server offers the address 10.0.2.15, which eth0 of this node has");
    assert_eq!(check("eth0", &[], &leases, now), Ok(()), "its own lease, renewed");
    assert_eq!(check("eth1", &[], &leases, now + Duration::from_secs(61)), Ok(()), "a lease that is over");
    let fixed = [("eth2".to_owned(), IpAddr::V4(address))];
    assert!(check("eth1", &fixed, &none, now).unwrap_err().contains("which eth2 of this node has"));
    assert_eq!(check("eth2", &fixed, &none, now), Ok(()));
}

#[test]
fn a_few_resolvers_are_kept() {
    let many: Vec<u8> = (0..60).flat_map(|n| [10, 0, 3, n]).collect();
    let dns = offered(&[MASK, (6, &many)]).unwrap().dns;
    assert_eq!((dns.len(), dns.last().copied()), (6, Some(IpAddr::from([10, 0, 3, 5]))));
}

#[test]
fn masks_and_addresses_that_no_host_can_have_are_refused_by_name() {
    for (address, mask, reason) in [
        ([10, 0, 2, 15], [254, 0, 0, 0], "the net mask 254.0.0.0, of more than"),
        ([10, 0, 2, 15], [128, 0, 0, 0], "the net mask 128.0.0.0, of more than"),
        ([0, 1, 2, 3], [255, 255, 255, 0], "the address 0.1.2.3/24, which no host can have"),
        ([10, 0, 2, 0], [255, 255, 255, 0], "the address 10.0.2.0/24, which no host can have"),
        ([10, 0, 2, 255], [255, 255, 255, 0], "the address 10.0.2.255/24, which no host can have"),
        ([255, 255, 255, 255], [255, 255, 255, 255], "the address 255.255.255.255/32, which no host can have"),
    ] {
        let answer = Reply { address: address.into(), ..reply(&[(1, &mask)]) };
        let error = Answer::of(&answer).and_then(|answer| offer(&answer)).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn an_impossible_lease_is_refused() {
    assert!(offered(&[(1, &[255, 0, 255, 0])]).unwrap_err().contains("255.0.255.0"));
    for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED, Ipv4Addr::new(224, 0, 0, 1)] {
        let answer = Answer::of(&Reply { address, ..reply(&[MASK]) }).unwrap();
        assert!(offer(&answer).is_err(), "{address}");
    }
}

#[test]
fn a_domain_that_would_break_the_resolvers_file_is_left_out() {
    let offer = offered(&[MASK, (15, b"a\nnameserver 6.6.6.6")]).unwrap();
    assert_eq!(offer.search, Vec::<String>::new());
}

fn task() -> Task {
    let (_, cable) = watch::channel(None);
    Task {
        name: "eth0".to_owned(),
        host_name: "r1".into(),
        leases: Rc::default(),
        fixed: Rc::new([]),
        bell: Rc::default(),
        said: RefCell::default(),
        cable,
    }
}

#[test]
fn a_lease_with_impossible_times_is_taken_and_said_once() {
    let task = task();
    let hour = [0, 0, 14, 16];
    let odd = reply(&[MASK, GATEWAYS, (58, &hour), (59, &hour)]);
    for _ in 0..3 {
        let ((usable, bound), server) = task.judge(&odd).unwrap();
        task.accept(&usable);
        assert_eq!((server, bound.own), (Ipv4Addr::new(10, 0, 2, 2), Ipv4Addr::new(10, 0, 2, 15)));
        let left = bound.renew_at.saturating_duration_since(usable.at).as_secs();
        assert_eq!(left, 1800);
    }
    assert_eq!(task.said.borrow().len(), 1);
    let leases = task.leases.borrow();
    assert_eq!(leases.of("eth0").unwrap().offer.address.to_string(), "10.0.2.15/24");
}

#[test]
fn a_lease_in_its_last_moment_has_a_second_left() {
    let now = Instant::now();
    let lease = Lease { offer: offered(&[MASK]).unwrap(), until: now + Duration::from_millis(300) };
    assert!(lease.in_force(now).is_some() && lease.left_s(now) == 1);
}

#[test]
fn a_useless_answer_is_refused_by_name_and_what_is_said_is_bounded() {
    let task = task();
    assert!(task.judge(&reply(&[(1, &[255, 0, 255, 0])])).is_none());
    assert!(task.said.borrow().iter().any(|why| why.contains("255.0.255.0")));
    for number in 0..1000_u32 {
        task.refuse(number.to_string());
    }
    assert!(task.said.borrow().len() <= MOST_SAID);
}

#[test]
fn a_hardware_address_is_six_bytes() {
    assert_eq!(hardware("02:00:00:00:00:fF"), Some([2, 0, 0, 0, 0, 255]));
    for wrong in ["", "02:00:00:00:00", "02:00:00:00:00:00:00", "02:00:00:00:00:zz"] {
        assert_eq!(hardware(wrong), None, "{wrong}");
    }
}
