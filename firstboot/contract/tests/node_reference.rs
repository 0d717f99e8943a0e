//! NODE.md against the types: its examples are node configs, and it names every key that there is.

use contract::node::NodeConfig;

const REFERENCE: &str = include_str!("../NODE.md");

#[test]
fn every_example_of_the_reference_is_a_node_config() {
    let examples: Vec<&str> =
        REFERENCE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 5);
    for example in examples {
        NodeConfig::parse(example.as_bytes()).unwrap_or_else(|error| panic!("{error} in\n{example}"));
    }
}

/// The keys of the table in which `text` puts a key that does not exist: the reader names them all.
fn keys(text: &str) -> Vec<String> {
    let error = NodeConfig::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("unknown field `zz`"), "{error}");
    let known = error.split("expected").nth(1).unwrap_or_default();
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_reference_names_every_key() {
    let head = "name = \"r1\"\n";
    let tables = [
        "zz = 1",
        "[cluster]\nzz = 1",
        "[disks]\nzz = 1",
        "[network.eth0]\nzz = 1",
        "[[network.eth0.route]]\nzz = 1",
        "[network.eth0.vlan]\nzz = 1",
        "[network.eth0.bridge]\nzz = 1",
        "[network.eth0.wireguard]\nzz = 1",
        "[[network.eth0.wireguard.peer]]\nzz = 1",
        "[[router.neighbor]]\nzz = 1",
        "[router.dhcp.eth0]\nzz = 1",
        "[router.firewall]\nzz = 1",
        "[ssh]\nzz = 1",
        "[tinkerbell.dhcp]\nzz = 1",
        "[tinkerbell.api]\nzz = 1",
        "[[bgp.neighbor]]\nzz = 1",
        "[[router.elastic]]\nzz = 1",
        "[vip]\naddress = []\n[vip.vrrp]\nzz = 1",
        "[time]\nzz = 1",
    ];
    let sections = NodeConfig::SECTIONS.iter().map(|section| format!("[{section}]\nzz = 1"));
    for table in tables.into_iter().map(str::to_owned).chain(sections) {
        let keys = keys(&format!("{head}{table}"));
        assert!(!keys.is_empty(), "{table}");
        for key in keys {
            assert!(REFERENCE.contains(&format!("`{key}`")), "NODE.md does not name `{key}` of {table}");
        }
    }
}
