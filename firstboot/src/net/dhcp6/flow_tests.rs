//! Whole conversations, with servers that are functions.

use super::super::client::tests::{Question, Server, UNIT, run};
use super::super::leases::{Leases6, association};
use super::super::message::tests::{OWN, ia_address, ia_prefix, message, opt, status_code};
use super::*;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::rc::Rc;
use tokio::sync::{Notify, watch};

fn task() -> Task {
    Task {
        name: "eth0".to_owned(),
        host_name: "r1".into(),
        own_id: OWN.into(),
        leases: Rc::default(),
        fixed: Rc::new([("eth7".to_owned(), "2001:db8::7".parse().unwrap())]),
        bell: Rc::new(Notify::new()),
        said: RefCell::default(),
        order: watch::channel(None).1,
        unit: UNIT,
    }
}

fn order(address: bool, prefix: Option<u8>) -> Order {
    Order {
        index: 2,
        local: "fe80::2".parse().unwrap(),
        wanted: Wanted { address, prefix },
        information: false,
        duplicates: BTreeSet::new(),
    }
}

/// An association of eth0.
fn own(code: u16, inner: &[Vec<u8>]) -> Vec<u8> {
    opt(code, &[&association("eth0").to_be_bytes()[..], &[0; 8], &inner.concat()].concat())
}

fn answer(kind: u8, options: &[Vec<u8>]) -> Vec<Vec<u8>> {
    vec![message(kind, 0, options)]
}

fn address(kind: u8, last: u16, valid: u32) -> Vec<Vec<u8>> {
    answer(kind, &[own(3, &[ia_address(&format!("2001:db8::{last:x}"), valid, valid)])])
}

/// Talks until the task has rung so often, or for so long; gives what it holds then.
fn after<F: Fn(&[Question]) -> Vec<Vec<u8>>>(
    task: &Task,
    server: &Server<F>,
    order: &Order,
    time: Duration,
) -> Vec<String> {
    run(async { drop(tokio::time::timeout(time, converse(task, server, order)).await) });
    held(&task.leases.borrow())
}

fn held(leases: &Leases6) -> Vec<String> {
    let now = Instant::now();
    let Some(lease) = leases.of("eth0") else { return Vec::new() };
    let addresses = lease.addresses.iter().filter(|held| held.in_force(now)).map(|held| held.value.to_string());
    addresses
        .chain(lease.prefixes.iter().filter(|held| held.in_force(now)).map(|held| held.value.to_string()))
        .collect()
}

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn an_address_and_a_prefix_are_offered_asked_for_and_held() {
    let both = [own(3, &[ia_address("2001:db8::5", 100, 200)]), own(25, &[ia_prefix("2001:db8:1::/56", 100, 200)])];
    let server = Server::new(|asked| match asked.last().unwrap().0 {
        1 => answer(2, &both),
        3 => answer(7, &both),
        _ => Vec::new(),
    });
    let task = task();
    assert_eq!(after(&task, &server, &order(true, Some(56)), SHORT), ["2001:db8::5", "2001:db8:1::/56"]);
    assert_eq!(server.kinds(), [1, 3]);
    // The request names what was offered, and by whom.
    let (_, options) = &server.asked.borrow()[1];
    let value = |code: u16| options.iter().find(|(found, _)| *found == code).map(|(_, value)| value.clone()).unwrap();
    assert!(value(3).windows(16).any(|bytes| bytes == "2001:db8::5".parse::<Ipv6Addr>().unwrap().octets()));
    assert!(options.iter().any(|(code, _)| *code == 2));
}

#[test]
fn a_server_that_offers_and_refuses_is_asked_again_later_and_later() {
    let server = Server::new(|asked| match asked.last().unwrap().0 {
        1 => address(2, 5, 100),
        _ => answer(7, &[own(3, &[status_code(2)])]),
    });
    assert_eq!(after(&task(), &server, &order(true, None), SHORT), Vec::<String>::new());
    let kinds = server.kinds();
    assert!((4..=20).contains(&kinds.len()) && kinds[..4] == [1, 3, 1, 3], "{kinds:?}");
}

#[test]
fn an_address_that_another_port_has_is_not_asked_for() {
    let server = Server::new(|_| address(2, 7, 100));
    assert_eq!(after(&task(), &server, &order(true, None), SHORT), Vec::<String>::new());
    assert!(server.kinds().iter().all(|kind| *kind == 1));
}

#[test]
fn a_lease_is_renewed_by_its_server_then_by_every_one_and_asked_for_anew_when_it_is_over() {
    // Renewed once; then its server is gone, and another one takes it up; then all of them are.
    let server = Server::new(|asked| {
        let renewals = asked.iter().filter(|(kind, _)| *kind == 5).count();
        let rebinds = asked.iter().filter(|(kind, _)| *kind == 6).count();
        match asked.last().unwrap().0 {
            1 if rebinds > 1 => address(2, 9, 100),
            1 => address(2, 5, 2),
            3 if rebinds > 1 => address(7, 9, 100),
            3 => address(7, 5, 2),
            5 if renewals == 1 => address(7, 5, 2),
            6 if rebinds == 1 => address(7, 5, 2),
            _ => Vec::new(),
        }
    });
    assert_eq!(after(&task(), &server, &order(true, None), Duration::from_secs(6)), ["2001:db8::9"]);
    let mut kinds = server.kinds();
    kinds.dedup();
    assert_eq!(kinds, [1, 3, 5, 6, 5, 6, 1, 3]);
}

