//! Bundles and servers that mean harm, or are broken. Each is refused with its own reason; the running slot is as it was,
//! and so is the standby slot wherever the harm can be seen before a block is written. Where it cannot, the standby slot
//! cannot start. The choice of slot is out of the installer's reach: it has no file of that partition.

use crate::node::server::{Answer, Server, ranged, redirect, status, whole};
use crate::node::{BLOCK, Node, lzma2, new_release, noise, replaced, resigned, section};
use contract::error::chain;
use contract::hash::Digest;
use contract::keys::KeyId;
use contract::role::Compatible;
use contract::update::{FailedRelease, Release};
use firstboot::install::Order;
use firstboot::install::fixture::Recipe;
use std::time::Duration;

/// How far a hostile bundle comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Harm {
    /// Nothing is written.
    None,
    /// The standby slot is not one any more.
    Standby,
}

/// A node that has nothing to copy from its running slot, so that everything must be fetched.
fn bare() -> (Node, Order) {
    let node = Node::with_older();
    let mut order = node.order(&[]);
    order.running = None;
    (node, order)
}

fn check(node: &Node, before: [[Digest; 2]; 2], harm: Harm, what: &str) {
    assert_eq!(node.digest("a"), before[0], "{what}: the running slot");
    match harm {
        Harm::None => assert_eq!(node.digest("b"), before[1], "{what}: the standby slot"),
        Harm::Standby => node.assert_cannot_start(),
    }
}

fn by_stream_as(change: impl Fn(&mut Order), bundle: &[u8], wanted: &str, harm: Harm) {
    let (node, mut order) = bare();
    change(&mut order);
    let before = [node.digest("a"), node.digest("b")];
    let (result, _) = node.stream(&order, bundle);
    let error = chain(&result.expect_err(wanted));
    assert!(error.contains(wanted), "by stream: {error:?}, not {wanted:?}");
    check(&node, before, harm, wanted);
}

fn by_web_as(change: impl Fn(&mut Order), server: &Server, wanted: &str, harm: Harm) {
    let (node, mut order) = bare();
    change(&mut order);
    order.urls = vec![server.url.clone()];
    let before = [node.digest("a"), node.digest("b")];
    let (result, told) = node.web(&order);
    let error = chain(&result.expect_err(wanted));
    assert!(error.contains(wanted), "by web: {error:?}, not {wanted:?}; {told:?}");
    check(&node, before, harm, wanted);
}

fn by_stream(bundle: &[u8], wanted: &str, harm: Harm) {
    by_stream_as(|_| {}, bundle, wanted, harm);
}

fn by_web(server: &Server, wanted: &str, harm: Harm) {
    by_web_as(|_| {}, server, wanted, harm);
}

/// The same either way.
fn either(bundle: &[u8], wanted: &str, harm: Harm) {
    by_stream(bundle, wanted, harm);
    by_web(&Server::of(bundle.to_vec()), wanted, harm);
}

#[test]
fn a_bundle_cut_off_in_any_section_is_refused() {
    let parts = new_release().parts();
    let bundle = parts.bytes();
    let cases = [
        ("head", 40, "ends in the bundle's head", "head needs", Harm::None),
        ("head", 150, "ends in the bundle's manifest", "head needs", Harm::None),
        ("upper levels", 100, "ends in the bundle's upper levels", "the file on the server has", Harm::None),
        ("leaves", 5000, "ends in the bundle's leaves", "the file on the server has", Harm::None),
        ("shorts", 10, "ends in the bundle's shorts", "the file on the server has", Harm::None),
        ("index", 3, "ends in the bundle's index", "the file on the server has", Harm::None),
        ("frames", 0, "ends in the bundle's frames", "the file on the server has", Harm::None),
        ("frames", 200_000, "ends in the bundle's frames", "the file on the server has", Harm::None),
    ];
    for (name, more, streamed, fetched, harm) in cases {
        let cut = &bundle[..section(&parts, name).0 + more];
        // A stream is known to be too short when it ends.
        let stream_harm = if name == "frames" { Harm::Standby } else { harm };
        by_stream(cut, streamed, stream_harm);
        by_web(&Server::of(cut.to_vec()), fetched, harm);
    }
    by_stream(&[], "ends in the bundle's head, after 0 bytes", Harm::None);
    by_stream(&bundle[..bundle.len() - 1], "ends in the bundle's frames", Harm::Standby);
    by_stream(&[&bundle[..], b"x"].concat(), "continues after the bundle's end", Harm::Standby);
    by_web(&Server::of([&bundle[..], b"x"].concat()), "the file on the server has", Harm::None);
}

