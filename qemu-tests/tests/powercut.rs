//! Power cuts during the claim: the writes of one claim are recorded, and many states that a cut may leave are taken up by
//! the next boot. Most by firstboot's own code on the host, some by booting them; `long/powercut.rs` boots more.

use contract::layout::Partition;
use contract::node::Serial;
use emulator::powercut::{Cut, Cuts, WriteLog};
use emulator::{Disk, Node, Nvme};
use firstboot::dry_run::{Claimant, Outcome};
use qemu_tests::disks::{self, Claim, claim};
use qemu_tests::figures::figure;
use qemu_tests::foreign;
use qemu_tests::router::{STEP, wait_up};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

/// States that the claim of a disk of its own is put through beside those behind each flush, and how many of all are booted.
const SEPARATE: [u32; 2] = [60, 3];
/// The same for a system disk, with `state` and `data` on it.
const SYSTEM: [u32; 2] = [40, 3];
const BLOCK: u32 = 512;
const SEED: u64 = 1;

fn claimant(serial: &str, wipe: Option<&str>, scratch: &Path) -> Claimant {
    let number = |text: &str| Serial::try_from(text.to_owned()).unwrap();
    Claimant {
        cluster: Some("rack1".to_owned()),
        node: "n1".to_owned(),
        serial: number(serial),
        wipe: wipe.map(number),
        scratch: scratch.to_owned(),
    }
}

/// Checks all states with two threads. `check` gets the state, its disk and a folder of its own, and says how it ended.
fn each(cuts: &Cuts<'_>, log: &WriteLog, before: &Path, check: impl Fn(&Cut, &Disk, &Path) -> String + Sync) {
    let count = cuts.count();
    let next = AtomicU32::new(0);
    let ends: Mutex<BTreeMap<String, u32>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let folder = tempfile::tempdir().unwrap();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    let cut = cuts.cut(number);
                    let disk = state(log, &cut, before);
                    let end = check(&cut, &disk, folder.path());
                    *ends.lock().unwrap().entry(end).or_default() += 1;
                }
            });
        }
    });
    println!("{count} states ended: {:?}", ends.lock().unwrap());
}

/// The disk as the cut left it.
fn state(log: &WriteLog, cut: &Cut, before: &Path) -> Disk {
    let disk = Disk::copy_of(before, 0).unwrap();
    cut.apply(log, disk.raw()).unwrap();
    disk
}

/// A copy of a disk that outlives its node.
fn keep(disk: &Disk) -> Disk {
    Disk::copy_of(disk.path(), 0).unwrap()
}

fn log(path: Option<&Path>) -> WriteLog {
    WriteLog::open(path.unwrap()).unwrap()
}

/// Boots a state and waits for a good claim.
fn boots(cut: &Cut, node: &Node) {
    match claim(node) {
        Claim::Made(_) | Claim::Found(_) => {}
        Claim::Refused(words) => panic!("{cut}: {words}"),
    }
}

/// States from all over the record.
fn sample(count: u32, booted: u32) -> impl Iterator<Item = u32> {
    (1..=booted).map(move |at| at * (count / (booted + 1)) + at)
}

#[test]
fn a_claim_of_a_disk_with_somebodys_raid_on_it_survives_a_power_cut_at_any_write() {
    the_claim_of_a_disk_survives(SEPARATE);
}

