//! What must hold within and between interfaces.

use super::{Interface, InterfaceName, Network};
use crate::node::problem::{Problem, problem};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// MTU of an Ethernet port that no one set, in bytes.
const ETHERNET_MTU: u32 = 1500;
/// Most interfaces, and most of each list.
const MOST: usize = 256;

/// Everything that is wrong.
pub fn check(network: &Network, found: &mut Vec<Problem>) {
    if network.0.len() > MOST {
        found.push(problem(["network"], format!("more than {MOST} interfaces")));
        return;
    }
    let mut seen = Seen::default();
    for (name, interface) in &network.0 {
        let name = name.as_str();
        found.extend(kind(name, interface).err());
        if sizes(name, interface, found) {
            seen.addresses(name, interface, found);
            seen.routes(name, interface, found);
            routes(name, interface, found);
        }
        if let Some(wireguard) = &interface.wireguard {
            wireguard.check(name, found);
        }
    }
    ports(network, found);
    vlans(network, found);
    found.extend(loops(network).err());
}

/// What the interfaces so far have: nothing of it may be on two.
#[derive(Default)]
struct Seen<'n> {
    addresses: BTreeMap<IpAddr, &'n str>,
    /// Family and metric of default routes.
    defaults: BTreeMap<(bool, u32), &'n str>,
    nets: BTreeMap<(IpNet, u32), &'n str>,
}

impl<'n> Seen<'n> {
    fn addresses(&mut self, name: &'n str, interface: &Interface, found: &mut Vec<Problem>) {
        for (at, net) in interface.addresses.iter().enumerate() {
            let at = at.to_string();
            let here = |message| problem(["network", name, "addresses", at.as_str()], message);
            found.extend(address(name, net).map_err(here).err());
            if let Some(other) = self.addresses.insert(net.addr(), name) {
                found.push(here(format!("{} already has the address {}", other, net.addr())));
            }
        }
    }

    fn routes(&mut self, name: &'n str, interface: &Interface, found: &mut Vec<Problem>) {
        // Default routes by `gateway` and by `route` are the same thing to the kernel.
        let gateways = interface.gateway.iter().map(|gateway| ("gateway", *gateway, interface.metric.unwrap_or(0)));
        let others = interface.routes.iter().filter(|route| route.to.prefix_len() == 0);
        let others = others.map(|route| ("route", route.to.addr(), route.metric));
        for (key, family, metric) in gateways.chain(others) {
            if let Some(other) = self.defaults.insert((family.is_ipv4(), metric), name) {
                let family = if family.is_ipv4() { "IPv4" } else { "IPv6" };
                let message = format!(
                    "{other} already has a default gateway of this family ({family}) and metric; set a metric of its own"
                );
                found.push(problem(["network", name, key], message));
            }
        }
        // The kernel has one IPv4 route for a net and a metric.
        for (at, route) in interface.routes.iter().enumerate().filter(|(_, route)| route.to.addr().is_ipv4()) {
            if let Some(other) = self.nets.insert((route.to, route.metric), name).filter(|other| *other != name) {
                let at = at.to_string();
                let message = format!("{other} already has a route to {} with this metric", route.to);
                found.push(problem(["network", name, "route", at.as_str(), "to"], message));
            }
        }
    }
}

/// Returns whether the lists are short enough to be looked through.
fn sizes(name: &str, interface: &Interface, found: &mut Vec<Problem>) -> bool {
    if let Some(mtu) = interface.mtu
        && !(1280..=9216).contains(&mtu)
    {
        let message = format!("an MTU of {mtu} bytes; it must be 1280 to 9216");
        found.push(problem(["network", name, "mtu"], message));
    }
    for (at, domain) in interface.search.iter().enumerate() {
        if !is_domain(domain) {
            let at = at.to_string();
            let message = format!("{domain:?} is not a valid domain name");
            found.push(problem(["network", name, "search", at.as_str()], message));
        }
    }
    let lengths = [interface.addresses.len(), interface.routes.len(), interface.dns.len()];
    let fine = lengths.iter().all(|length| *length <= MOST);
    if !fine {
        found.push(problem(["network", name], format!("more than {MOST} entries")));
    }
    fine
}

/// Labels of letters, digits and hyphens, with dots between them (RFC 1123).
pub fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

fn kind(name: &str, interface: &Interface) -> Result<(), Problem> {
    let kinds = [
        ("vlan", interface.vlan.is_some()),
        ("bridge", interface.bridge.is_some()),
        ("wireguard", interface.wireguard.is_some()),
    ];
    let mut is = kinds.iter().filter(|(_, is)| *is).map(|(kind, _)| *kind);
    if let (Some(one), Some(other)) = (is.next(), is.next()) {
        return Err(problem(["network", name, other], format!("it cannot be both a {one} and a {other}")));
    }
    if name == "lo" {
        if interface.is_made() || interface.dhcp {
            return Err(problem(["network", name], "the loopback interface may have addresses and routes only"));
        }
    } else if interface.wireguard.is_some() && interface.dhcp {
        return Err(problem(["network", name, "dhcp"], "a WireGuard tunnel carries no DHCP; give it addresses"));
    }
    Ok(())
}

