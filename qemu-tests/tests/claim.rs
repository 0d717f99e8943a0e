//! The claim of `data`: what is foreign is named and left alone, what may be taken is taken.

use contract::node::Serial;
use emulator::{Disk, Fault, Node, Nvme};
use firstboot::dry_run::{Claimant, Outcome};
use qemu_tests::agent::Agent;
use qemu_tests::disks::{self, Claim, claim, filled, said_of};
use qemu_tests::foreign::{self, Foreign};
use qemu_tests::images;
use qemu_tests::probe::Request;
use qemu_tests::router::{STEP, wait_up};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A folder with a disk of each kind, by its serial number.
fn foreign_disks() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for half in foreign::ALL.chunks(foreign::ALL.len().div_ceil(2)) {
            scope.spawn(|| half.iter().for_each(|foreign| foreign.make(&folder.path().join(foreign.serial))));
        }
    });
    folder
}

fn with(folder: &Path, foreign: &Foreign) -> Nvme {
    Nvme::new(foreign.serial).size(foreign::SIZE).content(&folder.join(foreign.serial))
}

fn refused(node: &Node) -> String {
    match claim(node) {
        Claim::Refused(words) => words,
        other => panic!("{other:?} in place of a refusal"),
    }
}

#[test]
fn every_kind_of_foreign_content_is_refused_by_name_and_the_disk_that_is_named_is_taken_alone() {
    let folder = foreign_disks();
    let mut machine = disks::machine("data = \"ext4\"").emmc();
    for foreign in &foreign::ALL {
        machine = machine.nvme(with(folder.path(), foreign));
    }
    let mut node = machine.prepare().unwrap();
    let digests = |node: &Node| (0..foreign::ALL.len()).map(|at| node.nvme(at).digest().unwrap()).collect::<Vec<_>>();
    let before = digests(&node);
    node.power_on().unwrap();
    let all = refused(&node);
    for Foreign { serial, name, .. } in &foreign::ALL {
        assert!(all.contains(&format!("(serial number {serial}) holds {name}")), "{serial}: {all}");
    }
    wait_up(&node, "n1").unwrap();

    // A wipe that names another disk, and a disk that is named without one.
    disks::restart(&mut node, "data = \"ext4\"\nwipe = \"OTHER\"");
    assert!(refused(&node).contains("all are left alone"));
    let Foreign { serial, name, .. } = foreign::ALL[0];
    disks::restart(&mut node, &format!("data = \"ext4\"\nserial = \"{serial}\""));
    let words = refused(&node);
    assert!(words.contains(&format!("(serial number {serial}) holds {name}")), "{words}");
    assert!(words.contains(&format!("wipe = \"{serial}\"")), "how to let it go: {words}");
    node.kill();
    assert!(digests(&node) == before, "a foreign disk was changed");

    // One is named: a partition table whose partitions the kernel has in use. It is taken, beside fourteen that no one named.
    let (at, named) = foreign::ALL.iter().enumerate().find(|(_, foreign)| foreign.serial == "GPT").unwrap();
    node.disk().write_node_config(disks::node_config("data = \"raw\"\nwipe = \"GPT\"").as_bytes()).unwrap();
    node.power_on().unwrap();
    assert!(matches!(claim(&node), Claim::Made(fact) if fact.starts_with("raw ")), "{}", named.serial);
    node.kill();
    let after = digests(&node);
    let changed: Vec<usize> = (0..before.len()).filter(|&index| before[index] != after[index]).collect();
    assert_eq!(changed, [at], "the named disk alone is changed");
    assert!(foreign::run("sgdisk", &["-v"], "", node.nvme(at).path()).contains("No problems found"));
}

