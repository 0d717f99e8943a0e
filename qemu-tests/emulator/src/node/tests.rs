//! Claims about running nodes, with QEMU and a kernel of 19 instructions.

use super::*;
use crate::Machine;
use crate::fixture::{AB, CONFIG, SIZE, bootsel, disk, normal, slot, start, with};
use contract::layout::Partition;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

const SOON: Duration = Duration::from_secs(30);

/// A machine with the disk of [`normal`], and its log in a folder of its own.
fn machine() -> (tempfile::TempDir, Machine) {
    machine_with(&disk(&normal()))
}

fn machine_with(disk: &std::fs::File) -> (tempfile::TempDir, Machine) {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    std::fs::copy(format!("/proc/self/fd/{}", disk.as_raw_fd()), &image).unwrap();
    let machine = Machine::new(image).memory(128).disk_size(64 << 20).log_folder(folder.path()).deadline(SOON * 2);
    (folder, machine)
}

/// QEMUs whose command line holds `text`.
fn processes(text: &str) -> usize {
    let commands = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let bytes = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    });
    commands.filter(|command| command.contains("qemu-system") && command.contains(text)).count()
}

fn gone(text: &str) -> bool {
    (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        processes(text) == 0
    })
}

#[test]
fn the_slots_own_kernel_runs_and_switches_itself_off() {
    let (_folder, machine) = machine();
    let node = machine.start().unwrap();
    node.expect("slot A here", SOON).unwrap();
    node.send_keys("o").unwrap();
    assert_eq!(node.wait_off(SOON).unwrap(), End::PoweredOff);
    assert_eq!((node.boots(), node.resets()), (1, vec![]));
}

#[test]
fn after_a_reset_the_eeprom_decides_again_from_the_disk_as_it_is_then() {
    let (_folder, machine) = machine();
    let node = machine.start().unwrap();
    node.expect("slot A here", SOON).unwrap();
    node.disk().write_file(Partition::Bootsel, "autoboot.txt", b"boot_partition=3\n").unwrap();
    node.send_keys("r").unwrap();
    assert_eq!(node.wait_reset(1, SOON).unwrap(), Reset::Guest);
    node.expect("slot B here", SOON).unwrap();
    assert_eq!(node.boots(), 2);
}

#[test]
fn a_trial_boots_once() {
    let (_folder, machine) = machine();
    let node = machine.start().unwrap();
    node.expect("slot A here", SOON).unwrap();
    node.plan.record.ask_tryboot(true);
    node.send_keys("r").unwrap();
    node.expect("slot B here", SOON).unwrap();
    node.reset().unwrap();
    assert_eq!(node.wait_reset(2, SOON).unwrap(), Reset::Button);
    node.expect("slot A here", SOON).unwrap();
}

#[test]
fn a_trial_that_nobody_hears_of_is_reset_by_the_firmwares_watchdog() {
    let config = format!("{CONFIG}kernel_watchdog_timeout=1\n");
    let (_folder, machine) = machine_with(&disk(&[bootsel(AB), slot(b'A'), with(slot(b'B'), "config.txt", config)]));
    let node = machine.start().unwrap();
    node.expect("slot A here", SOON).unwrap();
    node.plan.record.ask_tryboot(true);
    node.send_keys("r").unwrap();
    node.expect("slot B here", SOON).unwrap();
    assert_eq!(node.wait_reset(2, SOON).unwrap(), Reset::Firmware);
    node.expect("slot A here", SOON).unwrap();
}

#[test]
fn a_trial_of_what_the_firmware_cannot_load_comes_back_to_the_default_slot() {
    let broken = [
        crate::fixture::without(slot(b'B'), "kernel8.img"),
        with(slot(b'B'), "kernel8.img", *b"no kernel at all"),
        crate::fixture::without(slot(b'B'), "initramfs.img"),
    ];
    for content in broken {
        let (_folder, machine) = machine_with(&disk(&[bootsel(AB), slot(b'A'), content]));
        let node = machine.eeprom(crate::eeprom::Eeprom::prepared()).start().unwrap();
        node.expect("slot A here", SOON).unwrap();
        node.plan.record.ask_tryboot(true);
        node.send_keys("r").unwrap();
        assert_eq!(node.wait_reset(2, SOON).unwrap(), Reset::Firmware);
        node.expect("slot A here", SOON).unwrap();
    }
}

#[test]
fn without_power_the_request_for_a_trial_is_forgotten() {
    let (_folder, machine) = machine();
    let mut node = machine.start().unwrap();
    node.expect("slot A here", SOON).unwrap();
    node.plan.record.ask_tryboot(true);
    node.kill();
    node.power_on().unwrap();
    node.expect("slot A here", SOON).unwrap();
}

#[test]
fn the_tryboot_port_answers_and_sets_the_flag() {
    let folder = tempfile::tempdir().unwrap();
    let record = Arc::new(Record::create("port", folder.path()).unwrap());
    let (ours, theirs) = UnixStream::pair().unwrap();
    let listener = listen_for_tryboot(theirs, &record);
    let mut answers = BufReader::new(ours.try_clone().unwrap());
    let mut ask = |request: &str| {
        (&ours).write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        answer
    };
    assert_eq!(ask("tryboot 1\n"), "ok\n");
    assert!(record.take_tryboot() && !record.take_tryboot());
    ask("tryboot 1\n");
    assert_eq!(ask("tryboot 0\n"), "ok\n");
    assert!(!record.take_tryboot());
    assert!(ask("launch\n").contains("unknown request"));
    drop(answers);
    ours.shutdown(std::net::Shutdown::Both).unwrap();
    listener.join().unwrap();
}