fn address(name: &str, net: &IpNet) -> Result<(), String> {
    let address = net.addr();
    if address == net.network() && net.prefix_len() < net.max_prefix_len() - 1 {
        return Err(format!("{net} is the address of the network itself, not of a host"));
    }
    if let IpNet::V4(four) = net
        && four.addr() == four.broadcast()
        && four.prefix_len() < 31
    {
        return Err(format!("{net} is the broadcast address of its network, not of a host"));
    }
    let four_broadcast = matches!(address, IpAddr::V4(four) if four.is_broadcast());
    if address.is_unspecified() || address.is_multicast() || four_broadcast {
        return Err(format!("no host can have the address {address}"));
    }
    if address.is_loopback() && name != "lo" {
        return Err(format!("{address} belongs to the loopback interface"));
    }
    Ok(())
}

fn routes(name: &str, interface: &Interface, found: &mut Vec<Problem>) {
    let own = |address: &IpAddr| interface.addresses.iter().any(|net| net.addr() == *address);
    for gateway in &interface.gateway {
        let mut here = |message| found.push(problem(["network", name, "gateway"], message));
        if own(gateway) {
            here(format!("the gateway {gateway} is this node itself"));
        } else if !interface.reaches(gateway) {
            here(format!("the gateway {gateway} is not in the network of any of its addresses"));
        }
    }
    let mut seen = BTreeSet::new();
    for (at, route) in interface.routes.iter().enumerate() {
        let number = at.to_string();
        let mut here =
            |key: &str, message| found.push(problem(["network", name, "route", number.as_str(), key], message));
        if route.to.addr() != route.to.network() {
            here("to", format!("{} has host bits set; the network is {}", route.to, route.to.trunc()));
        }
        if let Some(via) = route.via {
            if via.is_ipv4() != route.to.addr().is_ipv4() {
                here("via", format!("{via} is not of the family of {}", route.to));
            } else if own(&via) {
                here("via", format!("{via} is this node itself"));
            } else if !interface.reaches(&via) {
                here("via", format!("{via} is not in the network of any of its addresses"));
            }
        }
        if !seen.insert((route.to, route.metric)) {
            here("to", format!("a route to {} with this metric already exists", route.to));
        }
    }
}

fn ports(network: &Network, found: &mut Vec<Problem>) {
    let mut bridges: BTreeMap<&InterfaceName, &str> = BTreeMap::new();
    for (name, interface) in &network.0 {
        let name = name.as_str();
        let ports = interface.bridge.iter().flat_map(|bridge| &bridge.ports).enumerate();
        for (at, port) in ports {
            let at = at.to_string();
            let named = port.as_str();
            let mut here = |message| found.push(problem(["network", name, "bridge", "ports", at.as_str()], message));
            if let Some(other) = bridges.insert(port, name) {
                here(format!("{named} is already a port of {other}"));
            }
            if named == "lo" {
                here("the loopback interface cannot be a port".to_owned());
            }
            let Some(settings) = network.0.get(port) else { continue };
            if settings.wireguard.is_some() {
                here(format!("{named} is a WireGuard tunnel, which carries no Ethernet frames"));
            } else if settings.dhcp || settings.ra == Some(true) || !settings.addresses.is_empty() {
                here(format!("{named} is a port, so its addresses belong on {name}"));
            }
        }
    }
}

fn vlans(network: &Network, found: &mut Vec<Problem>) {
    let mut tags: BTreeMap<(&InterfaceName, u16), &str> = BTreeMap::new();
    for (name, interface) in &network.0 {
        let Some(vlan) = &interface.vlan else { continue };
        let name = name.as_str();
        let mut here = |key, message| found.push(problem(["network", name, "vlan", key], message));
        if !(1..=4094).contains(&vlan.id) {
            here("id", format!("{} is not a valid VLAN; 1 to 4094 are", vlan.id));
        }
        if let Some(other) = tags.insert((&vlan.on, vlan.id), name) {
            here("id", format!("{other} is already VLAN {} on {}", vlan.id, vlan.on.as_str()));
        }
        let on = network.0.get(&vlan.on);
        if vlan.on.as_str() == "lo" || on.is_some_and(|on| on.wireguard.is_some()) {
            here("on", format!("{} carries no Ethernet frames", vlan.on.as_str()));
        }
        let below = on.and_then(|on| on.mtu).unwrap_or(ETHERNET_MTU);
        if interface.mtu.is_some_and(|mtu| mtu > below) {
            let message = format!("more than the {below} bytes of {}", vlan.on.as_str());
            found.push(problem(["network", name, "mtu"], message));
        }
    }
}

