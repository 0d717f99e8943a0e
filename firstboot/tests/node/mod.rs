//! A node's two slots as files, and web servers that behave as they are told.

mod pack;
pub mod server;

pub use pack::lzma2;

use contract::hash::Digest;
use contract::keys::PrivateKey;
use contract::layout::TRAILER_SIZE;
use contract::trailer::Trailer;
use contract::update::{Release, UpdateEvent};
use firstboot::install::fixture::{Parts, Recipe};
use firstboot::install::{InstallError, Order, Pair, Patience, Source, install};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

pub const BLOCK: usize = 4096;
/// Sizes of the partitions, in bytes.
const BOOT: u64 = 60 * 4096;
const ROOT: u64 = 2 << 20;

/// Little of it: servers here are near, or hostile.
pub const PATIENCE: Patience = Patience {
    connect: Duration::from_secs(5),
    silence: Duration::from_millis(400),
    slowest: 100_000,
    tries: 3,
    pause: Duration::from_millis(5),
    longest_pause: Duration::from_millis(20),
};

/// Bytes without order, other ones for each seed.
pub fn noise(blocks: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(blocks * BLOCK);
    while bytes.len() < blocks * BLOCK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

/// What is installed: zeros in it, blocks that can be packed, and blocks that cannot; three levels' worth of root.
pub fn new_release() -> Recipe {
    static NEW: LazyLock<Recipe> = LazyLock::new(make_new);
    NEW.clone()
}

fn make_new() -> Recipe {
    let boot = [noise(20, 1), vec![0; 10 * BLOCK], vec![7; 5 * BLOCK], noise(3, 2)].concat();
    let root = [noise(140, 3), vec![0; 40 * BLOCK], vec![9; 20 * BLOCK], noise(101, 4)].concat();
    let mut recipe = Recipe::new(boot, root);
    recipe.pack = lzma2;
    // Not the usual length.
    recipe.frame_blocks = 4;
    recipe
}

/// What runs: the new one with a few blocks otherwise, and everything one block further back.
pub fn old_release() -> Recipe {
    static OLD: LazyLock<Recipe> = LazyLock::new(make_old);
    OLD.clone()
}

fn make_old() -> Recipe {
    let new = new_release();
    let mut boot = new.boot.clone();
    boot[3 * BLOCK..5 * BLOCK].copy_from_slice(&noise(2, 5));
    let mut root = [noise(1, 6), new.root].concat();
    root[100 * BLOCK..103 * BLOCK].copy_from_slice(&noise(3, 7));
    let mut old = Recipe::new(boot, root);
    old.manifest.version = "1.0".parse().unwrap();
    old
}

pub struct Node {
    folder: tempfile::TempDir,
    pub standby: Pair,
    pub running: Pair,
}

impl Node {
    /// With nothing in the standby slot.
    pub fn new() -> Node {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, size| File::create(folder.path().join(name)).unwrap().set_len(size).unwrap();
        for (name, size) in [("boot-a", BOOT), ("root-a", ROOT), ("boot-b", BOOT), ("root-b", ROOT)] {
            make(name, size);
        }
        put(folder.path(), "a", &old_release());
        let open =
            |name: &str, write| File::options().read(true).write(write).open(folder.path().join(name)).unwrap();
        let standby = Pair { boot: open("boot-b", true), root: open("root-b", true) };
        let running = Pair { boot: open("boot-a", false), root: open("root-a", false) };
        Node { folder, standby, running }
    }

    /// With an older release in the standby slot that could be started.
    pub fn with_older() -> Node {
        let node = Node::new();
        let mut older = Recipe::new(noise(38, 20), noise(250, 21));
        older.manifest.version = "0.9".parse().unwrap();
        put(node.folder.path(), "b", &older);
        node
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn order(&self, urls: &[&str]) -> Order {
        let mut order = new_release().order();
        order.running = Some(old_release().manifest);
        order.urls = urls.iter().map(|&url| url.to_owned()).collect();
        order
    }

    pub fn digest(&self, slot: &str) -> [Digest; 2] {
        ["boot", "root"].map(|name| Digest::of(&std::fs::read(self.path(&format!("{name}-{slot}"))).unwrap()))
    }

    /// Installs, and what was told.
    pub fn install(&self, order: &Order, source: Source<'_>) -> (Result<Release, InstallError>, Vec<UpdateEvent>) {
        let mut told = Vec::new();
        let result = install(order, &self.standby, &self.running, source, &mut |event| told.push(event));
        assert!(told.last().is_none_or(UpdateEvent::is_last), "{told:?}");
        assert!(told.iter().rev().skip(1).all(|event| !event.is_last()), "{told:?}");
        (result, told)
    }

    pub fn stream(&self, order: &Order, bundle: &[u8]) -> (Result<Release, InstallError>, Vec<UpdateEvent>) {
        self.install(order, Source::Stream(&mut &bundle[..]))
    }

    pub fn web(&self, order: &Order) -> (Result<Release, InstallError>, Vec<UpdateEvent>) {
        self.install(order, Source::Web(PATIENCE))
    }

    /// The standby slot holds exactly this.
    pub fn assert_holds(&self, release: &Recipe) {
        let (boot, root) = (std::fs::read(self.path("boot-b")).unwrap(), std::fs::read(self.path("root-b")).unwrap());
        assert!(boot.starts_with(&release.boot), "the boot image");
        let wanted = release.root_with_tree();
        let wrong = root.chunks(BLOCK).zip(wanted.chunks(BLOCK)).position(|(found, wanted)| found != wanted);
        assert_eq!(wrong, None, "first wrong block of the root image and its tree");
        assert_eq!(Trailer::parse(&root[root.len() - TRAILER_SIZE as usize..]).unwrap(), release.trailer());
    }

    /// Neither the initramfs nor the EEPROM takes the standby slot.
    pub fn assert_cannot_start(&self) {
        let (boot, root) = (std::fs::read(self.path("boot-b")).unwrap(), std::fs::read(self.path("root-b")).unwrap());
        assert!(root[root.len() - TRAILER_SIZE as usize..].iter().all(|&byte| byte == 0), "the trailer");
        assert!(boot[..BLOCK].iter().all(|&byte| byte == 0), "the first block");
    }
}

fn put(folder: &Path, slot: &str, release: &Recipe) {
    use std::os::unix::fs::FileExt as _;
    let open = |name: &str| File::options().write(true).open(folder.join(format!("{name}-{slot}"))).unwrap();
    open("boot").write_all_at(&release.boot, 0).unwrap();
    open("root").write_all_at(&release.root_with_tree(), 0).unwrap();
    open("root").write_all_at(&release.trailer().to_bytes().unwrap(), ROOT - TRAILER_SIZE).unwrap();
}

/// Where the section begins and ends.
pub fn section(parts: &Parts, name: &str) -> (usize, usize) {
    let mut at = 0;
    for (section, bytes) in parts.sections() {
        if section == name {
            return (at, at + bytes.len());
        }
        at += bytes.len();
    }
    panic!("no section {name}");
}

/// The right bundle with another manifest, signed by the trusted key.
pub fn resigned(change: impl Fn(&mut String)) -> Vec<u8> {
    let mut parts = new_release().parts();
    let mut text = String::from_utf8(parts.head.trailer.manifest.clone()).unwrap();
    change(&mut text);
    parts.head.trailer.signature = PrivateKey::from_seed(&[1; 32]).sign(text.as_bytes());
    parts.head.trailer.manifest = text.into_bytes();
    parts.bytes()
}

/// As [`resigned`], with a word of the manifest in place of another.
pub fn replaced(from: &str, to: &str) -> Vec<u8> {
    resigned(|text| {
        assert!(text.contains(from), "{from} in {text}");
        *text = text.replacen(from, to, 1);
    })
}