/// Each kind, and each once `wipe` names its disk; whatever the size of a block.
#[test]
fn every_kind_is_refused_by_the_nodes_own_code_on_files_and_taken_once_wipe_names_it() {
    let folder = foreign_disks();
    let serial = |text: &str| Serial::try_from(text.to_owned()).unwrap();
    let claimant = |wipe: Option<&str>| Claimant {
        cluster: Some("rack1".to_owned()),
        node: "n1".to_owned(),
        serial: serial("S1"),
        wipe: wipe.map(serial),
        scratch: folder.path().to_owned(),
    };
    for Foreign { serial, name, .. } in &foreign::ALL {
        let path = folder.path().join(serial);
        let digest = || Disk::copy_of(&path, 0).unwrap().digest().unwrap();
        let before = digest();
        for (block, wipe) in [(512, None), (4096, None), (512, Some("S2")), (4096, Some("S2"))] {
            let Outcome::Refused(words) = claimant(wipe).separate(&path, block).unwrap() else { panic!("{serial}") };
            assert!(words.contains(&format!("(serial number S1) holds {name}")), "{serial}: {words}");
            assert!(words.ends_with("under [disks]:\nwipe = \"S1\""), "{serial}: {words}");
            assert_eq!(words.contains("wipe names S2, which is not this disk"), wipe.is_some(), "{words}");
        }
        assert!(digest() == before, "{serial} was changed");
        assert_eq!(claimant(Some("S1")).separate(&path, 512).unwrap(), Outcome::Made, "{serial}");
        assert_eq!(claimant(Some("S1")).separate(&path, 512).unwrap(), Outcome::Found, "{serial}");
        assert!(foreign::run("sgdisk", &["-v"], "", &path).contains("No problems found"), "{serial}");
        // Nothing of it is left for others to see.
        let whole = foreign::run("blkid", &["-p", "-o", "export"], "", &path);
        assert!(whole.contains("PTTYPE=gpt") && !whole.contains("\nTYPE="), "{serial}: {whole}");
        let data = foreign::run("blkid", &["-p", "-O", "2097152", "-o", "value", "-s", "TYPE"], "", &path);
        assert_eq!(data.trim(), "ext4", "{serial}");
    }
}

#[test]
fn a_node_with_emmc_takes_the_whole_nvme_and_knows_it_again_after_a_new_installation() {
    let node = disks::machine("data = \"ext4\"").emmc().nvme(Nvme::new("S1")).start().unwrap();
    assert_eq!(claim(&node), Claim::Made("ext4 /dev/nvme0n1p1".to_owned()));
    wait_up(&node, "n1").unwrap();
    let file = Request::Write { path: "/data/kept".to_owned(), text: "precious".to_owned() };
    disks::ask(&node, &file);
    let mounts = String::from_utf8(disks::ask(&node, &Request::Cat("/proc/mounts".to_owned()))).unwrap();
    let mount = mounts.lines().find(|line| line.contains(" /data ")).unwrap();
    assert!(mount.contains("nosuid") && mount.contains("nodev") && mount.contains(" ext4 "), "{mount}");
    node.power_off().unwrap();
    node.wait_off(STEP).unwrap();

    // Another eMMC, with a state of its own; a wipe that no one took out; a second disk, blank.
    let old = Nvme::new("S1").content(node.nvme(0).path()).removable();
    let config = "data = \"ext4\"\nwipe = \"S1\"";
    let mut node = disks::machine(config).emmc().nvme(Nvme::new("S2")).nvme(old).prepare().unwrap();
    let blank = node.nvme(0).digest().unwrap();
    node.power_on().unwrap();
    let Claim::Found(fact) = claim(&node) else { panic!("{}", node.console()) };
    assert!(fact.starts_with("ext4 /dev/nvme"), "{fact}");
    node.expect("remove wipe from node.toml", STEP).unwrap();
    wait_up(&node, "n1").unwrap();
    assert_eq!(disks::ask(&node, &Request::Cat("/data/kept".to_owned())), b"precious");
    a_disk_that_is_pulled_out_is_noticed_and_does_not_take_the_node_with_it(
        &node,
        1,
        fact.strip_prefix("ext4 /dev/").unwrap(),
    );
    node.kill();
    assert!(node.nvme(0).digest().unwrap() == blank, "the other disk was touched");
}

