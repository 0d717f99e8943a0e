//! Which checks and services of a role concern a port of the board that is not there: by the addresses that the node
//! config gives the port, and by its name.

use contract::node::Network;
use contract::role::{HealthCheck, HttpProbe, Probe, Ready, Service, Target};
use ipnet::IpNet;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// Ports that are not there, with the nets that they would have.
pub struct Missing<'n> {
    ports: Vec<(&'n str, &'n [IpNet])>,
    services: &'n BTreeMap<String, Service>,
    config: &'n Value,
}

impl<'n> Missing<'n> {
    /// `config` is the node config as JSON.
    #[must_use]
    pub fn new(
        absent: &BTreeSet<String>,
        network: &'n Network,
        services: &'n BTreeMap<String, Service>,
        config: &'n Value,
    ) -> Missing<'n> {
        let named = network.interfaces().iter().filter(|(name, _)| absent.contains(name.as_str()));
        let ports = named.map(|(name, port)| (name.as_str(), port.addresses.as_slice())).collect();
        Missing { ports, services, config }
    }

    /// The port that is missing for a check, if there is one.
    #[must_use]
    pub fn for_check(&self, check: &HealthCheck) -> Option<&'n str> {
        match &check.probe {
            Probe::Service { name, .. } => self.for_service(name),
            Probe::Http(http) => self.for_url(http),
            Probe::Tcp(Target::Is(text)) | Probe::Route(Target::Is(text)) | Probe::Neighbour(Target::Is(text)) => {
                self.for_text(text)
            }
            _ => None,
        }
    }

    /// The port that is missing for a service: its section of the node config names the port or one of its addresses, or
    /// it is to be ready at one of them.
    #[must_use]
    pub fn for_service(&self, name: &str) -> Option<&'n str> {
        let service = self.services.get(name)?;
        let ready = match &service.ready {
            Some(Ready::Tcp(address)) => self.for_text(address),
            Some(Ready::Http(http)) => self.for_url(http),
            _ => None,
        };
        let section = || {
            let path = service.when.as_deref()?;
            self.named_in(path.split('.').try_fold(self.config, |value, key| value.get(key))?)
        };
        ready.or_else(section)
    }

    fn for_url(&self, http: &HttpProbe) -> Option<&'n str> {
        let host = http.url.split_once("://").map_or(http.url.as_str(), |(_, rest)| rest);
        self.for_text(host.split('/').next().unwrap_or_default())
    }

    /// `text` is a port's name, an address, an address with a port number, or a prefix.
    fn for_text(&self, text: &str) -> Option<&'n str> {
        let address = address(text);
        let found = self.ports.iter().find(|(name, nets)| {
            *name == text || address.is_some_and(|address| nets.iter().any(|net| net.contains(&address)))
        });
        found.map(|(name, _)| *name)
    }

    /// The first one that is named anywhere in a value.
    fn named_in(&self, value: &Value) -> Option<&'n str> {
        match value {
            Value::String(text) => self.for_text(text),
            Value::Array(list) => list.iter().find_map(|entry| self.named_in(entry)),
            Value::Object(table) => {
                table.iter().find_map(|(key, entry)| self.for_text(key).or_else(|| self.named_in(entry)))
            }
            _ => None,
        }
    }
}

fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let prefix = || text.parse::<IpNet>().ok().map(|net| net.addr());
    text.parse().ok().or_else(with_port).or_else(prefix).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::node::NodeConfig;
    use proptest::prelude::*;

    const NODE: &str = "name = \"r1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[network.eth1]\n\
        addresses = [\"10.1.0.1/24\", \"fd00:1::1/64\"]\n[metrics]\nlisten = \"10.1.0.1:9100\"\n[router]\nasn = 1\n\
        [router.dhcp.eth1]\nfirst = \"10.1.0.5\"\nlast = \"10.1.0.9\"\n";

    fn service(when: Option<&str>, ready: Option<Ready>) -> Service {
        let mut service = super::super::super::services::network_service(&BTreeMap::new());
        (service.when, service.ready) = (when.map(str::to_owned), ready);
        service
    }

    fn check(probe: Probe) -> HealthCheck {
        HealthCheck { name: "x".to_owned(), probe, deadline_ms: 1, every_ms: 1, timeout_ms: 1, when: None }
    }

    fn with(absent: &[&str], judge: impl Fn(&Missing<'_>)) {
        let node = NodeConfig::parse(NODE.as_bytes()).unwrap();
        let config = serde_json::to_value(&node).unwrap();
        let services = BTreeMap::from([
            ("metrics".to_owned(), service(Some("metrics.listen"), None)),
            ("dnsmasq".to_owned(), service(Some("router.dhcp"), None)),
            ("web".to_owned(), service(None, Some(Ready::Tcp("[fd00:1::1]:80".to_owned())))),
            ("bgpd".to_owned(), service(Some("router.asn"), Some(Ready::Tcp("127.0.0.1:2605".to_owned())))),
        ]);
        let absent = absent.iter().map(|&name| name.to_owned()).collect();
        judge(&Missing::new(&absent, &node.network, &services, &config));
    }

    #[test]
    fn services_concern_the_port_that_their_settings_name_or_that_they_listen_at() {
        with(&["eth1"], |missing| {
            for name in ["metrics", "dnsmasq", "web"] {
                assert_eq!(missing.for_service(name), Some("eth1"), "{name}");
                let probe = Probe::Service { name: name.to_owned(), stable_ms: 0 };
                assert_eq!(missing.for_check(&check(probe)), Some("eth1"), "{name}");
            }
            assert_eq!((missing.for_service("bgpd"), missing.for_service("nobody")), (None, None));
        });
        with(&[], |missing| assert_eq!(missing.for_service("metrics"), None, "the port is there"));
        with(&["eth0"], |missing| assert_eq!(missing.for_service("metrics"), None, "another one is missing"));
    }

    #[test]
    fn checks_concern_the_port_in_whose_nets_their_address_lies() {
        let is = |text: &str| Target::Is(text.to_owned());
        let http = |url: &str| {
            Probe::Http(HttpProbe { url: url.to_owned(), status: None, body: None, ca: None, insecure: false })
        };
        with(&["eth1"], |missing| {
            for probe in [
                Probe::Tcp(is("10.1.0.1:80")),
                Probe::Route(is("10.1.0.0/25")),
                Probe::Neighbour(is("fd00:1::9")),
                http("http://10.1.0.1/health"),
                http("https://[fd00:1::1]:8443/"),
            ] {
                assert_eq!(missing.for_check(&check(probe.clone())), Some("eth1"), "{probe:?}");
            }
            for probe in [
                Probe::Tcp(is("10.0.0.1:80")),
                Probe::Neighbour(is("10.0.0.254")),
                http("http://localhost:80/"),
                Probe::Memory { available_bytes: 1 },
            ] {
                assert_eq!(missing.for_check(&check(probe.clone())), None, "{probe:?}");
            }
        });
    }

    proptest! {
        #[test]
        fn no_text_of_a_role_makes_it_panic(text in "\\PC{0,80}") {
            with(&["eth1"], |missing| { let _ = missing.for_check(&check(Probe::Tcp(Target::Is(text.clone())))); });
            let _ = address(&text);
        }
    }
}
