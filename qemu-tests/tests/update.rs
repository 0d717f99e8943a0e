//! A node tries what stands in its other slot, keeps it or goes back, and remembers what came of it.

use contract::layout::{Partition, Slot};
use emulator::{Disk, Machine};
use qemu_tests::forge::{Forge, Forged};
use qemu_tests::images;
use qemu_tests::router::{STEP, wait_up};
use qemu_tests::site::{Site, words};
use qemu_tests::updates::{TRIAL, status};
use std::time::Duration;

/// A disk with one more release, in slot B.
fn with_slot_b(release: &Forged) -> Disk {
    let disk = Disk::copy_of(&images::router(), 0).unwrap();
    let other = Disk::copy_of(release.path(), 0).unwrap();
    for (from, to) in [(Partition::BootA, Partition::BootB), (Partition::RootA, Partition::RootB)] {
        let length = other.extent(from).unwrap().length;
        let step = 1 << 20;
        for at in (0..length).step_by(step) {
            let bytes = other.read(from, at, step).unwrap();
            if bytes.iter().any(|&byte| byte != 0) {
                disk.write(to, at, &bytes).unwrap();
            }
        }
    }
    disk
}

#[test]
fn the_other_slot_is_tried_and_kept_or_left_at_the_operators_word() {
    let release = Forge::of(&images::router()).version("second").finish();
    let disk = with_slot_b(&release);
    let machine = Machine::new(disk.path()).name("update").user_network().deadline(Duration::from_secs(1200));
    let site = Site::of(machine, |ssh| {
        format!(
            "name = \"r1\"\n[network.eth0]\naddresses = [\"10.0.2.15/24\"]\ngateway = \"10.0.2.2\"\n\
             [router]\nasn = 65001\n{ssh}"
        )
    });
    let node = &site.node;
    wait_up(node, "r1").unwrap();
    let before = status(&site);
    assert_eq!((before.update.default_slot, before.trial), (Some(Slot::A), false));
    assert_eq!(before.update.standby.as_ref().map(|release| release.version.as_str()), Some("second"));
    assert_eq!(site.ssh(&["cancel"]).status.code(), Some(1), "nothing is being taken");

    // Slot B, to be kept.
    assert!(site.fine(&["rollback"]).contains("second is whole in slot B"));
    node.expect("trial of second in slot B", TRIAL).unwrap();
    wait_up(node, "r1").unwrap();
    assert!(status(&site).trial);
    for asked in [&["update", "http://10.0.2.2:1/x.bundle"][..], &["update", "--force", "http://10.0.2.2:1/x.bundle"]]
    {
        let refused = site.ssh(asked);
        assert_eq!(refused.status.code(), Some(1));
        assert!(words(&refused).contains("slot B is on trial"), "{refused:?}");
    }
    node.expect("committed: slot B, second", TRIAL).unwrap();
    let after = status(&site);
    assert_eq!((after.update.default_slot, after.trial, after.slot.as_str()), (Some(Slot::B), false, "B"));

    // Slot A, left in its trial.
    assert!(site.fine(&["rollback"]).contains(&format!("{} is whole in slot A", before.version)));
    node.expect(&format!("trial of {} in slot A", before.version), TRIAL).unwrap();
    wait_up(node, "r1").unwrap();
    assert!(site.fine(&["rollback"]).contains("the node restarts into slot B"));
    node.expect("going back: an operator asked to go back", STEP).unwrap();
    let told = format!("the trial of {} failed: an operator asked to go back", before.version);
    node.expect(&told, TRIAL).unwrap();
    wait_up(node, "r1").unwrap();
    let after = status(&site);
    assert_eq!((after.slot.as_str(), after.update.default_slot, after.update.failures), ("B", Some(Slot::B), 1));
    let failed = &after.update.failed[0];
    assert_eq!((&failed.release.version, failed.reason.as_str()), (&before.version, "an operator asked to go back"));
    assert!(site.fine(&["metrics"]).contains("microdc_update_failed_total 1\n"));

    // What failed is not tried again, unless it is forced.
    let refused = site.ssh(&["rollback"]);
    assert!(words(&refused).contains("has failed here: an operator asked to go back"), "{refused:?}");
    assert_eq!(refused.status.code(), Some(1));
}
