//! Few of something from each source, so that one does not take it from all others.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Where connections come from: an address, or of IPv6 the /64 that one host may choose its addresses from.
#[must_use]
pub fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(six) if !six.is_loopback() => Ipv6Addr::from_bits(six.to_bits() & !u128::from(u64::MAX)).into(),
        other => other,
    }
}

/// Counts what each source holds.
#[derive(Clone, Debug)]
pub struct PerSource {
    most: usize,
    held: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl PerSource {
    /// `most` for each source at a time.
    #[must_use]
    pub fn new(most: usize) -> PerSource {
        PerSource { most, held: Arc::default() }
    }

    /// One more for this address, until what is returned is dropped; `None` when its source holds as many as it may.
    #[must_use]
    pub fn take(&self, address: IpAddr) -> Option<Held> {
        let source = source(address);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(&source).copied().unwrap_or(0);
        if count >= self.most {
            return None;
        }
        held.insert(source, count + 1);
        Some(Held { source, held: Arc::clone(&self.held) })
    }
}

/// One that is held.
#[derive(Debug)]
pub struct Held {
    source: IpAddr,
    held: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get_mut(&self.source) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(held.remove(&self.source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_takes_nothing_from_others() {
        let per_source = PerSource::new(3);
        let take = |address: &str| per_source.take(address.parse().unwrap());
        let mut held: Vec<Held> = (0..3).filter_map(|_| take("10.0.0.7")).collect();
        assert_eq!(held.len(), 3);
        for _ in 0..120 {
            assert!(take("10.0.0.7").is_none());
            // The same by IPv6's way to write it.
            assert!(take("::ffff:10.0.0.7").is_none());
        }
        assert!(take("10.0.0.8").is_some());
        held.pop();
        held.extend(take("10.0.0.7"));
        assert_eq!(held.len(), 3);
        drop(held);
        assert!(per_source.held.lock().unwrap().is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn all_addresses_of_one_ipv6_net_are_one_source() {
        let per_source = PerSource::new(2);
        let held: Vec<_> =
            (0..120).filter_map(|n| per_source.take(format!("2001:db8::{n:x}").parse().unwrap())).collect();
        assert_eq!(held.len(), 2);
        assert!(per_source.take("2001:db8:0:1::1".parse().unwrap()).is_some());
    }
}
