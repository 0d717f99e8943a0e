//! What must hold of every state, inspected on the host.

use super::record::{Promise, Record};
use contract::autoboot;
use contract::hash::Digest;
use contract::keys::PublicKey;
use contract::layout::{AUTOBOOT_MAX, Extent, ImageLayout, MIB, Partition, SECTOR, Slot};
use contract::node::Serial;
use emulator::Disk;
use emulator::eeprom::{self, Board};
use emulator::powercut::{Cut, Entry, WriteLog};
use ext4_view::{Ext4, Ext4Read};
use firstboot::dry_run::{Claimant, Outcome};
use qemu_tests::images;
use rustix::fs::SeekFrom;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

/// What the states of a record must show.
pub struct Expect<'r> {
    record: &'r Record,
    layout: ImageLayout,
    trusted: [PublicKey; 1],
    first: Slot,
    /// Entries that rewrite the sector of autoboot.txt, and for which slot.
    rewrites: Vec<(usize, Slot)>,
    /// End of the last slot.
    slots_end: u64,
}

impl<'r> Expect<'r> {
    pub fn of(record: &'r Record) -> Expect<'r> {
        let before = Disk::copy_of(&record.before, 0).unwrap();
        let bootsel = before.extent(Partition::Bootsel).unwrap();
        let root = before.extent(Partition::RootA).unwrap();
        let layout = ImageLayout::new(root.length).unwrap();
        let (sector, first) = choice(before.raw(), bootsel);
        let rewrites: Vec<(usize, Slot)> = rewrites(&record.log, sector);
        let wanted: &[Slot] = if record.facts.committed { &[Slot::B] } else { &[] };
        let found: Vec<Slot> = rewrites.iter().map(|(_, slot)| *slot).collect();
        assert_eq!(found, wanted, "autoboot.txt is rewritten once at a commit, and never else");
        let slots_end = before.extent(Partition::RootB).unwrap().end();
        Expect { record, layout, trusted: [images::signing_key().public()], first, rewrites, slots_end }
    }

    /// How many slots the states of this record start, all together.
    pub fn slots(&self) -> usize {
        1 + self.rewrites.len()
    }

    /// The slot that the EEPROM starts in this state, when it may.
    pub fn slot(&self, cut: &Cut, disk: &Disk) -> Result<Slot, String> {
        let eeprom = eeprom::Eeprom::default();
        let request = eeprom::Request { board: Board::Cm4, eeprom, tryboot: false, partition: 0 };
        let boot = eeprom::decide(disk.raw(), request).map_err(|error| format!("a brick: {error}"))?;
        let slot = Slot::from_boot_number(boot.partition).ok_or(format!("partition {} starts", boot.partition))?;
        if !boot.notes.is_empty() {
            return Err(format!("the EEPROM had to look around: {:?}", boot.notes));
        }
        // Before the sector's rewrite is on its way the old one, when it was flushed the new one.
        let mut may = BTreeSet::from([self.first]);
        for (entry, slot) in &self.rewrites {
            if *entry < cut.flushed() {
                may.clear();
            }
            if *entry < cut.until() {
                may.insert(*slot);
            }
        }
        if may.contains(&slot) { Ok(slot) } else { Err(format!("slot {slot} starts, and only {may:?} may")) }
    }
}

/// Where the sector of autoboot.txt lies, and what it says.
fn choice(disk: &File, bootsel: Extent) -> (Extent, Slot) {
    let mut bytes = vec![0; usize::try_from(bootsel.length).unwrap()];
    disk.read_exact_at(&mut bytes, bootsel.offset).unwrap();
    let found = bytes.chunks(SECTOR as usize).enumerate();
    let found: Vec<(usize, Slot)> =
        found.filter_map(|(at, sector)| Some((at, autoboot::default_slot(&sector[..AUTOBOOT_MAX])?))).collect();
    let [(at, slot)] = found[..] else { panic!("{} sectors look like autoboot.txt", found.len()) };
    (Extent { offset: bootsel.offset + at as u64 * SECTOR, length: SECTOR }, slot)
}

fn rewrites(log: &WriteLog, sector: Extent) -> Vec<(usize, Slot)> {
    let mut found = Vec::new();
    for (index, entry) in log.entries().iter().enumerate() {
        let (start, end) = (entry.offset(), entry.offset() + entry.length());
        if start >= sector.end() || end <= sector.offset {
            continue;
        }
        let Entry::Write { at, .. } = *entry else { panic!("entry {index} throws autoboot.txt away") };
        assert_eq!((start, end), (sector.offset, sector.end()), "entry {index} writes more than the sector");
        let bytes = log.read(at, AUTOBOOT_MAX).unwrap();
        found.push((index, autoboot::default_slot(&bytes).expect("a whole autoboot.txt is written")));
    }
    found
}

/// What was found out about bytes, by their history. Two states with the same history there hold the same bytes.
pub type Known = Mutex<BTreeMap<(&'static str, Digest, usize), Result<(), String>>>;

/// Looks at states, one after the other.
pub struct Checked<'e> {
    expect: &'e Expect<'e>,
    known: &'e Known,
    scratch: tempfile::TempDir,
}

impl<'e> Checked<'e> {
    pub fn new(expect: &'e Expect<'e>, known: &'e Known) -> Checked<'e> {
        Checked { expect, known, scratch: tempfile::tempdir().unwrap() }
    }

    /// The slot that starts, when all is well.
    pub fn state(&mut self, cut: &Cut, disk: &Disk) -> Result<Slot, String> {
        let Expect { record, layout, .. } = self.expect;
        let slot = self.expect.slot(cut, disk)?;
        let extents = [slot.boot(), slot.root()].map(|partition| layout.extent(partition).unwrap());
        let histories = extents.map(|extent| cut.history(&record.log, extent).0);
        self.once(("slot", Digest::of(histories.as_flattened()), slot as usize), || {
            let found = microdc::verify::slot(disk.raw(), *layout, slot, &self.expect.trusted);
            match found {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err(format!("slot {slot} has no trailer")),
                Err(error) => Err(format!("slot {slot} is damaged: {error}")),
            }
        })?;
        // The partition table and bootsel, and everything behind the slots.
        let length = disk.raw().metadata().unwrap().len();
        let head = Extent { offset: 0, length: layout.extent(Partition::BootA).unwrap().offset };
        let rest = Extent { offset: self.expect.slots_end, length: length - self.expect.slots_end };
        let histories = [head, rest].map(|extent| cut.history(&record.log, extent).0);
        let promises: Vec<&Promise> = record.facts.promises_at(cut.until()).collect();
        self.once(("rest", Digest::of(histories.as_flattened()), promises.len()), || {
            let copy = Disk::blank(length).map_err(|error| error.to_string())?;
            for extent in [head, rest] {
                copy_data(disk.raw(), copy.raw(), extent, extent.offset).map_err(|error| error.to_string())?;
            }
            self.recovers(&copy, &promises)
        })?;
        Ok(slot)
    }

    fn once(
        &self,
        key: (&'static str, Digest, usize),
        look: impl FnOnce() -> Result<(), String>,
    ) -> Result<(), String> {
        if let Some(known) = self.known.lock().unwrap().get(&key) {
            return known.clone();
        }
        let found = look();
        self.known.lock().unwrap().insert(key, found.clone());
        found
    }

    /// `state` and `data` are there, or are made by the next boot when nothing in them was promised yet.
    fn recovers(&self, disk: &Disk, promises: &[&Promise]) -> Result<(), String> {
        // What was promised is read before anything of ours has repaired the disk.
        for partition in [Partition::State, Partition::Data] {
            let promised: Vec<_> = promises.iter().filter(|promise| promise.place().0 == partition).collect();
            if promised.is_empty() {
                continue;
            }
            let name = partition.name();
            let file = self.scratch.path().join(name);
            let extent = disk.extent(partition).map_err(|error| error.to_string())?;
            let copy = File::options().create(true).truncate(true).read(true).write(true).open(&file).unwrap();
            copy.set_len(extent.length).unwrap();
            copy_data(disk.raw(), &copy, extent, 0).map_err(|error| error.to_string())?;
            let said = repair(&file).map_err(|said| format!("{name} is beyond repair: {said}"))?;
            let view = Ext4::load(Box::new(InFile(copy))).map_err(|error| format!("{name}: {error}\n{said}"))?;
            for promise in promised {
                let path = promise.place().1;
                let found = view.read(path).map_err(|error| format!("{} is lost: {error}\n{said}", promise.path))?;
                if found != promise.content {
                    return Err(format!("{} holds {:?}", promise.path, String::from_utf8_lossy(&found)));
                }
            }
            if partition == Partition::State {
                let memory = view.exists("/update.json").map_err(|error| error.to_string())?;
                let memory =
                    memory.then(|| view.read("/update.json")).transpose().map_err(|error| error.to_string())?;
                let parsed = memory.map(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes)).transpose();
                parsed.map_err(|error| format!("update.json: {error}"))?;
            }
        }
        let claimant = Claimant {
            cluster: Some("rack1".to_owned()),
            node: "n1".to_owned(),
            serial: Serial::try_from("MICRODC0001".to_owned()).unwrap(),
            wipe: None,
            scratch: self.scratch.path().to_owned(),
        };
        let (state, data) =
            claimant.system(disk.path()).map_err(|error| format!("the next boot's claim: {error:#}"))?;
        for (outcome, partition) in [(state, Partition::State), (data, Partition::Data)] {
            let promised = promises.iter().any(|promise| promise.place().0 == partition);
            match outcome {
                Outcome::Found => {}
                Outcome::Made if !promised => {}
                other => return Err(format!("{}: {other:?}", partition.name())),
            }
        }
        Ok(())
    }
}

/// A file system in a file, for the independent reader.
struct InFile(File);

impl Ext4Read for InFile {
    fn read(&mut self, start_byte: u64, dst: &mut [u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.read_exact_at(dst, start_byte)?)
    }
}

/// As a node does: the journal first, then what e2fsck can repair. Exit statuses below 4: it is complete now.
fn repair(file: &Path) -> Result<String, String> {
    let mut words = String::new();
    for how in ["-p", "-y"] {
        let output = Command::new("/usr/sbin/e2fsck").args(["-f", how]).arg(file).output();
        let output = output.or_else(|_| Command::new("e2fsck").args(["-f", how]).arg(file).output()).unwrap();
        words.push_str(&String::from_utf8_lossy(&output.stdout));
        if output.status.code().is_some_and(|code| code < 4) {
            return Ok(words);
        }
    }
    Err(words)
}

/// Copies what is not a hole.
fn copy_data(from: &File, to: &File, extent: Extent, to_offset: u64) -> io::Result<()> {
    let mut buffer = vec![0; MIB as usize];
    let mut at = extent.offset;
    while at < extent.end() {
        at = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = rustix::fs::seek(from, SeekFrom::Hole(at))?.min(extent.end());
        while at < hole {
            let bytes = &mut buffer[..(hole - at).min(MIB) as usize];
            from.read_exact_at(bytes, at)?;
            if bytes.iter().any(|&byte| byte != 0) {
                to.write_all_at(bytes, to_offset + (at - extent.offset))?;
            }
            at += bytes.len() as u64;
        }
    }
    Ok(())
}
