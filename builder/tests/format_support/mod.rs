//! What the format tests share: a tree with everything in it, a boot partition that passes the checks, and the
//! independent tools.

pub mod elf;

use contract::keys::{PrivateKey, PublicKey};
use contract::layout::{ImageLayout, MIB};
use contract::role::{Compatible, ProfileName, Role};
use microdc::boot::files::KERNEL_OPTIONS;
use microdc::boot::kernel::{DEVICE_TREE, PI4_DEVICE_TREE};
use microdc::format::fat::FatFile;
use microdc::image::{self, ImageSpec, ImageSummary};
use microdc::slot::SlotSpec;
use microdc::tree::{Content, Entry, Kind, Node, Owner, Package, SourcePackage, Tree};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

const ROUTER: Role = Role::literal("router");

/// A moment in 2026.
pub const BUILT: u64 = 1_790_000_000;

/// Runs a tool and returns what it said, whatever its status.
pub fn tool(program: &str, arguments: &[&str]) -> Output {
    let package = match program {
        "e2fsck" | "debugfs" | "dumpe2fs" => "e2fsprogs",
        "fsck.fat" => "dosfstools",
        "sgdisk" => "gdisk",
        "veritysetup" => "cryptsetup-bin",
        "mdir" | "mtype" => "mtools",
        other => other,
    };
    let path = format!("/usr/sbin:/sbin:{}", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).env("LC_ALL", "C").output();
    output.unwrap_or_else(|error| panic!("{program} cannot be started ({error}): install {package}"))
}

/// Runs a tool that must be content, and returns what it printed.
pub fn tool_ok(program: &str, arguments: &[&str]) -> String {
    let output = tool(program, arguments);
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{out}{err}", output.status);
    out + &err
}

/// Bytes that follow from a seed and do not compress.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

pub fn file(bytes: Vec<u8>, mode: u32, owner: (u32, u32)) -> Node {
    let mut node = Node::of(Kind::File(bytes.into()), mode, "test");
    node.owner = Owner { uid: owner.0, gid: owner.1 };
    node
}

/// A tree with every kind of thing in it.
pub fn tree() -> Tree {
    let mut tree = microdc::tree::base::skeleton();
    let mut put = |path: &str, node: Node| {
        tree.insert_parents(path);
        tree.insert(path, node).unwrap();
    };
    for length in [0, 1, 59, 4095, 4096, 4097, 12_288, 100_001, 5 * 1024 * 1024 + 7] {
        put(&format!("usr/share/sizes/{length}"), file(noise(length, length as u64), 0o644, (0, 0)));
    }
    put("usr/share/sizes/zeros", file(vec![0; 70_000], 0o600, (7, 8)));
    put("usr/bin/set-uid", file(noise(300, 1), 0o4755, (0, 0)));
    put("usr/bin/set-gid", file(noise(300, 2), 0o2755, (0, 42)));
    put("usr/bin/large-owner", file(noise(300, 3), 0o640, (4_000_000_000, 70_000)));
    let mut ping = file(noise(300, 4), 0o755, (0, 0));
    ping.xattrs.insert("security.capability".to_owned(), noise(20, 5));
    put("usr/bin/ping", ping);
    let mut many = file(noise(10, 6), 0o644, (0, 0));
    for number in 0..12 {
        many.xattrs.insert(format!("user.attribute-{number}"), noise(100, number));
    }
    put("etc/many-attributes", many);
    put("usr/bin/first-name", file(noise(9000, 7), 0o755, (0, 0)));
    put("usr/bin/a-second-name", Node::of(Kind::Hardlink("usr/bin/first-name".to_owned()), 0o755, "test"));
    put("usr/lib/third-name", Node::of(Kind::Hardlink("usr/bin/first-name".to_owned()), 0o755, "test"));
    for length in [1, 59, 60, 61, 1000, 4000] {
        let target = path_of(length);
        put(&format!("usr/share/links/{length}"), Node::of(Kind::Symlink(target), 0o777, "test"));
    }
    put("dev/console", Node::of(Kind::CharDevice { major: 5, minor: 1 }, 0o600, "test"));
    put("dev/wide", Node::of(Kind::CharDevice { major: 511, minor: 70_000 }, 0o660, "test"));
    put("dev/sda", Node::of(Kind::BlockDevice { major: 8, minor: 0 }, 0o660, "test"));
    put("dev/pipe", Node::of(Kind::Fifo, 0o622, "test"));
    for number in 0..5000 {
        let name = format!("usr/share/large/entry-{number:04}-{}", "x".repeat(number % 40));
        put(&name, file(Vec::new(), 0o644, (0, 0)));
    }
    put(&format!("usr/share/names/{}", "n".repeat(255)), file(vec![1], 0o644, (0, 0)));
    put("usr/share/names/mit Leerzeichen und Umläuten ✓", file(vec![2], 0o644, (0, 0)));
    put(&format!("usr/share/{}end", "deep/".repeat(60)), file(vec![3], 0o644, (0, 0)));
    let mut sticky = Node::of(Kind::Directory, 0o1777, "test");
    sticky.owner = Owner { uid: 3, gid: 4 };
    put("var/spool", sticky);
    tree
}

