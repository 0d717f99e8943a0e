//! What a server's answer says, option by option. What is impossible or malformed is left out, with a word about it; only
//! what there can be no lease without makes an answer useless.

use super::message::{Options, Reply, option};
use super::search;
use std::net::Ipv4Addr;
use std::time::Duration;

/// Largest packets in bytes that a server may ask for: below it there is no IPv6, above it a port may not follow. Whoever
/// wants another size says so in node.toml.
const LEAST_MTU: u16 = 1280;
const MOST_MTU: u16 = 1500;
/// Characters of foreign words that are shown.
const SHOWN: usize = 60;
/// Most addresses of one kind, and most routes.
const MOST: usize = 16;
const MOST_ROUTES: usize = 64;

/// An answer, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub address: Ipv4Addr,
    pub server: Ipv4Addr,
    /// `None`: the server says none, or that of everything.
    pub mask: Option<Ipv4Addr>,
    pub gateways: Vec<Ipv4Addr>,
    pub resolvers: Vec<Ipv4Addr>,
    pub time_servers: Vec<Ipv4Addr>,
    pub mtu: Option<u16>,
    pub search: Vec<String>,
    /// RFC 3442: with them the gateways do not count.
    pub routes: Option<Vec<ClasslessRoute>>,
    pub times: Times,
    /// What was not taken, and why.
    pub notes: Vec<String>,
}

/// Where a lease is to be renewed, and where it ends, from when it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub lease: Duration,
    /// T1: the server that gave it is asked.
    pub renew: Duration,
    /// T2: every server is asked.
    pub rebind: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClasslessRoute {
    pub destination: Ipv4Addr,
    pub prefix_length: u8,
    pub router: Ipv4Addr,
}

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// Why it is useless, in words.
    pub fn of(reply: &Reply) -> Result<Answer, String> {
        let options = &reply.options;
        let mut notes = Vec::new();
        let seconds = |code| options.get(code).and_then(number);
        let lease = seconds(option::LEASE).ok_or("the server does not say how long its lease is")?;
        if lease == 0 {
            return Err("the server offers a lease of 0 s".to_owned());
        }
        let server = options.get(option::SERVER).and_then(number).map(Ipv4Addr::from);
        let server = server.filter(|server| !server.is_unspecified()).ok_or("the server does not say who it is")?;
        let mask = options.get(option::MASK).and_then(number).filter(|mask| *mask != 0).map(Ipv4Addr::from);
        Ok(Answer {
            address: reply.address,
            server,
            mask,
            gateways: addresses(options, option::ROUTERS, "gateways", &mut notes),
            resolvers: addresses(options, option::RESOLVERS, "resolvers", &mut notes),
            time_servers: addresses(options, option::TIME_SERVERS, "time servers", &mut notes),
            mtu: mtu(options, &mut notes),
            search: domains(options, &mut notes),
            routes: routes(options, &mut notes),
            times: Times::of(lease, seconds(option::T1), seconds(option::T2), &mut notes),
            notes,
        })
    }

    /// The length of the mask's prefix. Without a mask: a /32 where there is a gateway, over which everything can be
    /// reached; else that of the address's class, so that neighbours can.
    ///
    /// # Errors
    /// When the mask is not one.
    pub fn prefix_length(&self) -> Result<u8, String> {
        let Some(mask) = self.mask else {
            let gateway = !self.gateways.is_empty() || self.routes.as_ref().is_some_and(|routes| !routes.is_empty());
            return Ok(if gateway { 32 } else { class(self.address) });
        };
        let length = u32::from(mask).leading_ones();
        if u32::from(mask).count_ones() == length {
            Ok(length as u8)
        } else {
            Err(format!("the server offers the net mask {mask}"))
        }
    }
}

