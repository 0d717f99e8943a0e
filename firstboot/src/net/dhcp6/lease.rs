//! What servers have given: addresses and prefixes with their times, and what an answer makes of them. A model without wires.

use super::message::{Asked, Association, FOR_GOOD, Given, Kind, Reply, Status};
use ipnet::Ipv6Net;
use std::net::Ipv6Addr;
use std::time::Duration;
use tokio::time::Instant;

/// A lease is not renewed more often, whatever its server says.
const LEAST: Duration = Duration::from_secs(1);
/// Longest prefix that has room for a subnet.
const SUBNET: u8 = 64;
/// Shortest prefix that a server may give: no site has more.
const SHORTEST: u8 = 16;

/// Something that is held until it ends; `None`: for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held<T> {
    pub value: T,
    pub preferred: Option<Instant>,
    pub valid: Option<Instant>,
}

impl<T> Held<T> {
    #[must_use]
    pub fn in_force(&self, now: Instant) -> bool {
        self.valid.is_none_or(|end| end > now)
    }

    /// Seconds of its preferred and of its valid lifetime that are left; `None`: for good.
    #[must_use]
    pub fn left_s(&self, now: Instant) -> (Option<u32>, Option<u32>) {
        let left = |end: Option<Instant>| {
            end.map(|end| u32::try_from(end.saturating_duration_since(now).as_secs()).unwrap_or(FOR_GOOD - 1))
        };
        // The kernel takes no address whose time is over.
        (left(self.preferred), left(self.valid).map(|valid| valid.max(1)))
    }
}

/// What a server says besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    pub resolvers: Vec<Ipv6Addr>,
    pub search: Vec<String>,
    pub time_servers: Vec<Ipv6Addr>,
}

impl Names {
    #[must_use]
    pub fn of(reply: &Reply) -> Names {
        Names {
            resolvers: reply.resolvers.clone(),
            search: reply.search.clone(),
            time_servers: reply.time_servers.clone(),
        }
    }
}

/// A lease: what one server has given to one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Where its answers come from, and what it calls itself.
    pub server: Ipv6Addr,
    pub server_id: Vec<u8>,
    pub addresses: Vec<Held<Ipv6Addr>>,
    pub prefixes: Vec<Held<Ipv6Net>>,
    pub names: Names,
    /// When to ask this server, and when every server, for more time; `None`: never.
    pub renew: Option<Instant>,
    pub rebind: Option<Instant>,
}

impl Lease {
    /// Whether anything of it is.
    #[must_use]
    pub fn in_force(&self, now: Instant) -> bool {
        self.addresses.iter().any(|held| held.in_force(now)) || self.prefixes.iter().any(|held| held.in_force(now))
    }

    /// When the last of it ends; `None`: never.
    #[must_use]
    pub fn end(&self) -> Option<Instant> {
        let ends = self.addresses.iter().map(|held| held.valid).chain(self.prefixes.iter().map(|held| held.valid));
        ends.max_by_key(|end| (end.is_none(), *end)).flatten()
    }

    /// When the next of it ends, or is no longer preferred.
    #[must_use]
    pub fn next_end(&self, now: Instant) -> Option<Instant> {
        let addresses = self.addresses.iter().flat_map(|held| [held.preferred, held.valid]);
        let prefixes = self.prefixes.iter().flat_map(|held| [held.preferred, held.valid]);
        addresses.chain(prefixes).flatten().filter(|end| *end > now).min()
    }

    /// What of it is still in force, to be named to a server; under each number that is wanted.
    #[must_use]
    pub fn asked(&self, wanted: Wanted, now: Instant) -> Asked {
        let addresses = self.addresses.iter().filter(|held| held.in_force(now)).map(|held| held.value);
        let prefixes = self.prefixes.iter().filter(|held| held.in_force(now)).map(|held| held.value);
        let addresses: Vec<Ipv6Addr> = addresses.collect();
        let prefixes: Vec<Ipv6Net> = prefixes.collect();
        let nothing = wanted.asked();
        Asked {
            addresses: if addresses.is_empty() { nothing.addresses } else { Some(addresses) },
            prefixes: if prefixes.is_empty() { nothing.prefixes } else { Some(prefixes) },
        }
    }
}

/// What an interface is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// An address.
    pub address: bool,
    /// A prefix of this length, or of another one.
    pub prefix: Option<u8>,
}

impl Wanted {
    /// What is asked for where nothing is known yet.
    #[must_use]
    pub fn asked(self) -> Asked {
        let hint = |length| Ipv6Net::new(Ipv6Addr::UNSPECIFIED, length).into_iter().collect();
        Asked { addresses: self.address.then(Vec::new), prefixes: self.prefix.map(hint) }
    }
}

