use super::*;
use crate::disk::gpt::Entry;
use crate::disk::layout::derived;
use crate::installer::verdict::{Judge, fresh_table, judge};
use crate::update::install::fixture::{Recipe, holds};
use contract::blank;
use contract::layout::{BLOCK, ImageLayout};
use contract::node::Serial;
use contract::role::{Compatible, ProfileName, Role};
use rustix::fs::SeekFrom;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

#[allow(dead_code, reason = "other tests use all of it")]
#[path = "../../tests/node/server.rs"]
mod server;

const ROOT_SIZE: u64 = 8 * MIB;
const HASTE: Patience = Patience {
    connect: Duration::from_secs(2),
    silence: Duration::from_secs(2),
    slowest: 0,
    tries: 2,
    pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(1),
};

fn serial(text: &str) -> Serial {
    Serial::try_from(text.to_owned()).unwrap()
}

fn recipe() -> Recipe {
    let noise = |blocks: u64, seed: u64| -> Vec<u8> {
        (0..blocks * BLOCK / 8).flat_map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ seed).to_le_bytes()).collect()
    };
    Recipe::new(noise(64, 1), noise(300, 2))
}

/// A server of one file, for so many requests; then it is not there.
struct Server {
    url: String,
    left: Arc<AtomicUsize>,
    content: Arc<Mutex<Vec<u8>>>,
}

fn serve(content: Vec<u8>) -> Server {
    let (left, content) = (Arc::new(AtomicUsize::new(usize::MAX)), Arc::new(Mutex::new(content)));
    let (requests, bytes) = (left.clone(), content.clone());
    let server = server::Server::new(move |asked| {
        let spent = requests.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        match spent {
            Ok(_) => server::ranged(&bytes.lock().unwrap(), asked, "\"1\""),
            Err(_) => server::status("503 Gone for a while"),
        }
    });
    Server { url: server.url, left, content }
}

/// Partitions in memory, which [`Memory::settle`] writes to the disk.
#[derive(Default)]
struct Memory {
    open: BTreeMap<Partition, (File, Extent)>,
    config: Option<Vec<u8>>,
    disk: Option<File>,
}

impl Partitions for Memory {
    fn forget(&mut self) -> anyhow::Result<()> {
        Ok(())
    }

    fn open(&mut self, partition: Partition, extent: Extent) -> anyhow::Result<File> {
        let file = File::from(memfd_create("partition", MemfdFlags::CLOEXEC)?);
        file.set_len(extent.length)?;
        copy(self.disk.as_ref().unwrap(), extent.offset, &file, 0, extent.length);
        self.open.insert(partition, (file.try_clone()?, extent));
        Ok(file)
    }

    fn leave_config(&mut self, _: Extent, config: &[u8]) -> anyhow::Result<()> {
        self.config = Some(config.to_vec());
        Ok(())
    }
}

impl Memory {
    fn of(disk: &File) -> Memory {
        Memory { disk: Some(disk.try_clone().unwrap()), ..Memory::default() }
    }

    fn settle(&mut self) {
        for (file, extent) in std::mem::take(&mut self.open).into_values() {
            let disk = self.disk.as_ref().unwrap();
            zero(disk, extent).unwrap();
            copy(&file, 0, disk, extent.offset, extent.length);
        }
    }
}

/// Copies what is not a hole.
fn copy(from: &File, from_at: u64, to: &File, to_at: u64, length: u64) {
    let mut at = from_at;
    let end = from_at + length;
    while let Ok(data) = rustix::fs::seek(from, SeekFrom::Data(at)).map(|data| data.min(end)) {
        if data >= end {
            break;
        }
        let hole = rustix::fs::seek(from, SeekFrom::Hole(data)).unwrap().min(end);
        let mut bytes = vec![0; (hole - data) as usize];
        from.read_exact_at(&mut bytes, data).unwrap();
        to.write_all_at(&bytes, to_at + data - from_at).unwrap();
        at = hole;
    }
}

/// A disk, and what is known of the node that it is for.
struct Bench {
    disk: File,
    size: u64,
    fresh: Table,
    recipe: Recipe,
    server: Server,
    node_is: Compatible,
    wipe: Option<Serial>,
}

fn bench() -> Bench {
    let size = ImageLayout::new(ROOT_SIZE).unwrap().image_size() + 1100 * MIB;
    let disk = tempfile::tempfile().unwrap();
    disk.set_len(size).unwrap();
    let fresh = fresh_table(Some(&serial("S1")), size, ROOT_SIZE).unwrap();
    let recipe = recipe();
    let node_is = recipe.order().node_is;
    Bench { disk, size, fresh, server: serve(recipe.bundle()), recipe, node_is, wipe: None }
}

