//! A service that falls does not take the node: the attempts of `probe attack`, made as each service of a router. What other
//! images have beside it is in `parts.rs`, `minio.rs` and `containers.rs`.

use emulator::Network;
use qemu_tests::agent::Agent;
use qemu_tests::attack::{only_what_is_expected_is_reached, reached};
use qemu_tests::images;
use qemu_tests::probe::PORT;
use qemu_tests::router::{Router, wait_up};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1WqPZ3m0c1mFvYBkTt9k5N0c4d8gq3cJY1x2vV4n7b ops";

#[test]
fn no_service_of_a_router_reaches_init_the_disks_or_the_secrets_of_others() {
    let router = Router { number: 1 };
    let config = format!(
        "{}[router.dhcp.eth1]\nfirst = \"10.1.0.100\"\nlast = \"10.1.0.200\"\n[ssh]\nkeys = [\"{KEY}\"]\n\
         [metrics]\nlisten = \"10.0.0.1:9100\"\n",
        router.node_config(&[])
    );
    let machine = router.machine(images::router_with_probe(), &[]).network(&Network::new()).network(&Network::new());
    let node = machine.port(PORT).node_config(config).start().unwrap();
    wait_up(&node, "r1").unwrap();
    let agent = Agent(&node);

    // The attempts are good ones: root with the rights of sshd and nothing else to hold it reaches all of this.
    let bare = reached(agent, "sshd", true);
    for attempt in ["core-pattern", "modprobe", "sysrq", "node-config", "host-key", "boot-sector", "mapped-root"] {
        assert!(bare.contains(attempt), "{attempt} among {bare:?}");
    }

    only_what_is_expected_is_reached(
        agent,
        &[
            // What it is told by PID 1, and no one else.
            ("network", &["network-secrets"]),
            ("firewall", &[]),
            ("hostkey", &["host-key"]),
            // It asks for its own key, and PID 1 takes its sessions' orders.
            ("sshd", &["host-key", "orders"]),
            ("chronyd", &[]),
            ("metrics", &[]),
            ("mgmtd", &["others-folder"]),
            ("zebra", &["others-folder"]),
            ("bfdd", &["others-folder"]),
            ("bgpd", &["others-folder"]),
            ("staticd", &["others-folder"]),
            ("dnsmasq", &[]),
        ],
    );
    node.power_off().unwrap();
}
