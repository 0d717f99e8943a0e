//! The clock of a node that has none of its own, and services that wait for the true time.

use emulator::{Machine, Network, Node};
use qemu_tests::disks;
use qemu_tests::images;
use qemu_tests::router::{STEP, service, wait_up};
use qemu_tests::server::ntp::NtpServer;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// The time on the status page, such as `2026-11-21T12:00:00Z`, and whether a time server has confirmed it.
fn time(node: &Node) -> (String, bool) {
    let page = node.page("s", STEP).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix("time ")).unwrap_or_else(|| panic!("no time:\n{page}"));
    (line.split(' ').next().unwrap_or("").to_owned(), !line.contains("not confirmed"))
}

#[test]
fn the_clock_never_goes_back_and_services_can_wait_for_the_true_time() {
    let lan = Network::new();
    let host = Arc::new(lan.host(Ipv4Addr::new(10, 0, 0, 9), 24, None).unwrap());
    let config = "name = \"late\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[hosts]\ntimekeeper = \"10.0.0.9\"\n\
                  [time]\nservers = [\"10.0.0.9\"]\n[router]\nasn = 65001\n";
    let machine = Machine::new(images::router_with_probe()).name("late").serial("MICRODCTIME").node_config(config);
    let machine = machine.clock("2001-01-01T00:00:00").deadline(Duration::from_secs(1200));
    let mut node = machine.network(&lan).start().unwrap();

    // No one has told it the time: it is at the build's, and what needs the true time waits and says so.
    node.expect("services that need the correct time are waiting", STEP).unwrap();
    let (first, confirmed) = time(&node);
    assert!(!confirmed && first.as_str() > "2025", "{first}");
    let page = node.page("s", STEP).unwrap();
    assert!(service(&page, "timely").contains("waiting"), "{page}");
    assert!(service(&page, "time").contains("starting"), "{page}");

    let server = NtpServer::start(Arc::clone(&host));
    node.expect("service time ready", STEP).unwrap();
    wait_up(&node, "late").unwrap();
    let page = node.page("s", STEP).unwrap();
    assert!(service(&page, "timely").contains("done"), "{page}");
    let (told, confirmed) = time(&node);
    let host_says =
        String::from_utf8(std::process::Command::new("date").args(["-u", "+%Y-%m-%dT"]).output().unwrap().stdout);
    assert!(confirmed && told.starts_with(host_says.unwrap().trim()), "{told}");

    // Off and on, with no one to ask and the clock far behind again: no earlier than it was.
    drop(server);
    node.power_off().unwrap();
    node.wait_off(STEP).unwrap();
    // A release that gives folders limits was on trial meanwhile, and left its mark on `state`.
    disks::debugfs(&node, "feature project");
    node.power_on().unwrap();
    node.expect("services that need the correct time are waiting", STEP).unwrap();
    assert!(node.page("s", STEP).unwrap().contains("state persistent\n"), "{}", node.console());
    let (after, confirmed) = time(&node);
    assert!(!confirmed && after >= told, "{after} after {told}");
}
