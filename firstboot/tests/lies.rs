//! A server's lie is not the bundle's fault: whatever the first address tells, the release is installed from the second
//! one, and the lie is told by its name. The same lie alone is refused, or does no harm.

use crate::node::server::{Answer, Asked, Server, ranged, redirect, status, whole};
use crate::node::{self, BLOCK, Node, lzma2, new_release, noise, replaced, section};
use contract::error::chain;
use contract::hash::Digest;
use contract::update::{FailedRelease, Release, UpdateEvent};
use firstboot::install::fixture::{Parts, Recipe};
use firstboot::install::{InstallError, Order, Patience, Source};
use std::sync::LazyLock;
use std::time::Duration;

/// What comes of a lie when there is no other address.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Alone {
    /// The reason; nothing is written.
    Refused,
    /// The reason; the standby slot may be overwritten by then, and cannot start.
    Started,
    /// It changes nothing that counts: the release is installed.
    Harmless,
}

struct Lie {
    name: &'static str,
    /// What is told of it; one of these, where `|` stands between them.
    told: &'static str,
    alone: Alone,
    server: Server,
}

fn lie(name: &'static str, told: &'static str, alone: Alone, server: Server) -> Lie {
    Lie { name, told, alone, server }
}

/// The right bundle, packed once, and its parts.
static PARTS: LazyLock<Parts> = LazyLock::new(|| new_release().parts());
static BUNDLE: LazyLock<Vec<u8>> = LazyLock::new(|| PARTS.bytes());

/// The right bundle with one bit otherwise, so far behind the beginning of a section.
fn flipped(name: &str, more: usize) -> Vec<u8> {
    let mut bundle = BUNDLE.clone();
    bundle[section(&PARTS, name).0 + more] ^= 4;
    bundle
}

fn changed(change: impl Fn(&mut Parts)) -> Vec<u8> {
    let mut parts = PARTS.clone();
    change(&mut parts);
    parts.bytes()
}

/// Another release that a trusted key has signed.
fn signed(change: impl Fn(&mut Recipe)) -> Vec<u8> {
    let mut release = new_release();
    change(&mut release);
    release.bundle()
}

/// The release that has failed on this node.
fn failed() -> Recipe {
    let mut release = new_release();
    release.manifest.version = "1.9".parse().unwrap();
    release
}

/// Answers as it should for so many requests, then as `lie` has it.
fn later(requests: usize, lie: impl Fn(&Asked, Answer) -> Answer + Send + Sync + 'static) -> Server {
    Server::new(move |asked| {
        let answer = ranged(&BUNDLE, asked, "\"1\"");
        if asked.number < requests { answer } else { lie(asked, answer) }
    })
}

/// The front of the file, and nothing behind it.
fn truncated(name: &str, more: usize) -> Server {
    Server::of(BUNDLE[..section(&PARTS, name).0 + more].to_vec())
}

/// Lies about which release it is.
fn about_the_release() -> Vec<Lie> {
    use Alone::Refused;
    let bundle = |name, told, alone, bundle| lie(name, told, alone, Server::of(bundle));
    let other = Recipe::new(noise(38, 80), noise(301, 81)).parts();
    vec![
        bundle("a bit of the manifest", "does not match the manifest", Refused, flipped("head", 300)),
        bundle("a bit of the signature", "does not match the manifest", Refused, flipped("head", 60)),
        bundle("a stranger's signature", "signed by the unknown key", Refused, signed(|release| release.key = 2)),
        bundle(
            "no signature",
            "it is not signed yet",
            Refused,
            changed(|parts| parts.head.trailer.signature.bytes = [0; 64]),
        ),
        bundle(
            "another role's bundle",
            "it is for profile \"minio\" (role minio)",
            Refused,
            signed(|release| release.manifest.role = "minio".parse().unwrap()),
        ),
        bundle(
            "another profile's bundle",
            "it is for profile \"edge\" (role router)",
            Refused,
            signed(|release| release.manifest.compatible = "edge".parse().ok()),
        ),
        bundle(
            "an older bundle",
            "its rollback index is 4, and this node has committed 5",
            Refused,
            signed(|release| release.manifest.rollback_index = 4),
        ),
        bundle(
            "a bundle that has failed here",
            "version 1.9 has failed here: bgpd kept crashing",
            Refused,
            failed().bundle(),
        ),
        bundle("another board's bundle", "for the board \"rpi-cm5\"", Refused, replaced("rpi-cm4", "rpi-cm5")),
        bundle("a bit of the upper levels", "tree block 0 does not match", Refused, flipped("upper levels", 40)),
        bundle(
            "the trees and data of another bundle",
            "the upper levels of the root image's tree",
            Refused,
            changed(|parts| {
                (parts.upper, parts.leaves) = (other.upper.clone(), other.leaves.clone());
                (parts.shorts, parts.frames) = (other.shorts.clone(), other.frames.clone());
            }),
        ),
    ]
}

