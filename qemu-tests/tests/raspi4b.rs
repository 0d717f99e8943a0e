//! The BCM2711's own path: Debian's kernel with the board's device tree, the image as SD card.

use emulator::Machine;
use qemu_tests::images;
use qemu_tests::router::{Router, STEP};

#[test]
fn the_same_image_boots_on_a_bcm2711_from_its_sd_card() {
    let config = Router { number: 1 }.node_config(&[]);
    let node = Machine::new(images::router()).name("r1").raspi4b().node_config(config).start().unwrap();
    // QEMU's board has no network, so the role cannot come up; that its services run is what can be shown.
    let (index, line) = node.expect_any(&["service mgmtd ready", "microdc: FAILED"], 2 * STEP).unwrap();
    assert_eq!(index, 0, "{line}");
    let page = node.page("s", STEP).unwrap();
    assert!(page.lines().any(|line| line.starts_with("disk mmcblk")), "{page}");
    assert!(page.lines().any(|line| line == "slot A"), "{page}");
}