/// What came of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This is held from now on.
    Holds(Lease),
    /// The server knows nothing of what was to be renewed: it is asked for it anew (section 18.2.10.1).
    NoBinding,
    /// Nothing came of it.
    Refused(Status),
}

/// Looks at what comes from outside: nothing in it is taken for granted.
pub struct Judge<'j> {
    /// Number of the interface's associations.
    pub association: u32,
    pub wanted: Wanted,
    /// Why an address cannot be this interface's.
    pub taken: &'j dyn Fn(Ipv6Addr) -> Option<String>,
}

impl Judge<'_> {
    /// How good an offer is: `None` where it gives nothing of what is wanted; `u32::MAX` where nothing can be better. One that gives
    /// all is better than one that gives a part, whatever its server's preference.
    #[must_use]
    pub fn rank(&self, reply: &Reply) -> Option<u32> {
        let mut notes = Vec::new();
        let address = self.addresses(reply, &mut notes).iter().any(|given| given.valid_s > 0);
        let prefix = self.prefixes(reply, &mut notes).iter().any(|given| given.valid_s > 0);
        let wanted = u32::from(self.wanted.address) + u32::from(self.wanted.prefix.is_some());
        let given = u32::from(address) + u32::from(prefix);
        let rank = given * 256 + u32::from(reply.preference);
        match given {
            0 => None,
            _ if given == wanted && reply.preference == u8::MAX => Some(u32::MAX),
            _ => Some(rank),
        }
    }

    fn own<'r, T>(&self, list: &'r [Association<T>]) -> impl Iterator<Item = &'r Association<T>> {
        let number = self.association;
        list.iter().filter(move |association| association.number == number)
    }

    fn addresses(&self, reply: &Reply, notes: &mut Vec<String>) -> Vec<Given<Ipv6Addr>> {
        let mut found = Vec::new();
        for given in self.own(&reply.addresses).flat_map(|association| &association.given) {
            let address = given.value;
            let no_host = address.is_unspecified()
                || address.is_multicast()
                || address.is_loopback()
                || address.is_unicast_link_local();
            if no_host {
                notes.push(format!("the server offers the address {address}, which no host can have"));
            } else if let Some(why) = (self.taken)(address) {
                notes.push(why);
            } else if given.preferred_s > given.valid_s {
                notes.push(format!("the address {address} is preferred for longer than it is valid; it is left out"));
            } else if !self.wanted.address {
                // Not asked for.
            } else {
                found.push(*given);
            }
        }
        found
    }

    fn prefixes(&self, reply: &Reply, notes: &mut Vec<String>) -> Vec<Given<Ipv6Net>> {
        let mut found = Vec::new();
        for given in self.own(&reply.prefixes).flat_map(|association| &association.given) {
            let (net, first) = (given.value, given.value.network());
            let length = net.prefix_len();
            if !(SHORTEST..=SUBNET).contains(&length) {
                notes.push(format!("the server delegates {net}; a prefix of /{SHORTEST} to /{SUBNET} is of use"));
            } else if first.is_unspecified() || first.is_multicast() || first.is_unicast_link_local() {
                notes.push(format!("the server delegates {net}, which nobody can have"));
            } else if given.preferred_s > given.valid_s {
                notes.push(format!("the prefix {net} is preferred for longer than it is valid; it is left out"));
            } else if self.wanted.prefix.is_some() {
                found.push(*given);
            }
        }
        found
    }

    /// What an answer makes of what was held before. `anew`: it was asked for anew, and what it does not name is not held; else
    /// that stays until it ends.
    #[must_use]
    pub fn outcome(
        &self,
        reply: &Reply,
        from: Ipv6Addr,
        before: Option<&Lease>,
        now: Instant,
        notes: &mut Vec<String>,
    ) -> Outcome {
        let statuses = self.own(&reply.addresses).map(|association| association.status);
        let statuses: Vec<Status> =
            statuses.chain(self.own(&reply.prefixes).map(|association| association.status)).collect();
        if reply.status != Status::Success {
            return Outcome::Refused(reply.status);
        }
        if before.is_some() && statuses.contains(&Status::NoBinding) {
            return Outcome::NoBinding;
        }
        let (addresses, prefixes) = (self.addresses(reply, notes), self.prefixes(reply, notes));
        let (renew, rebind) = self.times(reply, &addresses, &prefixes, now, notes);
        let mut lease = Lease {
            server: from,
            server_id: reply.server_id.clone(),
            addresses: merged(before.map(|lease| &lease.addresses[..]), &addresses, now),
            prefixes: merged(before.map(|lease| &lease.prefixes[..]), &prefixes, now),
            names: Names::of(reply),
            renew,
            rebind,
        };
        if let (None, None, Some(end)) = (lease.renew, lease.rebind, lease.end()) {
            // Nothing new was given: it is asked for again while the old is in force.
            let left = end.saturating_duration_since(now);
            (lease.renew, lease.rebind) = (Some(now + (left / 2).max(LEAST)), Some(now + (left * 4 / 5).max(LEAST)));
        }
        if lease.in_force(now) {
            return Outcome::Holds(lease);
        }
        Outcome::Refused(statuses.into_iter().find(|status| *status != Status::Success).unwrap_or(reply.status))
    }

    /// When to ask for more time. Times that are impossible give way to the usual ones, a half and four fifths of the shortest
    /// preferred lifetime (section 21.4): the RFC has such an answer passed over, which would leave the node without a network.
    fn times(
        &self,
        reply: &Reply,
        addresses: &[Given<Ipv6Addr>],
        prefixes: &[Given<Ipv6Net>],
        now: Instant,
        notes: &mut Vec<String>,
    ) -> (Option<Instant>, Option<Instant>) {
        let lifetimes = addresses.iter().map(|given| (given.preferred_s, given.valid_s));
        let lifetimes = lifetimes.chain(prefixes.iter().map(|given| (given.preferred_s, given.valid_s)));
        let lifetimes: Vec<(u32, u32)> = lifetimes.filter(|(_, valid)| *valid > 0).collect();
        // What is deprecated already has its end ahead all the same.
        let shortest =
            lifetimes.iter().map(|&(preferred, valid)| if preferred > 0 { preferred } else { valid }).min();
        let (Some(shortest), Some(valid)) = (shortest, lifetimes.iter().map(|(_, valid)| *valid).min()) else {
            return (None, None);
        };
        let own = self.own(&reply.addresses).filter(|association| !association.given.is_empty());
        let said = own.map(|association| (association.t1_s, association.t2_s));
        let own = self.own(&reply.prefixes).filter(|association| !association.given.is_empty());
        let said: Vec<(u32, u32)> = said.chain(own.map(|association| (association.t1_s, association.t2_s))).collect();
        // 0 leaves it to the client.
        let earliest = |of: fn(&(u32, u32)) -> u32| said.iter().map(of).filter(|time| *time > 0).min();
        let (t1, t2) = (earliest(|times| times.0), earliest(|times| times.1));
        let share = |part: u64, of: u64| {
            if shortest == FOR_GOOD { FOR_GOOD } else { (u64::from(shortest) * part / of) as u32 }
        };
        let rebind = t2.filter(|&t2| t2 <= valid).unwrap_or(share(4, 5));
        let renew = t1.filter(|&t1| t1 <= rebind).unwrap_or(share(1, 2).min(rebind));
        if t1.is_some_and(|t1| t1 != renew) || t2.is_some_and(|t2| t2 != rebind) {
            let shown = |time: Option<u32>| time.map_or("none".to_owned(), |time| format!("{time} s"));
            notes.push(format!(
                "the server's times are impossible (T1 {}, T2 {}, valid for {valid} s): it is asked again after {renew} s",
                shown(t1),
                shown(t2),
            ));
        }
        let at = |seconds: u32| end(now, seconds).map(|at| at.max(now + LEAST));
        (at(renew), at(rebind))
    }
}