/// Lies about what the right release holds.
fn in_the_content() -> Vec<Lie> {
    use Alone::{Harmless, Refused, Started};
    let bundle = |name, told, alone, bundle| lie(name, told, alone, Server::of(bundle));
    vec![
        bundle("a bit of the index", "bytes long according to its header", Refused, flipped("index", 0)),
        bundle("two lengths of the index in each other's place", "cannot be unpacked", Started, index_swapped()),
        bundle("wrong leaves under a wrong short", "leaves 0 of the boot image do not match", Started, {
            let mut bundle = flipped("leaves", 9);
            let short = section(&PARTS, "shorts").0;
            bundle[short..short + 4].copy_from_slice(&contract::bundle::short(&contract::tree::zero_leaf()));
            bundle
        }),
        bundle("a bit of the shorts", "", Harmless, flipped("shorts", 1)),
        bundle("shorts of other blocks", "", Harmless, changed(|parts| parts.shorts[1].rotate_right(4))),
        bundle("a bit of the data", "frame 5 of the root image does not match", Started, {
            let boot: usize = PARTS.frames[0].iter().map(Vec::len).sum();
            flipped("frames", boot + 5 * 4 * BLOCK + 77)
        }),
        bundle(
            "much more data than it should hold",
            "contains more than 16384 bytes",
            Started,
            changed(|parts| parts.frames[1][2] = lzma2(&vec![0; 64 << 20])),
        ),
        bundle("bytes behind the end", "the bundle's header says", Refused, [&BUNDLE[..], &[0]].concat()),
        lie("cut off in the head", "head needs", Refused, truncated("head", 200)),
        lie("cut off in the leaves", "the file on the server has", Refused, truncated("leaves", 5000)),
        lie("cut off in the data", "the file on the server has", Refused, truncated("frames", 200_000)),
        // A release that would be taken, were it whole: the other address has another one.
        bundle("a newer bundle with damaged data", "frame 0 of the boot image does not match", Started, {
            let mut release = new_release();
            release.manifest.version = "3.0".parse().unwrap();
            let mut parts = release.parts();
            parts.frames[0][0][9] ^= 1;
            parts.bytes()
        }),
    ]
}

/// The right bundle, but for two frames of different lengths that the index takes for each other.
fn index_swapped() -> Vec<u8> {
    let mut bundle = BUNDLE.clone();
    let index = section(&PARTS, "index").0;
    let lengths: Vec<usize> = PARTS.frames[0].iter().map(Vec::len).collect();
    let other = lengths.iter().position(|&length| length != lengths[0]).unwrap();
    for byte in 0..2 {
        bundle.swap(index + byte, index + 2 * other + byte);
    }
    bundle
}

