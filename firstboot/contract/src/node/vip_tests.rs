use crate::node::NodeConfig;

const HEAD: &str = "name = \"s1\"\n[network.eth0]\naddresses = [\"10.0.0.11/24\", \"fd00::11/64\"]\n\
    gateway = \"10.0.0.254\"\n[disks]\ndata = \"ext4\"\n";
const BGP: &str = "[bgp]\nasn = 65010\n[[bgp.neighbor]]\naddress = \"10.0.0.254\"\nasn = 65001\nbfd = true\n";

fn parse(more: &str) -> Result<NodeConfig, String> {
    NodeConfig::parse(format!("{HEAD}{more}\n").as_bytes()).map_err(|error| error.to_string())
}

fn vrrp(keys: &str) -> String {
    format!("[vip]\naddress = \"10.0.0.10\"\n[vip.vrrp]\n{keys}\n")
}

#[test]
fn an_address_is_announced_or_a_holder_is_elected() {
    let config = parse(&format!("{BGP}[vip]\naddress = \"10.99.0.1\"")).unwrap();
    assert!(config.vip.unwrap().vrrp.is_none());
    let elected = parse(&vrrp("interface = \"eth0\"")).unwrap().vip.unwrap().vrrp.unwrap();
    assert_eq!((elected.id, elected.priority), (64, 100));
    let both =
        "[vip]\naddress = [\"10.0.0.10\", \"fd00::10\"]\nvrrp = { interface = \"eth0\", peers = [\"10.0.0.12\"] }";
    assert_eq!(parse(both).unwrap().vip.unwrap().address.len(), 2);
    // A complete frr.conf announces what it says.
    assert!(parse("[bgp]\nconfig = \"router bgp 1\"\n[vip]\naddress = \"10.99.0.1\"").is_ok());
}

#[test]
fn addresses_that_cannot_work_are_refused_at_their_key() {
    for (text, reason) in [
        ("[vip]\naddress = []".to_owned(), "vip.address: one address, or one of each family"),
        (format!("{BGP}[vip]\naddress = [\"10.99.0.1\", \"10.99.0.2\"]"), "one of each family"),
        ("[vip]\naddress = \"10.99.0.1\"".to_owned(), "vip: needs [bgp]"),
        (format!("{BGP}[vip]\naddress = \"10.0.0.11\""), "this node's own address"),
        (format!("{BGP}[vip]\naddress = \"10.0.0.10\""), "all servers would answer for it at once"),
        (format!("{BGP}[vip]\naddress = \"127.0.0.1\""), "not an address at which other networks reach"),
        (format!("{BGP}[vip]\naddress = \"fd99::1\""), "vip.address.0: no BGP neighbour of the family of fd99::1"),
        (format!("{BGP}[vip]\naddress = [\"10.99.0.1\", \"fd99::1\"]"), "line 14, column 25: vip.address.1"),
        (vrrp("interface = \"eth7\""), "network.eth7 does not exist"),
        (vrrp("interface = \"lo\"") + "[network.lo]\naddresses = [\"10.0.0.1/8\"]", "leads to no other server"),
        (vrrp("interface = \"eth0\"").replace("0.10", "9.10"), "10.0.9.10 is not in a network of network.eth0"),
        (vrrp("interface = \"eth0\"").replace("0.10", "0.254"), "is the gateway of network.eth0"),
        (vrrp("interface = \"eth0\"\nid = 0"), "vip.vrrp.id: 1 to 255"),
        (vrrp("interface = \"eth0\"\nid = 256"), "line 11, column 6"),
        (vrrp("interface = \"eth0\"\npriority = 255"), "vip.vrrp.priority: 1 to 254"),
        (vrrp("interface = \"eth0\"\npeers = [\"fd00::12\"]"), "the election is held by IPv4"),
        (vrrp("interface = \"eth0\"\npeers = [\"10.0.0.11\"]"), "is this node itself"),
        (vrrp("interface = \"eth0\"\npeers = [\"10.0.0.10\"]"), "the address that is elected for"),
        (vrrp("interface = \"eth0\"\npeers = [\"10.0.0.12\", \"10.0.0.12\"]"), "listed twice"),
        (vrrp("interface = \"eth0\"\npassword = \"x\""), "unknown field `password`"),
    ] {
        let found = parse(&text).unwrap_err();
        assert!(found.contains(reason), "{text}: {found}");
    }
}

