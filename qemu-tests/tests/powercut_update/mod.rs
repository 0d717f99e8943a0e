//! Power cuts during whole updates: a run of several boots is recorded, and every state that a cut may leave is checked on
//! the host ([`check`]): the EEPROM's rules choose a slot that was committed, it verifies to its signed manifest, `state` and
//! `data` recover, and what was synced before the cut is there. A sample of the states really boots, to its role.
//!
//! A record is kept in `target/powercut/NAME`. With `MICRODC_POWERCUT_STATE=NUMBER` nothing is recorded: that one state of
//! the kept record is made again, checked and booted. `MICRODC_POWERCUT_SEED=NUMBER` draws the states of an earlier run, or of
//! a kept record. `MICRODC_POWERCUT_BOOTS=NUMBER` boots more states of each run, or fewer. `long/many_cuts.rs`
//! draws and boots more.

mod check;
mod record;

use check::Checked;
use emulator::Machine;
use emulator::powercut::{Cut, Cuts, Medium};
use qemu_tests::disks::{self, Settled};
use qemu_tests::figures::figure;
use qemu_tests::probe::{PORT, Request};
use qemu_tests::router::wait_up;
use record::{Record, Run};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Instant;

/// Blocks of this many bytes come whole or not at all: the disk's.
const BLOCK: u64 = 512;
/// States of a run, beside those behind its flushes, and how many of all are booted.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub drawn: u32,
    pub booted: usize,
    /// The module of the test, by which it is found again.
    pub module: &'static str,
}

const SAMPLE: Sample = Sample { drawn: 40, booted: 3, module: "powercut_update" };
/// Names a state: nothing is recorded, and only this one is checked.
const ONE: &str = "MICRODC_POWERCUT_STATE";
const SEED: &str = "MICRODC_POWERCUT_SEED";
/// Boots so many states of each run, in place of the usual number.
const BOOTS: &str = "MICRODC_POWERCUT_BOOTS";

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text} is not a valid number")))
}

/// Checks all states of a run, and boots some.
fn survives(sample: Sample, name: &str, make: impl FnOnce() -> Record) {
    let one: Option<u32> = number(ONE);
    let folder = record::folder(&format!("{}.{name}", sample.module.replace("::", ".")));
    let record = match one {
        Some(_) => Record::load(&folder),
        None => {
            make().keep(&folder);
            Record::load(&folder)
        }
    };
    let seed = number(SEED).unwrap_or(record.facts.seed);
    let cuts = Cuts::new(&record.log, BLOCK, sample.drawn, seed);
    let mut all: Vec<Cut> = match one {
        Some(one) => vec![cuts.cut(one)],
        None => (0..cuts.count()).map(|number| cuts.cut(number)).collect(),
    };
    all.sort_by_key(|cut| (cut.flushed(), cut.until(), cut.number()));
    let entries = record.log.entries().len();
    println!("{name}: {entries} writes and flushes, {} states, seed {seed}, kept in {}", all.len(), folder.display());
    let again = |cut: &Cut| {
        format!(
            "{name}, seed {seed}, {cut}; to see it again: {SEED}={seed} {ONE}={} cargo test -p qemu-tests --test \
             boot-tests {}::{name}",
            cut.number(),
            sample.module
        )
    };

    let begin = Instant::now();
    let expect = check::Expect::of(&record);
    let known = Mutex::default();
    let slots: Mutex<BTreeMap<String, u32>> = Mutex::default();
    share(&all, |cuts| {
        let mut checked = Checked::new(&expect, &known);
        let mut medium = Medium::new(&record.log, &record.before).unwrap();
        for cut in cuts {
            let slot = medium.at(cut, |disk| checked.state(cut, disk)).unwrap();
            let slot = slot.unwrap_or_else(|problem| panic!("{problem}\n{}", again(cut)));
            *slots.lock().unwrap().entry(format!("slot {slot}")).or_default() += 1;
        }
    });
    let slots = slots.into_inner().unwrap();
    figure(
        &format!("power cuts, {name}"),
        format_args!(
            "{} states ({} behind flushes), seed {seed}, {entries} writes and flushes: {slots:?}, 0 bricks, in {:.0} s",
            all.len(),
            cuts.flushes(),
            begin.elapsed().as_secs_f32()
        ),
    );
    if one.is_none() {
        assert_eq!(slots.len(), expect.slots(), "{slots:?}: the states are not from the whole run");
    }

    let begin = Instant::now();
    let step = (all.len() / number(BOOTS).unwrap_or(sample.booted).max(1)).max(1);
    let booted: Vec<Cut> = all.iter().skip(step / 2).step_by(step).cloned().collect();
    share(&booted, |cuts| {
        let mut medium = Medium::new(&record.log, &record.before).unwrap();
        for cut in cuts {
            let node = medium.at(cut, |disk| {
                let machine = Machine::new(disk.path()).name(&format!("{name}-{}", cut.number())).memory(512);
                machine.disk_size(disks::SIZE).user_network().port(PORT).start().unwrap()
            });
            let (node, why) = (node.unwrap(), again(cut));
            let line = wait_up(&node, "n1").unwrap_or_else(|error| panic!("{error}\n{why}"));
            let slot = expect.slot(cut, node.disk()).unwrap_or_else(|problem| panic!("{problem}\n{why}"));
            assert!(line.contains(&format!("slot {slot}")), "{line}\n{why}");
            assert_eq!(node.boots(), 1, "{why}");
            for promise in record.facts.promises_at(cut.until()) {
                let found = disks::ask(&node, &Request::Cat(promise.path.clone()));
                assert!(found == promise.content, "{}: {:?}\n{why}", promise.path, String::from_utf8_lossy(&found));
            }
        }
    });
    figure(
        &format!("power cuts, {name}, booted to the role"),
        format_args!("{} of {}, in {:.0} s", booted.len(), booted.len(), begin.elapsed().as_secs_f32()),
    );
}