#[test]
fn a_flipped_bit_in_any_section_is_noticed_or_harmless() {
    let parts = new_release().parts();
    let bundle = parts.bytes();
    let flipped = |at: usize| {
        let mut bundle = bundle.clone();
        bundle[at] ^= 4;
        bundle
    };
    let mut manifest = parts.head.trailer.manifest.len() / 2;
    manifest += 104;
    for (at, wanted) in [
        (3, "does not begin with microdcB"),
        (8, "format 5"),
        (24, "manifest"),
        (35, "unknown key"),
        (60, "does not match the manifest"),
        (manifest, "does not match the manifest"),
        (section(&parts, "upper levels").0 + 40, "tree block 0 does not match"),
    ] {
        either(&flipped(at), wanted, Harm::None);
    }
    // The length of the file, and of a frame: what is said twice must be said alike.
    by_stream(&flipped(17), "bytes long according to its header", Harm::None);
    by_web(&Server::of(flipped(17)), "the bundle's header says", Harm::None);
    either(&flipped(section(&parts, "index").0), "bytes long according to its header", Harm::None);
    // Blocks in a frame: everything behind it is somewhere else then.
    by_stream(&flipped(12), "the bundle", Harm::None);
    by_web(&Server::of(flipped(12)), "the bundle", Harm::None);
    by_stream(&flipped(section(&parts, "leaves").0 + 9), "leaves 0 of the boot image", Harm::None);
    by_stream(&flipped(section(&parts, "frames").1 - 9), "frame 75 of the root image", Harm::Standby);
    by_web(&Server::of(flipped(section(&parts, "frames").1 - 9)), "frame 75 of the root image", Harm::Standby);
    // The CRC, leaves that are not needed, and shorts.
    for at in [29, section(&parts, "leaves").0 + 9, section(&parts, "shorts").0 + 1] {
        let (node, mut order) = bare();
        let server = Server::of(flipped(at));
        order.urls = vec![server.url.clone()];
        if let (Err(error), _) = node.web(&order) {
            // A wrong short sends the installer to the leaves; those are complete.
            panic!("{at}: {error}");
        }
        node.assert_holds(&new_release());
    }
    // Both of them: then the leaves are needed, and are found to be wrong.
    let mut both = flipped(section(&parts, "leaves").0 + 9);
    let short = section(&parts, "shorts").0;
    both[short..short + 4].copy_from_slice(&contract::bundle::short(&contract::tree::zero_leaf()));
    by_web(&Server::of(both), "leaves 0 of the boot image do not match", Harm::Standby);
}

#[test]
fn what_nobody_trusted_has_signed_is_refused() {
    let mut stranger = new_release();
    stranger.key = 2;
    either(&stranger.bundle(), "signed by the unknown key", Harm::None);
    let mut unsigned = new_release().parts();
    unsigned.head.trailer.signature.bytes = [0; 64];
    either(&unsigned.bytes(), "it is not signed yet", Harm::None);
    unsigned.head.trailer.signature.key = KeyId([0; 8]);
    either(&unsigned.bytes(), "it is not signed yet", Harm::None);
    unsigned.head.trailer.signature.bytes = [7; 64];
    either(&unsigned.bytes(), "signed by the unknown key 0000000000000000", Harm::None);
    // Someone else's signature under a trusted name.
    let mut forged = new_release().parts();
    forged.head.trailer.signature.bytes = stranger.trailer().signature.bytes;
    either(&forged.bytes(), "does not match the manifest", Harm::None);
    // A signature of another release.
    let mut moved = new_release().parts();
    let mut other = new_release();
    other.manifest.version = "3.0".parse().unwrap();
    moved.head.trailer.signature = other.trailer().signature;
    either(&moved.bytes(), "does not match the manifest", Harm::None);
    let bundle = new_release().bundle();
    by_stream_as(|order| order.keys.clear(), &bundle, "trusted: ", Harm::None);
}