/// The one with `data`, which is this one of the node's NVMe disks, and the partition there.
fn a_disk_that_is_pulled_out_is_noticed_and_does_not_take_the_node_with_it(
    node: &Node,
    index: usize,
    partition: &str,
) {
    let begun = std::time::Instant::now();
    while !node.page("s", STEP).unwrap().contains("\nhealth passed") {
        assert!(begun.elapsed() < STEP, "{}", node.console());
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    node.unplug(index).unwrap();
    let gone = std::time::Instant::now();
    loop {
        let disks = String::from_utf8(disks::ask(node, &Request::Cat("/proc/partitions".to_owned()))).unwrap();
        if !disks.contains(partition) {
            break;
        }
        assert!(gone.elapsed() < STEP, "it is still there:\n{disks}");
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    let page = node.page("s", STEP).unwrap();
    assert!(page.contains("name n1"), "{page}");
    // Nothing runs that uses it: the node itself writes there now and then.
    let line = node.expect("health failed", STEP).unwrap();
    assert!(line.contains("disk of data: the disk of /data rejects writes: "), "{line}");
}

#[test]
fn a_node_with_nvme_alone_takes_the_rest_of_it_and_knows_it_again_after_a_new_installation() {
    // As much memory as boards of the middle size have.
    let node = disks::machine("data = \"xfs\"\n[time]\nserve = [\"10.0.0.0/24\"]").memory(4096).start().unwrap();
    assert_eq!(claim(&node), Claim::Made("xfs /dev/nvme0n1p7".to_owned()));
    wait_up(&node, "n1").unwrap();
    a_limit_holds_on_data(&node);
    disks::ask(&node, &Request::Write { path: "/data/kept".to_owned(), text: "precious".to_owned() });
    node.power_off().unwrap();
    node.wait_off(STEP).unwrap();
    assert!(foreign::run("sgdisk", &["-v"], "", node.disk().path()).contains("No problems found"));

    let mut node = node;
    node.disk().flash(&images::disks()).unwrap();
    node.disk().write_node_config(disks::node_config("data = \"xfs\"").as_bytes()).unwrap();
    node.power_on().unwrap();
    assert_eq!(claim(&node), Claim::Found("xfs /dev/nvme0n1p7".to_owned()));
    wait_up(&node, "n1").unwrap();
    assert_eq!(disks::ask(&node, &Request::Cat("/data/kept".to_owned())), b"precious");
}

/// XFS counts by itself, and says that there is no space.
fn a_limit_holds_on_data(node: &Node) {
    let agent = Agent(node);
    agent.write("/run/go-fill", "");
    let said = filled(agent, "filler-on-data");
    let new = said_of(&said, "new");
    let (mib, why) = new.split_once(" MiB, then ").unwrap_or_else(|| panic!("{said}"));
    assert!((4..=8).contains(&mib.parse().unwrap()) && why.starts_with("No space left"), "{said}");
    for attempt in ["file attributes", "folder attributes", "folder flags"] {
        assert_eq!(said_of(&said, attempt), "Operation not permitted (os error 1)", "{said}");
    }
    assert!(said_of(&said, "again").contains("No space left"), "{said}");
    let page = node.page("s", STEP).unwrap();
    assert!(page.contains("the folder /srv/filler of the service filler-on-data is nearly full: "), "{page}");
}

#[test]
fn a_disk_with_blocks_of_4096_bytes_is_taken_and_another_kind_is_refused_there() {
    let mut node = disks::machine("data = \"xfs\"").emmc().nvme(Nvme::new("S1").block(4096)).start().unwrap();
    assert_eq!(claim(&node), Claim::Made("xfs /dev/nvme0n1p1".to_owned()));
    wait_up(&node, "n1").unwrap();
    disks::restart(&mut node, "data = \"xfs\"");
    assert_eq!(claim(&node), Claim::Found("xfs /dev/nvme0n1p1".to_owned()));
    disks::restart(&mut node, "data = \"ext4\"");
    let words = refused(&node);
    assert!(words.contains("data of this node, made as xfs"), "{words}");
}

#[test]
fn data_as_a_volume_group_is_made_and_found_again() {
    let mut node = disks::machine("data = \"lvm\"").emmc().nvme(Nvme::new("S1")).start().unwrap();
    assert_eq!(claim(&node), Claim::Made("lvm /dev/nvme0n1p1".to_owned()));
    disks::restart(&mut node, "data = \"lvm\"");
    assert_eq!(claim(&node), Claim::Found("lvm /dev/nvme0n1p1".to_owned()));
    node.kill();
    let found = foreign::run("blkid", &["-p", "-O", "2097152", "-o", "value", "-s", "TYPE"], "", node.nvme(0).path());
    assert_eq!(found.trim(), "LVM2_member");

    // The same by Debian's own pvcreate and vgcreate as a whole disk: someone's.
    let volume = tempfile::NamedTempFile::new().unwrap();
    let mut bytes = vec![0; 16 << 20];
    node.nvme(0).raw().read_exact_at(&mut bytes, 2 << 20).unwrap();
    volume.as_file().write_all_at(&bytes, 0).unwrap();
    let mut node =
        disks::machine("data = \"lvm\"").emmc().nvme(Nvme::new("S1").content(volume.path())).start().unwrap();
    let before = node.nvme(0).digest().unwrap();
    let words = refused(&node);
    assert!(words.contains("holds an LVM physical volume"), "{words}");
    node.kill();
    assert!(node.nvme(0).digest().unwrap() == before);
}

#[test]
fn two_disks_are_left_alone_until_one_is_named() {
    let machine = disks::machine("data = \"raw\"").emmc().nvme(Nvme::new("S1")).nvme(Nvme::new("S2"));
    let mut node = machine.start().unwrap();
    let words = refused(&node);
    for serial in ["S1", "S2"] {
        assert!(words.contains(&format!("(serial number {serial}) is blank")), "{words}");
    }
    // Either is proposed: the one that the kernel found first.
    assert!(["S1", "S2"].iter().any(|serial| words.contains(&format!("serial = \"{serial}\""))), "{words}");
    disks::restart(&mut node, "data = \"raw\"\nserial = \"S2\"");
    assert!(matches!(claim(&node), Claim::Made(_)));
    // Named once is enough.
    disks::restart(&mut node, "data = \"raw\"");
    assert!(matches!(claim(&node), Claim::Found(_)));
    node.kill();
    let blank = Disk::blank(400 << 20).unwrap().digest().unwrap();
    assert!(node.nvme(0).digest().unwrap() == blank && node.nvme(1).digest().unwrap() != blank);
}

#[test]
fn a_node_with_an_emmc_alone_says_so_comes_up_and_takes_the_rest_of_it_at_a_word() {
    let mut node = disks::machine("data = \"ext4\"").emmc().start().unwrap();
    let words = refused(&node);
    assert!(words.contains("there is no NVMe disk for data besides the system disk"), "{words}");
    let line = "serial = \"MICRODC0001\"";
    assert!(words.contains(line), "{words}");
    wait_up(&node, "n1").unwrap();
    disks::restart(&mut node, &format!("data = \"ext4\"\n{line}"));
    assert_eq!(claim(&node), Claim::Made("ext4 /dev/vda7".to_owned()));
    wait_up(&node, "n1").unwrap();
}

#[test]
fn disks_that_are_too_small_read_only_or_failing_are_named_and_the_node_comes_up() {
    let machine = disks::machine("data = \"ext4\"")
        .emmc()
        .nvme(Nvme::new("SMALL").size(64 << 20))
        .nvme(Nvme::new("READONLY").read_only())
        .nvme(Nvme::new("UNREADABLE").fault(Fault::Unreadable { at: 1 << 20 }))
        .nvme(Nvme::new("UNWRITABLE").fault(Fault::Unwritable))
        .nvme(Nvme::new("DYING").fault(Fault::DiesAfter { writes: 6 }));
    let mut node = machine.start().unwrap();
    let words = refused(&node);
    for wanted in [
        "(serial number SMALL) cannot be used: ",
        "too few",
        "(serial number UNREADABLE) cannot be used: ",
        "os error 5",
        "(serial number READONLY) is blank",
        "(serial number UNWRITABLE) is blank",
    ] {
        assert!(words.contains(wanted), "no {wanted:?} in {words}");
    }
    for serial in ["READONLY", "UNWRITABLE", "DYING"] {
        disks::restart(&mut node, &format!("data = \"ext4\"\nserial = \"{serial}\""));
        let words = refused(&node);
        assert!(words.contains("os error 5") || words.contains("Input/output error"), "{serial}: {words}");
        wait_up(&node, "n1").unwrap();
    }
    node.kill();

    // What was begun on the dying disk continues where its content is on one that works.
    let moved = Nvme::new("DYING").content(node.nvme(4).path());
    let node = disks::machine("data = \"ext4\"").emmc().nvme(moved).start().unwrap();
    assert_eq!(claim(&node), Claim::Made("ext4 /dev/nvme0n1p1".to_owned()));
    assert!(node.console().contains("the claim of nvme0n1 continues"), "{}", node.console());
}
