//! Releases that fail, each by a real cause: the node tries them once, and comes back to the slot that it had, with no hand
//! touching it. And those that do not fail are kept.

use contract::keys::PrivateKey;
use contract::layout::{Partition, Slot, trailer_offset};
use contract::names::KERNEL;
use emulator::Reset;
use qemu_tests::figures::figure;
use qemu_tests::forge::{Forge, Forged, programs};
use qemu_tests::images;
use qemu_tests::probe::Request;
use qemu_tests::router::STEP;
use qemu_tests::site::words;
use qemu_tests::updates::Bench;
use std::time::Duration;

/// What the old slot says of a trial that could not say anything itself.
const SILENT: &[&str] = &["without a report"];
/// And of one that never came as far as the system stage.
const EARLY: &[&str] = &["without a report", "system stage"];

/// A release of the small node.
fn small() -> Forge {
    Forge::of(&images::trials())
}

/// A release of the router.
fn router() -> Forge {
    Forge::of(&images::router_with_probe())
}

/// A release with this fault of the probe's.
fn faulty(of: Forge, fault: &str) -> Forged {
    of.version(&format!("fault-{fault}")).option(&format!("probe.fault={fault}")).finish()
}

fn nothing(_: &mut Bench) {}

#[test]
fn a_release_that_never_reaches_its_system_and_a_slot_that_is_damaged_are_left_behind() {
    let mut bench = Bench::alone("early");
    a_release_that_never_reaches_its_system_is_left_behind(&mut bench);
    a_slot_that_is_damaged_before_its_trial_is_left_behind(&mut bench);
}

fn a_release_that_never_reaches_its_system_is_left_behind(bench: &mut Bench) {
    let release = small().version("kernel-panics").option("rdinit=/nonexistent").finish();
    bench.comes_back("kernel panic at start", &release, EARLY, nothing);
    let release = small().version("kernel-hangs").file(KERNEL, &programs::hanging_kernel()).finish();
    bench.comes_back("kernel hangs", &release, EARLY, nothing);
    assert_eq!(bench.site.node.last_reset_reason(), Some(Reset::Firmware));
    let release = small().version("kernel-is-none").file(KERNEL, b"this is not a kernel").finish();
    bench.comes_back("kernel cannot be loaded", &release, EARLY, nothing);
    assert_eq!(bench.site.node.last_reset_reason(), Some(Reset::Firmware));
    let stranger = PrivateKey::from_seed(&[9; 32]).public();
    let release = small().version("other-key").initramfs_spec(|spec| spec.keys = vec![stranger]).finish();
    bench.comes_back("signature refused by the initramfs", &release, EARLY, nothing);
}

#[test]
fn a_release_whose_services_kernel_or_pid_1_fail_is_left_behind() {
    let mut bench = Bench::alone("late");
    a_release_whose_services_fail_is_left_behind(&mut bench);
    a_release_whose_kernel_or_pid_1_fails_is_left_behind(&mut bench);
}

fn a_release_whose_services_fail_is_left_behind(bench: &mut Bench) {
    bench.comes_back("service keeps crashing", &faulty(small(), "abort"), &["service probe keeps crashing"], nothing);
    bench.comes_back("health gate stays red", &faulty(small(), "red"), &["health gate"], nothing);
}

fn a_release_whose_kernel_or_pid_1_fails_is_left_behind(bench: &mut Bench) {
    let before = bench.site.node.resets().len();
    bench.comes_back("PID 1 stands still", &faulty(small(), "stop"), SILENT, nothing);
    assert!(bench.site.node.resets()[before..].contains(&Reset::Watchdog));
    bench.comes_back("kernel panic in the system", &faulty(small(), "panic"), SILENT, nothing);
}

/// Damage to the new slot after it was found whole: between the end of the old system and the trial.
fn a_slot_that_is_damaged_before_its_trial_is_left_behind(bench: &mut Bench) {
    let (cause, version) = ("verity: a block of the root is damaged", "bad-block");
    is_damaged_before_its_trial(bench, cause, version, 1024 + 0x60);
}