impl Bench {
    fn verdict(&self) -> Verdict {
        let order = self.recipe.order();
        let by = Judge {
            fresh: &self.fresh,
            serial: Some(&serial("S1")),
            wipe: self.wipe.as_ref(),
            keys: &order.keys,
            node_is: &self.node_is,
        };
        judge(&mut &self.disk, self.size, &by).unwrap()
    }

    fn run(&self) -> (Result<Release, String>, Memory, Vec<UpdateEvent>) {
        let order = Order {
            slot: Slot::A,
            urls: vec![self.server.url.clone()],
            node_is: self.node_is.clone(),
            rollback_index: 0,
            ..self.recipe.order()
        };
        let (bootsel, config) = (vec![7; 9000], b"name = \"n1\"\n");
        let job = Job {
            verdict: self.verdict(),
            size: self.size,
            fresh: self.fresh.clone(),
            bootsel: &bootsel,
            config: Some(config),
            order,
            patience: HASTE,
        };
        let (mut memory, mut events) = (Memory::of(&self.disk), Vec::new());
        let result = install(&job, &self.disk, &mut memory, &mut |event| events.push(event));
        memory.settle();
        (result.map_err(|error| format!("{error:#}")), memory, events)
    }

    fn table(&self) -> Table {
        Table::read(&mut &self.disk, self.size).unwrap()
    }

    /// The EEPROM looks at the start of the disk alone.
    fn boots(&self) -> bool {
        self.bytes(512, 8) == b"EFI PART"
    }