/// Lies in what is answered.
fn in_the_answer() -> Vec<Lie> {
    use Alone::{Harmless, Refused, Started};
    let page = b"<!DOCTYPE html><title>Please log in</title>".repeat(40);
    let damaged = flipped("frames", 200_000);
    let cut = BUNDLE.clone();
    vec![
        lie("a web page with 200", "does not begin with microdcB", Refused, Server::new(move |_| whole(&page))),
        lie(
            "a part without saying which",
            "without saying which",
            Refused,
            later(0, |_, mut answer| {
                answer.head = answer.head.replace("Content-Range", "X-Range");
                answer
            }),
        ),
        lie("the whole file, a bit of it otherwise", "does not match the signed root hash", Started, {
            Server::new(move |_| whole(&damaged))
        }),
        lie("the whole file, cut off each time", "in the bundle's frames", Started, {
            Server::new(move |_| Answer { cut: Some(700_000), ..whole(&cut) })
        }),
        lie("the whole file after parts", "it does not send the requested range", Refused, {
            later(2, |_, _| whole(&BUNDLE))
        }),
        lie(
            "a Content-Range from elsewhere",
            "without saying which",
            Refused,
            later(2, |_, mut answer| {
                answer.head = answer.head.replace("Content-Range: bytes ", "Content-Range: bytes 1");
                answer
            }),
        ),
        lie(
            "a Content-Range of a shorter file",
            "bytes, and had",
            Refused,
            later(2, |_, mut answer| {
                let length = BUNDLE.len();
                answer.head = answer.head.replace(&format!("/{length}"), &format!("/{}", length - 1));
                answer
            }),
        ),
        lie(
            "a Content-Length beyond what comes",
            "Peer disconnected",
            Harmless,
            later(2, |_, mut answer| {
                let length = answer.body.len();
                answer.head = answer.head.replace(&format!("Content-Length: {length}"), "Content-Length: 9999999");
                Answer { cut: Some(length), ..answer }
            }),
        ),
        lie(
            "a Content-Length short of what was asked for",
            "too early",
            Refused,
            later(2, |_, mut answer| {
                let length = answer.body.len();
                answer.head = answer.head.replace(&format!("Content-Length: {length}"), "Content-Length: 7");
                Answer { cut: Some(7), ..answer }
            }),
        ),
        lie(
            "a Content-Encoding",
            "it compresses what it sends",
            Refused,
            later(0, |_, mut answer| {
                answer.head.push_str("Content-Encoding: br\r\n");
                answer
            }),
        ),
        lie(
            "a Content-Encoding of the whole file",
            "it compresses what it sends",
            Refused,
            later(0, |_, _| {
                let mut answer = whole(&BUNDLE);
                answer.head.push_str("Content-Encoding: br\r\n");
                answer
            }),
        ),
    ]
}

/// Servers that lead elsewhere, fail, or never come to an end.
fn in_what_follows() -> Vec<Lie> {
    use Alone::{Harmless, Refused, Started};
    let (older, newer) = (Recipe::new(noise(38, 80), noise(301, 81)).bundle(), BUNDLE.clone());
    let cut_and_flipped = flipped("frames", 9);
    vec![
        lie(
            "a redirect to itself",
            "it redirects more than 5 times",
            Refused,
            Server::new(|_| redirect("/r.bundle")),
        ),
        lie(
            "a redirect to a file",
            "neither http nor https",
            Refused,
            Server::new(|_| redirect("file:///etc/passwd")),
        ),
        lie("a redirect to nowhere", "it redirects to nowhere", Refused, Server::new(|_| status("302 There"))),
        lie("404", "it answers 404", Refused, Server::new(|_| status("404 Gone"))),
        lie("500", "it answers 500", Refused, Server::new(|_| status("500 Broken"))),
        lie("204", "it answers 204", Refused, Server::new(|_| status("204 Nothing"))),
        lie("403 after a while", "it answers 403", Started, later(6, |_, _| status("403 Now you know too much"))),
        lie("416", "its file is shorter than the bundle", Refused, Server::new(|_| status("416 No"))),
        lie("a file that is changed while it is read", "its file was changed while it was read", Refused, {
            later(3, |asked, _| ranged(&BUNDLE, asked, "\"2\""))
        }),
        lie(
            "a file that becomes another one unsaid",
            "bytes, and had",
            Refused,
            Server::new(move |asked| ranged(if asked.number < 3 { &newer } else { &older }, asked, "\"1\"")),
        ),
        lie("an empty body", "ends in the bundle's head, after 0 bytes", Refused, Server::new(|_| whole(&[]))),
        lie(
            "a drip",
            "it sends fewer than 100000 bytes a second",
            Refused,
            later(2, |_, answer| Answer { slow: Some(Duration::from_millis(20)), ..answer }),
        ),
        lie(
            "silence",
            "given up after 3 failures in a row",
            Refused,
            later(0, |_, answer| Answer { slow: Some(Duration::from_secs(60)), ..answer }),
        ),
        lie("another protocol", "given up after 3 failures in a row", Refused, {
            Server::new(|_| Answer { head: "SSH-2.0-OpenSSH_10.0\r\n".to_owned(), ..Answer::default() })
        }),
        lie(
            "a bit otherwise in what is then cut off",
            "Peer disconnected|does not match",
            Started,
            Server::new(move |asked| {
                let answer = ranged(&cut_and_flipped, asked, "\"1\"");
                let cut = (answer.body.len() > 100_000).then_some(answer.body.len() / 2);
                Answer { cut, ..answer }
            }),
        ),
        lie(
            "every second connection broken off",
            "too early",
            Harmless,
            later(0, |asked, answer| Answer {
                cut: (asked.number % 2 == 0).then_some(answer.body.len() * 2 / 3),
                ..answer
            }),
        ),
    ]
}

