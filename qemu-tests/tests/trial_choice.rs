//! A node whose choice of slot or whose memory is lost boots a slot anyway, and says so. What the EEPROM does then is
//! its PARTITION_WALK: it takes the first partition that it can boot.

use contract::autoboot;
use contract::layout::{MIB, Partition, Slot};
use contract::names::AUTOBOOT;
use emulator::{Disk, Machine, Network, Node, Reset};
use qemu_tests::disks::fill_slot_b;
use qemu_tests::images;
use qemu_tests::router::{Router, STEP, wait_up};
use std::time::{Duration, Instant};

const R1: Router = Router { number: 1 };

fn choice(node: &Node) -> Option<Vec<u8>> {
    node.disk().read_file(Partition::Bootsel, AUTOBOOT).unwrap()
}

/// Cuts the power, changes the disk, and switches on; waits until the node is up again, in this slot.
fn after(node: &mut Node, change: impl FnOnce(&Disk), slot: Slot) {
    node.kill();
    change(node.disk());
    node.power_on().unwrap();
    let line = wait_up(node, "r1").unwrap();
    assert!(line.contains(&format!("slot {slot}")), "{line}");
}

#[test]
fn a_node_that_lost_its_choice_or_its_memory_boots_and_says_so() {
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

    // The choice is noise: the EEPROM walks, and takes slot A. The node remembers what was chosen, and repairs it.
    let noise = vec![0xa5; autoboot::render(Slot::B).len()];
    let noise = |disk: &Disk| disk.write_file(Partition::Bootsel, AUTOBOOT, &noise).unwrap();
    after(&mut node, noise, Slot::A);
    node.expect("health passed", STEP).unwrap();
    let begin = Instant::now();
    while choice(&node).as_deref() != Some(&autoboot::render(Slot::B)[..]) {
        assert!(begin.elapsed() < STEP, "the choice is not mended: {:?}", choice(&node));
        std::thread::sleep(Duration::from_millis(500));
    }
    let said = node.console();
    assert!(said.contains("slot A is running without being the default slot"), "{said}");
    // By the button, after which it still knows who it is.
    let (boots, resets) = (node.boots(), node.resets().len());
    node.reset().unwrap();
    assert_eq!(node.wait_reset(resets + 1, STEP).unwrap(), Reset::Button);
    assert!(wait_up(&node, "r1").unwrap().contains("slot B"));
    assert_eq!(node.boots(), boots + 1);

    // There is no bootsel at all.
    let mark = node.console().len();
    let destroy = |disk: &Disk| disk.write(Partition::Bootsel, 0, &vec![0; MIB as usize]).unwrap();
    after(&mut node, destroy, Slot::A);
    let said = node.console();
    let warned = said[mark..].lines().any(|line| line.contains("bootsel") && line.contains("microdc: "));
    assert!(warned && said[mark..].contains("slot A is running without being the default slot"), "{}", &said[mark..]);
}
