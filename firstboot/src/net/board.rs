//! How the network reports its state: to PID 1 over its notify socket, to the console and `nodectl` through a file, and
//! the resolvers to every program.

use crate::config::store::{Access, write_atomic};
use crate::notify::Notify;
use contract::names::{NETWORK_REPORT, NETWORK_TIME_SOURCES, RUN_RESOLV_CONF};
use contract::network::NetworkReport;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

/// What was said last.
#[derive(Debug, Default)]
pub struct Board {
    notify: Notify,
    ready: bool,
    said: String,
    resolvers: String,
    time_sources: String,
    report: Vec<u8>,
}

impl Board {
    #[must_use]
    pub fn new(notify: Notify) -> Board {
        Board { notify, ..Board::default() }
    }

    /// Tells what has changed. Ready is for good. `links` says on which interface a resolver is whose address is of the link.
    pub fn tell(&mut self, report: &NetworkReport, links: &BTreeMap<IpAddr, String>, ready: bool) {
        let resolvers = resolv_conf(&report.resolvers, &report.search, links);
        if resolvers != self.resolvers && write(RUN_RESOLV_CONF, resolvers.as_bytes()) {
            self.resolvers = resolvers;
        }
        let sources = time_sources(&report.time_servers);
        if sources != self.time_sources && write(NETWORK_TIME_SOURCES, sources.as_bytes()) {
            self.time_sources = sources;
        }
        let bytes = serde_json::to_vec(report).unwrap_or_default();
        if bytes != self.report && write(NETWORK_REPORT, &bytes) {
            self.report = bytes;
        }
        let said = summary(report);
        if said == self.said && ready == self.ready {
            return;
        }
        let mark = if ready { "READY=1\n" } else { "" };
        let message = format!("{mark}STATUS={said}");
        self.notify.tell(&message);
        (self.said, self.ready) = (said, ready);
    }
}

fn write(path: &str, bytes: &[u8]) -> bool {
    let written = write_atomic(Path::new(path), bytes, Access::root(0o644));
    if let Err(error) = &written {
        println!("cannot write {path}: {error}");
    }
    written.is_ok()
}

/// `eth0 10.0.0.1/24 fd00::1/64, eth1 no address`.
fn summary(report: &NetworkReport) -> String {
    // A port of a bridge, or what VLANs are on, has no address and needs none.
    let below = |interface: &&contract::network::InterfaceReport| {
        interface.bridge.is_none() || !interface.addresses.is_empty()
    };
    let one = |interface: &contract::network::InterfaceReport| {
        let addresses: Vec<String> = interface.addresses.iter().map(ToString::to_string).collect();
        let addresses = if addresses.is_empty() { "no address".to_owned() } else { addresses.join(" ") };
        format!("{} {addresses}", interface.name)
    };
    let mut text = report.interfaces.iter().filter(below).map(one).collect::<Vec<_>>().join(", ");
    for four in [true, false] {
        let routes = || report.defaults.iter().filter(|route| route.four == four);
        if let (Some(used), 2..) = (routes().find(|route| route.used), routes().count()) {
            let family = if four { "" } else { " (IPv6)" };
            let _ = write!(text, "; default route{family} by {}", used.interface);
        }
    }
    text
}

/// What chronyd reads of NTP servers that leases name (chrony.conf(5), sourcedir).
fn time_sources(servers: &[IpAddr]) -> String {
    servers.iter().map(|server| format!("server {server} iburst\n")).collect()
}

/// The C library reads the first three resolvers.
fn resolv_conf(resolvers: &[IpAddr], search: &[String], links: &BTreeMap<IpAddr, String>) -> String {
    let mut text = String::new();
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    for address in resolvers {
        let _ = match links.get(address) {
            Some(link) => writeln!(text, "nameserver {address}%{link}"),
            None => writeln!(text, "nameserver {address}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::network::InterfaceReport;

    fn report() -> NetworkReport {
        let interface = |name: &str, addresses: &[&str]| InterfaceReport {
            name: name.to_owned(),
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            ..InterfaceReport::default()
        };
        let port = InterfaceReport { bridge: Some("br0".to_owned()), ..interface("eth2", &[]) };
        NetworkReport {
            interfaces: vec![interface("eth0", &["10.0.0.1/24", "fd00::1/64"]), interface("eth1", &[]), port],
            ..NetworkReport::default()
        }
    }

    #[test]
    fn of_several_default_routes_the_one_in_use_is_named_and_one_alone_is_not() {
        let route = |interface: &str, four, used| contract::network::DefaultRoute {
            interface: interface.to_owned(),
            four,
            used,
            ..contract::network::DefaultRoute::default()
        };
        let mut report = report();
        report.defaults = vec![route("eth0", true, true), route("eth0", false, true)];
        assert_eq!(summary(&report), "eth0 10.0.0.1/24 fd00::1/64, eth1 no address");
        report.defaults.push(route("eth1", true, false));
        assert!(summary(&report).ends_with("eth1 no address; default route by eth0"), "{}", summary(&report));
    }

    #[test]
    fn time_servers_of_leases_are_lines_that_chronyd_reads() {
        let servers = ["10.0.0.9".parse().unwrap(), "10.0.0.8".parse().unwrap()];
        assert_eq!(time_sources(&servers), "server 10.0.0.9 iburst\nserver 10.0.0.8 iburst\n");
        assert_eq!(time_sources(&[]), "");
    }

    #[test]
    fn the_summary_names_each_interface_with_its_addresses() {
        assert_eq!(summary(&report()), "eth0 10.0.0.1/24 fd00::1/64, eth1 no address");
    }

    #[test]
    fn resolvers_stand_behind_the_domains() {
        let resolvers = ["10.0.0.53", "fd00::53", "fe80::1"].map(|text| text.parse().unwrap());
        let links = BTreeMap::from([("fe80::1".parse().unwrap(), "eth0".to_owned())]);
        let text = resolv_conf(&resolvers, &["rack.lan".to_owned(), "lan".to_owned()], &links);
        assert_eq!(text, "search rack.lan lan\nnameserver 10.0.0.53\nnameserver fd00::53\nnameserver fe80::1%eth0\n");
    }

    #[test]
    fn pid_1_is_told_and_told_again_only_when_something_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let receive = || {
            let mut buffer = [0; 500];
            socket.recv(&mut buffer).ok().map(|length| String::from_utf8_lossy(&buffer[..length]).into_owned())
        };
        let said = "STATUS=eth0 10.0.0.1/24 fd00::1/64, eth1 no address";
        let mut board = Board::new(Notify::to(path));
        board.tell(&report(), &BTreeMap::new(), false);
        assert_eq!(receive().as_deref(), Some(said));
        board.tell(&report(), &BTreeMap::new(), false);
        assert_eq!(receive(), None);
        board.tell(&report(), &BTreeMap::new(), true);
        assert_eq!(receive(), Some(format!("READY=1\n{said}")));
    }
}
