//! Disks that a node boots from, apart from NVMe: what is done on that one in many tests is done here once from the claim to
//! the rollback. The SD card is in `raspi4b`, and the eMMC in `claim`.

use contract::control::Request as Ask;
use emulator::{Machine, Node};
use qemu_tests::disks::{self, Claim, claim};
use qemu_tests::forge::Forge;
use qemu_tests::images;
use qemu_tests::probe::{PORT, Request};
use qemu_tests::router::{STEP, wait_up};
use qemu_tests::updates::{BundleServer, TRIAL};

fn text(node: &Node, path: &str) -> String {
    String::from_utf8(disks::ask(node, &Request::Cat(path.to_owned()))).unwrap()
}

/// A Pi 4 B with all the memory that there can be, and with no disk but one on USB.
#[test]
fn a_usb_disk_is_claimed_updated_and_rolled_back() {
    let config = "name = \"n1\"\n[cluster]\nname = \"rack1\"\n[network.eth0]\naddresses = [\"10.0.2.15/24\"]\n\
                  [disks]\ndata = \"ext4\"\n";
    let machine = Machine::new(images::disks()).name("n1").usb().serial("USB0001").memory(8192);
    let machine = machine.disk_size(disks::SIZE).user_network().port(PORT).node_config(config);
    let node = machine.start().unwrap();
    assert_eq!(claim(&node), Claim::Made("ext4 /dev/sda7".to_owned()));
    wait_up(&node, "n1").unwrap();
    disks::ask(&node, &Request::Write { path: "/data/kept".to_owned(), text: "precious".to_owned() });
    let listed = node.page("s", STEP).unwrap();
    assert!(listed.lines().any(|line| line == "disk sda"), "{listed}");
    it_has_the_boards_zones_of_memory(&node);

    let shelf = BundleServer::open();
    let url = shelf.publish(&Forge::of(&images::disks()).version("by-usb").finish());
    disks::order(&node, Ask::Update { urls: vec![url], dry_run: false, force: false });
    node.expect(": partition 3, tryboot 1", TRIAL).unwrap();
    assert_eq!(claim(&node), Claim::Found("ext4 /dev/sda7".to_owned()));
    wait_up(&node, "n1").unwrap();
    node.expect("committed: slot B, by-usb", TRIAL).unwrap();

    disks::order(&node, Ask::Rollback { force: false });
    node.expect(": partition 2, tryboot 1", TRIAL).unwrap();
    assert_eq!(claim(&node), Claim::Found("ext4 /dev/sda7".to_owned()));
    wait_up(&node, "n1").unwrap();
    node.expect("committed: slot A", TRIAL).unwrap();
    assert_eq!(text(&node, "/data/kept"), "precious");
    assert_eq!(node.boots(), 3);
}

/// Only the first GiB is for every device, as on the board; what the firmware says of memory nodes is there, and harmless.
fn it_has_the_boards_zones_of_memory(node: &Node) {
    let zones = text(node, "/proc/zoneinfo");
    let managed: Vec<(&str, u64)> = zones
        .split("\nNode ")
        .filter_map(|zone| {
            let name = zone.lines().next()?.split("zone").nth(1)?.trim();
            let pages = zone.lines().find_map(|line| line.trim().strip_prefix("managed"))?.trim().parse().ok()?;
            Some((name, pages))
        })
        .filter(|&(_, pages)| pages > 0)
        .collect();
    let names: Vec<&str> = managed.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["DMA", "DMA32", "Normal"], "{zones}");
    assert!(managed[0].1 <= 1 << 18, "{managed:?}");
    assert!(text(node, "/proc/cmdline").contains("numa=fake="));
}