fn all() -> Vec<Lie> {
    [about_the_release(), in_the_content(), in_the_answer(), in_what_follows()].into_iter().flatten().collect()
}

/// More of it than where everybody lies: a good server is never too slow.
const PATIENCE: Patience = Patience { silence: Duration::from_secs(2), ..node::PATIENCE };

fn install(node: &Node, order: &Order) -> (Result<Release, InstallError>, Vec<UpdateEvent>) {
    node.install(order, Source::Web(PATIENCE))
}

/// A node that has nothing to copy, so that everything must be fetched, and remembers what has failed on it.
fn bare(urls: &[&str]) -> (Node, Order) {
    let node = Node::with_older();
    let mut order = node.order(urls);
    order.running = None;
    let manifest = Digest::of(&failed().trailer().manifest);
    let release = Release { version: "1.9".to_owned(), manifest, rollback_index: 5 };
    order.refused = vec![FailedRelease { release, reason: "bgpd kept crashing".to_owned(), at: 1 }];
    (node, order)
}

fn says(words: &str, told: &str) -> bool {
    told.split('|').any(|told| words.contains(told))
}

/// What was told of a server while others were asked.
fn told_of(url: &str, told: &[UpdateEvent]) -> String {
    let words = told.iter().filter_map(|event| match event {
        UpdateEvent::GivenUp { url: of, reason } | UpdateEvent::Retry { url: of, reason, .. } if of == url => {
            Some(reason.as_str())
        }
        _ => None,
    });
    words.collect::<Vec<_>>().join("; ")
}