#[test]
fn what_is_signed_but_not_for_this_node_is_refused() {
    let bundle = new_release().bundle();
    let server = Server::of(bundle.clone());
    let node =
        |role: &str, profile: &str| Compatible { role: role.parse().unwrap(), profile: profile.parse().unwrap() };
    let both = "it is for profile \"router\" (role router); this node runs profile \"minio\" (role minio)";
    let other_role = |order: &mut Order| order.node_is = node("minio", "minio");
    by_stream_as(other_role, &bundle, both, Harm::None);
    by_web_as(other_role, &server, both, Harm::None);
    by_stream_as(|order| (order.node_is, order.force) = (node("minio", "minio"), true), &bundle, both, Harm::None);
    // Another profile of the same role, unless it is forced.
    let both =
        "it is for profile \"router\" (role router); this node runs profile \"edge\" (role router); use --force";
    let other_profile = |order: &mut Order| order.node_is = node("router", "edge");
    by_stream_as(other_profile, &bundle, both, Harm::None);
    by_web_as(other_profile, &server, both, Harm::None);
    let (on_disk, mut order) = bare();
    (order.node_is, order.force) = (node("router", "edge"), true);
    on_disk.stream(&order, &bundle).0.unwrap();
    on_disk.assert_holds(&new_release());
    let newer = |order: &mut Order| order.rollback_index = 6;
    by_stream_as(newer, &bundle, "its rollback index is 5, and this node has committed 6", Harm::None);
    by_web_as(newer, &server, "its rollback index is 5", Harm::None);
    let failed = |order: &mut Order| {
        let manifest = Digest::of(&new_release().trailer().manifest);
        let release = Release { version: "2.0".to_owned(), manifest, rollback_index: 5 };
        order.refused = vec![FailedRelease { release, reason: "bgpd kept crashing".to_owned(), at: 1 }];
    };
    by_stream_as(failed, &bundle, "version 2.0 has failed here: bgpd kept crashing", Harm::None);
    by_web_as(failed, &server, "version 2.0 has failed here", Harm::None);
    let (node, mut order) = bare();
    failed(&mut order);
    newer(&mut order);
    order.force = true;
    node.stream(&order, &bundle).0.unwrap();
    either(&replaced("rpi-cm4", "rpi-cm5"), "for the board \"rpi-cm5\"", Harm::None);
    either(&replaced("\"format\":1", "\"format\":9"), "the manifest has format 9", Harm::None);
    either(&resigned(|text| text.insert(0, '}')), "the manifest cannot be read", Harm::None);
    either(&replaced("\"role\"", "\"x\":1,\"role\""), "the manifest cannot be read", Harm::None);
}

#[test]
fn lengths_that_lie_are_refused() {
    let release = new_release();
    let (boot, root) = (release.boot.len().to_string(), release.root.len().to_string());
    let length = |text: &str| format!("\"length\":{text}");
    for (from, to, wanted) in [
        (&root, "1232897", "not a positive multiple"),
        (&boot, "0", "not a positive multiple"),
        (&root, "18446744073709547520", "out of range"),
        (&root, "1099511627776", "root image needs"),
        (
            &boot,
            "1048576",
            "boot image needs 1048576 bytes (1 MiB), and this node's partition has 245760 (0 MiB): leave something out",
        ),
        (&root, "2097152", "flash this node again with an image whose profile sets `[disk] root` larger"),
    ] {
        either(&replaced(&length(from), &length(to)), wanted, Harm::None);
    }
    // More than is there by the manifest.
    by_stream(
        &replaced(&length(&boot), &length("200704")),
        "the bundle is refused: frame 12 of the boot",
        Harm::None,
    );
    let mut parts = release.parts();
    parts.true_length = false;
    for length in [0, 104, u64::MAX] {
        parts.head.length = length;
        by_stream(&parts.bytes(), "bytes long according to its header", Harm::None);
        by_web(&Server::of(parts.bytes()), "the bundle's header says", Harm::None);
    }
    let mut bundle = release.bundle();
    bundle[24..28].copy_from_slice(&u32::MAX.to_le_bytes());
    either(&bundle, "a manifest of 4294967295 bytes does not fit", Harm::None);
    let manifest = release.trailer().manifest.len() as u32;
    bundle[24..28].copy_from_slice(&(manifest - 1).to_le_bytes());
    either(&bundle, "does not match the manifest", Harm::None);
    for blocks in [0, 17, u32::MAX] {
        let mut parts = release.parts();
        parts.head.frame_blocks = blocks;
        either(&parts.bytes(), "a frame has 1 to 16 blocks", Harm::None);
    }
}

