//! One node: from power-on to power-off, and what is left on its disk. One life of a node, as its parts depend on each other:
//! two boots in place of eight.

use contract::layout::Partition;
use emulator::{End, Machine, Network, Node};
use microdc::flash::{self, Request, flash};
use qemu_tests::figures::figure;
use qemu_tests::images;
use qemu_tests::router::{Router, STEP, service, wait_said, wait_up};
use std::process::Command;
use std::time::Duration;

const R1: Router = Router { number: 1 };
/// Size of the disk that is flashed, in bytes.
const FLASHED: u64 = 8 << 30;

/// Runs a tool over the node's disk; fails with what it said.
fn clean(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn a_node_comes_up_outlasts_a_power_cut_and_powers_off_with_a_clean_disk_and_its_image_unchanged() {
    let (backbone, lan) = (Network::new(), Network::new());
    // The disk as `microdc flash` leaves it, with its node.toml; and with the firmware's seed, as on the board.
    let disk = flashed(&R1.node_config(&[]));
    let machine = Machine::new(disk.path()).name("r1").serial("MICRODC1").network(&backbone).network(&lan).kaslr();
    let mut node = machine.start().unwrap();
    it_comes_up_and_says_who_it_is(&node);
    keys_on_the_console_never_open_a_shell(&node);
    a_power_cut_while_it_runs_does_no_harm(&mut node);
    it_powers_off_with_a_clean_disk(&node);
    the_image_on_the_disk_is_what_was_flashed(&node);
}

/// A disk of the usual size onto which the image under test was flashed.
fn flashed(node_config: &str) -> tempfile::NamedTempFile {
    let disk = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    disk.as_file().set_len(FLASHED).unwrap();
    let (image, trusted) = (images::router(), [images::signing_key().public()]);
    let request = Request {
        image: &image,
        image_name: "router.img",
        to: disk.path(),
        node_config: Some(node_config.as_bytes()),
        trusted: Some(&trusted),
        bmap: None,
        erase: None,
    };
    let outcome = flash(&flash::machine::Machine::this(), &request, &|_, _, _| Ok(())).unwrap();
    assert!(!outcome.resumed);
    disk
}

fn it_comes_up_and_says_who_it_is(node: &Node) {
    let up = wait_up(node, "r1").unwrap();
    figure("one router, power-on to all services ready", format_args!("{:.1} s", node.uptime().as_secs_f32()));
    assert!(up.contains("role router") && up.contains("slot A"), "{up}");
    let page = node.page("s", STEP).unwrap();
    for wanted in ["name r1", "role router", "state persistent", "disk nvme0n1"] {
        assert!(page.lines().any(|line| line == wanted), "no {wanted:?} on the page:\n{page}");
    }
    assert!(service(&page, "bgpd").contains("ready"), "{page}");
    let healthy = wait_said(node, "] health ");
    figure("one router, power-on to health passed", format_args!("{:.1} s", node.uptime().as_secs_f32()));
    assert!(healthy.ends_with("health passed"), "{healthy}");

    let rss = page.lines().find_map(|line| line.strip_prefix("pid1 rss ")?.strip_suffix(" MiB"));
    let rss: f64 = rss.unwrap_or_else(|| panic!("no memory of PID 1 on the page:\n{page}")).parse().unwrap();
    figure("resident memory of PID 1", format_args!("{rss} MiB"));
    assert!(rss <= 8.0, "PID 1 has {rss} MiB in memory; 8 MiB are allowed");
}

fn keys_on_the_console_never_open_a_shell(node: &Node) {
    node.send_keys("\r\nls /\r\nid\r\n\u{3}\u{1a}\u{4}").unwrap();
    // A shell would have answered by then.
    std::thread::sleep(Duration::from_secs(2));
    let page = node.page("s", STEP).unwrap();
    assert!(page.contains("name r1"), "{page}");
    for trace in ["uid=", "lost+found", "# ", "$ "] {
        let at = node.console().lines().filter(|line| line.starts_with(trace)).count();
        assert_eq!(at, 0, "{trace:?} begins a line of the console");
    }
}

fn a_power_cut_while_it_runs_does_no_harm(node: &mut Node) {
    assert_eq!(node.boots(), 1);
    node.kill();
    assert_eq!(node.wait_off(STEP).unwrap(), End::PowerCut);
    node.power_on().unwrap();
    wait_up(node, "r1").unwrap();
    assert_eq!(node.boots(), 2);
}

fn it_powers_off_with_a_clean_disk(node: &Node) {
    node.power_off().unwrap();
    assert_eq!(node.wait_off(STEP).unwrap(), End::PoweredOff);
    assert_eq!(node.boots(), 2);
    assert!(!node.console().contains("could not be unmounted"), "{}", node.console());
    let disk = node.disk().path().to_str().unwrap();
    clean("sgdisk", &["-v", disk]);
    let state = node.disk().extent(Partition::State).unwrap();
    clean("e2fsck", &["-fn", &format!("{disk}?offset={}", state.offset)]);
}

fn the_image_on_the_disk_is_what_was_flashed(node: &Node) {
    let fresh = R1.machine(images::router(), &[]).name("fresh").prepare().unwrap();
    // The slot's own partitions; bootsel and the table change on the node.
    for partition in [Partition::BootA, Partition::BootB, Partition::RootA, Partition::RootB] {
        let length = usize::try_from(node.disk().extent(partition).unwrap().length).unwrap();
        let [booted, flashed] = [node, &fresh].map(|node| node.disk().read(partition, 0, length).unwrap());
        assert!(booted == flashed, "{} changed while the node ran", partition.name());
    }
}

#[test]
fn a_node_without_a_node_config_says_what_is_missing() {
    let node = Machine::new(images::router()).name("nameless").network(&Network::new()).start().unwrap();
    let line = node.expect("node.toml", STEP).unwrap();
    assert!(line.starts_with("microdc: "), "{line}");
    // Before everything that only follows from it.
    let page = node.page("s", STEP).unwrap();
    let health = page.lines().find(|line| line.starts_with("health ")).unwrap_or_else(|| panic!("{page}"));
    assert!(health.contains("waiting: no node.toml is in force; "), "{health}");
}
