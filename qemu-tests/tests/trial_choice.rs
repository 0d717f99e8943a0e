//! A node whose choice of slot or whose memory is lost boots a slot anyway, and says so. What the EEPROM does then is
//! its PARTITION_WALK: it takes the first partition that it can boot.

use contract::autoboot;
use contract::layout::{MIB, Partition, Slot};
use contract::names::AUTOBOOT;
use emulator::{Disk, Machine, Network, Node};
use qemu_tests::disks::fill_slot_b;
use qemu_tests::images;
use qemu_tests::router::{Router, wait_up};
use std::time::Duration;

const R1: Router = Router { number: 1 };

/// Cuts the power, changes the disk, and switches on; waits until the node is up again, in this slot.
fn after(node: &mut Node, change: impl FnOnce(&Disk), slot: Slot) {
    node.kill();
    change(node.disk());
    node.power_on().unwrap();
    let line = wait_up(node, "r1").unwrap();
    assert!(line.contains(&format!("slot {slot}")), "{line}");
}

#[test]
fn a_node_that_lost_its_memory_or_its_bootsel_boots_and_says_so() {
    let machine = Machine::new(images::router_with_probe()).name("choice").node_config(R1.node_config(&[]));
    let machine = machine.network(&Network::new()).network(&Network::new()).deadline(Duration::from_secs(1200));
    let mut node = machine.prepare().unwrap();
    fill_slot_b(node.disk());
    node.disk().write_file(Partition::Bootsel, AUTOBOOT, &autoboot::render(Slot::B)).unwrap();
    node.power_on().unwrap();
    let line = wait_up(&node, "r1").unwrap();
    assert!(line.contains("slot B"), "{line}");

    // Its memory is gone, and the disk's own choice is not.
    let wipe = |disk: &Disk| {
        let zeros = vec![0; 4 * MIB as usize];
        for at in (0..disk.extent(Partition::State).unwrap().length).step_by(zeros.len()) {
            disk.write(Partition::State, at, &zeros).unwrap();
        }
        disk.write_node_config(R1.node_config(&[]).as_bytes()).unwrap();
    };
    let mark = node.console().len();
    after(&mut node, wipe, Slot::B);
    assert!(node.console()[mark..].contains("making the file system for state"), "{}", &node.console()[mark..]);

    // There is no bootsel at all.
    let mark = node.console().len();
    let destroy = |disk: &Disk| disk.write(Partition::Bootsel, 0, &vec![0; MIB as usize]).unwrap();
    after(&mut node, destroy, Slot::A);
    let said = node.console();
    let warned = said[mark..].lines().any(|line| line.contains("bootsel") && line.contains("microdc: "));
    assert!(warned && said[mark..].contains("slot A is running without being the default slot"), "{}", &said[mark..]);
}