impl Times {
    /// Takes the times that a server says; those that are impossible give way to the usual ones (RFC 2131, 4.4.5): T1 must
    /// come before T2, and T2 before the end.
    fn of(lease: u32, t1: Option<u32>, t2: Option<u32>, notes: &mut Vec<String>) -> Times {
        let whole = Duration::from_secs(lease.into());
        // 0 leaves it to the client.
        let said = |time: Option<u32>| time.filter(|&time| time > 0).map(|time| Duration::from_secs(time.into()));
        let (t1, t2) = (said(t1), said(t2));
        let rebind = t2.filter(|&t2| t2 < whole).unwrap_or(whole * 7 / 8);
        let usual = (whole / 2).min(rebind * 4 / 7);
        let renew = t1.filter(|&t1| t1 < rebind).unwrap_or(usual);
        if t1.is_some_and(|t1| t1 != renew) || t2.is_some_and(|t2| t2 != rebind) {
            let shown =
                |time: Option<Duration>| time.map_or("none".to_owned(), |time| format!("{} s", time.as_secs()));
            notes.push(format!(
                "the server's times are impossible (T1 {}, T2 {}, lease {lease} s): it is asked again after {} s",
                shown(t1),
                shown(t2),
                renew.as_secs()
            ));
        }
        Times { lease: whole, renew, rebind }
    }
}

/// RFC 791: classes A, B and C.
fn class(address: Ipv4Addr) -> u8 {
    match address.octets() {
        [0..=127, ..] => 8,
        [128..=191, ..] => 16,
        [192..=223, ..] => 24,
        _ => 32,
    }
}

/// The first number of four bytes; a server that says it twice says it twice the same.
fn number(value: &[u8]) -> Option<u32> {
    let (numbers, rest) = value.as_chunks::<4>();
    if rest.is_empty() { numbers.first().map(|bytes| u32::from_be_bytes(*bytes)) } else { None }
}

fn addresses(options: &Options, code: u8, what: &str, notes: &mut Vec<String>) -> Vec<Ipv4Addr> {
    let Some(value) = options.get(code) else { return Vec::new() };
    let (found, rest) = value.as_chunks::<4>();
    if !rest.is_empty() {
        notes.push(format!("the list of {what} has {} bytes, which are not addresses; it is left out", value.len()));
        return Vec::new();
    }
    let mut list = Vec::new();
    for address in found.iter().map(|bytes| Ipv4Addr::from(*bytes)) {
        let useful = !address.is_unspecified() && !address.is_broadcast() && !address.is_multicast();
        // A gateway of 0.0.0.0 is no gateway, and nobody means it to be one.
        if useful && list.len() < MOST && !list.contains(&address) {
            list.push(address);
        }
    }
    list
}

fn mtu(options: &Options, notes: &mut Vec<String>) -> Option<u16> {
    let value = options.get(option::MTU)?;
    let mtu = value.as_chunks::<2>().0.first().map(|bytes| u16::from_be_bytes(*bytes)).unwrap_or(0);
    if value.len() % 2 == 0 && (LEAST_MTU..=MOST_MTU).contains(&mtu) {
        return Some(mtu);
    }
    notes.push(format!(
        "an MTU of {mtu} bytes is not taken from a server: it takes {LEAST_MTU} to {MOST_MTU}; mtu in node.toml can say any"
    ));
    None
}

/// Option 119 first, then the node's own domain (15).
fn domains(options: &Options, notes: &mut Vec<String>) -> Vec<String> {
    let mut texts = Vec::new();
    match options.get(option::SEARCH).map(search::names) {
        None => {}
        Some(Ok(names)) => texts.extend(names),
        Some(Err(error)) => notes.push(format!("the list of domains to search is left out: {error}")),
    }
    if let Some(domain) = options.get(option::DOMAIN) {
        texts.push(String::from_utf8_lossy(domain).into_owned());
    }
    let (good, bad) = search::sort(texts.iter().map(String::as_str));
    notes.extend(bad.iter().map(|name| {
        let shown: String = name.chars().take(SHOWN).collect();
        format!("{shown:?} is not a valid domain; it is left out")
    }));
    good
}

fn routes(options: &Options, notes: &mut Vec<String>) -> Option<Vec<ClasslessRoute>> {
    let value = options.get(option::ROUTES).or_else(|| options.get(option::ROUTES_249))?;
    let found = classless(value);
    if found.is_none() {
        notes.push("the list of routes cannot be understood; it is left out".to_owned());
    }
    found
}