#[test]
fn a_node_with_nothing_to_boot_is_off_and_says_why() {
    let (_folder, machine) = machine_with(&disk(&[bootsel(""), crate::fixture::without(slot(b'A'), "start4.elf")]));
    let node = machine.start().unwrap();
    let End::NoBoot(why) = node.wait_off(SOON).unwrap() else { panic!("{}", node.console()) };
    assert!(why.contains("start4.elf"), "{why}");
}

#[test]
fn a_node_that_hangs_is_ended_at_its_deadline() {
    let (_folder, machine) = machine();
    let node = machine.serial("DEADLINE1").deadline(Duration::from_secs(3)).start().unwrap();
    node.expect("slot A here", SOON).unwrap();
    assert_eq!(node.wait_off(SOON).unwrap(), End::Deadline(Duration::from_secs(3)));
    assert!(gone("serial=DEADLINE1"));
}

#[test]
fn a_power_cut_leaves_the_disk_and_the_node_starts_again() {
    let (_folder, machine) = machine();
    let mut node = machine.serial("POWERCUT1").start().unwrap();
    node.expect("slot A here", SOON).unwrap();
    assert_eq!(processes("serial=POWERCUT1"), 1);
    node.kill();
    assert_eq!(node.wait_off(SOON).unwrap(), End::PowerCut);
    assert!(gone("serial=POWERCUT1"));
    assert!(node.send_keys("o").is_err());
    node.power_on().unwrap();
    node.expect("slot A here", SOON).unwrap();
    assert_eq!(node.boots(), 2);
}

#[test]
fn a_test_that_panics_leaves_no_process_behind() {
    let (_folder, machine) = machine();
    let test = std::thread::spawn(move || {
        let node = machine.serial("PANIC1").start().unwrap();
        node.expect("slot A here", SOON).unwrap();
        assert_eq!(processes("serial=PANIC1"), 1);
        panic!("as a test does");
    });
    assert!(test.join().is_err());
    assert!(gone("serial=PANIC1"));
}

/// The same test is run a second time as a process of its own, which gets killed.
#[test]
fn a_test_that_is_killed_leaves_no_process_behind() {
    const VARIABLE: &str = "EMULATOR_TEST_TO_BE_KILLED";
    if std::env::var_os(VARIABLE).is_some() {
        let (_folder, machine) = machine();
        let node = machine.serial("KILLED1").start().unwrap();
        node.expect("slot A here", SOON).unwrap();
        println!("node runs");
        std::thread::sleep(SOON);
        return;
    }
    let mut test = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", "node::tests::a_test_that_is_killed_leaves_no_process_behind"])
        .env(VARIABLE, "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(test.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("node runs")));
    assert_eq!(processes("serial=KILLED1"), 1);
    test.kill().unwrap();
    test.wait().unwrap();
    assert!(gone("serial=KILLED1"));
}

#[test]
fn the_image_file_is_never_written() {
    let (folder, machine) = machine();
    let image = folder.path().join("image");
    let before = std::fs::read(&image).unwrap();
    let node = machine.node_config("name = \"r1\"\n").start().unwrap();
    node.expect("slot A here", SOON).unwrap();
    node.disk().flip_bit(Partition::BootB, 0, 3).unwrap();
    drop(node);
    assert!(std::fs::read(&image).unwrap() == before);
}

#[test]
fn the_private_disk_is_larger_sparse_and_gone_afterwards() {
    let (_folder, machine) = machine();
    let node = machine.disk_size(8 << 30).prepare().unwrap();
    let path: PathBuf = node.disk().path().to_owned();
    let found = std::fs::metadata(&path).unwrap();
    assert_eq!(found.len(), 8 << 30);
    assert!(std::os::unix::fs::MetadataExt::blocks(&found) * 512 < 64 << 20);
    drop(node);
    assert!(!path.exists());
}

#[test]
fn a_node_config_is_dropped_on_bootsel() {
    let (_folder, machine) = machine();
    let node = machine.node_config("name = \"r1\"\n").prepare().unwrap();
    let found = node.disk().read_file(Partition::Bootsel, "node.toml").unwrap();
    assert_eq!(found.unwrap(), b"name = \"r1\"\n");
    assert!(node.disk().read_file(Partition::Bootsel, "autoboot.txt").unwrap().is_some());
}

#[test]
fn a_flipped_bit_is_one_bit_of_one_byte() {
    let (_folder, machine) = machine();
    let node = machine.prepare().unwrap();
    let before = std::fs::read(node.disk().path()).unwrap();
    node.disk().flip_bit(Partition::BootA, 12_345, 6).unwrap();
    let after = std::fs::read(node.disk().path()).unwrap();
    let differing: Vec<usize> = (0..before.len()).filter(|&at| before[at] != after[at]).collect();
    let at = (start(2) + 12_345) as usize;
    assert_eq!(differing, [at]);
    assert_eq!(before[at] ^ after[at], 1 << 6);
    assert!(node.disk().flip_bit(Partition::BootA, SIZE, 0).is_err(), "a byte of the next partition");
}

#[test]
fn what_a_machine_cannot_have_is_refused() {
    let (_folder, machine) = machine();
    let error = machine.raspi4b().network(&crate::Network::new()).prepare().unwrap_err().to_string();
    assert!(error.contains("no network"), "{error}");
    let error = Machine::new("/nonexistent/image").prepare().unwrap_err().to_string();
    assert!(error.contains("opening the image /nonexistent/image"), "{error}");
    let error = Machine::new("x").serial("a,b").prepare().unwrap_err().to_string();
    assert!(error.contains("serial number"), "{error}");
}