fn rendered(name: &str, source: &str, more: &str) -> Vec<String> {
    let text = crate::template::render(name, source, &parse(more).unwrap()).unwrap();
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[test]
fn bgpd_announces_the_address_while_the_node_has_it() {
    let source = include_str!("../../../../overlays/bgp/usr/lib/microdc/templates/bgpd.conf.j2");
    let six = BGP.replace("10.0.0.254", "fd00::254");
    let more = format!("{BGP}[[bgp.neighbor]]\naddress = \"fd00::254\"\nasn = 65001\n");
    let lines = rendered("bgpd.conf.j2", source, &format!("{more}[vip]\naddress = [\"10.99.0.1\", \"fd99::1\"]"));
    for line in [
        "ip prefix-list vip4 seq 1 permit 10.99.0.1/32",
        "ipv6 prefix-list vip6 seq 1 permit fd99::1/128",
        "match ip address prefix-list vip4",
        "match ipv6 address prefix-list vip6",
        "redistribute connected route-map vip4",
        "redistribute connected route-map vip6",
    ] {
        assert_eq!(lines.iter().filter(|found| *found == line).count(), 1, "{line} in {lines:#?}");
    }
    for config in [BGP.to_owned(), six, format!("{BGP}{}", vrrp("interface = \"eth0\""))] {
        let lines = rendered("bgpd.conf.j2", source, &config);
        assert!(!lines.iter().any(|line| line.contains("redistribute") || line.contains("vip")), "{lines:#?}");
    }
}

#[test]
fn keepalived_gets_one_election_for_both_families() {
    let source = include_str!("../../../../overlays/vip/usr/lib/microdc/templates/keepalived.conf.j2");
    let more = "[vip]\naddress = [\"10.0.0.10\", \"fd00::10\"]\n[vip.vrrp]\ninterface = \"eth0\"\nid = 7\n\
                priority = 90\npeers = [\"10.0.0.12\", \"10.0.0.13\"]";
    let lines = rendered("keepalived.conf.j2", source, more);
    for line in [
        "router_id s1",
        "interface eth0",
        "virtual_router_id 7",
        "priority 90",
        "unicast_src_ip 10.0.0.11",
        "10.0.0.12",
        "10.0.0.13",
        "10.0.0.10/32 dev eth0",
        "fd00::10/128 dev eth0",
    ] {
        assert_eq!(lines.iter().filter(|found| *found == line).count(), 1, "{line} in {lines:#?}");
    }
    let place = |wanted: &str| lines.iter().position(|line| line.starts_with(wanted)).unwrap();
    assert!(place("virtual_ipaddress {") < place("10.0.0.10/32"));
    assert!(place("virtual_ipaddress_excluded {") < place("fd00::10/128"));
    let six = "[vip]\naddress = \"fd00::10\"\n[vip.vrrp]\ninterface = \"eth0\"";
    let lines = rendered("keepalived.conf.j2", source, six);
    assert!(!lines.iter().any(|line| line.contains("excluded") || line.contains("unicast")), "{lines:#?}");
    for none in ["", &format!("{BGP}[vip]\naddress = \"10.99.0.1\"")] {
        assert!(rendered("keepalived.conf.j2", source, none).iter().all(|line| line.starts_with('#')));
    }
}

#[test]
fn the_api_of_k3s_has_a_certificate_for_the_address() {
    let source = include_str!("../../../../overlays/k3s-server/usr/lib/microdc/templates/k3s-server.yaml.j2");
    let names = |k3s: &str| -> Vec<String> {
        let lines = rendered("k3s-server.yaml.j2", source, &format!("{}{k3s}", vrrp("interface = \"eth0\"")));
        let at = lines.iter().position(|line| line == "tls-san:").unwrap();
        lines[at + 1..].iter().take_while(|line| line.starts_with("- ")).cloned().collect()
    };
    assert_eq!(names("[k3s]\ncluster_init = true"), ["- \"10.0.0.10\""]);
    assert_eq!(names("[k3s]\ntls_san = [\"api.lan\"]"), ["- \"api.lan\"", "- \"10.0.0.10\""]);
    let none = rendered("k3s-server.yaml.j2", source, "[k3s]\ncluster_init = true");
    assert!(!none.iter().any(|line| line == "tls-san:"), "{none:#?}");
}
