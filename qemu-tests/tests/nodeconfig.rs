//! A node's config over its life: taken, kept, its secrets moved, broken ones refused.

use contract::layout::Partition;
use emulator::{End, Machine, Network, Node};
use qemu_tests::images;
use qemu_tests::router::{STEP, wait_up};
use qemu_tests::server::dhcp::{DhcpServer, Manner};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn machine(name: &str, config: impl Into<Vec<u8>>) -> Machine {
    let machine = Machine::new(images::router()).name(name).serial("MICRODCCONFIG").node_config(config);
    machine.deadline(Duration::from_secs(1200))
}

/// A key for this run alone.
fn key() -> String {
    use base64::Engine as _;
    let mut bytes = [0_u8; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).unwrap();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn config(name: &str, key: &str) -> String {
    format!(
        "name = \"{name}\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[network.wg0]\naddresses = [\"10.99.0.1/24\"]\n\
         [network.wg0.wireguard]\nprivate_key = \"{key}\"\n[router]\nasn = 65001\n"
    )
}

fn bootsel(node: &Node) -> Vec<u8> {
    let length = usize::try_from(node.disk().extent(Partition::Bootsel).unwrap().length).unwrap();
    node.disk().read(Partition::Bootsel, 0, length).unwrap()
}

fn off(node: &Node) {
    node.power_off().unwrap();
    assert_eq!(node.wait_off(STEP).unwrap(), End::PoweredOff);
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn secrets_leave_bootsel_and_a_broken_config_never_makes_a_configured_node_unreachable() {
    let lan = Network::new();
    let host = lan.host(Ipv4Addr::new(10, 0, 0, 9), 24, None).unwrap();
    let key = key();
    let mut node = machine("taken", config("taken", &key)).network(&lan).prepare().unwrap();
    assert!(holds(&bootsel(&node), &key), "the test would prove nothing");
    node.power_on().unwrap();
    node.expect("the secrets of node.toml were moved from bootsel to state", STEP).unwrap();
    wait_up(&node, "taken").unwrap();
    let page = node.page("r", STEP).unwrap();
    // Without its port, which the kernel draws at each boot.
    let tunnel = |page: &str| {
        let line = page.lines().find(|line| line.starts_with("tunnel wg0 public key "))?;
        line.split_once(" port ").map(|(key, _)| key.to_owned())
    };
    let public = tunnel(&page).unwrap_or_else(|| panic!("no tunnel:\n{page}"));
    off(&node);

    // The sectors are overwritten, not only the entry; the file system is complete; nothing was told on the console.
    let bytes = bootsel(&node);
    assert!(!holds(&bytes, &key) && !holds(&bytes, &key[4..30]), "the key is still on bootsel");
    let left = node.disk().read_file(Partition::Bootsel, "node.toml").unwrap().unwrap();
    assert_eq!(String::from_utf8(left).unwrap(), config("taken", &"*".repeat(key.len())));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    let checked = std::process::Command::new("fsck.fat").arg("-n").arg(file.path()).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    assert!(!node.console().contains(&key));

    // What the file itself may say wrongly is tried without a boot; these are refused by the node's own programs.
    let typo = "[router.firewall]\nrules = \"\"\"\ntable inet filter {\n  chain input {\n    tcp dport 22 acept\n  }\n}\n\"\"\"\n";
    for (broken, reason) in [
        (
            config("x", "*") + typo,
            "line 14, column 5: router.firewall.rules: /usr/sbin/nft, which checks the files of the service firewall, refuses it",
        ),
        (
            config("x", "*").replace("asn = 65001", "config = \"\"\"\nrouter bgp 1\n bogus\n\"\"\""),
            "line 11, column 2: router.config: /usr/lib/frr/bgpd, which checks the files of the service bgpd, refuses it",
        ),
    ] {
        node.disk().write_node_config(broken.as_bytes()).unwrap();
        node.power_on().unwrap();
        let line = node.expect("node.toml on bootsel is rejected", STEP).unwrap();
        assert!(line.contains(reason), "{line}");
        wait_up(&node, "taken").unwrap();
        host.ping(OWN, STEP).unwrap();
        let page = node.page("s", STEP).unwrap();
        assert!(page.contains("config kept on state") && page.contains(reason), "{page}");
        off(&node);
    }

    // A new one, edited from what was left on bootsel: the node still has the secret.
    node.disk().write_node_config(config("edited", "*").as_bytes()).unwrap();
    node.power_on().unwrap();
    wait_up(&node, "edited").unwrap();
    assert_eq!(tunnel(&node.page("r", STEP).unwrap()), Some(public));
}

#[test]
fn a_fresh_node_says_what_is_wrong_with_its_config_and_can_be_reached_by_dhcp() {
    let lan = Network::new();
    let host = Arc::new(lan.host(Ipv4Addr::new(10, 0, 0, 254), 24, None).unwrap());
    let manner = Manner { address: Ipv4Addr::new(10, 0, 0, 77), lease: 600, answers: true, odd: false };
    let _server = DhcpServer::start(Arc::clone(&host), manner);
    let two = "name = \"x\"\n[network.a]\naddresses = [\"10.0.0.1/24\"]\ngateway = \"10.0.0.2\"\n\
               [network.b]\naddresses = [\"10.1.0.1/24\"]\ngateway = \"10.1.0.2\"\n";
    let node = machine("fresh", two).network(&lan).start().unwrap();
    let line = node.expect("node.toml on bootsel is rejected", STEP).unwrap();
    assert!(line.contains("line 7, column 11") && line.contains("already has a default gateway"), "{line}");
    node.expect("no node.toml in force: DHCP on the first Ethernet port", STEP).unwrap();
    // Told with "network ready", or later where the lease takes longer than services wait for it.
    node.expect("eth0 10.0.0.77/24", STEP).unwrap();
    host.ping(manner.address, STEP).unwrap();
}
