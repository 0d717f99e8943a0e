//! The lies, each told by a server of its own.

use crate::node::server::{Answer, Asked, Server, ranged, redirect, status, whole};
use crate::node::{BLOCK, lzma2, new_release, noise, replaced, section};
use firstboot::install::fixture::{Parts, Recipe};
use std::sync::LazyLock;
use std::time::Duration;

/// What comes of a lie when there is no other address.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Alone {
    /// The reason; nothing is written.
    Refused,
    /// The reason; the standby slot may be overwritten by then, and cannot start.
    Started,
    /// It changes nothing that counts: the release is installed.
    Harmless,
}

pub struct Lie {
    pub name: &'static str,
    /// What is told of it; one of these, where `|` stands between them.
    pub told: &'static str,
    pub alone: Alone,
    pub server: Server,
}

fn lie(name: &'static str, told: &'static str, alone: Alone, server: Server) -> Lie {
    Lie { name, told, alone, server }
}

/// The right bundle, packed once, and its parts.
pub static PARTS: LazyLock<Parts> = LazyLock::new(|| new_release().parts());
pub static BUNDLE: LazyLock<Vec<u8>> = LazyLock::new(|| PARTS.bytes());

/// The right bundle with one bit otherwise, so far behind the beginning of a section.
pub fn flipped(name: &str, more: usize) -> Vec<u8> {
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
pub fn signed(change: impl Fn(&mut Recipe)) -> Vec<u8> {
    let mut release = new_release();
    change(&mut release);
    release.bundle()
}

/// The release that has failed on this node.
pub fn failed() -> Recipe {
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

/// Answers as it should for so many requests, then with `from` in its head turned into `to`.
fn with_head(requests: usize, from: &str, to: &str) -> Server {
    let (from, to) = (from.to_owned(), to.to_owned());
    later(requests, move |_, answer| Answer { head: answer.head.replace(&from, &to), ..answer })
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
pub fn index_swapped() -> Vec<u8> {
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
        lie("a part without saying which", "without saying which", Refused, with_head(0, "Content-Range", "X-Range")),
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
            with_head(2, "Content-Range: bytes ", "Content-Range: bytes 1"),
        ),
        lie(
            "a Content-Range of a shorter file",
            "bytes, and had",
            Refused,
            with_head(2, &format!("/{}", BUNDLE.len()), &format!("/{}", BUNDLE.len() - 1)),
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

/// Every lie.
pub fn all() -> Vec<Lie> {
    [about_the_release(), in_the_content(), in_the_answer(), in_what_follows()].into_iter().flatten().collect()
}