/// When a time that is said now is over; `None`: never.
fn end(now: Instant, seconds: u32) -> Option<Instant> {
    (seconds != FOR_GOOD).then(|| now + Duration::from_secs(seconds.into()))
}

/// What is given, with what was held before and is not named. What is given for no time is taken back.
fn merged<T: Copy + PartialEq>(before: Option<&[Held<T>]>, given: &[Given<T>], now: Instant) -> Vec<Held<T>> {
    let unnamed = |held: &&Held<T>| held.in_force(now) && !given.iter().any(|given| given.value == held.value);
    let mut found: Vec<Held<T>> = before.into_iter().flatten().filter(unnamed).copied().collect();
    for Given { value, preferred_s, valid_s } in given.iter().copied().filter(|given| given.valid_s > 0) {
        if !found.iter().any(|held| held.value == value) {
            found.push(Held { value, preferred: end(now, preferred_s), valid: end(now, valid_s) });
        }
    }
    found
}

/// Whether an answer to a confirmation says that what is held fits the link (section 18.2.10).
#[must_use]
pub fn confirms(reply: &Reply) -> Option<bool> {
    match (reply.kind, reply.status) {
        (Kind::Reply, Status::Success) => Some(true),
        (Kind::Reply, Status::NotOnLink) => Some(false),
        _ => None,
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
