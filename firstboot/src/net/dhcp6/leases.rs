//! What all interfaces have been given, and what each is to ask for.

use super::super::sysfs::hardware;
use super::lease::{Lease, Names, Wanted};
use contract::hash::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use tokio::time::Instant;

/// What each interface has been given; what is over stays here and counts as nothing.
#[derive(Debug, Default)]
pub struct Leases6 {
    pub(super) last: BTreeMap<String, Lease>,
    pub(super) information: BTreeMap<String, Names>,
}

impl Leases6 {
    /// The last lease.
    #[must_use]
    pub fn of(&self, interface: &str) -> Option<&Lease> {
        self.last.get(interface)
    }

    /// What servers say to an interface besides: with its lease while that is in force, or by itself.
    pub fn names(&self, interface: &str, now: Instant) -> impl Iterator<Item = &Names> {
        let lease = self.last.get(interface).filter(|lease| lease.in_force(now)).map(|lease| &lease.names);
        lease.into_iter().chain(self.information.get(interface))
    }

    /// When the next thing ends.
    #[must_use]
    pub fn next_end(&self, now: Instant) -> Option<Instant> {
        self.last.values().filter_map(|lease| lease.next_end(now)).min()
    }

    /// Forgets what an interface was told besides its lease: it was of another link.
    pub fn forget_information(&mut self, interface: &str) {
        self.information.remove(interface);
    }

    #[cfg(test)]
    pub fn with(interface: &str, lease: Lease) -> Leases6 {
        Leases6 { last: BTreeMap::from([(interface.to_owned(), lease)]), information: BTreeMap::new() }
    }
}

/// What a task is to do on its interface now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub index: u32,
    /// The interface's own address of the link.
    pub local: Ipv6Addr,
    pub wanted: Wanted,
    /// Whether names are asked for, where nothing else is.
    pub information: bool,
    /// Addresses of the lease that somebody else on the link has.
    pub duplicates: BTreeSet<Ipv6Addr>,
}

/// The name that a node has for servers (section 11.4): of the link-layer address of its first port, so that it is the same
/// whatever becomes of the node's disks.
#[must_use]
pub fn own_id(mac: &str) -> Option<Vec<u8>> {
    // DUID-LL, of Ethernet.
    Some([&[0, 3, 0, 1], &hardware(mac)?[..]].concat())
}

/// The number of an interface (section 12): the same for as long as it has its name.
pub(super) fn association(name: &str) -> u32 {
    let [a, b, c, d, ..] = Digest::of(name.as_bytes()).0;
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_and_its_interfaces_keep_their_numbers() {
        assert_eq!(own_id("02:00:00:00:00:01").unwrap(), [0, 3, 0, 1, 2, 0, 0, 0, 0, 1]);
        for wrong in ["", "02:00:00:00:00", "02:00:00:00:00:0g", "02:00:00:00:00:01:02"] {
            assert_eq!(own_id(wrong), None, "{wrong}");
        }
        assert_eq!(association("eth0"), association("eth0"));
        assert_ne!(association("eth0"), association("eth1"));
    }
}