/// Lets two threads work on runs of states, each in order.
fn share(cuts: &[Cut], work: impl Fn(&[Cut]) + Sync) {
    // Small shares cost a fresh disk each; large ones leave a thread without work at the end.
    let shares: Vec<&[Cut]> = cuts.chunks(cuts.len().div_ceil(4).max(1)).collect();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(share) = shares.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(share);
                }
            });
        }
    });
}

#[test]
fn an_update_that_is_committed_survives_a_power_cut_at_any_write() {
    committed(SAMPLE);
}

pub fn committed(sample: Sample) {
    survives(sample, "an_update_that_is_committed", || {
        let mut run = Run::start(settled());
        run.promise("/state/machine-id");
        run.promise("/state/node.toml");
        run.write("/state/before-the-update");
        run.write("/data/before-the-update");
        run.update();
        run.write("/data/in-the-trial");
        run.wait("committed: slot B");
        run.write("/state/after-the-commit");
        run.write("/data/after-the-commit");
        run.end()
    });
}

#[test]
fn a_trial_that_is_rolled_back_survives_a_power_cut_at_any_write() {
    rolled_back(SAMPLE);
}

pub fn rolled_back(sample: Sample) {
    survives(sample, "a_trial_that_is_rolled_back", || {
        let mut run = Run::start(settled());
        run.promise("/state/machine-id");
        run.write("/state/before-the-update");
        run.update();
        run.write("/state/in-the-trial");
        run.write("/data/in-the-trial");
        run.roll_back();
        run.write("/data/back-on-the-old-slot");
        run.end()
    });
}

#[test]
fn a_claim_and_a_commit_together_survive_a_power_cut_at_any_write() {
    claim_and_commit(SAMPLE);
}

pub fn claim_and_commit(sample: Sample) {
    survives(sample, "a_claim_and_a_commit_together", || {
        let mut run = Run::start(machine().recorded().prepare().unwrap());
        run.promise("/state/machine-id");
        run.promise("/state/node.toml");
        run.write("/data/right-after-the-claim");
        run.update();
        run.wait("committed: slot B");
        run.write("/data/after-the-commit");
        run.end()
    });
}

/// A node that takes its disk and can reach this host.
fn machine() -> Machine {
    let config = "name = \"n1\"\n[cluster]\nname = \"rack1\"\n[network.eth0]\naddresses = [\"10.0.2.15/24\"]\n\
                  [disks]\ndata = \"ext4\"\n";
    machine_on(&qemu_tests::images::disks()).node_config(config)
}

/// One that has claimed its disk at an earlier boot, and is off.
fn settled() -> emulator::Node {
    static SETTLED: LazyLock<Settled> = LazyLock::new(|| Settled::by(machine()));
    machine_on(&SETTLED.path()).recorded().prepare().unwrap()
}

fn machine_on(disk: &std::path::Path) -> Machine {
    Machine::new(disk)
        .name("n1")
        .memory(512)
        .disk_size(disks::SIZE)
        .user_network()
        .port(PORT)
        .deadline(std::time::Duration::from_secs(1800))
}
