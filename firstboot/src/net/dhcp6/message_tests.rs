//! Messages of servers, written by hand after the RFC's pictures.

use super::*;
use proptest::prelude::*;

pub const OWN: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 1];
pub const SERVER_ID: &[u8] = &[0, 1, 0, 1, 9, 9, 9, 9, 2, 0xaa, 0, 0, 0, 1];
pub const ASSOCIATION: u32 = 7;

/// An option.
pub fn opt(code: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes, code, value);
    bytes
}

pub fn status_code(number: u16) -> Vec<u8> {
    opt(13, &[&number.to_be_bytes()[..], b"words"].concat())
}

/// An association with these times, and options in it.
pub fn ia(code: u16, times: [u32; 2], inner: &[Vec<u8>]) -> Vec<u8> {
    let head = [ASSOCIATION, times[0], times[1]].map(u32::to_be_bytes).concat();
    opt(code, &[head, inner.concat()].concat())
}

pub fn ia_address(text: &str, preferred: u32, valid: u32) -> Vec<u8> {
    let address: Ipv6Addr = text.parse().unwrap();
    opt(5, &[&address.octets()[..], &preferred.to_be_bytes(), &valid.to_be_bytes()].concat())
}

pub fn ia_prefix(text: &str, preferred: u32, valid: u32) -> Vec<u8> {
    let net: Ipv6Net = text.parse().unwrap();
    let times = [preferred, valid].map(u32::to_be_bytes).concat();
    opt(26, &[&times[..], &[net.prefix_len()], &net.addr().octets()].concat())
}

/// A message to this node from the one server.
pub fn message(kind: u8, number: u32, more: &[Vec<u8>]) -> Vec<u8> {
    let [_, number @ ..] = number.to_be_bytes();
    [vec![kind], number.to_vec(), opt(1, OWN), opt(2, SERVER_ID), more.concat()].concat()
}

fn question(kind: Kind, asked: &Asked) -> Question<'_> {
    Question {
        kind,
        number: 0x01_0203,
        own_id: OWN,
        server_id: None,
        association: ASSOCIATION,
        asked,
        host_name: "r1",
    }
}

/// The options of a message, by their numbers.
pub fn options(bytes: &[u8]) -> Vec<(u16, Vec<u8>)> {
    let (mut rest, mut found) = (&bytes[4..], Vec::new());
    while let Some((code, value, after)) = next(rest).unwrap() {
        found.push((code, value.to_vec()));
        rest = after;
    }
    found
}

#[test]
fn a_solicit_says_who_asks_and_for_what() {
    let asked = Asked {
        addresses: Some(vec!["2001:db8::5".parse().unwrap()]),
        prefixes: Some(vec!["::/60".parse().unwrap()]),
    };
    let bytes = question(Kind::Solicit, &asked).to_bytes(258);
    assert_eq!(bytes[..4], [1, 1, 2, 3]);
    let options = options(&bytes);
    let numbers: Vec<u16> = options.iter().map(|(code, _)| *code).collect();
    assert_eq!(numbers, [1, 8, 14, 6, 39, 3, 25]);
    assert_eq!((options[0].1.as_slice(), options[1].1.as_slice()), (OWN, &[1, 2][..]));
    assert_eq!(options[4].1, b"\x01\x02r1");
    assert_eq!(options[5].1, ia(3, [0, 0], &[ia_address("2001:db8::5", 0, 0)])[4..]);
    assert_eq!(options[6].1, ia(25, [0, 0], &[ia_prefix("::/60", 0, 0)])[4..]);
}

#[test]
fn a_confirm_and_a_decline_ask_for_nothing_else_and_information_is_asked_for_without_addresses() {
    let asked = Asked { addresses: Some(Vec::new()), prefixes: None };
    for kind in [Kind::Confirm, Kind::Decline] {
        let found = options(&question(kind, &asked).to_bytes(0));
        assert_eq!(found.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [1, 8, 3], "{kind:?}");
    }
    let nothing = Asked::default();
    let found = options(&question(Kind::InformationRequest, &nothing).to_bytes(0));
    assert_eq!(found.iter().map(|(code, _)| *code).collect::<Vec<_>>(), [1, 8, 6]);
    assert!(found[2].1.ends_with(&[0, 32, 0, 83]));
    let renew = Question { server_id: Some(SERVER_ID), ..question(Kind::Renew, &asked) };
    assert!(options(&renew.to_bytes(0)).contains(&(2, SERVER_ID.to_vec())));
}

