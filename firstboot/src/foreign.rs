//! Every parser of untrusted bytes that this program has: bytes from a disk, the firmware, the network, an operator, or a
//! service. Each must neither panic nor use unbounded memory, whatever it is given; its result is ignored here. The
//! fuzz targets in `firstboot/fuzz` have the same names, one for each; ordinary tests try them all with random bytes.

use crate::claim::content;
use crate::claim::data;
use crate::disk::fixture;
use crate::disk::gpt::Table;
use crate::initramfs::firmware;
use crate::metrics::http;
use crate::operator::command;
use crate::probe::kubernetes;
use crate::service::environment;
use crate::system::update::installing;
use crate::system::update::memory::Memory;
use crate::update::install::fixture::{Recipe, holds, in_memory};
use crate::update::install::frame::unpack;
use crate::update::install::http as web;
use crate::update::install::{Order, Source, install};
use contract::bundle::{Frames, Head, Sections};
use contract::control::Call;
use contract::hash::Digest;
use contract::initramfs::InitramfsSpec;
use contract::keys;
use contract::layout::Extent;
use contract::manifest::{Manifest, Which};
use contract::node::{NodeConfig, PublicKey, secrets};
use contract::role::RoleSpec;
use contract::trailer::Trailer;
use contract::{autoboot, template, tree};
use std::io::Cursor;
use uuid::Uuid;

/// A parser, and what it reads.
#[derive(Clone, Copy, Debug)]
pub struct Parser {
    /// As the fuzz target is called.
    pub name: &'static str,
    /// Whose bytes they are.
    pub reads: &'static str,
    pub run: fn(&[u8]),
}

/// All of them.
pub const PARSERS: &[Parser] = &[
    Parser { name: "autoboot", reads: "autoboot.txt on bootsel", run: autoboot },
    Parser { name: "bundle_frame", reads: "a frame of a bundle", run: bundle_frame },
    Parser { name: "bundle_head", reads: "the head of a bundle", run: bundle_head },
    Parser { name: "bundle_index", reads: "the index of a bundle", run: bundle_index },
    Parser { name: "bundle_stream", reads: "a bundle whose manifest is signed", run: bundle_stream },
    Parser { name: "command_line", reads: "the kernel's command line", run: command_line },
    Parser { name: "control_request", reads: "a request on PID 1's control socket", run: control_request },
    Parser { name: "data_marker", reads: "the marker of a claimed disk", run: data_marker },
    Parser { name: "dhcp6_reply", reads: "an answer of a DHCPv6 server", run: dhcp6_reply },
    Parser { name: "disk_probe", reads: "what blkid says of a disk", run: disk_probe },
    Parser { name: "environment_file", reads: "a service's file of variables", run: environment_file },
    Parser { name: "firmware", reads: "what the firmware puts into the device tree", run: firmware_number },
    Parser { name: "gpt", reads: "a disk's partition table", run: partition_table },
    Parser { name: "gpt_sealed", reads: "a partition table whose checksums hold", run: sealed_table },
    Parser { name: "hash_tree", reads: "a slot's hash tree", run: hash_tree },
    Parser { name: "http_answer", reads: "what a server of bundles says of its answer", run: http_answer },
    Parser { name: "http_request", reads: "a scrape of the metrics", run: http_request },
    Parser { name: "initramfs_spec", reads: "the initramfs's own file", run: initramfs_spec },
    Parser {
        name: "kubernetes_answer",
        reads: "what a Kubernetes API says of itself and of a node",
        run: kubernetes_answer,
    },
    Parser { name: "release_key", reads: "a release key", run: release_key },
    Parser { name: "manifest", reads: "a manifest", run: manifest },
    Parser { name: "node_config", reads: "node.toml", run: node_config },
    Parser { name: "node_secrets", reads: "a node.toml whose secrets the node has", run: node_secrets },
    Parser { name: "node_template", reads: "a template with a node.toml", run: node_template },
    Parser { name: "nodectl_line", reads: "a command line that comes over ssh", run: nodectl_line },
    Parser { name: "role_spec", reads: "the role's own file", run: role_spec },
    Parser { name: "ssh_key", reads: "a public key of an operator", run: ssh_key },
    Parser { name: "state_content", reads: "what stands where state should be", run: state_content },
    Parser { name: "update_event", reads: "a line of the installer", run: update_event },
    Parser { name: "update_memory", reads: "what the node remembers of updates", run: update_memory },
    Parser { name: "trailer", reads: "the trailer of a root partition", run: trailer },
    Parser { name: "update_order", reads: "what the installer is told", run: update_order },
];

