//! What the interfaces have, gathered: told to PID 1 over its notify socket, and the resolvers written for everybody.

use crate::config::store::{Access, write_atomic};
use ipnet::IpNet;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

/// `/etc/resolv.conf` is a link to it.
const RESOLV_CONF: &str = "/run/resolv.conf";

/// What one interface has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    pub addresses: Vec<IpNet>,
    pub dns: Vec<IpAddr>,
}

/// The facts of all interfaces.
#[derive(Debug)]
pub struct Board {
    notify: Option<PathBuf>,
    facts: RefCell<BTreeMap<String, Facts>>,
    ready: Cell<bool>,
}

impl Board {
    /// `notify` is PID 1's socket.
    #[must_use]
    pub fn new(notify: Option<PathBuf>) -> Board {
        Board { notify, facts: RefCell::default(), ready: Cell::new(false) }
    }

    /// Puts an interface's facts in the place of its former ones, and tells if that changes something.
    pub fn set(&self, name: &str, facts: Facts) {
        let before = self.facts.borrow_mut().insert(name.to_owned(), facts.clone());
        if before.as_ref() == Some(&facts) {
            return;
        }
        if before.unwrap_or_default().dns != facts.dns {
            let text = resolv_conf(&self.facts.borrow());
            if let Err(error) = write_atomic(Path::new(RESOLV_CONF), text.as_bytes(), Access::root(0o644)) {
                println!("cannot write {RESOLV_CONF}: {error}");
            }
        }
        self.tell();
    }

    /// The network is as far up as it will be for now.
    pub fn ready(&self) {
        self.ready.set(true);
        self.tell();
    }

    fn tell(&self) {
        let ready = if self.ready.get() { "READY=1\n" } else { "" };
        let message = format!("{ready}STATUS={}", summary(&self.facts.borrow()));
        if let Some(path) = &self.notify
            && let Err(error) = UnixDatagram::unbound().and_then(|socket| socket.send_to(message.as_bytes(), path))
        {
            println!("cannot tell PID 1: {error}");
        }
    }
}

/// `eth0 10.0.0.1/24 fd00::1/64, eth1 no address`.
fn summary(facts: &BTreeMap<String, Facts>) -> String {
    let one = |(name, facts): (&String, &Facts)| {
        let addresses: Vec<String> = facts.addresses.iter().map(ToString::to_string).collect();
        let addresses = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(" ") };
        format!("{name} {addresses}")
    };
    facts.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Each resolver once, in the order of the interfaces. The C library reads the first three.
fn resolv_conf(facts: &BTreeMap<String, Facts>) -> String {
    let mut seen: Vec<IpAddr> = Vec::new();
    for &address in facts.values().flat_map(|facts| &facts.dns) {
        if !seen.contains(&address) {
            seen.push(address);
        }
    }
    seen.iter().fold(String::new(), |mut text, address| {
        let _ = writeln!(text, "nameserver {address}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> BTreeMap<String, Facts> {
        let facts = |addresses: &[&str], dns: &[&str]| Facts {
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            dns: dns.iter().map(|text| text.parse().unwrap()).collect(),
        };
        BTreeMap::from([
            ("eth0".to_owned(), facts(&["10.0.0.1/24", "fd00::1/64"], &["10.0.0.53", "fd00::53"])),
            ("eth1".to_owned(), facts(&[], &["10.0.0.53"])),
        ])
    }

    #[test]
    fn the_summary_names_each_interface_with_its_addresses() {
        assert_eq!(summary(&facts()), "eth0 10.0.0.1/24 fd00::1/64, eth1 no address");
    }

    #[test]
    fn each_resolver_is_written_once() {
        assert_eq!(resolv_conf(&facts()), "nameserver 10.0.0.53\nnameserver fd00::53\n");
    }

    #[test]
    fn pid_1_is_told_and_told_again_only_when_something_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let receive = || {
            let mut buffer = [0; 500];
            socket.recv(&mut buffer).ok().map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        let board = Board::new(Some(path));
        let address = Facts { addresses: vec!["10.0.0.1/24".parse().unwrap()], dns: Vec::new() };
        board.set("eth0", address.clone());
        assert_eq!(receive().as_deref(), Some("STATUS=eth0 10.0.0.1/24"));
        board.set("eth0", address);
        assert_eq!(receive(), None);
        board.ready();
        assert_eq!(receive().as_deref(), Some("READY=1\nSTATUS=eth0 10.0.0.1/24"));
    }
}
