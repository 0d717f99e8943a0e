//! Supervision with real processes under the real kernel: services that the probe plays, in a system of nothing else.
//! Well-behaved ones here; `pid1.rs` has the others.

use contract::layout::{Partition, SECTOR};
use emulator::{Disk, Machine, Network, Node};
use qemu_tests::agent::Agent;
use qemu_tests::forge::trailer;
use qemu_tests::images;
use qemu_tests::probe::{PORT, Request};
use qemu_tests::router::{STEP, number_after, service, wait_said, wait_up};

fn start() -> Node {
    let config = "name = \"s1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n\
                  [network.eth1]\naddresses = [\"10.0.2.15/24\"]\n";
    let machine = Machine::new(images::services()).name("services").network(&Network::new()).user_network();
    machine.port(PORT).node_config(config).start().unwrap()
}

/// The facts that a service wrote about itself, from its log.
fn facts(agent: Agent<'_>, name: &str) -> Vec<String> {
    let log = agent.until("the facts", |agent| {
        Some(agent.cat(&format!("/state/log/{name}"))).filter(|log| log.contains("fact end"))
    });
    log.lines().filter_map(|line| line.split_once(" fact ")).map(|(_, fact)| fact.to_owned()).collect()
}

#[test]
fn services_run_as_their_profile_says_and_the_node_is_healthy() {
    let mut node = start();
    wait_up(&node, "s1").unwrap();
    settings_reach_every_interface(Agent(&node));
    what_boots_is_write_protected(Agent(&node));
    its_surroundings_are_what_was_asked_for(Agent(&node));
    without_being_asked_for_it_has_memory_of_its_own_and_no_disks(Agent(&node));
    what_comes_after_finds_it_ready(&node);
    orphans_are_reaped(Agent(&node));
    health_passes_fails_with_a_reason_and_passes_again(&node);
    logs_have_time_and_name_and_outlast_a_power_cut(&mut node);
    a_changed_boot_partition_is_named(Agent(&node));
    the_stop_goes_in_reverse(&node);
}

fn its_surroundings_are_what_was_asked_for(agent: Agent<'_>) {
    let facts = facts(agent, "surroundings");
    for wanted in [
        "Uid 200 200 200 200",
        "Gid 200 200 200 200",
        "Groups 201",
        // NET_RAW and DAC_OVERRIDE
        "CapEff 0000000000002002",
        "CapBnd 0000000000002002",
        "NoNewPrivs 1",
        "files 77",
        "folder /var/lib/surroundings",
        "env FROM_FILE=a file",
        "env SAID_TWICE=by the service",
        // Of its own and empty, although others have theirs.
        "list /tmp ",
        "write /tmp done",
        "list /var/cache/surroundings ",
        "write /var/cache/surroundings done",
        "write /var/lib/surroundings done",
        "list /srv/bound firstboot inventory.json.zst licences.tar.zst probe role.json test.env",
        "write /srv/bound read-only filesystem or storage medium",
        "list /boot ",
        "write /boot read-only filesystem or storage medium",
        "write /state read-only filesystem or storage medium",
    ] {
        let found = facts.iter().any(|fact| fact == wanted || fact.trim_end() == wanted.trim_end());
        assert!(found, "no {wanted:?} among {facts:#?}");
    }
    let limit = |file: &str| agent.cat(&format!("/sys/fs/cgroup/services/surroundings/{file}")).trim_end().to_owned();
    assert_eq!([limit("memory.max"), limit("pids.max"), limit("cpu.weight")], ["67108864", "16", "50"]);
    // What it kept is on `state`; what was temporary is nowhere.
    assert_eq!(agent.cat("/state/directories/var/lib/surroundings/written"), "by facts\n");
    assert_eq!(agent.cat("/var/cache/surroundings/written"), "");
}

/// `*` in a setting's name is every interface, also one that was there before the setting was made.
fn settings_reach_every_interface(agent: Agent<'_>) {
    for interface in ["all", "default", "lo"] {
        for setting in ["ipv4", "ipv6"].map(|family| format!("{family}/conf/{interface}/accept_redirects")) {
            assert_eq!(agent.cat(&format!("/proc/sys/net/{setting}")).trim(), "0", "{setting}");
        }
    }
}

/// Nobody may write there while nothing is installed or committed, root and its device nodes or not.
fn what_boots_is_write_protected(agent: Agent<'_>) {
    for partition in 1..=5 {
        let run = ["/usr/lib/microdc/probe", "rewrite", &format!("/dev/nvme0n1p{partition}")].map(str::to_owned);
        let said = agent.ask(&Request::Run(run.to_vec())).unwrap();
        assert_eq!(said, "open for writing\nOperation not permitted (os error 1)\n", "partition {partition}");
        assert_eq!(agent.cat(&format!("/sys/class/block/nvme0n1p{partition}/ro")), "1\n");
    }
    assert_eq!(agent.cat("/sys/class/block/nvme0n1p6/ro"), "0\n", "state is for writing");
}

fn without_being_asked_for_it_has_memory_of_its_own_and_no_disks(agent: Agent<'_>) {
    let facts = facts(agent, "plain");
    for wanted in [
        "NoNewPrivs 0",
        "CapEff 0000000000000002",
        "folder /",
        "list /tmp ",
        "write /tmp done",
        "list /state ",
        "write /state read-only filesystem or storage medium",
        "files 65536",
    ] {
        let found = facts.iter().any(|fact| fact == wanted || fact.trim_end() == wanted.trim_end());
        assert!(found, "no {wanted:?} among {facts:#?}");
    }
    assert_eq!(agent.cat("/tmp/written"), "");
}

