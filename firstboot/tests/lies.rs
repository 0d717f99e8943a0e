//! A server's lie is not the bundle's fault: whatever the first address tells, the release is installed from the second
//! one, and the lie is told by its name. The same lie alone is refused, or does no harm.

mod catalogue;

use crate::node::server::{Server, ranged, status, whole};
use crate::node::{self, Node, new_release, section};
use catalogue::{Alone, BUNDLE, Lie, PARTS, all, failed, flipped, index_swapped, signed};
use contract::error::chain;
use contract::hash::Digest;
use contract::update::{FailedRelease, Release, UpdateEvent};
use firstboot::install::{InstallError, Order, Patience, Source};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

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

/// Does the work on each of the lies, several at once: most of the time goes into waiting for servers that say nothing.
fn each(lies: Vec<Lie>, work: impl Fn(Lie) + Sync) {
    let lies = Mutex::new(lies.into_iter());
    let next = || lies.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| std::iter::from_fn(next).for_each(&work));
        }
    });
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
    let wrong = Mutex::new(Vec::new());
    let is_wrong = |problem| wrong.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
    for (kind, good) in &goods {
        // Servers that begin with the truth begin anew.
        let lies = all();
        assert!(lies.len() >= 45);
        each(lies, |Lie { name, told, alone, server }| {
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
                    is_wrong(format!("{name}, {kind}: {words:?}, not {told:?}"));
                }
            }
            let blamed = told_of(&good.url, &events);
            if !blamed.is_empty() {
                is_wrong(format!("{name}, {kind}: the good one is blamed: {blamed}"));
            }
            println!("{name}: {words}");
        });
    }
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_lie_alone_is_refused_by_its_reason_or_does_no_harm() {
    let wrong = Mutex::new(Vec::new());
    let is_wrong = |problem| wrong.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
    each(all(), |Lie { name, told, alone, server }| {
        let (node, order) = bare(&[&server.url]);
        let before = ["a", "b"].map(|slot| node.digest(slot));
        let (result, events) = install(&node, &order);
        assert_eq!(node.digest("a"), before[0], "{name}: the running slot");
        let error = match (result, alone) {
            (Ok(_), Alone::Harmless) => {
                node.assert_holds(&new_release());
                return;
            }
            (Ok(_), _) => panic!("{name} was installed; {events:?}"),
            (Err(error), _) => chain(&error),
        };
        if !says(&error, told) {
            is_wrong(format!("{name}: {error:?}, not {told:?}"));
        }
        let untouched = node.digest("b") == before[1];
        if alone == Alone::Refused && !untouched {
            is_wrong(format!("{name}: the standby slot was touched"));
        }
        if !untouched {
            node.assert_cannot_start();
        }
    });
    let wrong = wrong.into_inner().unwrap();
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
    assert!(error.starts_with("none of the 6 URLs has an installable bundle: "), "{error}");
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