/// A path of a given length.
fn path_of(length: usize) -> String {
    (0..length).map(|at| if at % 11 == 10 && at + 1 < length { '/' } else { 'p' }).collect()
}

/// Files of a boot partition that the firmware would take.
pub fn boot_files() -> Vec<FatFile> {
    let file = |path: &str, bytes: Vec<u8>| FatFile { path: path.to_owned(), bytes: bytes.into() };
    let start = [&noise(3000, 1)[..], b"\0VC_BUILD_ID_TIME: Feb 11 2026\0", &noise(2000, 2)].concat();
    vec![
        file("start4.elf", start),
        file("fixup4.dat", noise(5000, 3)),
        file(DEVICE_TREE, noise(20_000, 4)),
        file(PI4_DEVICE_TREE, noise(20_000, 5)),
        file("kernel8.img", noise(300_000, 5)),
        file("initramfs.img", noise(100_000, 6)),
    ]
}

pub fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

pub fn public(seed: u8) -> PublicKey {
    key(seed).public()
}

/// The smallest layout that takes the test's tree.
pub fn layout() -> ImageLayout {
    ImageLayout::new(24 * MIB).unwrap()
}

pub fn slot_spec<'a>(tree: &'a Tree, boot: &'a [FatFile], key: &'a PrivateKey) -> SlotSpec<'a> {
    SlotSpec {
        compatible: Compatible { role: ROUTER, profile: ProfileName::from(&ROUTER) },
        version: "1.2.3".parse().unwrap(),
        built: BUILT,
        rollback_index: 1,
        kernel: "6.12.1-test".parse().unwrap(),
        seed: image::seed(&ROUTER),
        root: tree,
        boot,
        kernel_options: KERNEL_OPTIONS.map(str::to_owned).to_vec(),
        config: Vec::new(),
        supplied: Vec::new(),
        key,
    }
}

/// Writes a whole image with the test's tree, signed by key 1.
pub fn write_image(path: &Path, node_config: Option<Vec<u8>>) -> ImageSummary {
    let (tree, boot, key) = (tree(), boot_files(), key(1));
    let spec = ImageSpec { slot: slot_spec(&tree, &boot, &key), layout: layout(), node_config };
    image::write(&spec, path, &|_| Ok(())).unwrap()
}

pub fn package(name: &str, entries: impl IntoIterator<Item = (String, Entry)>) -> Package {
    let source = SourcePackage::of("", name, "1.0-1");
    Package { name: name.to_owned(), version: "1.0-1".to_owned(), source, entries: entries.into_iter().collect() }
}

pub fn entry(kind: Kind, mode: u32) -> Entry {
    let root = || "root".to_owned();
    Entry { kind, owner: Owner::default(), uname: root(), gname: root(), mode, xattrs: BTreeMap::new() }
}

pub fn content(bytes: Vec<u8>) -> Kind {
    Kind::File(Content::from(bytes))
}
