//! A node takes a release that an operator sends, tries it, keeps it or goes back, and remembers what came of it. What is
//! damaged of its memory and its choice it repairs.

use contract::layout::{Partition, Slot};
use contract::manifest::Manifest;
use contract::names::AUTOBOOT;
use contract::update::UpdateEvent;
use emulator::Machine;
use qemu_tests::forge::Forge;
use qemu_tests::images;
use qemu_tests::router::{STEP, wait_up};
use qemu_tests::site::{Site, words};
use qemu_tests::updates::{BundleServer, TRIAL, status};
use std::fs::File;
use std::process::Output;
use std::time::Duration;

fn node() -> Site {
    let machine = Machine::new(images::router()).name("update").user_network().deadline(Duration::from_secs(1800));
    let site = Site::of(machine, |ssh| {
        format!(
            "name = \"r1\"\n[network.eth0]\naddresses = [\"10.0.2.15/24\"]\ngateway = \"10.0.2.2\"\n\
             [router]\nasn = 65001\n{ssh}"
        )
    });
    wait_up(&site.node, "r1").unwrap();
    site
}

/// `nodectl update -` with this file as standard input.
fn sent(site: &Site, file: &std::path::Path, more: &[&str]) -> Output {
    let mut ssh = site.client("ssh", "operator");
    ssh.args(["operator@127.0.0.1", "--", "update", "-"])
        .args(more)
        .stdin(File::open(file).unwrap())
        .output()
        .unwrap()
}

fn refused(output: &Output, because: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(words(output).contains(because), "{because:?} is not the reason: {output:?}");
}

fn events(output: &Output) -> Vec<UpdateEvent> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn a_release_that_an_operator_sends_is_tried_and_kept_and_the_one_before_is_left_at_a_word() {
    let mut site = node();
    let shelf = BundleServer::open();
    let release = Forge::of(&images::router()).version("second").finish();
    let url = shelf.publish(&release);
    let bundle = shelf.path("second.bundle");
    let before = status(&site);
    assert_eq!((before.update.default_slot, before.trial), (Some(Slot::A), false));
    assert_eq!(before.update.standby, None);
    refused(&site.ssh(&["cancel"]), "no update is being installed");
    refused(&site.ssh(&["rollback"]), "slot B has nothing to try: /dev/nvme0n1p5: there is no trailer");

    // A dry run changes nothing; half a bundle leaves nothing to try.
    let output = site.ssh(&["update", "--dry-run", "--json", &url]);
    assert!(output.status.success(), "{output:?}");
    let plan = events(&output);
    assert!(matches!(&plan[..], [UpdateEvent::Plan { slot: Slot::B, dry_run: true, .. }]), "{plan:?}");
    // Another profile's bundle is refused by name, unless it is forced.
    let storage = |manifest: &mut Manifest| manifest.compatible = "storage".parse().ok();
    let other = shelf.publish(&Forge::of(&images::router()).version("other").manifest(storage).finish());
    let both =
        "it is for profile \"storage\" (role router); this node runs profile \"router\" (role router); use --force";
    refused(&site.ssh(&["update", "--dry-run", &other]), both);
    let output = site.ssh(&["update", "--dry-run", "--force", &other]);
    assert!(output.status.success(), "{output:?}");
    let half = site.path("half");
    let whole = std::fs::read(&bundle).unwrap();
    std::fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    refused(&sent(&site, &half, &[]), "the update was refused");
    let after = status(&site);
    assert_eq!((after.update.standby, after.update.failed.len()), (None, 0));

    // The whole, over the operator's connection.
    let output = sent(&site, &bundle, &["--json"]);
    assert!(matches!(events(&output).last(), Some(UpdateEvent::Installed { slot: Slot::B, .. })), "{output:?}");
    site.node.expect("trial of second in slot B", TRIAL).unwrap();
    wait_up(&site.node, "r1").unwrap();
    assert!(status(&site).trial);
    for more in [&[][..], &["--force"], &["--dry-run"]] {
        refused(&site.ssh(&[&["update", &url][..], more].concat()), "slot B is on trial");
    }
    site.node.expect("committed: slot B, second", TRIAL).unwrap();
    let after = status(&site);
    assert_eq!((after.update.default_slot, after.trial, after.slot), (Some(Slot::B), false, Slot::B));

    // Slot A, left in its trial.
    assert!(words(&site.ssh(&["rollback"])).contains(&format!("{} is whole in slot A", before.version)));
    site.node.expect(&format!("trial of {} in slot A", before.version), TRIAL).unwrap();
    wait_up(&site.node, "r1").unwrap();
    assert!(words(&site.ssh(&["rollback"])).contains("the node restarts into slot B"));
    let reason = "an operator asked for a rollback";
    site.node.expect(&format!("going back: {reason}"), STEP).unwrap();
    site.node.expect(&format!("the trial of {} failed: {reason}", before.version), TRIAL).unwrap();
    wait_up(&site.node, "r1").unwrap();
    let after = status(&site);
    assert_eq!((after.slot, after.update.default_slot, after.update.failures), (Slot::B, Some(Slot::B), 1));
    let failed = &after.update.failed[0];
    assert_eq!((&failed.release.version, failed.reason.as_str()), (&before.version, reason));
    assert!(site.fine(&["metrics"]).contains("microdc_update_failed_total 1\n"));
    refused(&site.ssh(&["rollback"]), &format!("has failed here: {reason}"));
    a_damaged_choice_is_mended(&mut site);
}

/// The choice is noise: the EEPROM walks, and starts the first slot. Healthy, the node writes the choice again that it remembers.
fn a_damaged_choice_is_mended(site: &mut Site) {
    site.node.kill();
    site.node.disk().write_file(Partition::Bootsel, AUTOBOOT, &[0xa5; 64]).unwrap();
    site.node.power_on().unwrap();
    site.node
        .expect("is running without being the default slot: autoboot.txt is not as microdc writes it", TRIAL)
        .unwrap();
    wait_up(&site.node, "r1").unwrap();
    assert_eq!(status(site).update.default_slot, None);
    refused(&site.ssh(&["rollback"]), "without being the default slot");
    site.node.expect("is rewritten: the EEPROM starts slot B", TRIAL).unwrap();
    let chosen = site.node.disk().read_file(Partition::Bootsel, AUTOBOOT).unwrap().unwrap();
    assert_eq!(contract::autoboot::default_slot(&chosen), Some(Slot::B));
    assert_eq!(status(site).update.default_slot, Some(Slot::B));
    // sshd may be stopped before it has passed on how the command ended.
    site.ssh(&["reboot"]);
    wait_up(&site.node, "r1").unwrap();
    let after = status(site);
    assert_eq!((after.slot, after.version.as_str(), after.update.failures), (Slot::B, "second", 1));
}