fn is_damaged_before_its_trial(bench: &mut Bench, cause: &str, version: &str, at: u64) {
    let release = small().version(version).finish();
    let mark = bench.mark();
    bench.site.node.flip_bit_at_reset(Partition::RootB, at, 1);
    bench.comes_back(cause, &release, EARLY, nothing);
    // It was the damage that the initramfs saw.
    assert!(bench.site.node.console().get(mark..).unwrap().contains("microdc: FAILED in "));
}

#[test]
fn an_operator_or_the_loss_of_power_ends_a_trial_and_updates_are_committed_again_and_again() {
    let mut bench = Bench::alone("hand");
    an_operator_and_the_loss_of_power_end_a_trial_and_what_is_good_is_kept(&mut bench);
}

fn an_operator_and_the_loss_of_power_end_a_trial_and_what_is_good_is_kept(bench: &mut Bench) {
    // Its health gate stays red, so that no commit comes before the operator.
    let release = small().version("rolled-back").option("probe.fault=red").finish();
    bench.comes_back("operator's rollback", &release, &["an operator asked for a rollback"], |bench| {
        let mark = bench.mark();
        let _ = bench.said(mark, "trial of rolled-back in slot B");
        // No second update in a trial.
        let output = until_let_in(bench, &["update", "http://10.0.2.2:1/other.bundle"]);
        assert!(!output.status.success() && words(&output).contains("trial"), "{}", words(&output));
        // sshd may stop before the session has ended well.
        let output = bench.site.ssh(&["rollback"]);
        assert!(words(&output).contains("restarts into slot A"), "{}", words(&output));
    });

    let release = small().version("power-cut").finish();
    bench.comes_back("power cut in the trial", &release, SILENT, |bench| {
        let mark = bench.mark();
        let _ = bench.said(mark, "trial of power-cut in slot B");
        bench.site.node.kill();
        bench.site.node.power_on().unwrap();
    });

    // The release was good, and the operator knows.
    let url = bench.shelf.publish(&release);
    let (took, away) = bench.commits(&release, &url, &["--force"]);
    told_of_an_update("update 1 of 2", took, away);
    assert!(bench.status().update.failed.iter().all(|failed| failed.release.manifest != release.digest));

    // A committed node is sent back by hand.
    let mark = bench.mark();
    let output = bench.site.ssh(&["rollback"]);
    assert!(words(&output).contains("restarts into its trial"), "{}", words(&output));
    let _ = bench.said(mark, "committed: slot A");
    bench.serves();
    let status = bench.status();
    assert_eq!((status.slot, status.update.default_slot), (Slot::A, Some(Slot::A)));
    let standby = status.update.standby.expect("slot B is whole");
    assert_eq!((standby.version.as_str(), standby.manifest), ("power-cut", release.digest));

    // No one has trained the operator's machine for an older release.
    let older = small().version("newer").manifest(|manifest| manifest.rollback_index += 2).finish();
    let newer = bench.shelf.publish(&older);
    let (took, away) = bench.commits(&older, &newer, &[]);
    told_of_an_update("update 2 of 2", took, away);
    bench.refuses(&url, &["rollback index"]);
}