/// Runs the parser called `name`; nothing happens when there is none.
pub fn run(name: &str, bytes: &[u8]) {
    if let Some(parser) = PARSERS.iter().find(|parser| parser.name == name) {
        (parser.run)(bytes);
    }
}

fn kubernetes_answer(bytes: &[u8]) {
    let _ = kubernetes::readiness(500, &text(bytes));
    let _ = kubernetes::node("s1", &text(bytes), "5f0fd12a");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn autoboot(bytes: &[u8]) {
    let _ = autoboot::default_slot(bytes);
}

fn bundle_frame(bytes: &[u8]) {
    if let Ok(data) = unpack(bytes, 16_384) {
        assert_eq!(data.len(), 16_384);
    }
}

fn bundle_head(bytes: &[u8]) {
    let _ = Head::parse(bytes).and_then(|head| head.verify(&[]));
}

/// The first byte says how many blocks a frame has.
fn bundle_index(bytes: &[u8]) {
    let Some((&frame, index)) = bytes.split_first() else { return };
    let manifest = Recipe::new(vec![1; 9 * 4096], vec![2; 200 * 4096]).manifest;
    let Ok(sections) = Sections::of(1000, frame.into(), &manifest) else { return };
    let (boot, root) = (sections.boot.index.length as usize, sections.root.index.length as usize);
    let mut index = index.to_vec();
    index.resize(boot + root, 0);
    let (boot, root) = index.split_at(boot);
    let stored = index.as_chunks::<2>().0.iter().map(|two| u64::from(u16::from_le_bytes(*two)) + 1).sum::<u64>();
    if let Ok(frames) = Frames::parse(sections, boot, root, sections.frames + stored) {
        for image in Which::BOTH {
            let all = (0..sections.image(image).frames).filter_map(|frame| frames.extent(image, frame));
            assert!(all.map(Extent::end).all(|end| end <= sections.frames + stored));
        }
    }
}

/// Bytes of a good bundle are changed, three for each: where, and to what. What is installed is what was signed.
fn bundle_stream(bytes: &[u8]) {
    let recipe = Recipe::new(vec![1; 3 * 4096], (0..5 * 4096).map(|at| (at / 700) as u8).collect());
    let mut bundle = recipe.bundle();
    for change in bytes.as_chunks::<3>().0 {
        let [low, high, value] = *change;
        let at = usize::from(u16::from_le_bytes([low, high])) % bundle.len();
        if let Some(byte) = bundle.get_mut(at) {
            *byte = value;
        }
    }
    let (Ok(standby), Ok(running)) = (in_memory(&recipe), in_memory(&recipe)) else { return };
    if install(&recipe.order(), &standby, &running, Source::Stream(&mut bundle.as_slice()), &mut |_| ()).is_ok() {
        assert!(holds(&standby, &recipe), "something else was installed");
    }
}

fn command_line(bytes: &[u8]) {
    let line = text(bytes);
    let _ = firmware::root_hash(&line);
    if let Ok(Some(options)) = contract::installer::InstallOptions::parse(&line) {
        let _ = options.node_configs(&contract::installer::Board::new(Some(bytes), Some(&line)));
    }
}

fn data_marker(bytes: &[u8]) {
    data::parse_marker(bytes);
}

fn dhcp6_reply(bytes: &[u8]) {
    let _ = crate::net::dhcp6::message::Reply::parse(bytes);
    // Behind a head that is right.
    let head = [7, 0, 0, 1, 0, 2, 0, 1, 9];
    let _ = crate::net::dhcp6::message::Reply::parse(&[&head, bytes].concat());
}

fn disk_probe(bytes: &[u8]) {
    data::parse_probe(&text(bytes));
}

fn environment_file(bytes: &[u8]) {
    let _ = environment::parse(&text(bytes));
}

fn firmware_number(bytes: &[u8]) {
    let _ = firmware::number(bytes);
}

fn partition_table(bytes: &[u8]) {
    if let Ok(table) = Table::read(&mut Cursor::new(bytes), bytes.len() as u64) {
        let _ = table.find(contract::layout::Partition::State);
    }
}

/// The bytes are laid over an empty disk of 1 MiB, from its second sector on.
fn sealed_table(bytes: &[u8]) {
    let mut disk = vec![0; 1 << 20];
    for (to, from) in disk.iter_mut().skip(512).zip(bytes) {
        *to = *from;
    }
    fixture::seal(&mut disk);
    partition_table(&disk);
}

fn control_request(bytes: &[u8]) {
    let _ = Call::parse(bytes);
}

fn http_answer(bytes: &[u8]) {
    let text = text(bytes);
    let _ = contract::content_range::ContentRange::parse(&text);
    let (from, to) = text.split_once('\n').unwrap_or(("http://a/b", &text));
    if let Ok(url) = web::redirect(from, to) {
        assert!(url.to_ascii_lowercase().starts_with("http"));
    }
}

fn http_request(bytes: &[u8]) {
    let _ = http::parse(bytes);
}

fn nodectl_line(bytes: &[u8]) {
    let _ = command::parse_line(&text(bytes));
}

fn ssh_key(bytes: &[u8]) {
    let _ = PublicKey::try_from(text(bytes));
}

/// The first 8 bytes are the data's length; the tree's root is the right one, so that what follows it is reached.
fn hash_tree(bytes: &[u8]) {
    let Some((length, blocks)) = bytes.split_first_chunk::<8>() else { return };
    let root = blocks.get(..4096).map_or_else(|| Digest::of(blocks), tree::leaf);
    let _ = tree::checked_leaves(blocks, u64::from_le_bytes(*length), root);
}

fn initramfs_spec(bytes: &[u8]) {
    let _ = serde_json::from_slice::<InitramfsSpec>(bytes);
}

fn release_key(bytes: &[u8]) {
    let text = text(bytes);
    let _ = keys::PublicKey::parse(&text);
    let _ = keys::PrivateKey::parse(&text);
}

fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes) {
        let _ = manifest.to_bytes();
    }
}