#[test]
fn trees_that_are_not_those_of_the_manifest_are_refused() {
    let other = Recipe::new(noise(38, 80), noise(301, 81)).parts();
    let mut parts = new_release().parts();
    parts.upper = other.upper.clone();
    either(&parts.bytes(), "the upper levels of the root image's tree: tree block 0 does not match", Harm::None);
    let mut parts = new_release().parts();
    parts.upper[1].fill(0);
    either(&parts.bytes(), "the upper levels of the root image's tree", Harm::None);
    let mut parts = new_release().parts();
    parts.leaves = other.leaves.clone();
    by_stream(&parts.bytes(), "leaves 0 of the boot image", Harm::None);
    // The leaves of two blocks of the tree change places.
    let mut parts = new_release().parts();
    parts.leaves[1].rotate_left(BLOCK);
    by_stream(&parts.bytes(), "leaves 0 of the root image", Harm::None);
    // Everything fits together, and is not what is signed.
    let mut parts = new_release().parts();
    (parts.upper, parts.leaves, parts.shorts, parts.frames) = (other.upper, other.leaves, other.shorts, other.frames);
    either(&parts.bytes(), "the upper levels of the root image's tree", Harm::None);
}

/// A bundle in which one frame of root is another.
fn with_frame(number: usize, change: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let release = new_release();
    let mut parts = release.parts();
    let blocks = &release.root[number * 4 * BLOCK..][..4 * BLOCK];
    parts.frames[1][number] = change(blocks);
    parts.bytes()
}

#[test]
fn frames_that_hold_something_else_are_refused_and_never_unpacked_beyond_their_size() {
    let cases: Vec<(Vec<u8>, &str)> = vec![
        // 64 MiB of zeros are 10 kB.
        (
            with_frame(2, |_| lzma2(&vec![0; 64 << 20])),
            "frame 2 of the root image cannot be unpacked: it contains more than",
        ),
        (with_frame(2, |_| lzma2(&vec![0; 5 * BLOCK])), "it contains more than 16384 bytes"),
        (with_frame(2, |_| lzma2(&vec![0; 3 * BLOCK])), "it contains 12288 bytes, not 16384"),
        (with_frame(2, |_| [lzma2(&vec![0; 4 * BLOCK]), vec![0]].concat()), "1 bytes follow it"),
        (with_frame(2, |_| lzma2(&vec![0; 4 * BLOCK])[..20].to_vec()), "its LZMA2 is"),
        (with_frame(2, |_| b"this is not LZMA2".to_vec()), "cannot be unpacked: its LZMA2 is damaged"),
        (with_frame(2, |_| vec![0]), "it contains 0 bytes, not 16384"),
        (with_frame(2, |_| lzma2(&vec![0; 4 * BLOCK])), "frame 2 of the root image does not match"),
        (
            with_frame(2, |_| noise(4, 90)),
            "frame 2 of the root image does not match the signed root hash, at block 8",
        ),
    ];
    for (bundle, wanted) in cases {
        either(&bundle, wanted, Harm::Standby);
    }
    let mut swapped = new_release().parts();
    swapped.frames[1].swap(2, 3);
    either(&swapped.bytes(), "frame 2 of the root image does not match", Harm::Standby);
    let mut within = new_release().parts();
    within.frames[1][2].rotate_left(BLOCK);
    either(&within.bytes(), "frame 2 of the root image does not match", Harm::Standby);
    // Longer than what it holds, by the index: seen before anything is written.
    either(&with_frame(2, |blocks| [blocks, &[0]].concat()), "frame 2 of the root image has 16385 bytes", Harm::None);
    let mut overlong = new_release().parts();
    overlong.frames[0][0] = vec![0; 65_536];
    either(&overlong.bytes(), "frame 0 of the boot image has 65536 bytes", Harm::None);
}

#[test]
fn servers_that_lie_about_what_they_send_are_given_up() {
    let bundle = new_release().bundle();
    let lying = |change: fn(&Known, &mut Answer)| {
        let file = bundle.clone();
        Server::new(move |asked| {
            let mut answer = ranged(&file, asked, "\"1\"");
            change(&Known { number: asked.number, file: file.clone() }, &mut answer);
            answer
        })
    };
    let change = |from: &'static str, to: &'static str| {
        let file = bundle.clone();
        Server::new(move |asked| {
            let mut answer = ranged(&file, asked, "\"1\"");
            if asked.number >= 2 {
                answer.head = answer.head.replace(from, to);
            }
            answer
        })
    };
    by_web(&change("ETag: \"1\"", "ETag: \"2\""), "its file was changed while it was read", Harm::None);
    by_web(&change("ETag: \"1\"\r\n", ""), "its file was changed while it was read", Harm::None);
    by_web(&change("Content-Range: bytes ", "Content-Range: bytes 1"), "it sends ", Harm::None);
    by_web(&change("Content-Range: bytes ", "X: "), "without saying which", Harm::None);
    // Not gzip: with the features of other crates, the library of these tests would unpack it.
    by_web(&change("206 Part", "206 Part\r\nContent-Encoding: br"), "it compresses what it sends", Harm::None);
    let shorter = lying(|asked, answer| {
        if asked.number >= 2 {
            let length = asked.file.len();
            answer.head = answer.head.replace(&format!("/{length}"), &format!("/{}", length - 1));
        }
    });
    by_web(&shorter, "bytes, and had", Harm::None);
    let more = lying(|asked, answer| {
        if asked.number >= 2 {
            let length = answer.body.len();
            answer.body.push(0);
            answer.head = answer.head.replace(&format!("Content-Length: {length}"), "Transfer-Encoding: chunked");
            let chunk = format!("{:x}\r\n", answer.body.len());
            answer.body = [chunk.as_bytes(), &answer.body, b"\r\n0\r\n\r\n"].concat();
        }
    });
    by_web(&more, "it sends more than it announced", Harm::None);
    let file = bundle.clone();
    let forgets =
        Server::new(move |asked| if asked.number < 2 { ranged(&file, asked, "\"1\"") } else { whole(&file) });
    by_web(&forgets, "it does not send the requested range", Harm::None);
    let file = bundle.clone();
    let gone =
        Server::new(move |asked| if asked.number < 2 { ranged(&file, asked, "\"1\"") } else { status("416 No") });
    by_web(&gone, "its file is shorter than the bundle", Harm::None);
}