/// Checks so many states beside those behind each flush, and boots some.
pub fn the_claim_of_a_disk_survives([drawn, booted]: [u32; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let raid = folder.path().join("raid");
    foreign::ALL.iter().find(|foreign| foreign.serial == "RAID").unwrap().make(&raid);
    let photos = folder.path().join("photos");
    foreign::ALL.iter().find(|foreign| foreign.serial == "EXT4").unwrap().make(&photos);
    let config = "data = \"ext4\"\nwipe = \"S1\"";
    let machine = |content: &Path, recorded: bool| {
        let disk = Nvme::new("S1").content(content);
        let disk = if recorded { disk.recorded() } else { disk };
        disks::machine(config).emmc().nvme(disk).nvme(Nvme::new("S2").content(&photos))
    };
    let mut node = machine(&raid, true).start().unwrap();
    let foreign_before = node.nvme(1).digest().unwrap();
    assert!(matches!(claim(&node), Claim::Made(_)));
    wait_up(&node, "n1").unwrap();
    node.power_off().unwrap();
    node.wait_off(STEP).unwrap();
    node.kill();
    let log = log(node.nvme_write_log(0));
    figure("recorded writes and flushes of one claim", log.entries().len());

    let cuts = Cuts::new(&log, BLOCK.into(), drawn, SEED);
    // Whole: the record is what the disk went through.
    let replayed = state(&log, &cuts.whole(), &raid);
    assert!(
        replayed.digest().unwrap() == node.nvme(0).digest().unwrap(),
        "the record is not the whole of what happened"
    );

    let began = std::time::Instant::now();
    each(&cuts, &log, &raid, |cut, disk, scratch| {
        let before = disk.digest().unwrap();
        // Without a wipe in force, what is not erased yet is left alone.
        let careful = claimant("S1", None, scratch);
        let first = careful.separate(disk.path(), BLOCK).unwrap_or_else(|error| panic!("{cut}: {error:#}"));
        if let Outcome::Refused(words) = &first {
            let known = ["a member of a Linux md RAID", "began to erase"].iter().any(|name| words.contains(name));
            assert!(known, "{cut}: {words}");
            assert!(disk.digest().unwrap() == before, "{cut}: a refused disk was changed");
            let named = claimant("S1", Some("S1"), scratch).separate(disk.path(), BLOCK);
            assert_eq!(named.unwrap_or_else(|error| panic!("{cut}: {error:#}")), Outcome::Made, "{cut}");
        }
        let again = careful.separate(disk.path(), BLOCK).unwrap_or_else(|error| panic!("{cut}: {error:#}"));
        assert_eq!(again, Outcome::Found, "{cut}");
        match first {
            Outcome::Refused(words) if words.contains("RAID") => "refused: not begun".to_owned(),
            Outcome::Refused(_) => "refused: not all erased".to_owned(),
            other => format!("{other:?}"),
        }
    });
    figure(
        "states of a claim at a power cut, checked",
        format_args!("{} in {:.0} s", cuts.count(), began.elapsed().as_secs_f32()),
    );

    for number in sample(cuts.count(), booted) {
        let cut = cuts.cut(number);
        let disk = state(&log, &cut, &raid);
        let mut node = machine(disk.path(), false).start().unwrap();
        boots(&cut, &node);
        node.kill();
        assert!(node.nvme(1).digest().unwrap() == foreign_before, "{cut}: the other disk was changed");
    }
}

/// Digest of everything that was flashed: boot and root of both slots.
fn slots(disk: &Disk) -> Vec<contract::hash::Digest> {
    let digest = |partition| {
        let length = usize::try_from(disk.extent(partition).unwrap().length).unwrap();
        contract::hash::Digest::of(&disk.read(partition, 0, length).unwrap())
    };
    [Partition::BootA, Partition::RootA].map(digest).to_vec()
}

#[test]
fn the_first_boot_of_a_system_disk_survives_a_power_cut_at_any_write() {
    the_first_boot_survives(SYSTEM);
}

/// Checks so many states beside those behind each flush, and boots some.
pub fn the_first_boot_survives([drawn, booted]: [u32; 2]) {
    let mut node = disks::machine("data = \"ext4\"").recorded().prepare().unwrap();
    let before = keep(node.disk());
    let flashed = slots(&before);
    node.power_on().unwrap();
    assert!(matches!(claim(&node), Claim::Made(_)));
    wait_up(&node, "n1").unwrap();
    node.power_off().unwrap();
    node.wait_off(STEP).unwrap();
    node.kill();
    let log = log(node.write_log());
    let cuts = Cuts::new(&log, BLOCK.into(), drawn, SEED);
    let claimant_in = |scratch: &Path| claimant("MICRODC0001", None, scratch);
    each(&cuts, &log, before.path(), |cut, disk, scratch| {
        let claimant = claimant_in(scratch);
        let first = claimant.system(disk.path()).unwrap_or_else(|error| panic!("{cut}: {error:#}"));
        let refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused(_));
        assert!(!refused(&first.0) && !refused(&first.1), "{cut}: {first:?}");
        let again = claimant.system(disk.path()).unwrap_or_else(|error| panic!("{cut}: {error:#}"));
        assert_eq!(again, (Outcome::Found, Outcome::Found), "{cut}");
        format!("{first:?}")
    });
    for number in sample(cuts.count(), booted) {
        let cut = cuts.cut(number);
        let disk = state(&log, &cut, before.path());
        let mut node =
            emulator::Machine::new(disk.path()).name("n1").memory(512).disk_size(disks::SIZE).start().unwrap();
        boots(&cut, &node);
        node.kill();
        assert!(slots(node.disk()) == flashed, "{cut}: what was flashed has changed");
    }
}