/// An interface that is on itself, through others.
fn loops(network: &Network) -> Result<(), Problem> {
    for start in network.0.keys() {
        let mut seen = BTreeSet::new();
        let mut next = vec![start];
        while let Some(name) = next.pop() {
            let Some(interface) = network.0.get(name) else { continue };
            let below = interface.vlan.iter().map(|vlan| &vlan.on);
            for below in below.chain(interface.bridge.iter().flat_map(|bridge| &bridge.ports)) {
                if below == start {
                    let key =
                        if network.0.get(start).is_some_and(|top| top.vlan.is_some()) { "vlan" } else { "bridge" };
                    return Err(problem(["network", start.as_str(), key], "it is stacked on itself"));
                }
                if seen.insert(below) {
                    next.push(below);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::node::{NodeConfig, NodeConfigError};

    const KEY: &str = "Zmlyc3Qga2V5IGZvciB0ZXN0cywgbm90IGEgc2VjcmU=";

    fn error(network: &str) -> NodeConfigError {
        NodeConfig::parse(format!("name = \"r1\"\n{network}").as_bytes()).unwrap_err()
    }

    #[test]
    fn impossible_networks_are_refused_at_their_place() {
        let wireguard = format!("[network.wg0.wireguard]\nprivate_key = \"{KEY}\"\n");
        let peer = format!("[[network.wg0.wireguard.peer]]\npublic_key = \"{KEY}\"\n");
        for (network, line, reason) in [
            ("[network.eth0]\naddresses = [\"10.0.0.0/24\"]".to_owned(), 3, "the network itself"),
            ("[network.eth0]\naddresses = [\"10.0.0.255/24\"]".to_owned(), 3, "broadcast"),
            ("[network.eth0]\naddresses = [\"127.0.0.5/8\"]".to_owned(), 3, "loopback"),
            ("[network.eth0]\naddresses = [\"ff02::1/64\"]".to_owned(), 3, "no host"),
            ("[network.eth0]\naddresses = [\"10.0.0.1/24\"]\ngateway = \"10.0.1.1\"".to_owned(), 4, "any of its"),
            ("[network.eth0]\naddresses = [\"10.0.0.1/24\"]\ngateway = \"10.0.0.1\"".to_owned(), 4, "itself"),
            ("[network.eth0]\nmtu = 100".to_owned(), 3, "MTU"),
            ("[network.\"eth0/1\"]".to_owned(), 2, "not a valid interface name"),
            ("[network.default]".to_owned(), 2, "not a valid interface name"),
            ("[network.lo]\ndhcp = true".to_owned(), 2, "loopback"),
            ("[network.eth0]\nsearch = [\"a b\"]".to_owned(), 3, "not a valid domain"),
            (
                "[network.a]\naddresses=[\"10.0.0.1/24\"]\ngateway=\"10.0.0.2\"\n\
                 [network.b]\naddresses=[\"10.1.0.1/24\"]\ngateway=\"10.1.0.2\""
                    .to_owned(),
                7,
                "already has a default gateway",
            ),
            (
                "[network.a]\naddresses=[\"10.0.0.1/24\"]\n[network.b]\naddresses=[\"10.0.0.1/16\"]".to_owned(),
                5,
                "a already has the address",
            ),
            ("[[network.a.route]]\nto = \"10.5.0.1/16\"".to_owned(), 3, "the network is 10.5.0.0/16"),
            ("[[network.a.route]]\nto = \"10.5.0.0/16\"\nvia = \"fe80::1\"".to_owned(), 4, "family"),
            ("[[network.a.route]]\nto = \"10.5.0.0/16\"\nvia = \"10.0.0.1\"".to_owned(), 4, "any of its"),
            ("[network.v]\nvlan = { on = \"eth0\", id = 4095 }".to_owned(), 3, "not a valid VLAN"),
            ("[network.v]\nvlan = { on = \"eth0\", id = 70000 }".to_owned(), 3, "u16"),
            (
                "[network.v]\nvlan = { on = \"eth0\", id = 5 }\n[network.w]\nvlan = { on = \"eth0\", id = 5 }"
                    .to_owned(),
                5,
                "v is already VLAN 5",
            ),
            ("[network.v]\nmtu = 9000\nvlan = { on = \"eth0\", id = 5 }".to_owned(), 3, "1500 bytes of eth0"),
            ("[network.v]\nvlan = { on = \"v\", id = 5 }".to_owned(), 3, "on itself"),
            ("[network.b]\nbridge.ports = [\"b\"]".to_owned(), 3, "on itself"),
            (
                "[network.b]\nbridge.ports = [\"v\"]\n[network.v]\nvlan = { on = \"b\", id = 5 }".to_owned(),
                3,
                "on itself",
            ),
            (
                "[network.b]\nbridge.ports = [\"eth0\"]\n[network.c]\nbridge.ports = [\"eth0\"]".to_owned(),
                5,
                "a port of b",
            ),
            ("[network.b]\nbridge.ports = [\"eth0\"]\n[network.eth0]\ndhcp = true".to_owned(), 3, "belong on b"),
            ("[network.x]\nbridge.ports = []\nvlan = { on = \"eth0\", id = 5 }".to_owned(), 3, "cannot be"),
            ("[network.wg0.wireguard]\nprivate_key = \"short\"".to_owned(), 3, "not a valid WireGuard key"),
            (format!("{wireguard}{peer}allowed = [\"10.0.0.1/8\"]"), 6, "host bits"),
            (format!("{wireguard}{peer}allowed = []\n{peer}allowed = []"), 8, "twice"),
            (format!("{wireguard}[network.b]\nbridge.ports = [\"wg0\"]"), 5, "no Ethernet frames"),
        ] {
            let found = error(&network);
            let NodeConfigError::At { line: at, message, .. } = &found else { panic!("{network}: {found}") };
            assert!(message.contains(reason), "{network}: {found}");
            assert_eq!(*at, line, "{network}: {found}");
        }
    }

    #[test]
    fn two_ports_may_have_a_default_route_each_with_a_metric_of_its_own() {
        let text = |metric: &str| {
            format!(
                "[network.a]\naddresses=[\"10.0.0.1/24\"]\ngateway=\"10.0.0.2\"\n\
                 [network.b]\naddresses=[\"10.1.0.1/24\"]\ngateway=\"10.1.0.2\"\n{metric}"
            )
        };
        assert!(error(&text("")).to_string().contains("set a metric of its own"));
        assert!(error(&text("metric = 0")).to_string().contains("set a metric of its own"));
        let good = format!("name = \"r1\"\n{}", text("metric = 50"));
        assert_eq!(NodeConfig::parse(good.as_bytes()).unwrap().network.interfaces().len(), 2);
        let nets = "[[network.a.route]]\nto = \"10.5.0.0/16\"\n[[network.b.route]]\nto = \"10.5.0.0/16\"\n";
        assert!(error(nets).to_string().contains("a already has a route to 10.5.0.0/16"));
    }

    #[test]
    fn a_bad_private_key_is_not_repeated_in_the_message() {
        let found = error("[network.wg0.wireguard]\nprivate_key = \"hunter2hunter2\"").to_string();
        assert!(!found.contains("hunter2"), "{found}");
    }

    #[test]
    fn a_router_on_a_stick_with_a_bridge_and_a_tunnel_is_accepted() {
        let text = format!(
            "name = \"r1\"\n[network.eth0]\nmtu = 9000\n\
             [network.\"eth0.10\"]\nvlan = {{ on = \"eth0\", id = 10 }}\naddresses = [\"10.10.0.1/24\", \"fd00::1/64\"]\n\
             gateway = [\"10.10.0.254\", \"fe80::1\"]\n\
             [network.\"eth0.20\"]\nvlan = {{ on = \"eth0\", id = 20 }}\n\
             [network.br0]\nbridge.ports = [\"eth0.20\", \"eth1\"]\ndhcp = true\n\
             [network.wg0]\naddresses = [\"10.99.0.1/24\"]\n[network.wg0.wireguard]\nprivate_key = \"{KEY}\"\n\
             listen_port = 51820\n[[network.wg0.wireguard.peer]]\npublic_key = \"{KEY}\"\n\
             allowed = [\"10.99.0.2/32\", \"0.0.0.0/0\"]\nendpoint = \"192.0.2.1:51820\"\nkeepalive = 25\n\
             [[network.br0.route]]\nto = \"10.5.0.0/16\"\nvia = \"10.6.0.1\"\nmetric = 5\n"
        );
        let config = NodeConfig::parse(text.as_bytes()).unwrap();
        assert_eq!(config.network.interfaces().len(), 5);
        assert!(
            !format!("{config:?}").contains(KEY.trim_end_matches('='))
                || format!("{config:?}").contains("public_key")
        );
        // What is told to others hides the private key, and is read back when it is revealed.
        let told = serde_json::to_string(&config).unwrap();
        assert_eq!(told.matches(KEY).count(), 1, "the peer's public key only: {told}");
        let whole = crate::secret::revealed(|| serde_json::to_string(&config)).unwrap();
        assert_eq!(serde_json::from_str::<NodeConfig>(&whole).unwrap(), config);
    }
}