    fn bytes(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.disk.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    fn slot_a(&self) -> Pair {
        let file = |partition| {
            let extent = extent(&self.fresh, partition).unwrap();
            let file = File::from(memfd_create("slot", MemfdFlags::CLOEXEC).unwrap());
            file.set_len(extent.length).unwrap();
            copy(&self.disk, extent.offset, &file, 0, extent.length);
            file
        };
        Pair { boot: file(Partition::BootA), root: file(Partition::RootA) }
    }

    /// Whether slot A holds the bundle, and its trailer stands at the partition's end.
    fn is_installed(&self) -> bool {
        let slot = self.slot_a();
        let mut trailer = vec![0; contract::layout::TRAILER_SIZE as usize];
        slot.root.read_exact_at(&mut trailer, ROOT_SIZE - contract::layout::TRAILER_SIZE).unwrap();
        // As a slot that just fits has it.
        slot.root.write_all_at(&trailer, self.recipe.root_with_tree().len() as u64).unwrap();
        holds(&slot, &self.recipe)
    }

    /// Lets the disk be one of a node that has made its state.
    fn with_state(&self) {
        let table = self.table();
        let state = Entry {
            number: Partition::State.number(),
            type_guid: Uuid::parse_str(Partition::State.type_guid()).unwrap(),
            guid: derived(&table.disk_guid, "partition state"),
            extent: state_extent(extent(&table, Partition::RootB).unwrap().end()).unwrap(),
            name: "state".to_owned(),
        };
        let head = self.bytes(0, Table::HEAD_LEN);
        for write in table.with(&state, self.size).unwrap().writes(self.size, &head) {
            put(&self.disk, &write).unwrap();
        }
        self.disk.write_all_at(b"precious", state.extent.offset + 4096).unwrap();
    }
}

#[test]
fn a_blank_disk_gets_the_bundle_and_its_config_and_a_table_in_which_sgdisk_finds_no_fault() {
    let bench = bench();
    assert_eq!(bench.verdict(), Verdict::Blank);
    let (result, memory, events) = bench.run();
    assert_eq!(result.unwrap().version, "2.0");
    assert!(matches!(events.last(), Some(UpdateEvent::Installed { .. })), "{events:?}");
    assert!(bench.boots() && bench.is_installed());
    assert_eq!(memory.config.as_deref(), Some(&b"name = \"n1\"\n"[..]));
    assert_eq!(bench.bytes(extent(&bench.fresh, Partition::Bootsel).unwrap().offset, 9001)[8999..], [7, 0]);
    assert_eq!(bench.verdict(), Verdict::Unused(bench.table()));

    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(bench.size).unwrap();
    copy(&bench.disk, 0, file.as_file(), 0, bench.size);
    let checked = std::process::Command::new("sgdisk").arg("-v").arg(file.path()).output();
    let words = String::from_utf8_lossy(&checked.expect("sgdisk (package gdisk)").stdout).into_owned();
    assert!(words.contains("No problems found") && !words.to_lowercase().contains("warning"), "{words}");
}

#[test]
fn a_bundle_that_is_refused_changes_no_byte_of_the_disk() {
    let mut bench = bench();
    let good = bench.recipe.bundle();
    let mut forged = recipe();
    forged.key = 2;
    let mut large = Recipe::new(recipe().boot, vec![9; ROOT_SIZE as usize]);
    large.pack = <[u8]>::to_vec;
    for (bundle, reason) in [
        (forged.bundle(), "key"),
        (large.bundle(), "needs"),
        (good[..good.len() - 1].to_vec(), "bytes, but the bundle's header says"),
        (good[..100].to_vec(), "head"),
        (b"<html>not found</html>".to_vec(), "refused"),
    ] {
        *bench.server.content.lock().unwrap() = bundle;
        let error = bench.run().0.unwrap_err();
        assert!(error.contains(reason), "{reason}: {error}");
        assert_eq!(bench.disk.metadata().unwrap().blocks(), 0, "{error}");
    }
    *bench.server.content.lock().unwrap() = good;
    for (role, profile) in [("minio", "minio"), ("router", "edge")] {
        bench.node_is = Compatible { role: role.parse().unwrap(), profile: profile.parse().unwrap() };
        let error = bench.run().0.unwrap_err();
        assert!(error.contains("it is for profile \"router\""), "{error}");
    }
    bench.node_is = bench.recipe.order().node_is;
    bench.server.left.store(0, Ordering::SeqCst);
    assert!(bench.run().0.unwrap_err().contains("cannot be fetched"));
    assert_eq!(bench.disk.metadata().unwrap().blocks(), 0);
}

#[test]
fn an_installation_that_is_cut_off_anywhere_is_never_bootable_and_goes_on_from_where_it_was() {
    let bench = bench();
    // As many requests as it takes, and one fewer each time.
    let all = {
        let whole = self::bench();
        whole.server.left.store(1000, Ordering::SeqCst);
        whole.run().0.unwrap();
        1000 - whole.server.left.load(Ordering::SeqCst)
    };
    let mut begun = 0;
    for requests in 1..all {
        bench.server.left.store(requests, Ordering::SeqCst);
        let (result, _, _) = bench.run();
        if result.is_ok() {
            // What the tries before have brought was enough: the last word to the server needs no answer.
            break;
        }
        assert!(!bench.boots(), "after {requests} of {all} requests");
        begun += usize::from(matches!(bench.verdict(), Verdict::Unused(_)));
    }
    assert!(begun > 0, "no try came as far as the disk: {all} requests");
    bench.server.left.store(usize::MAX, Ordering::SeqCst);
    bench.run().0.unwrap();
    assert!(bench.boots() && bench.is_installed());
}

#[test]
fn a_foreign_disk_is_left_alone_until_node_toml_names_it_and_then_nothing_of_it_is_left() {
    let mut bench = bench();
    let state = state_extent(extent(&bench.fresh, Partition::RootB).unwrap().end()).unwrap();
    let places =
        [(0, &b"XFSB"[..]), (70 * MIB, b"files"), (state.offset + MIB, b"more"), (bench.size - 512, b"EFI PART")];
    for (at, bytes) in places {
        bench.disk.write_all_at(bytes, at).unwrap();
    }
    let found = "an XFS file system and a partition table";
    for wipe in [None, Some(serial("S2"))] {
        bench.wipe = wipe;
        assert_eq!(bench.verdict(), Verdict::Refused(found.to_owned()));
        assert!(bench.run().0.unwrap_err().contains(found));
        assert_eq!(bench.bytes(70 * MIB, 5), b"files");
    }
    bench.wipe = Some(serial("S1"));
    assert_eq!(bench.verdict(), Verdict::Erase(found.to_owned()));
    bench.run().0.unwrap();
    assert!(bench.boots() && bench.is_installed());
    assert_eq!(bench.bytes(70 * MIB, 5), [0; 5]);
    assert_eq!(blank::first_data(&mut &bench.disk, state, || ()).unwrap(), None);
}

#[test]
fn a_node_of_this_profile_keeps_its_state_and_refuses_what_is_older_and_another_node_is_left_alone() {
    let mut bench = bench();
    bench.run().0.unwrap();
    bench.with_state();
    assert_eq!(bench.verdict(), Verdict::Node(bench.table(), 5));
    let state = bench.table().find(Partition::State).unwrap().extent;

    let mut older = recipe();
    older.manifest.rollback_index = 4;
    let newer = std::mem::replace(&mut *bench.server.content.lock().unwrap(), older.bundle());
    assert!(bench.run().0.unwrap_err().contains("rollback index is 4"));
    assert!(bench.boots() && bench.is_installed(), "nothing was begun");
    *bench.server.content.lock().unwrap() = newer;
    // Cut off in the middle: no slot is signed then, and the node is still known.
    let at = extent(&bench.fresh, Partition::RootA).unwrap().end() - 4096 * 16;
    bench.disk.write_all_at(&[0; 4096], at).unwrap();
    assert!(matches!(bench.verdict(), Verdict::Refused(found) if found.contains("the state of a node")));
    bench.disk.write_all_at(&[0; 4096], 0).unwrap();
    assert!(matches!(bench.verdict(), Verdict::Node(_, 0)));
    bench.run().0.unwrap();
    assert!(bench.boots() && bench.is_installed());
    assert_eq!(bench.table().find(Partition::State).unwrap().extent, state);
    assert_eq!(bench.bytes(state.offset + 4096, 8), b"precious");

    bench.node_is =
        Compatible { role: Role::literal("router"), profile: ProfileName::try_from("edge".to_owned()).unwrap() };
    assert!(matches!(bench.verdict(), Verdict::Refused(found) if found.contains("a node of profile \"router\"")));
    bench.wipe = Some(serial("S1"));
    assert!(matches!(bench.verdict(), Verdict::Erase(_)));
}

#[test]
fn a_disk_with_half_of_our_table_at_its_end_is_blank_and_with_anything_else_it_is_not() {
    let bench = bench();
    let backup = bench.fresh.backup(bench.size);
    for length in [512, 8192, backup.bytes.len() - 512] {
        bench.disk.write_all_at(&backup.bytes[..length], backup.offset).unwrap();
        assert_eq!(bench.verdict(), Verdict::Blank, "{length} bytes");
    }
    for at in [0, 100 * MIB, backup.offset - 1, bench.size - 1] {
        let byte = bench.bytes(at, 1)[0];
        bench.disk.write_all_at(&vec![byte ^ 1; 4 * MIB as usize][..1], at).unwrap();
        let blank = bench.verdict() == Verdict::Blank;
        // One byte in the midst of a large disk may be missed, as the claim says; not at its ends.
        assert!(!blank || at == 100 * MIB, "byte {at}");
        bench.disk.write_all_at(&[byte], at).unwrap();
    }
}

#[test]
fn a_table_of_other_partitions_is_foreign_and_one_of_another_size_that_nobody_used_is_laid_out_anew() {
    let bench = bench();
    let other = fresh_table(Some(&serial("S1")), bench.size, 16 * MIB).unwrap();
    put(&bench.disk, &other.backup(bench.size)).unwrap();
    for write in other.primary_anew(bench.size) {
        put(&bench.disk, &write).unwrap();
    }
    bench.disk.write_all_at(b"old root", extent(&other, Partition::RootB).unwrap().offset).unwrap();
    assert_eq!(bench.verdict(), Verdict::Unused(bench.table()));
    bench.run().0.unwrap();
    assert_eq!(places(&bench.table()), places(&bench.fresh));
    assert_eq!(bench.bytes(extent(&other, Partition::RootB).unwrap().offset, 8), [0; 8]);

    let more = Entry {
        number: 9,
        type_guid: Uuid::from_u128(1),
        guid: Uuid::from_u128(2),
        extent: Extent { offset: 1000 * MIB, length: MIB },
        name: "photos".to_owned(),
    };
    let table = bench.table().with(&more, bench.size).unwrap();
    for write in table.writes(bench.size, &bench.bytes(0, Table::HEAD_LEN)) {
        put(&bench.disk, &write).unwrap();
    }
    assert!(matches!(bench.verdict(), Verdict::Refused(found) if found.contains("a partition table")));
}

#[test]
fn a_disk_too_small_for_system_and_state_is_not_begun() {
    let needed = ImageLayout::new(ROOT_SIZE).unwrap().image_size() + contract::layout::STATE_SIZE + Table::TAIL_LEN;
    assert!(fresh_table(None, needed, ROOT_SIZE).is_ok());
    let error = fresh_table(None, needed - 512, ROOT_SIZE).unwrap_err().to_string();
    assert!(error.contains(&format!("{} bytes, too few", needed - 512)) && error.contains("larger disk"), "{error}");
    assert!(fresh_table(None, 1 << 40, 5).is_err());
}