#[test]
fn an_answer_is_read_with_all_that_it_gives() {
    let ntp = [opt(3, b"\x03ntp\x00"), opt(1, &"2001:db8::123".parse::<Ipv6Addr>().unwrap().octets())].concat();
    let bytes = message(
        7,
        5,
        &[
            opt(7, &[200]),
            opt(14, &[]),
            ia(3, [100, 160], &[ia_address("2001:db8::5", 200, 300), status_code(0)]),
            ia(25, [0, 0], &[ia_prefix("2001:db8:1:2::/56", FOR_GOOD, FOR_GOOD)]),
            ia(25, [0, 0], &[status_code(6)]),
            opt(23, &["2001:db8::53", "::1", "ff02::1"].map(|a| a.parse::<Ipv6Addr>().unwrap().octets()).concat()),
            opt(24, b"\x03lan\x00\x04rack\x07example\x00"),
            opt(56, &ntp),
            opt(32, &600_u32.to_be_bytes()),
            opt(82, &90_u32.to_be_bytes()),
            opt(999, b"anything"),
        ],
    );
    let reply = Reply::parse(&bytes).unwrap();
    assert_eq!((reply.kind, reply.number, reply.preference, reply.rapid_commit), (Kind::Reply, 5, 200, true));
    assert_eq!((reply.own_id.as_deref(), reply.server_id.as_slice()), (Some(OWN), SERVER_ID));
    let [addresses] = &reply.addresses[..] else { panic!("{reply:?}") };
    assert_eq!((addresses.number, addresses.t1_s, addresses.t2_s), (ASSOCIATION, 100, 160));
    let given = Given { value: "2001:db8::5".parse().unwrap(), preferred_s: 200, valid_s: 300 };
    assert_eq!(addresses.given, [given]);
    // Bits behind the length do not count: /56 of 2001:db8:1:2:: is 2001:db8:1::.
    assert_eq!(reply.prefixes[0].given[0].value.to_string(), "2001:db8:1::/56");
    assert_eq!((reply.prefixes[1].status, reply.prefixes[1].given.len()), (Status::NoPrefixes, 0));
    assert_eq!(reply.resolvers, ["2001:db8::53".parse::<Ipv6Addr>().unwrap()]);
    assert_eq!(reply.search, ["lan", "rack.example"]);
    assert_eq!(reply.time_servers, ["2001:db8::123".parse::<Ipv6Addr>().unwrap()]);
    assert_eq!((reply.refresh_s, reply.longest_solicit_s, reply.longest_information_s), (Some(600), Some(90), None));
}

#[test]
fn what_is_damaged_or_is_no_server_s_says_nothing() {
    let good = message(7, 5, &[ia(3, [0, 0], &[ia_address("2001:db8::5", 1, 2)])]);
    assert!(Reply::parse(&good).is_some());
    for cut in 0..good.len() {
        if let Some(reply) = Reply::parse(&good[..cut]) {
            assert!(reply.addresses.is_empty(), "half of an option was read at {cut}");
        }
    }
    // A question, a relay's message, no server, a server of too long a name.
    for wrong in [
        [&[1], &good[1..]].concat(),
        [&[13], &good[1..]].concat(),
        [vec![7, 0, 0, 5], opt(1, OWN)].concat(),
        [vec![7, 0, 0, 5], opt(2, &[1; 200])].concat(),
    ] {
        assert_eq!(Reply::parse(&wrong), None, "{wrong:?}");
    }
    // A prefix of 129 bits, a status of one byte, an address of 15 bytes.
    for wrong in
        [opt(25, &[&[0; 12][..], &opt(26, &[129; 25])].concat()), opt(13, &[0]), ia(3, [0, 0], &[opt(5, &[0; 15])])]
    {
        assert_eq!(Reply::parse(&message(7, 5, &[wrong])), None);
    }
}

#[test]
fn an_address_with_a_bad_status_of_its_own_is_not_given() {
    let mut inner = ia_address("2001:db8::5", 1, 2);
    let refused = status_code(4);
    inner.extend(&refused);
    inner[3] += refused.len() as u8;
    let reply = Reply::parse(&message(7, 5, &[ia(3, [0, 0], &[inner, ia_address("2001:db8::6", 1, 2)])])).unwrap();
    assert_eq!(reply.addresses[0].given.len(), 1);
}

#[test]
fn a_flood_is_cut_short() {
    let many: Vec<Vec<u8>> = (0..200).map(|n| ia_address(&format!("2001:db8::{n:x}"), 1, 2)).collect();
    let reply = Reply::parse(&message(7, 5, &[ia(3, [0, 0], &many)])).unwrap();
    assert_eq!(reply.addresses[0].given.len(), MOST);
    let many: Vec<Vec<u8>> = (0..200).map(|_| ia(3, [0, 0], &[])).collect();
    assert_eq!(Reply::parse(&message(7, 5, &many)).unwrap().addresses.len(), MOST);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), kind in prop_oneof![Just(2_u8), Just(7)]) {
        let _ = Reply::parse(&bytes);
        let _ = Reply::parse(&message(kind, 1, std::slice::from_ref(&bytes)));
        for code in [3, 25, 56] {
            let _ = Reply::parse(&message(kind, 1, &[opt(code, &bytes)]));
        }
    }

    #[test]
    fn one_changed_byte_does_not_make_the_reader_panic(at in 0_usize..200, value in any::<u8>()) {
        let mut bytes = message(7, 5, &[
            ia(3, [1, 2], &[ia_address("2001:db8::5", 1, 2)]),
            ia(25, [1, 2], &[ia_prefix("2001:db8::/56", 1, 2)]),
            opt(24, b"\x03lan\x00"),
        ]);
        let at = at % bytes.len();
        bytes[at] = value;
        let _ = Reply::parse(&bytes);
    }

    #[test]
    fn what_is_asked_is_read_by_a_server_as_it_was_meant(
        address in any::<u128>(), net in any::<u128>(), length in 0_u8..=128, number in 0_u32..0x100_0000, elapsed in any::<u16>(),
    ) {
        let net = Ipv6Net::new(net.into(), length).unwrap().trunc();
        let asked = Asked { addresses: Some(vec![address.into()]), prefixes: Some(vec![net]) };
        let bytes = Question { number, server_id: Some(SERVER_ID), ..question(Kind::Renew, &asked) }.to_bytes(elapsed);
        // With the kind of an answer the reader reads it back.
        let reply = Reply::parse(&[&[7], &bytes[1..]].concat()).unwrap();
        prop_assert_eq!(reply.number, number);
        prop_assert_eq!(reply.addresses[0].given[0].value, Ipv6Addr::from(address));
        prop_assert_eq!(reply.prefixes[0].given[0].value, net);
    }
}