#[test]
fn every_lie_of_the_first_server_is_told_and_the_second_one_s_bundle_is_installed() {
    let release = new_release();
    let goods = [("with ranges", Server::of(BUNDLE.clone())), ("without", Server::new(|_| whole(&BUNDLE)))];
    let mut wrong = Vec::new();
    for (kind, good) in &goods {
        // Servers that begin with the truth begin anew.
        let lies = all();
        assert!(lies.len() >= 45);
        for Lie { name, told, alone, server } in lies {
            let (node, order) = bare(&[&server.url, &good.url]);
            let running = node.digest("a");
            let (result, events) = install(&node, &order);
            let installed = result.unwrap_or_else(|error| panic!("{name}, {kind}: {}; {events:?}", chain(&error)));
            assert_eq!(installed.version, "2.0", "{name}, {kind}");
            node.assert_holds(&release);
            assert_eq!(node.digest("a"), running, "{name}, {kind}: the running slot");
            let words = told_of(&server.url, &events);
            if alone != Alone::Harmless {
                // How often it is asked before it is given up depends on the other one.
                let told = if told.starts_with("given up after") { "" } else { told };
                if !says(&words, told) || words.is_empty() {
                    wrong.push(format!("{name}, {kind}: {words:?}, not {told:?}"));
                }
            }
            let blamed = told_of(&good.url, &events);
            if !blamed.is_empty() {
                wrong.push(format!("{name}, {kind}: the good one is blamed: {blamed}"));
            }
            println!("{name}: {words}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_lie_alone_is_refused_by_its_reason_or_does_no_harm() {
    let mut wrong = Vec::new();
    for Lie { name, told, alone, server } in all() {
        let (node, order) = bare(&[&server.url]);
        let before = ["a", "b"].map(|slot| node.digest(slot));
        let (result, events) = install(&node, &order);
        assert_eq!(node.digest("a"), before[0], "{name}: the running slot");
        let error = match (result, alone) {
            (Ok(_), Alone::Harmless) => {
                node.assert_holds(&new_release());
                continue;
            }
            (Ok(_), _) => panic!("{name} was installed; {events:?}"),
            (Err(error), _) => chain(&error),
        };
        if !says(&error, told) {
            wrong.push(format!("{name}: {error:?}, not {told:?}"));
        }
        let untouched = node.digest("b") == before[1];
        if alone == Alone::Refused && !untouched {
            wrong.push(format!("{name}: the standby slot was touched"));
        }
        if !untouched {
            node.assert_cannot_start();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn when_every_server_lies_each_one_s_reason_is_told() {
    let liars = [
        Server::new(|_| status("404 Gone")),
        Server::of(flipped("head", 300)),
        Server::new(|_| status("503 Busy")),
        Server::of(signed(|release| release.manifest.rollback_index = 4)),
        Server::of(flipped("upper levels", 40)),
    ];
    let urls: Vec<&str> = liars.iter().map(|liar| liar.url.as_str()).chain(["ftp://127.0.0.1/x"]).collect();
    let (node, order) = bare(&urls);
    let before = ["a", "b"].map(|slot| node.digest(slot));
    let (result, told) = install(&node, &order);
    let error = chain(&result.unwrap_err());
    assert!(error.starts_with("none of the 6 addresses gives a bundle that can be installed: "), "{error}");
    for (url, reason) in urls.iter().zip([
        "it answers 404",
        "does not match the manifest",
        "it answers 503",
        "its rollback index is 4",
        "tree block 0 does not match",
        "neither http nor https",
    ]) {
        let said = error.split("; http").find(|said| said.contains(url.strip_prefix("http").unwrap_or(url)));
        assert!(said.is_some_and(|said| said.contains(reason)), "{url}: {reason} in {error}");
    }
    assert!(matches!(told.last(), Some(UpdateEvent::Failed { reason }) if *reason == error), "{told:?}");
    assert_eq!(["a", "b"].map(|slot| node.digest(slot)), before);
}

#[test]
fn a_good_server_behind_more_bad_ones_than_there_are_tries_is_asked() {
    let dead = "http://127.0.0.1:1/x";
    let good = Server::of(BUNDLE.clone());
    let urls = [vec![dead; 7], vec![good.url.as_str()]].concat();
    let (node, order) = bare(&urls);
    install(&node, &order).0.unwrap();
    node.assert_holds(&new_release());
}

#[test]
fn each_server_s_own_index_says_where_its_frames_lie() {
    // The first one's index is wrong, and it answers nothing else for long: the second one's frames are not its fault.
    let (swapped, good) = (index_swapped(), Server::of(BUNDLE.clone()));
    let frames = section(&PARTS, "frames").0 as u64;
    let liar = Server::new(move |asked| match asked.range {
        Some((first, _)) if first >= frames => status("503 Busy"),
        _ => ranged(&swapped, asked, "\"1\""),
    });
    let (node, order) = bare(&[&liar.url, &good.url]);
    let (result, told) = install(&node, &order);
    result.unwrap();
    node.assert_holds(&new_release());
    assert_eq!(told_of(&good.url, &told), "");
    assert!(told_of(&liar.url, &told).contains("it answers 503"), "{told:?}");
}