/// RFC 3442: a prefix length, as many bytes of the net as it needs, a router.
fn classless(mut rest: &[u8]) -> Option<Vec<ClasslessRoute>> {
    let mut found = Vec::new();
    while let [prefix_length @ 0..=32, after @ ..] = rest {
        let significant = usize::from(prefix_length.div_ceil(8));
        let (net, after) = after.split_at_checked(significant)?;
        let (router, after) = after.split_first_chunk::<4>()?;
        let mut destination = [0; 4];
        for (to, from) in destination.iter_mut().zip(net) {
            *to = *from;
        }
        if found.len() < MOST_ROUTES {
            let (destination, router) = (Ipv4Addr::from(destination), Ipv4Addr::from(*router));
            found.push(ClasslessRoute { destination, prefix_length: *prefix_length, router });
        }
        rest = after;
    }
    rest.is_empty().then_some(found)
}

#[cfg(test)]
pub mod tests {
    use super::super::message::Kind;
    use super::*;
    use proptest::prelude::*;

    /// An answer for 10.0.2.15 by 10.0.2.2, for an hour, with these options.
    pub fn reply(more: &[(u8, &[u8])]) -> Reply {
        let plain: [(u8, &[u8]); 2] = [(option::LEASE, &[0, 0, 14, 16]), (option::SERVER, &[10, 0, 2, 2])];
        let options: Vec<_> = plain.into_iter().chain(more.iter().copied()).collect();
        Reply {
            kind: Kind::Ack,
            number: 9,
            mac: [2, 0, 0, 0, 0, 1],
            address: Ipv4Addr::new(10, 0, 2, 15),
            options: Options::of(&options),
        }
    }

    fn answer(more: &[(u8, &[u8])]) -> Answer {
        Answer::of(&reply(more)).unwrap()
    }

    fn hours(times: Times) -> (u64, u64, u64) {
        (times.renew.as_secs(), times.rebind.as_secs(), times.lease.as_secs())
    }

    #[test]
    fn impossible_times_give_way_to_the_usual_ones_and_are_told() {
        let at = |seconds: u32| seconds.to_be_bytes();
        let times = |t1: u32, t2: u32| answer(&[(58, &at(t1)), (59, &at(t2))]);
        for (t1, t2, wanted) in [
            (1000, 2000, (1000, 2000, 3600)),
            (3600, 3600, (1800, 3150, 3600)),
            (2000, 2000, (1142, 2000, 3600)),
            (3000, 2000, (1142, 2000, 3600)),
            (1000, 3600, (1000, 3150, 3600)),
            (9000, 9999, (1800, 3150, 3600)),
            (0, 0, (1800, 3150, 3600)),
            (u32::MAX, 1, (0, 1, 3600)),
        ] {
            let found = times(t1, t2);
            assert_eq!(hours(found.times), wanted, "{t1} {t2}");
            let possible = t1 < t2 && t2 < 3600 || t1 == 0;
            assert_eq!(found.notes.is_empty(), possible, "{:?}", found.notes);
        }
        let told = times(3600, 3600).notes;
        assert_eq!(
            told,
            [
                "the server's times are impossible (T1 3600 s, T2 3600 s, lease 3600 s): it is asked again after 1800 s"
            ]
        );
        assert_eq!(hours(answer(&[]).times), (1800, 3150, 3600));
    }

    #[test]
    fn without_a_mask_it_is_32_or_the_class_and_never_everything() {
        let gateway: (u8, &[u8]) = (3, &[10, 0, 2, 2]);
        for (options, length) in [
            (vec![gateway], 32),
            (vec![gateway, (1, &[0, 0, 0, 0])], 32),
            (vec![(121, &[0, 10, 0, 2, 2])], 32),
            (vec![], 8),
            (vec![(1, &[255, 255, 255, 0])], 24),
            (vec![gateway, (1, &[255, 255, 255, 255])], 32),
            (vec![(1, &[255])], 8),
        ] {
            assert_eq!(answer(&options).prefix_length(), Ok(length), "{options:?}");
        }
        let of = |first: u8| Reply { address: Ipv4Addr::new(first, 1, 2, 3), ..reply(&[]) };
        let length = |first| Answer::of(&of(first)).unwrap().prefix_length().unwrap();
        assert_eq!((length(172), length(192)), (16, 24));
        assert!(answer(&[(1, &[255, 0, 255, 0])]).prefix_length().is_err());
    }

