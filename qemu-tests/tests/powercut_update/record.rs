//! Runs, and the records that are kept of them.

use contract::control::Request as Ask;
use contract::layout::Partition;
use emulator::powercut::WriteLog;
use emulator::{Disk, Node};
use microdc::serve::Server;
use qemu_tests::bundles;
use qemu_tests::disks;
use qemu_tests::forge::Forge;
use qemu_tests::images;
use qemu_tests::probe::Request;
use qemu_tests::router::{STEP, wait_up};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Longest wait for an installation, a trial and a commit.
const LONG: Duration = Duration::from_secs(600);
const VERSION_B: &str = "power-2";

/// A file that is there, with this content, after every cut behind so many entries of the record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Promise {
    since: usize,
    /// As the node names it.
    pub path: String,
    pub content: Vec<u8>,
}

impl Promise {
    /// Where it lies: the partition, and the path in it.
    pub fn place(&self) -> (Partition, &str) {
        match self.path.strip_prefix("/state") {
            Some(rest) => (Partition::State, rest),
            None => (Partition::Data, self.path.strip_prefix("/data").expect("a file of state or data")),
        }
    }
}

/// What a record is to be judged by.
#[derive(Debug, Serialize, Deserialize)]
pub struct Facts {
    pub seed: u64,
    pub promises: Vec<Promise>,
    /// Whether the run ended on slot B.
    pub committed: bool,
}

impl Facts {
    /// What is to be there after a cut behind `until` entries. The very last of them may be lost, although the disk had said
    /// that it is done: a state where everything up to the promise is sure is one entry further on.
    pub fn promises_at(&self, until: usize) -> impl Iterator<Item = &Promise> {
        self.promises.iter().filter(move |promise| promise.since < until)
    }
}

/// A run that is over.
pub struct Record {
    /// The disk as it was when the run began.
    pub before: PathBuf,
    pub log: WriteLog,
    pub facts: Facts,
    log_path: PathBuf,
    /// What the files above go away with, while they are not kept.
    _alive: Option<(Node, Disk)>,
}

/// Where the record of a run is kept.
pub fn folder(name: &str) -> PathBuf {
    images::target().join("powercut").join(name)
}

impl Record {
    pub fn keep(&self, folder: &Path) {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).unwrap();
        let before = Disk::copy_of(&self.before, 0).unwrap();
        // The copy is sparse, and a rename keeps it so; from another file system it is copied once more.
        let kept = folder.join("before.img");
        let copied = std::process::Command::new("cp").arg("--sparse=always").arg(before.path()).arg(&kept).status();
        assert!(copied.unwrap().success());
        fs::copy(&self.log_path, folder.join("writes.log")).unwrap();
        fs::write(folder.join("facts.json"), serde_json::to_vec(&self.facts).unwrap()).unwrap();
    }

    pub fn load(folder: &Path) -> Record {
        let facts = fs::read(folder.join("facts.json"));
        let facts = facts.unwrap_or_else(|error| panic!("no record is kept in {}: {error}", folder.display()));
        let log_path = folder.join("writes.log");
        Record {
            before: folder.join("before.img"),
            log: WriteLog::open(&log_path).unwrap(),
            facts: serde_json::from_slice(&facts).unwrap(),
            log_path,
            _alive: None,
        }
    }
}

/// A run under way.
pub struct Run {
    node: Node,
    before: Disk,
    promises: Vec<Promise>,
    committed: bool,
}

impl Run {
    /// Switches a node on and waits until it is up.
    pub fn start(mut node: Node) -> Run {
        let before = Disk::copy_of(node.disk().path(), 0).unwrap();
        node.power_on().unwrap();
        wait_up(&node, "n1").unwrap();
        Run { node, before, promises: Vec::new(), committed: false }
    }

    fn entries(&self) -> usize {
        WriteLog::open(self.node.write_log().unwrap()).unwrap().entries().len()
    }

    /// A file that the node has synced itself.
    pub fn promise(&mut self, path: &str) {
        let content = disks::ask(&self.node, &Request::Cat(path.to_owned()));
        assert!(!content.is_empty(), "{path} is empty");
        self.promises.push(Promise { since: self.entries(), path: path.to_owned(), content });
    }

    /// A file that the probe writes and syncs.
    pub fn write(&mut self, path: &str) {
        let text = format!("{path} stays, as entry {} is behind it", self.entries());
        let _ = disks::ask(&self.node, &Request::Write { path: path.to_owned(), text: text.clone() });
        self.promises.push(Promise { since: self.entries(), path: path.to_owned(), content: text.into() });
    }

    /// Waits until the node says this.
    pub fn wait(&mut self, text: &str) {
        self.node.expect(text, LONG).unwrap();
        self.committed |= text.starts_with("committed");
    }

    /// Lets the node take an update, and waits until it is up in its trial.
    pub fn update(&mut self) {
        let release = Forge::of(&images::disks())
            .version(VERSION_B)
            .manifest(|manifest| manifest.rollback_index += 1)
            .option("quiet")
            .finish();
        let folder = tempfile::tempdir().unwrap();
        bundles::write(&release, &folder.path().join("b.bundle"));
        let server = Server::start(folder.path(), "127.0.0.1:0".parse().unwrap()).unwrap();
        let url = format!("http://10.0.2.2:{}/b.bundle", server.address().port());
        disks::order(&self.node, Ask::Update { urls: vec![url], dry_run: false, force: false });
        self.node.expect(", tryboot 1", LONG).unwrap();
        // The update is for the role that the profile declares, whatever it is called.
        let up = wait_up(&self.node, "n1").unwrap();
        assert!(up.contains("role edge"), "{up}");
    }

    /// Ends the trial by hand, and waits until the old slot is up.
    pub fn roll_back(&mut self) {
        disks::order(&self.node, Ask::Rollback { force: false });
        self.node.expect(&format!("the trial of {VERSION_B} failed"), LONG).unwrap();
        wait_up(&self.node, "n1").unwrap();
    }

    /// Switches the node off as an operator does.
    pub fn end(mut self) -> Record {
        self.node.power_off().unwrap();
        self.node.wait_off(STEP).unwrap();
        self.node.kill();
        let log_path = self.node.write_log().unwrap().to_owned();
        let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into();
        Record {
            before: self.before.path().to_owned(),
            log: WriteLog::open(&log_path).unwrap(),
            facts: Facts { seed, promises: self.promises, committed: self.committed },
            log_path,
            _alive: Some((self.node, self.before)),
        }
    }
}