fn what_comes_after_finds_it_ready(node: &Node) {
    let page = node.page("s", STEP).unwrap();
    for name in ["by-path", "by-unix", "by-tcp", "by-http", "by-notify", "by-program"] {
        let line = service(&page, name);
        assert!(line.contains(": ready"), "{line}");
        assert_eq!(number_after(line, "restarts"), None, "{line}");
    }
    // They look for what a service makes before it is ready.
    for name in ["task", "after-path"] {
        assert_eq!(service(&page, name), format!("service {name}: done"));
    }
    let console = node.console();
    let at = |name: &str| console.find(&format!("service {name} ")).unwrap_or_else(|| panic!("{name}: {console}"));
    assert!(at("task") < at("by-path") && at("by-path") < at("after-path") && at("after-path") < at("by-unix"));
}

fn orphans_are_reaped(agent: Agent<'_>) {
    agent.until("all orphans were left", |agent| {
        agent.cat("/state/log/zombies").contains("50 orphans left").then_some(())
    });
    agent.until("no zombie is left", |agent| (agent.count("probe") == 1 && agent.count("brief") == 0).then_some(()));
}

fn health_passes_fails_with_a_reason_and_passes_again(node: &Node) {
    let agent = Agent(node);
    agent.until("health passed", |agent| {
        agent
            .0
            .page("s", STEP)
            .unwrap()
            .lines()
            .any(|line| line.starts_with("health passed: 10 checks"))
            .then_some(())
    });
    agent.write("/run/http", "500 ill");
    let line = node.expect("health failed", STEP).unwrap();
    assert!(line.contains("http://127.0.0.1:7002/health answered 500, not 200"), "{line}");
    agent.write("/run/http", "200 all ill");
    agent.until("the reason is another", |agent| {
        agent.0.page("s", STEP).unwrap().contains("does not contain \"well\"").then_some(())
    });
    agent.write("/run/http", "200 all well");
    node.expect("health passed", STEP).unwrap();
}

fn logs_have_time_and_name_and_outlast_a_power_cut(node: &mut Node) {
    let log = Agent(node).cat("/state/log/talker");
    let (stamp, rest) = log.trim_end().split_once(' ').unwrap();
    assert_eq!(rest, "talker the tide is high");
    assert!(stamp.len() == 20 && stamp.starts_with("20") && stamp.ends_with('Z'), "{stamp}");
    // Longer than the kernel keeps what is written in memory alone.
    std::thread::sleep(std::time::Duration::from_secs(12));
    node.kill();
    change_the_firmware(node.disk());
    node.power_on().unwrap();
    wait_up(node, "s1").unwrap();
    let page = node.page("l", STEP).unwrap();
    let wanted = format!("talker| {}", log.trim_end());
    assert!(page.lines().any(|line| line == wanted), "no {wanted:?} on the page:\n{page}");
}

/// The last bit of the firmware's last block, which no one reads here but the node's own check.
fn change_the_firmware(disk: &Disk) {
    let firmware =
        disk.read_file(Partition::BootA, "start4.elf").unwrap().expect("the boot partition has a firmware");
    let length = contract::manifest::Manifest::parse(&trailer(disk).manifest).unwrap().boot.length;
    let image = disk.read(Partition::BootA, 0, usize::try_from(length).unwrap()).unwrap();
    // A file begins a sector of its own, and its content is in one piece.
    let mut sectors = image.chunks(SECTOR as usize);
    let first = sectors.position(|sector| firmware.starts_with(sector)).expect("it lies within the image");
    let last = first as u64 * SECTOR + firmware.len() as u64 - 1;
    assert_eq!(disk.read(Partition::BootA, last, 1).unwrap(), firmware[firmware.len() - 1..]);
    disk.flip_bit(Partition::BootA, last, 0).unwrap();
}

fn a_changed_boot_partition_is_named(agent: Agent<'_>) {
    let wanted = "boot partition: slot A: it is not the signed one: its root hash is ";
    let line = wait_said(agent.0, &format!("health failed: {wanted}"));
    // Long before the deadlines of checks: it does not get better by waiting.
    assert!(!line.contains("not within"), "{line}");
    let nodectl = |verb: &str| {
        let run = ["/usr/lib/microdc/firstboot", "nodectl", verb].map(str::to_owned);
        agent.ask(&Request::Run(run.to_vec())).unwrap()
    };
    let status = nodectl("status");
    assert!(status.contains(&format!("health: {wanted}")), "{status}");
    let metrics = nodectl("metrics");
    assert!(metrics.contains("microdc_health_check_passed{check=\"boot partition\"} 0\n"), "{metrics}");
}

fn the_stop_goes_in_reverse(node: &Node) {
    node.power_off().unwrap();
    node.wait_off(STEP).unwrap();
    let console = node.console();
    let end = console.rsplit_once("powering off").unwrap().1;
    let at = |name: &str| end.find(&format!("service {name} stopped")).unwrap_or_else(|| panic!("{name}: {end}"));
    assert!(at("by-unix") < at("by-path"), "{end}");
    assert!(!end.contains("could not be unmounted"), "{end}");
}