/// What a lying server knows.
struct Known {
    number: usize,
    file: Vec<u8>,
}

#[test]
fn servers_that_lead_elsewhere_or_nowhere_are_given_up() {
    for (to, wanted) in [
        ("file:///etc/passwd", "which is neither http nor https"),
        ("FILE:/etc/passwd", "which is neither http nor https"),
        ("gopher://x/", "which is neither http nor https"),
        ("/r.bundle", "it redirects more than 5 times"),
        ("http://", "which is not a valid address"),
    ] {
        by_web(&Server::new(move |_| redirect(to)), wanted, Harm::None);
    }
    by_web(&Server::new(|_| status("302 There")), "it redirects to nowhere", Harm::None);
    for (line, wanted) in [
        ("404 Not Found", "it answers 404"),
        ("403 Forbidden", "it answers 403"),
        ("204 Nothing", "it answers 204"),
        ("500 Broken", "given up after 3 failures in a row: it answers 500"),
        ("503 Busy", "it answers 503"),
    ] {
        by_web(&Server::new(move |_| status(line)), wanted, Harm::None);
    }
    for url in ["file:///etc/passwd", "/etc/passwd", "http://", "https:///x", "data:,x", ""] {
        let (node, mut order) = bare();
        let before = [node.digest("a"), node.digest("b")];
        order.urls = vec![url.to_owned()];
        let error = node.web(&order).0.unwrap_err().to_string();
        assert!(error.contains("neither http nor https") || error.contains("not a valid address"), "{url}: {error}");
        check(&node, before, Harm::None, url);
    }
}

#[test]
fn servers_that_never_come_to_an_end_are_not_waited_for() {
    let bundle = new_release().bundle();
    let begun = std::time::Instant::now();
    let slow = |from: usize, pause: u64| {
        let file = bundle.clone();
        Server::new(move |asked| {
            let answer = ranged(&file, asked, "\"1\"");
            Answer { slow: (asked.number >= from).then(|| Duration::from_millis(pause)), ..answer }
        })
    };
    by_web(&slow(0, 20), "it sends fewer than 100000 bytes a second", Harm::None);
    by_web(&slow(3, 20), "it sends fewer than 100000 bytes a second", Harm::None);
    by_web(&slow(0, 100_000), "given up after 3 failures", Harm::None);
    // The whole file, without ranges.
    let file = bundle.clone();
    let trickle = Server::new(move |_| Answer { slow: Some(Duration::from_millis(20)), ..whole(&file) });
    by_web(&trickle, "it sends fewer than 100000 bytes a second", Harm::None);
    by_web(
        &Server::new(|_| Answer { head: "SSH-2.0-OpenSSH\r\n".to_owned(), ..Answer::default() }),
        "given up",
        Harm::None,
    );
    let endless = Server::new(|_| Answer {
        head: format!("HTTP/1.1 206 x\r\n{}", "X: y\r\n".repeat(100_000)),
        ..Answer::default()
    });
    by_web(&endless, "given up after 3 failures", Harm::None);
    // Cut off at once, every time.
    let file = bundle.clone();
    let cut = Server::new(move |asked| Answer { cut: Some(0), ..ranged(&file, asked, "\"1\"") });
    by_web(&cut, "given up after 3 failures", Harm::None);
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
}