fn node_config(bytes: &[u8]) {
    let _ = NodeConfig::parse(bytes);
}

/// Up to the first NUL a node.toml from bootsel, behind it the one that is kept.
fn node_secrets(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let (new, kept) = (text(parts.next().unwrap_or_default()), parts.next().map(text));
    if let Ok(whole) = secrets::restore(&new, kept.as_deref())
        && let Ok(config) = NodeConfig::parse(whole.as_bytes())
    {
        assert_eq!(secrets::hide(&whole, &config).len(), whole.len());
    }
}

/// Up to the first NUL a template, behind it a node.toml.
fn node_template(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |&byte| byte == 0);
    let (source, config) = (parts.next().unwrap_or_default(), parts.next().unwrap_or(b"name = \"r1\"\n"));
    if let Ok(config) = NodeConfig::parse(config) {
        let _ = template::render("fuzzed", &text(source), &config);
    }
}

fn role_spec(bytes: &[u8]) {
    let _ = serde_json::from_slice::<RoleSpec>(bytes);
}

fn state_content(bytes: &[u8]) {
    let extent = Extent { offset: 0, length: bytes.len() as u64 };
    let _ = content::inspect(&mut Cursor::new(bytes), extent, &Uuid::nil());
}

fn update_event(bytes: &[u8]) {
    let _ = installing::event(bytes);
}

fn update_memory(bytes: &[u8]) {
    let _ = Memory::parse(bytes);
}

fn trailer(bytes: &[u8]) {
    if let Ok(trailer) = Trailer::parse(bytes) {
        let _ = trailer.verify(&[]);
    }
}

fn update_order(bytes: &[u8]) {
    let _ = serde_json::from_slice::<Order>(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Manifest of the fuzz targets, beside this crate.
    const TARGETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/Cargo.toml");

    #[test]
    fn every_parser_of_foreign_bytes_has_its_fuzz_target() {
        let manifest = std::fs::read_to_string(TARGETS).unwrap();
        let targets: BTreeSet<&str> = manifest
            .lines()
            .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""))
            .collect();
        let parsers: BTreeSet<&str> = PARSERS.iter().map(|parser| parser.name).collect();
        assert_eq!(parsers.len(), PARSERS.len(), "two parsers have one name");
        assert_eq!(targets, parsers);
        for name in parsers {
            let path = std::path::Path::new(TARGETS).with_file_name(format!("fuzz_targets/{name}.rs"));
            let source = std::fs::read_to_string(&path).unwrap();
            assert!(source.contains(&format!("run({name:?}, bytes)")), "{} runs another parser", path.display());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_bytes_make_any_of_them_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            for parser in PARSERS {
                (parser.run)(&bytes);
            }
        }

        #[test]
        fn no_text_makes_any_of_them_panic(text in "[ -~\n\\[\\]{}\"=:,0-9]{0,300}") {
            for parser in PARSERS {
                (parser.run)(text.as_bytes());
            }
        }
    }
}