#[test]
fn a_server_that_forgot_a_lease_is_asked_for_it_and_one_that_takes_it_back_is_believed() {
    let forgetful = Server::new(|asked| match asked.last().unwrap().0 {
        1 => address(2, 5, 2),
        3 if asked.len() == 2 => address(7, 5, 2),
        3 => address(7, 5, 100),
        _ => answer(7, &[own(3, &[status_code(3)])]),
    });
    assert_eq!(after(&task(), &forgetful, &order(true, None), Duration::from_secs(2)), ["2001:db8::5"]);
    assert_eq!(forgetful.kinds(), [1, 3, 5, 3]);
    let strict = Server::new(|asked| match asked.last().unwrap().0 {
        1 if asked.len() == 1 => address(2, 5, 2),
        3 => address(7, 5, 2),
        5 => address(7, 5, 0),
        _ => Vec::new(),
    });
    assert_eq!(after(&task(), &strict, &order(true, None), Duration::from_millis(1700)), Vec::<String>::new());
    assert_eq!(strict.kinds()[..4], [1, 3, 5, 1]);
}

#[test]
fn when_the_link_is_back_addresses_are_confirmed_and_prefixes_asked_for_again() {
    let given = |asked: &[Question]| match asked.last().unwrap().0 {
        1 => Some(address(2, 5, 100)),
        3 => Some(address(7, 5, 100)),
        _ => None,
    };
    let order = order(true, None);
    let task = task();
    after(&task, &Server::new(|asked| given(asked).unwrap_or_default()), &order, SHORT);
    // Nobody answers: it is taken to be right. A server says yes.
    for yes in [Vec::new(), answer(7, &[status_code(0)])] {
        let server = Server::new(|_| yes.clone());
        assert_eq!(after(&task, &server, &order, SHORT), ["2001:db8::5"]);
        assert!(server.kinds().iter().all(|kind| *kind == 4), "{:?}", server.kinds());
    }
    // A server says that it is another link: what was held is gone, and asked for anew.
    let moved = Server::new(|asked| match asked.last().unwrap().0 {
        4 => answer(7, &[status_code(4)]),
        1 => address(2, 6, 100),
        3 => address(7, 6, 100),
        _ => Vec::new(),
    });
    assert_eq!(after(&task, &moved, &order, SHORT), ["2001:db8::6"]);
    assert_eq!(moved.kinds(), [4, 1, 3]);
    // With a prefix everything is asked for of every server.
    let task = self::task();
    let order = self::order(false, Some(60));
    let prefix = |kind: u8, text: &str| answer(kind, &[own(25, &[ia_prefix(text, 100, 200)])]);
    let first = Server::new(|asked| prefix(if asked.len() == 1 { 2 } else { 7 }, "2001:db8:1::/60"));
    after(&task, &first, &order, SHORT);
    let again = Server::new(|_| prefix(7, "2001:db8:1::/60"));
    assert_eq!(after(&task, &again, &order, SHORT), ["2001:db8:1::/60"]);
    assert_eq!(again.kinds(), [6]);
}

#[test]
fn an_address_that_somebody_else_has_is_declined_and_another_one_asked_for() {
    let given = |last: u16| {
        Server::new(move |asked: &[Question]| match asked.last().unwrap().0 {
            1 => address(2, last, 100),
            _ => address(7, last, 100),
        })
    };
    let task = task();
    after(&task, &given(5), &order(true, None), SHORT);
    let double = BTreeSet::from(["2001:db8::5".parse().unwrap()]);
    let server = given(6);
    assert_eq!(after(&task, &server, &Order { duplicates: double, ..order(true, None) }, SHORT), ["2001:db8::6"]);
    assert_eq!(server.kinds(), [9, 1, 3]);
    let (_, declined) = &server.asked.borrow()[0];
    assert!(declined.iter().any(|(code, _)| *code == 2), "it is told to the server that gave it");
}

#[test]
fn names_alone_are_asked_for_once_and_kept() {
    let server = Server::new(|_| {
        answer(7, &[opt(23, &"2001:db8::53".parse::<Ipv6Addr>().unwrap().octets()), opt(24, b"\x03lan\x00")])
    });
    let order = Order { information: true, ..order(false, None) };
    let task = task();
    assert_eq!(after(&task, &server, &order, SHORT), Vec::<String>::new());
    let leases = task.leases.borrow();
    let names: Vec<&Names> = leases.names("eth0", Instant::now()).collect();
    assert_eq!((names.len(), names[0].search.as_slice(), names[0].resolvers.len()), (1, &["lan".to_owned()][..], 1));
    assert_eq!(server.kinds(), [11]);
}
