//! What answers make of leases.

use super::super::message::tests::{ASSOCIATION, ia, ia_address, ia_prefix, message, opt, status_code};
use super::*;
use proptest::prelude::*;

const BOTH: Wanted = Wanted { address: true, prefix: Some(56) };
const FROM: &str = "fe80::1";

fn judge<T>(wanted: Wanted, with: impl FnOnce(&Judge<'_>) -> T) -> T {
    let taken = |address: Ipv6Addr| (address.segments()[7] == 0xdead).then(|| format!("{address} is taken"));
    with(&Judge { association: ASSOCIATION, wanted, taken: &taken })
}

fn reply(more: &[Vec<u8>]) -> Reply {
    Reply::parse(&message(7, 1, more)).unwrap()
}

fn outcome(wanted: Wanted, options: &[Vec<u8>], before: Option<&Lease>, now: Instant) -> (Outcome, Vec<String>) {
    let mut notes = Vec::new();
    let found = judge(wanted, |judge| judge.outcome(&reply(options), FROM.parse().unwrap(), before, now, &mut notes));
    (found, notes)
}

fn holds(options: &[Vec<u8>], before: Option<&Lease>, now: Instant) -> Lease {
    match outcome(BOTH, options, before, now) {
        (Outcome::Holds(lease), _) => lease,
        (other, notes) => panic!("{other:?} {notes:?}"),
    }
}

fn seconds(at: Option<Instant>, now: Instant) -> Option<u64> {
    at.map(|at| (at - now).as_secs())
}

#[test]
fn an_answer_gives_addresses_prefixes_names_and_times() {
    let now = Instant::now();
    let lease = holds(
        &[
            ia(3, [50, 80], &[ia_address("2001:db8::5", 100, 200)]),
            ia(25, [40, 90], &[ia_prefix("2001:db8:1::/56", 100, FOR_GOOD)]),
            opt(23, &"2001:db8::53".parse::<Ipv6Addr>().unwrap().octets()),
        ],
        None,
        now,
    );
    assert_eq!((lease.addresses[0].value, lease.server), ("2001:db8::5".parse().unwrap(), FROM.parse().unwrap()));
    assert_eq!(lease.addresses[0].left_s(now), (Some(100), Some(200)));
    assert_eq!(lease.prefixes[0].left_s(now), (Some(100), None));
    // The earlier of both associations'.
    assert_eq!((seconds(lease.renew, now), seconds(lease.rebind, now)), (Some(40), Some(80)));
    assert_eq!((lease.end(), lease.names.resolvers.len()), (None, 1));
    assert_eq!(seconds(lease.next_end(now), now), Some(100));
}

#[test]
fn times_that_cannot_be_give_way_to_the_usual_ones() {
    let now = Instant::now();
    for ([t1, t2], renew, rebind, remarked) in [
        ([0, 0], 50, 80, false),
        ([10, 20], 10, 20, false),
        ([0, 60], 50, 60, false),
        ([0, 20], 20, 20, false),
        ([90, 20], 20, 20, true),
        ([300, 400], 50, 80, true),
        ([50, 400], 50, 80, true),
        ([FOR_GOOD, FOR_GOOD], 50, 80, true),
    ] {
        let options = [ia(3, [t1, t2], &[ia_address("2001:db8::5", 100, 200)])];
        let (Outcome::Holds(lease), notes) = outcome(BOTH, &options, None, now) else { panic!("{t1} {t2}") };
        assert_eq!((seconds(lease.renew, now), seconds(lease.rebind, now)), (Some(renew), Some(rebind)), "{t1} {t2}");
        assert_eq!(notes.iter().any(|note| note.contains("times are impossible")), remarked, "{t1} {t2}: {notes:?}");
    }
    // For good: nobody is asked again. Already deprecated: before it ends.
    let lease = holds(&[ia(3, [0, 0], &[ia_address("2001:db8::5", FOR_GOOD, FOR_GOOD)])], None, now);
    assert_eq!((lease.renew, lease.rebind, lease.end()), (None, None, None));
    let lease = holds(&[ia(3, [0, 0], &[ia_address("2001:db8::5", 0, 100)])], None, now);
    assert_eq!(seconds(lease.renew, now), Some(50));
    // A server cannot be asked more than once a second.
    let lease = holds(&[ia(3, [0, 0], &[ia_address("2001:db8::5", 1, 1)])], None, now);
    assert_eq!(seconds(lease.renew, now), Some(1));
}

#[test]
fn what_no_host_can_have_is_left_out_with_a_word() {
    let now = Instant::now();
    for address in ["::", "ff02::1", "::1", "fe80::9", "2001:db8::dead"] {
        let (found, notes) = outcome(BOTH, &[ia(3, [0, 0], &[ia_address(address, 1, 2)])], None, now);
        assert_eq!((found, notes.len()), (Outcome::Refused(Status::Success), 1), "{address}: {notes:?}");
    }
    for prefix in ["::/56", "ff00::/16", "fe80::/48", "2001:db8::/65", "2000::/3"] {
        let (found, notes) = outcome(BOTH, &[ia(25, [0, 0], &[ia_prefix(prefix, 1, 2)])], None, now);
        assert_eq!((found, notes.len()), (Outcome::Refused(Status::Success), 1), "{prefix}: {notes:?}");
    }
    let longer = [ia(3, [0, 0], &[ia_address("2001:db8::5", 3, 2), ia_address("2001:db8::6", 2, 2)])];
    let (Outcome::Holds(lease), notes) = outcome(BOTH, &longer, None, now) else { panic!() };
    assert_eq!((lease.addresses.len(), notes.len()), (1, 1));
    // Under another number, or not asked for.
    let mut other = ia(3, [0, 0], &[ia_address("2001:db8::5", 1, 2)]);
    other[7] ^= 1;
    assert_eq!(outcome(BOTH, &[other], None, now).0, Outcome::Refused(Status::Success));
    let unasked = [ia(3, [0, 0], &[ia_address("2001:db8::5", 1, 2)])];
    let prefix = Wanted { address: false, prefix: Some(60) };
    assert_eq!(outcome(prefix, &unasked, None, now).0, Outcome::Refused(Status::Success));
}

#[test]
fn the_server_s_status_says_what_to_do_next() {
    let now = Instant::now();
    let before = holds(&[ia(3, [0, 0], &[ia_address("2001:db8::5", 100, 200)])], None, now);
    for (options, fresh, renewed) in [
        (vec![ia(3, [0, 0], &[status_code(2)])], Outcome::Refused(Status::NoAddresses), None),
        (vec![ia(25, [0, 0], &[status_code(6)])], Outcome::Refused(Status::NoPrefixes), None),
        (vec![ia(3, [0, 0], &[status_code(3)])], Outcome::Refused(Status::NoBinding), Some(Outcome::NoBinding)),
        (vec![status_code(4)], Outcome::Refused(Status::NotOnLink), Some(Outcome::Refused(Status::NotOnLink))),
        (vec![status_code(1)], Outcome::Refused(Status::Failed), Some(Outcome::Refused(Status::Failed))),
    ] {
        assert_eq!(outcome(BOTH, &options, None, now).0, fresh, "{options:?}");
        let after = outcome(BOTH, &options, Some(&before), now).0;
        match renewed {
            Some(renewed) => assert_eq!(after, renewed, "{options:?}"),
            // What is not renewed is held until it ends, and asked for again before.
            None => {
                let Outcome::Holds(lease) = after else { panic!("{options:?}: {after:?}") };
                assert_eq!((&lease.addresses, seconds(lease.renew, now)), (&before.addresses, Some(100)));
            }
        }
    }
}

#[test]
fn a_renewal_prolongs_what_it_names_takes_back_what_it_gives_no_time_and_leaves_the_rest() {
    let begin = Instant::now();
    let given =
        [ia_address("2001:db8::5", 100, 200), ia_address("2001:db8::6", 100, 200), ia_address("2001:db8::7", 10, 20)];
    let before =
        holds(&[ia(3, [0, 0], &given), ia(25, [0, 0], &[ia_prefix("2001:db8:1::/56", 100, 200)])], None, begin);
    let now = begin + Duration::from_secs(50);
    let renewal = [
        ia(3, [0, 0], &[ia_address("2001:db8::5", 100, 200), ia_address("2001:db8::6", 0, 0)]),
        ia(25, [0, 0], &[ia_prefix("2001:db8:1::/56", 0, 0), ia_prefix("2001:db8:2::/56", 100, 200)]),
    ];
    let after = holds(&renewal, Some(&before), now);
    let addresses: Vec<String> = after.addresses.iter().map(|held| format!("{}", held.value)).collect();
    assert_eq!(addresses, ["2001:db8::5"], "6 is taken back, and 7 is over");
    assert_eq!(seconds(after.addresses[0].valid, now), Some(200));
    assert_eq!(after.prefixes.iter().map(|held| held.value.to_string()).collect::<Vec<_>>(), ["2001:db8:2::/56"]);
    // Everything taken back: there is no lease.
    let nothing =
        [ia(3, [0, 0], &[ia_address("2001:db8::5", 0, 0)]), ia(25, [0, 0], &[ia_prefix("2001:db8:2::/56", 0, 0)])];
    assert_eq!(outcome(BOTH, &nothing, Some(&after), now).0, Outcome::Refused(Status::Success));
}

#[test]
fn an_offer_of_all_that_is_wanted_is_better_than_one_of_a_part() {
    let address = ia(3, [0, 0], &[ia_address("2001:db8::5", 1, 2)]);
    let prefix = ia(25, [0, 0], &[ia_prefix("2001:db8:1::/56", 1, 2)]);
    let rank = |options: &[Vec<u8>]| judge(BOTH, |judge| judge.rank(&reply(options)));
    let part = rank(&[address.clone(), opt(7, &[255])]).unwrap();
    let all = rank(&[address.clone(), prefix.clone()]).unwrap();
    assert!(all > part && rank(&[address.clone(), prefix.clone(), opt(7, &[9])]).unwrap() > all);
    assert_eq!(rank(&[address, prefix, opt(7, &[255])]), Some(u32::MAX));
    for useless in
        [vec![], vec![ia(3, [0, 0], &[status_code(2)])], vec![ia(3, [0, 0], &[ia_address("2001:db8::dead", 1, 2)])]]
    {
        assert_eq!(rank(&useless), None, "{useless:?}");
    }
}

proptest! {
    /// Whatever a server says: nothing is held that is over, or that no host can have; and it is asked again in time.
    #[test]
    fn whatever_is_held_can_be_used(
        addresses in prop::collection::vec((any::<u128>(), any::<u32>(), any::<u32>()), 0..4),
        prefixes in prop::collection::vec((any::<u128>(), 0_u8..=128, 0_u32..1000, 0_u32..1000), 0..4),
        times in any::<[u32; 4]>(),
    ) {
        let now = Instant::now();
        let text = |bits: u128| Ipv6Addr::from_bits(bits).to_string();
        let addresses: Vec<Vec<u8>> = addresses.into_iter().map(|(bits, p, v)| ia_address(&text(bits), p, v)).collect();
        let prefixes: Vec<Vec<u8>> = prefixes.into_iter().map(|(bits, l, p, v)| ia_prefix(&format!("{}/{l}", text(bits)), p, v)).collect();
        let options = [ia(3, [times[0], times[1]], &addresses), ia(25, [times[2], times[3]], &prefixes)];
        if let Outcome::Holds(lease) = outcome(BOTH, &options, None, now).0 {
            prop_assert!(lease.addresses.iter().all(|held| held.in_force(now) && !held.value.is_multicast()));
            prop_assert!(lease.prefixes.iter().all(|held| held.in_force(now) && held.value.prefix_len() <= 64));
            if let (Some(renew), Some(rebind)) = (lease.renew, lease.rebind) {
                prop_assert!(now < renew && renew <= rebind);
            }
            if let Some(end) = lease.end() {
                prop_assert!(lease.renew.is_some_and(|renew| renew <= end.max(now + LEAST)));
            }
        }
    }
}
