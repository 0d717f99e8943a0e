//! Bundles become slots: by stream and by ranges, from one server or several, at once or after an interruption.

use crate::node::server::{Answer, Server, ranged, redirect, status, whole};
use crate::node::{BLOCK, Node, PATIENCE, new_release, noise, old_release};
use contract::hash::Digest;
use contract::layout::Slot;
use contract::update::UpdateEvent;
use firstboot::install::fixture::Recipe;
use firstboot::install::{InstallError, Patience};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Blocks in place, copied, fetched, and bytes to fetch, by the plan.
fn plan(told: &[UpdateEvent]) -> (u64, u64, u64, u64) {
    let of = |event: &UpdateEvent| match event {
        UpdateEvent::Plan { blocks, in_place, copied, fetched, fetch_bytes, .. } => {
            assert_eq!(in_place + copied + fetched, *blocks);
            Some((*in_place, *copied, *fetched, *fetch_bytes))
        }
        _ => None,
    };
    told.iter().find_map(of).unwrap()
}

/// Blocks written and bytes fetched, when it was installed.
fn installed(told: &[UpdateEvent]) -> (u64, u64) {
    match told.last() {
        Some(UpdateEvent::Installed { written, fetched_bytes, .. }) => (*written, *fetched_bytes),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_bundle_becomes_a_slot_from_a_stream_and_from_servers() {
    let release = new_release();
    let bundle = release.bundle();
    for node in [Node::new(), Node::with_older()] {
        let running = node.digest("a");
        let (result, told) = node.stream(&node.order(&[]), &bundle);
        assert_eq!(result.unwrap().version, "2.0");
        assert_eq!(installed(&told).1, bundle.len() as u64);
        node.assert_holds(&release);
        assert_eq!(node.digest("a"), running);
    }
    for node in [Node::new(), Node::with_older()] {
        let server = Server::of(bundle.clone());
        node.web(&node.order(&[&server.url])).0.unwrap();
        node.assert_holds(&release);
        let asked = server.asked();
        assert!(asked.iter().all(|asked| asked.head.contains("x-microdc-node: r1\r\n")), "{asked:?}");
        assert!(asked.last().unwrap().head.contains("x-microdc-progress: 339/339\r\n"), "{asked:?}");
        assert_eq!(asked.last().unwrap().method, "head");
    }
}

#[test]
fn only_what_the_node_has_nowhere_is_fetched() {
    let (node, release) = (Node::new(), new_release());
    let bundle = release.bundle();
    let server = Server::of(bundle.clone());
    let (result, told) = node.web(&node.order(&[&server.url]));
    result.unwrap();
    node.assert_holds(&release);
    // Two blocks of boot, three of root: in one or two frames of four each.
    let (_, copied, fetched, bytes) = plan(&told);
    assert_eq!(fetched, 5, "{told:?}");
    assert!(copied > 200 && bytes <= 4 * 4 * BLOCK as u64, "{told:?}");
    let (_, fetched_bytes) = installed(&told);
    assert!(fetched_bytes < bundle.len() as u64 / 8, "{fetched_bytes} of {}", bundle.len());
}

#[test]
fn nothing_is_fetched_of_a_release_that_runs_already_and_nothing_is_written_the_second_time() {
    let (node, release) = (Node::with_older(), old_release());
    let server = Server::of(release.bundle());
    let order = node.order(&[&server.url]);
    let (result, told) = node.web(&order);
    result.unwrap();
    node.assert_holds(&release);
    assert_eq!((plan(&told).2, plan(&told).3), (0, 0));
    // The head and the upper levels.
    assert!(installed(&told).1 < 3 * BLOCK as u64, "{told:?}");
    let (result, told) = node.web(&order);
    result.unwrap();
    assert_eq!(installed(&told).0, 0);
    let (result, told) = node.stream(&order, &release.bundle());
    result.unwrap();
    assert_eq!(installed(&told).0, 0);
    node.assert_holds(&release);
}

#[test]
fn an_update_to_what_runs_already_changes_nothing_and_the_standby_slot_keeps_the_previous_release() {
    let (node, release) = (Node::with_older(), old_release());
    let bundle = release.bundle();
    let server = Server::of(bundle.clone());
    let standby = node.digest("b");
    let mut order = node.order(&[&server.url]);
    order.runs = Some(Digest::of(&release.trailer().manifest));
    for (force, dry_run) in [(false, false), (true, false), (false, true), (true, true)] {
        (order.force, order.dry_run) = (force, dry_run);
        for (result, told) in [node.web(&order), node.stream(&order, &bundle)] {
            assert_eq!(result.unwrap().version, "1.0");
            let [UpdateEvent::AlreadyRunning { release, slot: Slot::A }] = told.as_slice() else {
                panic!("{told:?}")
            };
            assert_eq!(release.version, "1.0");
            assert_eq!(node.digest("b"), standby, "force {force}, dry run {dry_run}");
        }
    }
    // Neither what the node has committed since nor what it remembers is in the way, and the server hears of it.
    (order.force, order.dry_run, order.rollback_index) = (false, false, 99);
    assert!(matches!(node.web(&order).1.as_slice(), [UpdateEvent::AlreadyRunning { .. }]));
    assert!(server.asked().last().unwrap().head.contains("x-microdc-progress: 340/340\r\n"), "{:?}", server.asked());
    // Only a signed manifest says so, and only the running release is meant.
    let mut forged = old_release();
    forged.key = 2;
    assert!(node.stream(&order, &forged.bundle()).0.is_err());
    order.rollback_index = 5;
    node.stream(&order, &new_release().bundle()).0.unwrap();
    node.assert_holds(&new_release());
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let (node, release) = (Node::with_older(), new_release());
    let standby = node.digest("b");
    let server = Server::of(release.bundle());
    let mut order = node.order(&[&server.url]);
    order.dry_run = true;
    for told in [node.web(&order).1, node.stream(&order, &release.bundle()).1] {
        assert!(matches!(told.as_slice(), [UpdateEvent::Plan { dry_run: true, .. }]), "{told:?}");
    }
    assert_eq!(node.digest("b"), standby);
}

#[test]
fn an_interrupted_install_goes_on_where_it_was() {
    let (node, release) = (Node::with_older(), {
        let mut release = Recipe::new(noise(30, 50), noise(330, 51));
        release.pack = crate::node::lzma2;
        release
    });
    let bundle = release.bundle();
    // Bytes that the server gives before it dies.
    let left = Arc::new(AtomicU64::new(900_000));
    let (file, budget) = (bundle.clone(), Arc::clone(&left));
    let dying = Server::new(move |asked| {
        let mut answer = ranged(&file, asked, "\"1\"");
        let had = budget.load(Ordering::SeqCst);
        let sent = had.min(answer.body.len() as u64);
        budget.store(had - sent, Ordering::SeqCst);
        answer.cut = (sent < answer.body.len() as u64).then_some(sent as usize);
        answer
    });
    let (result, told) = node.web(&node.order(&[&dying.url]));
    let error = result.unwrap_err();
    assert!(error.to_string().contains("given up after 3 failures in a row"), "{error}");
    assert!(told.iter().any(|event| matches!(event, UpdateEvent::Retry { .. })));
    node.assert_cannot_start();
    let server = Server::of(bundle.clone());
    let (result, told) = node.web(&node.order(&[&server.url]));
    result.unwrap();
    node.assert_holds(&release);
    let (in_place, ..) = plan(&told);
    let (_, again) = installed(&told);
    // All that came the first time but one piece of 64 blocks, what its unit lacked, and the first block of all.
    assert!(in_place > 100, "{told:?}");
    assert!(again < bundle.len() as u64 - 90 * BLOCK as u64, "{again} of {}", bundle.len());

    // The same by a stream that ends.
    let node = Node::with_older();
    let error = node.stream(&node.order(&[]), &bundle[..800_000]).0.unwrap_err();
    assert!(matches!(error, InstallError::Ended { what: "frames", .. }), "{error}");
    node.assert_cannot_start();
    let (result, told) = node.stream(&node.order(&[]), &bundle);
    result.unwrap();
    assert!(plan(&told).0 > 100 && installed(&told).0 < 260, "{told:?}");
    node.assert_holds(&release);
}

#[test]
fn connections_that_break_off_now_and_then_do_no_harm() {
    let (node, release) = (Node::with_older(), new_release());
    let mut order = node.order(&[]);
    order.running = None;
    let bundle = release.bundle();
    let server = Server::new(move |asked| {
        let mut answer = ranged(&bundle, asked, "\"1\"");
        answer.cut = (asked.number % 2 == 0).then_some(answer.body.len() * 2 / 3);
        answer
    });
    order.urls = vec![server.url.clone()];
    let (result, told) = node.web(&order);
    result.unwrap();
    node.assert_holds(&release);
    // What had come was kept.
    assert!(installed(&told).1 < release.bundle().len() as u64 + 10_000, "{told:?}");
}

#[test]
fn another_server_takes_over_from_one_that_fails_or_lies() {
    let (release, other) = (new_release(), old_release());
    let bundle = release.bundle();
    let good = Server::of(bundle.clone());
    let missing = Server::new(|_| status("404 Gone"));
    let another = Server::of(other.bundle());
    let mut harmed = bundle.clone();
    let frames = harmed.len() - 100 * BLOCK;
    harmed[frames..].iter_mut().for_each(|byte| *byte ^= 1);
    let liar = Server::of(harmed);
    let file = bundle.clone();
    let dying = Server::new(move |asked| match asked.number {
        0..3 => ranged(&file, asked, "\"1\""),
        _ => Answer { cut: Some(0), ..ranged(&file, asked, "\"1\"") },
    });
    let nobody = "http://127.0.0.1:1/x";
    for urls in [
        vec!["ftp://127.0.0.1/x", nobody, &missing.url, &good.url],
        vec![&dying.url, &another.url, &good.url],
        vec![&liar.url, &good.url],
    ] {
        let node = Node::with_older();
        let mut order = node.order(&urls);
        order.running = None;
        let (result, told) = node.web(&order);
        result.unwrap_or_else(|error| panic!("{urls:?}: {error}; {told:?}"));
        node.assert_holds(&release);
    }
}

#[test]
fn redirects_are_followed_and_servers_without_ranges_are_read_front_to_back() {
    let release = new_release();
    let bundle = release.bundle();
    let good = Server::of(bundle.clone());
    let to = good.url.clone();
    let elsewhere = Server::new(move |asked| match asked.path.as_str() {
        "/r.bundle" => redirect("/2"),
        _ => redirect(&to),
    });
    let file = bundle.clone();
    let simple = Server::new(move |_| whole(&file));
    let file = bundle.clone();
    let breaking = Server::new(move |asked| Answer { cut: (asked.number == 0).then_some(700_000), ..whole(&file) });
    for server in [&elsewhere, &simple, &breaking] {
        let node = Node::with_older();
        node.web(&node.order(&[&server.url])).0.unwrap();
        node.assert_holds(&release);
    }
    assert_eq!(breaking.asked().iter().filter(|asked| asked.method == "get").count(), 2);
}

#[test]
fn shorts_that_lie_cost_bytes_and_nothing_else() {
    let release = new_release();
    let mut parts = release.parts();
    for shorts in &mut parts.shorts {
        // Each block is said to be the one that stands before it.
        shorts.rotate_right(4);
    }
    let server = Server::of(parts.bytes());
    let node = Node::with_older();
    node.web(&node.order(&[&server.url])).0.unwrap();
    node.assert_holds(&release);
    for shorts in &mut parts.shorts {
        shorts.fill(0xff);
    }
    let server = Server::of(parts.bytes());
    node.web(&node.order(&[&server.url])).0.unwrap();
    node.assert_holds(&release);
}

#[test]
fn a_running_slot_that_is_damaged_is_not_copied_from() {
    let (node, release) = (Node::with_older(), new_release());
    let damaged = noise(60, 70);
    std::fs::write(node.path("boot-a"), &damaged).unwrap();
    let mut root = std::fs::read(node.path("root-a")).unwrap();
    root[10 * BLOCK..90 * BLOCK].fill(1);
    std::fs::write(node.path("root-a"), &root).unwrap();
    let server = Server::of(release.bundle());
    node.web(&node.order(&[&server.url])).0.unwrap();
    node.assert_holds(&release);
}

#[test]
fn every_size_of_frame_will_do() {
    for frame_blocks in [1, 3, 7, 16] {
        let mut release = new_release();
        release.frame_blocks = frame_blocks;
        let node = Node::with_older();
        let server = Server::of(release.bundle());
        node.web(&node.order(&[&server.url])).0.unwrap();
        node.assert_holds(&release);
        let node = Node::new();
        node.stream(&node.order(&[]), &release.bundle()).0.unwrap();
        node.assert_holds(&release);
    }
    let usual = Patience::default();
    assert!(usual.slowest > PATIENCE.slowest / 100 && usual.tries > PATIENCE.tries);
}

#[test]
fn the_child_finds_its_order_and_the_partitions_open_and_says_how_it_goes() {
    let (node, release) = (Node::with_older(), new_release());
    let folder = node.path("boot-a");
    let folder = folder.parent().unwrap();
    let run = |order: &[u8], bundle: &[u8]| {
        std::fs::write(folder.join("order"), order).unwrap();
        std::fs::write(folder.join("bundle"), bundle).unwrap();
        let open = "exec \"$0\" update <order 3<>boot-b 4<>root-b 5<boot-a 6<root-a 7<bundle";
        let mut command = std::process::Command::new("/bin/sh");
        let output =
            command.args(["-c", open, env!("CARGO_BIN_EXE_firstboot")]).current_dir(folder).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let events: Vec<UpdateEvent> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (output.status.code(), events)
    };
    let bundle = release.bundle();
    let standby = node.digest("b");
    let (code, events) = run(b"{}", &bundle);
    assert_eq!(code, Some(1));
    assert!(matches!(&events[..], [UpdateEvent::Failed { reason }] if reason.contains("cannot parse the order")));
    let mut order = node.order(&[]);
    order.rollback_index = 9;
    let (code, events) = run(&serde_json::to_vec(&order).unwrap(), &bundle);
    assert_eq!(code, Some(1));
    assert!(matches!(&events[..], [UpdateEvent::Failed { reason }] if reason.contains("rollback index")));
    assert_eq!(node.digest("b"), standby);
    order.rollback_index = 5;
    let (code, events) = run(&serde_json::to_vec(&order).unwrap(), &bundle);
    assert_eq!(code, Some(0));
    assert!(matches!(events.last(), Some(UpdateEvent::Installed { .. })), "{events:?}");
    node.assert_holds(&release);
}
