//! A whole micro datacenter updates at once: 54 processes that run the node's installer, each with disks of its own, from
//! one `microdc serve`. Every one ends with the slot that was signed. Time and memory are printed.

use contract::layout::{Extent, TRAILER_SIZE};
use contract::trailer::Trailer;
use contract::update::UpdateEvent;
use firstboot::install::fixture::Recipe;
use firstboot::install::{Pair, Patience, Source, install};
use microdc::bundle;
use microdc::serve::Server;
use qemu_tests::figures::figure;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const NODES: usize = 54;
const BLOCK: usize = 4096;
/// Sizes of the images, in blocks.
const BOOT: usize = 256;
const ROOT: usize = 1536;
/// In a process that is one of the nodes: its folder. In the one that is the server: the folder that it serves.
const NODE: &str = "MICRODC_TEST_FLEET_NODE";
const SERVER: &str = "MICRODC_TEST_FLEET_SERVER";

/// Blocks without order; the same ones for the same numbers.
fn content(blocks: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in blocks {
        let mut state = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for _ in 0..BLOCK / 16 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend(state.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    bytes
}

/// What runs everywhere, and what comes: a third of root is new.
fn releases() -> [Recipe; 2] {
    let old = Recipe::new(content(0..BOOT), content(1000..1000 + ROOT));
    let root = [content(1000..1000 + ROOT * 2 / 3), content(9000..9000 + ROOT - ROOT * 2 / 3)].concat();
    let mut new = Recipe::new(content(0..BOOT), root);
    new.manifest.version = "3.0".parse().unwrap();
    [old, new]
}

/// One slot's partitions in a folder.
fn pair(folder: &Path, slot: &str, write: bool) -> Pair {
    let open =
        |name: &str| File::options().read(true).write(write).open(folder.join(format!("{name}-{slot}"))).unwrap();
    Pair { boot: open("boot"), root: open("root") }
}

/// Peak memory of this process, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The installer, as one of the nodes.
fn be_a_node(folder: &Path) {
    let order = serde_json::from_slice(&std::fs::read(folder.join("order")).unwrap()).unwrap();
    let (standby, running) = (pair(folder, "b", true), pair(folder, "a", false));
    let mut last = None;
    let mut tell = |event| last = Some(event);
    install(&order, &standby, &running, Source::Web(Patience::default()), &mut tell).unwrap();
    let Some(UpdateEvent::Installed { fetched_bytes, .. }) = last else { panic!("{last:?}") };
    std::fs::write(folder.join("fetched"), format!("{fetched_bytes} {}", peak())).unwrap();
}

/// What the server's process tells on its standard output, in one line each: where it listens; and when its input ends, the
/// nodes that are done, and its memory before and at most, in KiB.
fn be_the_server(folder: &Path) {
    let idle = peak();
    let server = Server::start(folder, "127.0.0.1:0".parse().unwrap()).unwrap();
    eprintln!("{}", server.address());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    let done = server.progress().values().filter(|(done, blocks)| done == blocks).count();
    eprintln!("{done} {idle} {}", peak());
}

/// This test in a process of its own, as something else.
fn myself(variable: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let name = std::thread::current().name().expect("a test's thread has its name").to_owned();
    command.args(["--exact", &name, "--nocapture"]).env(variable, folder).stdout(Stdio::null());
    command
}

#[test]
fn fifty_four_nodes_update_from_one_server() {
    if let Some(folder) = std::env::var_os(NODE) {
        return be_a_node(Path::new(&folder));
    }
    if let Some(folder) = std::env::var_os(SERVER) {
        return be_the_server(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let [old, new] = releases();
    let served = folder.path().join("served");
    std::fs::create_dir(&served).unwrap();
    let length = {
        // The builder's own bundle, from a file that has both images.
        let path = folder.path().join("slot");
        std::fs::write(&path, [new.boot.as_slice(), &new.root].concat()).unwrap();
        let (boot, root) = (new.boot.len() as u64, new.root.len() as u64);
        let source = bundle::Source {
            file: &File::open(&path).unwrap(),
            trailer: new.trailer(),
            boot: Extent { offset: 0, length: boot },
            root: Extent { offset: boot, length: root },
        };
        bundle::pack(&source, 4, &served.join("r.bundle"), &|_| Ok(())).unwrap().length
    };
    let size = new.root_with_tree().len() as u64 + TRAILER_SIZE;
    let before = old.root_with_tree();
    for number in 0..NODES {
        let node = folder.path().join(number.to_string());
        std::fs::create_dir(&node).unwrap();
        for (name, length) in
            [("boot-a", BOOT * BLOCK), ("root-a", size as usize), ("boot-b", BOOT * BLOCK), ("root-b", size as usize)]
        {
            File::create(node.join(name)).unwrap().set_len(length as u64).unwrap();
        }
        let running = pair(&node, "a", true);
        running.boot.write_all_at(&old.boot, 0).unwrap();
        running.root.write_all_at(&before, 0).unwrap();
    }
    let mut server = myself(SERVER, &served).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(server.stderr.take().unwrap());
    let mut address = String::new();
    said.read_line(&mut address).unwrap();
    let mut order = new.order();
    order.running = Some(old.manifest.clone());
    order.urls = vec![format!("http://{}/r.bundle", address.trim())];
    let begun = Instant::now();
    let mut nodes = Vec::new();
    for number in 0..NODES {
        let node = folder.path().join(number.to_string());
        order.node = format!("node{number}");
        std::fs::write(node.join("order"), serde_json::to_vec(&order).unwrap()).unwrap();
        let child = myself(NODE, &node).stdin(Stdio::null()).spawn().unwrap();
        nodes.push((node, child));
    }
    let (mut fetched, mut memory) = (0, 0);
    let root = new.root_with_tree();
    let mut done = Vec::new();
    for (node, mut child) in nodes {
        assert!(child.wait().unwrap().success(), "{}", node.display());
        done.push(node);
    }
    let taken = begun.elapsed();
    drop(server.stdin.take());
    let mut words = String::new();
    said.read_line(&mut words).unwrap();
    assert!(server.wait().unwrap().success());
    let words: Vec<u64> = words.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [reported, idle, most] = words[..] else { panic!("{words:?}") };
    for node in done {
        let said = std::fs::read_to_string(node.join("fetched")).unwrap();
        let (bytes, peak) = said.split_once(' ').unwrap();
        fetched += bytes.parse::<u64>().unwrap();
        memory = memory.max(peak.parse::<u64>().unwrap());
        assert!(std::fs::read(node.join("boot-b")).unwrap() == new.boot, "the boot image of {}", node.display());
        let found = std::fs::read(node.join("root-b")).unwrap();
        assert!(found.starts_with(&root), "the root image of {}", node.display());
        assert_eq!(Trailer::parse(&found[found.len() - TRAILER_SIZE as usize..]).unwrap(), new.trailer());
    }
    assert_eq!(reported, NODES as u64, "nodes that told the server that they are done");
    assert!(fetched < NODES as u64 * length / 2, "each fetched {} of {length} bytes", fetched / NODES as u64);
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    figure(
        &format!("{NODES} nodes update from one server"),
        format_args!(
            "{:.1} s; {:.1} MiB fetched of {:.1} MiB of bundles; the server had {:.1} MiB before and {:.1} MiB at most, a node \
             {:.1} MiB",
            taken.as_secs_f64(),
            mib(fetched),
            mib(NODES as u64 * length),
            mib(idle * 1024),
            mib(most * 1024),
            mib(memory * 1024),
        ),
    );
}
