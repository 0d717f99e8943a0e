//! The BCM2711's own path: Debian's kernel with the board's device tree, the image as SD card.

use contract::layout::Slot;
use emulator::{Disk, Machine, Reset};
use qemu_tests::disks::fill_slot_b;
use qemu_tests::figures::figure;
use qemu_tests::forge::Forge;
use qemu_tests::images;
use qemu_tests::router::STEP;
use qemu_tests::site::{Site, words};
use qemu_tests::updates::{BundleServer, TRIAL, status};
use std::time::{Duration, Instant};

/// The serial number of every SD card of QEMU's (hw/sd/sd.c). An SD card must be named to be written to by services.
const DISKS: &str = "[disks]\ndata = \"ext4\"\nserial = \"0xdeadbeef\"\n";

/// A node with an operator, on this image, with these lines more in its node.toml.
fn start_slow(machine: Machine, more: &str) -> Site {
    let machine = machine.name("r1").user_network();
    Site::of(machine.deadline(Duration::from_secs(1800)), |ssh| {
        format!(
            "name = \"r1\"\n[network.eth0]\naddresses = [\"10.0.2.15/24\"]\n\
             [router]\nasn = 65001\nannounce = [\"10.1.0.0/24\"]\n{more}{ssh}"
        )
    })
}

fn wait_up(site: &Site) {
    let (index, line) = site.node.expect_any(&["r1 is up", "microdc: FAILED"], 3 * STEP).unwrap();
    assert_eq!(index, 0, "{line}");
}

/// A CM4's device tree, with the Bluetooth chip behind the first UART: PID 1 is heard, and takes its keys, on the mini UART,
/// behind the pins where people plug in. The board has 2 GiB, so that the firmware is asked through the reserved page or not
/// at all; and the request for the trial goes where it goes on the board: into the VideoCore's mailbox.
#[test]
fn a_cm4_boots_from_its_sd_card_is_heard_on_the_mini_uart_and_a_trial_is_asked_for_by_the_mailbox() {
    let image = Disk::copy_of(&images::router_slow(), 0).unwrap();
    fill_slot_b(&image);
    let site = start_slow(Machine::new(image.path()).cm4(), "");
    wait_up(&site);
    let page = site.node.page("s", STEP).unwrap();
    assert!(page.lines().any(|line| line.starts_with("disk mmcblk")), "{page}");
    assert!(page.lines().any(|line| line == "slot A"), "{page}");
    let board = page.lines().find_map(|line| line.strip_prefix("board ")).unwrap_or_else(|| panic!("{page}"));
    assert!(board.contains(" MHz, ") && board.contains(" °C, ") && board.ends_with("not throttled"), "{page}");
    assert!(!page.contains("updates cannot be tried") && !page.contains("EEPROM"), "{page}");
    // On a busy machine the firmware's watchdog may have reset the node before it came up.
    let before = site.node.resets().len();
    let output = site.ssh(&["rollback"]);
    let line = site.node.expect("the firmware's mailbox was asked for a trial boot", TRIAL);
    let line = line.unwrap_or_else(|error| panic!("{error:?}\n{}", words(&output)));
    assert!(line.contains("tag 0x00038064"), "{line}");
    // That the trial comes up too is for the long test: it is half a minute of CPU time.
    site.node.expect(&format!("boot {}: partition 3, tryboot 1", before + 2), STEP).unwrap();
}

mod long {
    use super::*;

    /// Here the request for the trial goes where it goes on the board: into the VideoCore's mailbox, with
    /// memory above 1 GiB.
    #[test]
    fn an_update_on_a_bcm2711s_sd_card_is_tried_by_the_mailboxs_request_committed_and_left_again() {
        let site = start_slow(Machine::new(images::router_slow()).raspi4b(), DISKS);
        let line = site.node.expect("] data (", 2 * STEP).unwrap();
        assert!(line.contains("data (ext4) was made on /dev/mmcblk") && line.ends_with("p7"), "{line}");
        wait_up(&site);
        let release = Forge::of(&images::router_slow()).version("by-mailbox").finish();
        let shelf = BundleServer::open();
        let url = shelf.publish(&release);
        // On a busy machine the firmware's watchdog may have reset the node before it came up.
        let before = site.node.resets().len();
        let begin = Instant::now();
        let output = site.ssh(&["update", &url]);
        let line = site.node.expect("the firmware's mailbox was asked for a trial boot", TRIAL);
        let line = line.unwrap_or_else(|error| panic!("{error:?}\n{}", words(&output)));
        assert!(line.contains("tag 0x00038064"), "{line}");
        site.node.expect(&format!("boot {}: partition 3, tryboot 1", before + 2), STEP).unwrap();
        site.node.expect("trial of by-mailbox in slot B", 2 * STEP).unwrap();
        site.node.expect("committed: slot B, by-mailbox", 2 * TRIAL).unwrap();
        figure("raspi4b, command to commit", format_args!("{:.1} s", begin.elapsed().as_secs_f32()));
        assert_eq!(site.node.resets()[before..], [Reset::Guest]);
        let status = status(&site);
        assert_eq!((status.slot, status.update.default_slot), (Slot::B, Some(Slot::B)));
        let output = site.ssh(&["rollback"]);
        assert!(words(&output).contains("is whole in slot A"), "{}", words(&output));
        site.node.expect(": partition 2, tryboot 1", TRIAL).unwrap();
        let line = site.node.expect("] data (", 2 * STEP).unwrap();
        assert!(line.contains("data (ext4) is on /dev/mmcblk"), "{line}");
        site.node.expect("committed: slot A", 2 * TRIAL).unwrap();
        let status = self::status(&site);
        assert_eq!((status.slot, status.update.default_slot), (Slot::A, Some(Slot::A)));
    }
}
