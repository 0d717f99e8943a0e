//! What the task of an interface knows, what it makes of answers, and what it says.

use super::super::said::{Said, say_once};
use super::client::{Client, Heard};
use super::lease::{Judge, Lease, Names, Outcome};
use super::leases::{Leases6, Order, association};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// What a task shares with the loop.
pub struct Task {
    pub name: String,
    pub host_name: Rc<str>,
    /// What the node calls itself.
    pub own_id: Rc<[u8]>,
    pub leases: Rc<RefCell<Leases6>>,
    /// Addresses that the node config gives to ports, and which.
    pub fixed: Rc<[(String, IpAddr)]>,
    /// Rung when something has changed.
    pub bell: Rc<Notify>,
    pub said: Said,
    /// `None` while there is nothing to do, or no link to do it on.
    pub order: watch::Receiver<Option<Order>>,
    /// What times count in: a second.
    pub unit: Duration,
}

impl Task {
    pub(super) fn client(&self) -> Client<'_> {
        Client {
            own_id: &self.own_id,
            association: association(&self.name),
            host_name: &self.host_name,
            unit: self.unit,
        }
    }

    /// Says something of a server's answer, once.
    pub(super) fn say(&self, what: String) {
        say_once(&self.said, format_args!("{}: DHCPv6", self.name), what);
    }

    /// The lease, while anything of it that is wanted is in force.
    pub(super) fn held(&self, order: &Order) -> Option<Lease> {
        let now = Instant::now();
        let lease = self.leases.borrow().of(&self.name).cloned()?;
        let address = order.wanted.address && lease.addresses.iter().any(|held| held.in_force(now));
        let prefix = order.wanted.prefix.is_some() && lease.prefixes.iter().any(|held| held.in_force(now));
        (address || prefix).then_some(lease)
    }

    /// Why an address cannot be this interface's: another one of this node has it.
    pub(super) fn taken(&self, address: Ipv6Addr) -> Option<String> {
        let now = Instant::now();
        let leases = self.leases.borrow();
        let mut leased = leases.last.iter().filter(|(name, _)| **name != self.name);
        let leased = leased.find_map(|(name, lease)| {
            lease.addresses.iter().any(|held| held.in_force(now) && held.value == address).then_some(name)
        });
        let fixed = self.fixed.iter().find(|(name, own)| *own == address && *name != self.name);
        let other = leased.or(fixed.map(|(name, _)| name))?;
        Some(format!("the server offers the address {address}, which {other} of this node has"))
    }

    /// Takes what an answer gives into use, and tells if it is something else. `None`: the server knows nothing of it.
    pub(super) fn accept(&self, judge: &Judge<'_>, heard: &Heard, before: Option<&Lease>) -> Option<bool> {
        let now = Instant::now();
        let mut notes = Vec::new();
        let outcome = judge.outcome(&heard.reply, heard.from, before, now, &mut notes);
        notes.into_iter().for_each(|note| self.say(format!("{}: {note}", heard.from)));
        match outcome {
            Outcome::NoBinding => None,
            Outcome::Refused(status) => {
                self.say(format!("{}: {status}", heard.from));
                // A server that takes back what it has given has the last word.
                if before.is_some() {
                    self.lose();
                }
                Some(false)
            }
            Outcome::Holds(lease) => {
                self.put(lease, now);
                Some(true)
            }
        }
    }

    fn put(&self, lease: Lease, now: Instant) {
        let before = self.leases.borrow_mut().last.insert(self.name.clone(), lease.clone());
        let known = before.filter(|before| before.in_force(now));
        for held in &lease.addresses {
            if !known.as_ref().is_some_and(|known| known.addresses.iter().any(|old| old.value == held.value)) {
                println!("{}: lease of {} from {}", self.name, held.value, lease.server);
            }
        }
        for held in &lease.prefixes {
            if !known.as_ref().is_some_and(|known| known.prefixes.iter().any(|old| old.value == held.value)) {
                println!("{}: prefix {} from {}", self.name, held.value, lease.server);
            }
        }
        self.bell.notify_one();
    }

    pub(super) fn lose(&self) {
        if self.leases.borrow_mut().last.remove(&self.name).is_some() {
            self.bell.notify_one();
        }
    }

    pub(super) fn drop_addresses(&self, addresses: &BTreeSet<Ipv6Addr>) {
        if let Some(lease) = self.leases.borrow_mut().last.get_mut(&self.name) {
            lease.addresses.retain(|held| !addresses.contains(&held.value));
        }
        self.bell.notify_one();
    }

    pub(super) fn informed(&self, names: Names) {
        let before = self.leases.borrow_mut().information.insert(self.name.clone(), names.clone());
        if before.as_ref() != Some(&names) {
            self.bell.notify_one();
        }
    }
}