/// A command over ssh, asked again until sshd is there.
fn until_let_in(bench: &Bench, command: &[&str]) -> std::process::Output {
    let begin = std::time::Instant::now();
    loop {
        let output = bench.site.ssh(command);
        // What ssh itself says when it does not get in.
        if output.status.code() != Some(255) {
            return output;
        }
        assert!(begin.elapsed() < STEP, "no way in: {output:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn told_of_an_update(which: &str, took: Duration, away: Option<Duration>) {
    let away = away.map(|away| format!(", {:.1} s without the role", away.as_secs_f32())).unwrap_or_default();
    figure(which, format_args!("{:.1} s from command to commit{away}", took.as_secs_f32()));
}

/// `A → B → A` and so on, by nothing but the bundle's URL. The bench is fresh, and so many updates are an even number.
fn updates_in_a_row_are_committed_and_the_role_is_back_after_each(bench: &Bench, count: usize) {
    let releases = ["even", "odd"].map(|version| router().version(version).finish());
    let urls = releases.each_ref().map(|release| bench.shelf.publish(release));
    let settle = Duration::from_millis(trial_of(bench).settle_ms);
    let (mut longest, mut gone) = (Duration::ZERO, Duration::ZERO);
    for round in 1..=count {
        let which = round % 2;
        let (took, away) = bench.commits(&releases[which], &urls[which], &[]);
        told_of_an_update(&format!("update {round} of {count}"), took, away);
        (longest, gone) = (longest.max(took), gone.max(away.unwrap_or_default()));
    }
    let beyond = longest.saturating_sub(settle).as_secs_f32();
    figure(
        &format!("{count} updates, the longest from command to commit beyond settling"),
        format_args!("{beyond:.1} s"),
    );
    figure(&format!("{count} updates, the longest without the role"), format_args!("{:.1} s", gone.as_secs_f32()));
    assert_eq!(bench.site.node.resets(), vec![Reset::Guest; count]);
    assert_eq!(bench.status().update.failed, []);
}

/// How long the profile gives a trial for each step, as the node has it.
fn trial_of(bench: &Bench) -> contract::role::Trial {
    let bytes = bench.site.probe(&Request::Cat(contract::names::ROLE_SPEC.to_owned())).unwrap();
    serde_json::from_slice::<contract::role::RoleSpec>(&bytes).unwrap().update
}

mod long {
    use super::*;

    #[test]
    fn ten_updates_in_a_row_are_committed_and_the_role_is_back_after_each() {
        let bench = Bench::start("rounds", &images::router_with_probe());
        updates_in_a_row_are_committed_and_the_role_is_back_after_each(&bench, 10);
    }

    /// More causes of the kinds that are tried above.
    #[test]
    fn more_ways_in_which_an_initramfs_fails_are_left_behind() {
        let mut bench = Bench::alone("earlier");
        let bench = &mut bench;
        let release = small().version("init-ends").in_initramfs("/init", &programs::ending_program(3)).finish();
        bench.comes_back("init ends", &release, EARLY, nothing);
        let without_verity = |spec: &mut contract::initramfs::InitramfsSpec| {
            let before = spec.modules.len();
            spec.modules.retain(|path| !path.contains("dm-verity"));
            assert!(spec.modules.len() < before, "the initramfs had no module dm-verity");
        };
        let release = small().version("no-verity").initramfs_spec(without_verity).finish();
        bench.comes_back("module dm-verity missing", &release, EARLY, nothing);
        // Without the driver of its disk there is no root.
        let without_disk = |spec: &mut contract::initramfs::InitramfsSpec| {
            spec.modules.retain(|path| !path.contains("/nvme"));
            spec.disk_timeout_s = 3;
        };
        let release = small().version("no-root").initramfs_spec(without_disk).finish();
        bench.comes_back("root not found", &release, EARLY, nothing);
        let length = bench.site.node.disk().extent(Partition::RootB).unwrap().length;
        let cause = "signature: the manifest is damaged";
        is_damaged_before_its_trial(bench, cause, "bad-manifest", trailer_offset(length).unwrap() + 88 + 40);
    }

    #[test]
    fn more_ways_in_which_services_or_pid_1_fail_are_left_behind() {
        let mut bench = Bench::start("later", &images::router_with_probe());
        let bench = &mut bench;
        let trial = trial_of(bench);
        let in_time = |ms: u64| format!("within {} s", ms / 1000);
        let release =
            router().version("for-another-machine").in_root("usr/lib/frr/bgpd", programs::for_another_machine);
        let because = ["service bgpd keeps crashing", "cannot start /usr/lib/frr/bgpd", "Exec format error"];
        bench.comes_back("service cannot start", &release.finish(), &because, nothing);
        let late = format!("services were not ready {}", in_time(trial.services_ms));
        let because = [late.as_str(), ": punctual"];
        bench.comes_back("service not ready by the deadline", &faulty(router(), "late"), &because, nothing);
        // The driver of its cards is never loaded.
        let release = router().version("no-network").option("module_blacklist=virtio_net").finish();
        let because = format!("no network {}", in_time(trial.network_ms));
        bench.comes_back("no network by the deadline", &release, &[because.as_str()], nothing);
        bench.comes_back("PID 1 falls", &faulty(router(), "break"), SILENT, nothing);
        bench.comes_back("reset without a report", &faulty(router(), "reset"), SILENT, nothing);
    }
}
