//! One node: from power-on to power-off, and what is left on its disk.

use contract::layout::Partition;
use emulator::{End, Machine, Network, Node, Reset};
use qemu_tests::figures::figure;
use qemu_tests::images;
use qemu_tests::router::{Router, STEP, service, wait_said, wait_up};
use std::process::Command;
use std::time::Duration;

const R1: Router = Router { number: 1 };

fn start() -> Node {
    let (backbone, lan) = (Network::new(), Network::new());
    R1.machine(images::router(), &[]).network(&backbone).network(&lan).start().unwrap()
}

/// Runs a tool over the node's disk; fails with what it said.
fn clean(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn a_node_comes_up_says_who_it_is_and_powers_off_with_a_clean_disk() {
    let node = start();
    let up = wait_up(&node, "r1").unwrap();
    figure("one router, power-on to all services ready", format_args!("{:.1} s", node.uptime().as_secs_f32()));
    assert!(up.contains("role router") && up.contains("slot A"), "{up}");
    let page = node.page("s", STEP).unwrap();
    for wanted in ["name r1", "role router", "state persistent", "disk nvme0n1"] {
        assert!(page.lines().any(|line| line == wanted), "no {wanted:?} on the page:\n{page}");
    }
    assert!(service(&page, "bgpd").contains("ready"), "{page}");
    let healthy = wait_said(&node, "] health ");
    figure("one router, power-on to health passed", format_args!("{:.1} s", node.uptime().as_secs_f32()));
    assert!(healthy.ends_with("health passed"), "{healthy}");

    let rss = page.lines().find_map(|line| line.strip_prefix("pid1 rss ")?.strip_suffix(" MB"));
    let rss: f64 = rss.unwrap_or_else(|| panic!("no memory of PID 1 on the page:\n{page}")).parse().unwrap();
    figure("resident memory of PID 1", format_args!("{rss} MB"));
    assert!(rss <= 8.0, "PID 1 has {rss} MB in memory; 8 MB are allowed");

    node.power_off().unwrap();
    assert_eq!(node.wait_off(STEP).unwrap(), End::PoweredOff);
    assert_eq!(node.boots(), 1);
    assert!(!node.console().contains("could not be unmounted"), "{}", node.console());
    let disk = node.disk().path().to_str().unwrap();
    clean("sgdisk", &["-v", disk]);
    let state = node.disk().extent(Partition::State).unwrap();
    clean("e2fsck", &["-fn", &format!("{disk}?offset={}", state.offset)]);
}

#[test]
fn after_a_reset_the_node_still_knows_who_it_is() {
    let node = start();
    wait_up(&node, "r1").unwrap();
    node.reset().unwrap();
    assert_eq!(node.wait_reset(1, STEP).unwrap(), Reset::Button);
    wait_up(&node, "r1").unwrap();
    assert_eq!(node.boots(), 2);
}

#[test]
fn a_power_cut_while_it_runs_does_no_harm() {
    let mut node = start();
    wait_up(&node, "r1").unwrap();
    node.kill();
    assert_eq!(node.wait_off(STEP).unwrap(), End::PowerCut);
    node.power_on().unwrap();
    wait_up(&node, "r1").unwrap();
}

#[test]
fn a_node_without_a_node_config_says_what_is_missing() {
    let node = Machine::new(images::router()).name("nameless").network(&Network::new()).start().unwrap();
    let line = node.expect("node.toml", STEP).unwrap();
    assert!(line.starts_with("microdc: "), "{line}");
}

#[test]
fn the_image_on_the_disk_is_what_was_flashed() {
    let node = start();
    wait_up(&node, "r1").unwrap();
    node.power_off().unwrap();
    node.wait_off(STEP).unwrap();
    let fresh = R1.machine(images::router(), &[]).name("fresh").prepare().unwrap();
    // The slot's own partitions; bootsel and the table change on the node.
    for partition in [Partition::BootA, Partition::BootB, Partition::RootA, Partition::RootB] {
        let length = usize::try_from(node.disk().extent(partition).unwrap().length).unwrap();
        let [booted, flashed] = [&node, &fresh].map(|node| node.disk().read(partition, 0, length).unwrap());
        assert!(booted == flashed, "{} changed while the node ran", partition.name());
    }
}

#[test]
fn keys_on_the_console_never_open_a_shell() {
    let node = start();
    wait_up(&node, "r1").unwrap();
    node.send_keys("\r\nls /\r\nid\r\n\u{3}\u{1a}\u{4}").unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let page = node.page("s", STEP).unwrap();
    assert!(page.contains("name r1"), "{page}");
    for trace in ["uid=", "lost+found", "# ", "$ "] {
        let at = node.console().lines().filter(|line| line.starts_with(trace)).count();
        assert_eq!(at, 0, "{trace:?} begins a line of the console");
    }
}