    #[test]
    fn domains_come_from_the_list_first_and_what_is_not_one_is_named() {
        let both = answer(&[(119, b"\x03lab\x03lan\x00\x01-\x00"), (15, b"rack.lan lab.lan.\0")]);
        assert_eq!(both.search, ["lab.lan", "rack.lan"]);
        assert_eq!(both.notes, ["\"-\" is not a valid domain; it is left out"]);
        let hostile = answer(&[(119, b"\xc0\x00"), (15, b"a\nnameserver 6.6.6.6")]);
        assert_eq!(hostile.search, Vec::<String>::new());
        assert_eq!(hostile.notes.len(), 2);
        assert!(hostile.notes[1].starts_with("\"a\\nnameserver 6.6.6.6\" is not"), "{:?}", hostile.notes);
    }

    #[test]
    fn an_mtu_is_bounded_and_lists_of_addresses_hold_addresses() {
        let of = |mtu: u16| answer(&[(26, &mtu.to_be_bytes())]).mtu;
        assert_eq!(
            [68, 1279, 1280, 1450, 1500, 1501, 9000].map(of),
            [None, None, Some(1280), Some(1450), Some(1500), None, None]
        );
        let told = answer(&[(26, &[0, 68])]).notes;
        assert!(told[0].starts_with("an MTU of 68 bytes is not taken from a server"), "{told:?}");
        let odd = answer(&[(6, &[10, 0, 0, 1, 10]), (42, &[10, 0, 0, 9, 0, 0, 0, 0, 10, 0, 0, 9])]);
        assert_eq!(odd.resolvers, Vec::<Ipv4Addr>::new());
        assert_eq!(odd.time_servers, [Ipv4Addr::new(10, 0, 0, 9)]);
        assert_eq!(odd.notes, ["the list of resolvers has 5 bytes, which are not addresses; it is left out"]);
    }

    #[test]
    fn routes_are_read_by_both_numbers_and_a_list_that_is_cut_off_is_left_out() {
        let list = [24, 203, 0, 113, 192, 0, 2, 40, 0, 192, 0, 2, 1];
        for code in [121, 249] {
            let routes = answer(&[(code, &list)]).routes.unwrap();
            assert_eq!((routes[0].prefix_length, routes[0].destination), (24, Ipv4Addr::new(203, 0, 113, 0)));
            assert_eq!((routes[1].prefix_length, routes[1].router), (0, Ipv4Addr::new(192, 0, 2, 1)));
        }
        for wrong in [&[33, 1, 2, 3, 4, 5, 6, 7, 8, 9][..], &[24, 1, 2, 3, 4], &[24]] {
            let answer = answer(&[(121, wrong)]);
            assert_eq!((answer.routes, answer.notes.len()), (None, 1), "{wrong:?}");
        }
    }

    #[test]
    fn an_answer_without_a_time_or_a_server_is_useless() {
        let mut without = reply(&[]);
        without.options = Options::of(&[(54, &[10, 0, 0, 1])]);
        assert!(Answer::of(&without).unwrap_err().contains("how long its lease is"));
        without.options = Options::of(&[(51, &[0, 0, 0, 9])]);
        assert!(Answer::of(&without).unwrap_err().contains("who it is"));
        without.options = Options::of(&[(51, &[0; 4]), (54, &[10, 0, 0, 1])]);
        assert!(Answer::of(&without).unwrap_err().contains("a lease of 0 s"));
    }

    proptest! {
        #[test]
        fn the_order_of_times_holds_whatever_a_server_says(lease in 1_u32.., t1: Option<u32>, t2: Option<u32>) {
            let times = Times::of(lease, t1, t2, &mut Vec::new());
            prop_assert!(times.renew < times.rebind && times.rebind < times.lease, "{:?}", times);
        }

        #[test]
        fn no_options_make_the_reader_panic_and_its_lists_are_bounded(
            options in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..260)), 0..12),
        ) {
            let options: Vec<(u8, &[u8])> = options.iter().map(|(code, value)| (*code, value.as_slice())).collect();
            if let Ok(answer) = Answer::of(&reply(&options)) {
                prop_assert!(answer.resolvers.len() <= MOST && answer.search.len() <= search::MOST);
                prop_assert!(answer.prefix_length().is_ok_and(|length| length > 0) || answer.mask.is_some());
                prop_assert!(answer.notes.iter().all(|note| !note.contains('\n')));
            }
        }
    }
}
