//! The BCM2711's own path: Debian's kernel with the board's device tree, the image as SD card.

use emulator::{Machine, Reset};
use qemu_tests::images;
use qemu_tests::router::{Router, STEP};

#[test]
fn the_same_image_boots_on_a_bcm2711_from_its_sd_card() {
    let config = Router { number: 1 }.node_config(&[]);
    let node = Machine::new(images::router()).name("r1").raspi4b().node_config(config).start().unwrap();
    // QEMU's board has no network, so the role cannot come up; that its services run is what can be shown.
    let (index, line) = node.expect_any(&["service mgmtd ready", "microdc: FAILED"], STEP).unwrap();
    assert_eq!(index, 0, "{line}");
    let page = node.page("s", STEP).unwrap();
    assert!(page.lines().any(|line| line.starts_with("disk mmcblk")), "{page}");
    assert!(page.lines().any(|line| line == "slot A"), "{page}");
}

#[test]
fn a_refused_slot_restarts_the_bcm2711() {
    let mut node = Machine::new(images::router()).name("r1").raspi4b().prepare().unwrap();
    node.disk().flip_bit(contract::layout::Partition::RootA, 1024 + 0x60, 2).unwrap();
    node.power_on().unwrap();
    node.expect_any(&["microdc: FAILED", "is corrupted"], STEP).unwrap();
    assert_eq!(node.wait_reset(1, STEP).unwrap(), Reset::Guest);
}
