//! `state` that is damaged, full, or on a disk that takes no writes: the node comes up, says so, and loses nothing silently.

use contract::layout::Partition;
use emulator::Node;
use qemu_tests::agent::Agent;
use qemu_tests::disks::{self, Settled, debugfs, filled, said_of};
use qemu_tests::foreign;
use qemu_tests::router::{STEP, wait_up};
use std::os::unix::fs::FileExt as _;
use std::sync::LazyLock;

/// The disk of a node that was up once.
static SETTLED: LazyLock<Settled> = LazyLock::new(|| Settled::by(disks::machine("data = \"none\"")));

/// A node on that disk, off.
fn settled() -> Node {
    disks::machine_on(&SETTLED.path()).prepare().unwrap()
}

#[test]
fn a_lost_superblock_is_repaired_and_nothing_is_forgotten_and_a_limit_holds_before_and_after_state_is_full() {
    let mut node = settled();
    before_there_was_a_limit(&node);
    node.disk().write(Partition::State, 1024, &[0xff; 1024]).unwrap();
    node.power_on().unwrap();
    node.expect("had to be repaired", STEP).unwrap();
    wait_up(&node, "n1").unwrap();
    assert_eq!(disks::machine_id(&node), SETTLED.machine_id);
    a_service_takes_its_limit_and_no_more(&node);
    // Full: the node comes up and says it.
    node.power_off().unwrap();
    node.wait_off(STEP).unwrap();
    let large = tempfile::NamedTempFile::new().unwrap();
    large.as_file().write_all_at(&vec![0x5a; 495 << 20], 0).unwrap();
    debugfs(&node, &format!("write {} filler", large.path().display()));
    node.power_on().unwrap();
    let line = node.expect("state is nearly full", STEP).unwrap();
    println!("{line}");
    wait_up(&node, "n1").unwrap();
    assert_eq!(disks::machine_id(&node), SETTLED.machine_id);
    let page = node.page("s", STEP).unwrap();
    assert!(page.contains("warning state is nearly full"), "{page}");
    // And what the folder holds was counted again.
    assert!(page.contains(NEARLY_FULL), "{page}");
}

const NEARLY_FULL: &str = "warning the folder /var/lib/filler of the service filler is nearly full: ";

/// Leaves the folder of a service with a limit as if it never had one, with 2 MiB in it.
fn before_there_was_a_limit(node: &Node) {
    let old = tempfile::NamedTempFile::new().unwrap();
    old.as_file().write_all_at(&vec![0x5a; 2 << 20], 0).unwrap();
    debugfs(node, &format!("write {} old", old.path().display()));
    debugfs(node, "ln old directories/var/lib/filler/old");
    debugfs(node, "unlink old");
    debugfs(node, "set_inode_field directories/var/lib/filler projid 0");
}

/// Its folder holds 4 MiB at most, 2 of which it had before: then writes fail, whatever it does to its own files. Others write.
fn a_service_takes_its_limit_and_no_more(node: &Node) {
    let agent = Agent(node);
    agent.write("/run/go-fill", "");
    let said = filled(agent, "filler");
    let of = |what: &str| said_of(&said, what);
    assert_eq!(of("new"), "1 MiB, then EDQUOT", "{said}");
    for attempt in ["file attributes", "file flags", "folder attributes", "folder flags"] {
        assert_eq!(of(attempt), "Operation not permitted (os error 1)", "{attempt}: {said}");
    }
    assert_eq!(of("again"), "0 MiB, then EDQUOT", "{said}");
    // What was there before there was a limit counted, or to remove it would make no room.
    assert_eq!(of("old removed"), "done", "{said}");
    assert!(["1 MiB, then EDQUOT", "2 MiB, then EDQUOT"].contains(&of("room").as_str()), "{said}");
    let page = node.page("s", STEP).unwrap();
    assert!(page.contains(NEARLY_FULL) && page.contains(" of 4 MiB are used; at its limit"), "{page}");
    assert!(!page.contains("state is nearly full"), "{page}");
    agent.until("another service writes", |agent| {
        (agent.cat("/state/directories/var/lib/beside/here") == "here\n").then_some(())
    });
    agent.write("/state/by-the-probe", "x");
}

#[test]
fn a_state_beyond_repair_is_kept_aside_and_made_anew() {
    let mut node = settled();
    let extent = node.disk().extent(Partition::State).unwrap();
    let half = 511 << 20;
    // Every superblock and every group descriptor; the record at the end stays.
    for at in (0..half).step_by(32 << 20) {
        node.disk().write(Partition::State, at, &vec![0x5a; 1 << 20]).unwrap();
    }
    let read = |node: &Node, at: u64| node.disk().read(Partition::State, at, half as usize).unwrap();
    let damaged = read(&node, 0);
    node.power_on().unwrap();
    node.expect("is set aside and recreated", STEP).unwrap();
    let line = node.expect("what this node kept there is gone", STEP).unwrap();
    assert!(line.contains(&format!("bytes {} to {}", extent.offset + half, extent.offset + 2 * half)), "{line}");
    wait_up(&node, "n1").unwrap();
    let page = node.page("s", STEP).unwrap();
    assert!(page.contains("state persistent") && page.contains("could not be repaired"), "{page}");
    node.power_off().unwrap();
    node.wait_off(STEP).unwrap();
    assert!(read(&node, half) == damaged, "the damaged bytes are not what is kept");
    let path = format!("{}?offset={}", node.disk().path().display(), extent.offset);
    foreign::run("e2fsck", &["-fn"], "", path.as_ref());
}

#[test]
fn a_node_on_a_disk_that_takes_no_writes_comes_up_with_its_identity() {
    let node = disks::machine_on(&SETTLED.path()).memory(1024).emmc().read_only().start().unwrap();
    let line = node.expect("is read-only", STEP).unwrap();
    assert!(line.contains("copied to memory") && line.contains("replace the disk"), "{line}");
    wait_up(&node, "n1").unwrap();
    assert_eq!(disks::machine_id(&node), SETTLED.machine_id);
}
