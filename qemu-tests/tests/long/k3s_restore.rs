//! What an operator asks of a k3s server's database, and how its pods leave before a restart: a stand-in in place of k3s, and a
//! node with MinIO as the object store of the same rack.

use crate::k3s::{ANSWERS, call, until_health_says};
use contract::control::{Reply, Request as Ask};
use emulator::{Machine, Network, Node};
use qemu_tests::agent::Agent;
use qemu_tests::images;
use qemu_tests::probe::{PORT, Request};
use qemu_tests::router::{STEP, wait_up};
use qemu_tests::s3::{self, Account, Answer};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(1800);
const KEEPER: Account<'_> = Account { user: "keeper", password: "hunter7hunter7" };
const DATABASE: &str = "/data/directories/var/lib/rancher/k3s/server/db";

/// MinIO at 10.0.0.1:9000, with a bucket. Gives its node, and the port of this host that leads there.
fn store(rack: &Network) -> (Node, u16) {
    let config = format!(
        "name = \"m1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[network.eth1]\naddresses = [\"10.0.2.15/24\"]\n\
         [disks]\ndata = \"xfs\"\n[minio]\nuser = \"{}\"\npassword = \"{}\"\n",
        KEEPER.user, KEEPER.password
    );
    let machine = Machine::new(images::minio()).name("m1").memory(1024).deadline(DEADLINE).disk_size(6 << 30);
    let mut machine = machine.network(rack).user_network().node_config(config);
    let port = machine.forward(9000).unwrap();
    (machine.start().unwrap(), port)
}

fn with_bucket(port: u16, node: &Node) {
    let begun = Instant::now();
    while !matches!(s3::ask(port, Some(KEEPER), "PUT", "/etcd", b""), Ok(Answer { status: 200, .. })) {
        assert!(begun.elapsed() < STEP * 2, "no bucket:\n{}", node.console());
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn server(rack: &Network) -> Node {
    let config = format!(
        "name = \"s1\"\n[network.eth0]\naddresses = [\"10.0.0.11/24\"]\ngateway = \"10.0.0.254\"\n[disks]\ndata = \"ext4\"\n\
         [k3s]\ncluster_init = true\ndrain = 20\n[k3s.snapshots.s3]\nendpoint = \"10.0.0.1:9000\"\nbucket = \"etcd\"\n\
         folder = \"rack1\"\naccess_key = \"{}\"\nsecret_key = \"{}\"\nplain_http = true\n",
        KEEPER.user, KEEPER.password
    );
    let machine = Machine::new(images::k3s_server()).name("s1").network(rack).port(PORT).disk_size(6 << 30);
    machine.deadline(DEADLINE).node_config(config).start().unwrap()
}

fn done(node: &Node, request: Ask) -> String {
    match call(node, request) {
        Reply::Done(words) => words,
        other => panic!("{other:?}"),
    }
}

fn refused(node: &Node, request: Ask) -> String {
    match call(node, request) {
        Reply::Refused(why) => why,
        other => panic!("{other:?}"),
    }
}

fn remove(node: &Node, path: &str) {
    let words = ["/usr/lib/microdc/probe", "remove", path].map(str::to_owned).to_vec();
    Agent(node).ask(&Request::Run(words)).unwrap();
}

#[test]
fn a_database_comes_back_from_a_snapshot_in_our_own_store_and_pods_leave_before_a_restart() {
    let rack = Network::new();
    let (minio, port) = store(&rack);
    let mut node = server(&rack);
    wait_up(&node, "s1").unwrap();
    node.expect("health passed", STEP * 2).unwrap();
    with_bucket(port, &minio);

    let state = format!("{DATABASE}/etcd/state");
    Agent(&node).write(&state, "volumes-of-rack1");
    let said = done(&node, Ask::K3sSnapshot);
    let name = said
        .strip_prefix("Snapshot ")
        .and_then(|rest| rest.strip_suffix(" saved."))
        .unwrap_or_else(|| panic!("{said}"));
    let object = s3::ask(port, Some(KEEPER), "GET", &format!("/etcd/rack1/{name}"), b"").unwrap();
    assert_eq!((object.status, object.body.as_slice()), (200, b"volumes-of-rack1".as_slice()));

    snapshots_are_listed_with_where_they_are(&node, name);
    destructive_commands_ask_for_the_nodes_name(&node, name);
    // The control plane is wiped, snapshots and all.
    remove(&node, DATABASE);
    let restore = |name: &str| Ask::K3sRestore { snapshot: name.to_owned(), node: "s1".to_owned() };
    let why = refused(&node, restore("never-made"));
    assert!(why.contains("failed") && why.contains("404") && why.contains("k3s is started again"), "{why}");
    let said = done(&node, restore(name));
    assert!(said.contains("the snapshot is the cluster's database now"), "{said}");
    until_health_says(&node, "passed");
    assert_eq!(Agent(&node).cat(&state), "volumes-of-rack1");
    let said = done(&node, Ask::K3sReset { node: "s1".to_owned() });
    assert!(said.contains("only member"), "{said}");
    until_health_says(&node, "passed");

    pods_leave_before_a_restart(&mut node);
    a_pod_that_does_not_leave_keeps_no_restart_back(&mut node);
    for secret in ["hunter7", "K10"] {
        assert!(!node.console().contains(secret), "{secret} stands on the console");
    }
}

fn snapshots_are_listed_with_where_they_are(node: &Node, name: &str) {
    let Reply::K3sSnapshots(found) = call(node, Ask::K3sSnapshots) else { panic!() };
    let seen: Vec<_> = found.iter().map(|one| (one.name.as_str(), one.size_bytes, one.here)).collect();
    assert_eq!(seen, [(name, 16, true), (name, 16, false)], "{found:?}");
    assert_eq!(found[1].location, format!("s3://etcd/rack1/{name}"));
    assert!(found[0].created.ends_with('Z'), "{found:?}");
}

fn destructive_commands_ask_for_the_nodes_name(node: &Node, snapshot: &str) {
    for request in [
        Ask::K3sReset { node: "s2".to_owned() },
        Ask::K3sRestore { snapshot: snapshot.to_owned(), node: String::new() },
    ] {
        let why = refused(node, request);
        assert!(why.contains("give this node's name, s1"), "{why}");
    }
    let why = refused(node, Ask::K3sRestore { snapshot: "../../token".to_owned(), node: "s1".to_owned() });
    assert!(why.contains("not a valid name of a snapshot"), "{why}");
}

fn restart(node: &mut Node, said: &[&str]) {
    call(node, Ask::Reboot);
    for words in said {
        node.expect(words, STEP).unwrap();
    }
    wait_up(node, "s1").unwrap();
}

fn pods_leave_before_a_restart(node: &mut Node) {
    restart(
        node,
        &["draining the node, for 20 s at most", "the node is drained", "restarting: stopping all services"],
    );
    assert!(Agent(node).cat(&format!("{ANSWERS}/cordoned")).starts_with("yes"), "before its health has passed");
    node.expect("health passed", STEP * 2).unwrap();
    node.expect("the node is uncordoned", STEP).unwrap();
    assert_eq!(Agent(node).cat(&format!("{ANSWERS}/cordoned")), "no");
}

/// And a node that its operator has cordoned stays so.
fn a_pod_that_does_not_leave_keeps_no_restart_back(node: &mut Node) {
    Agent(node).write(&format!("{ANSWERS}/a-pod-does-not-end"), "yes");
    Agent(node).write(&format!("{ANSWERS}/cordoned"), "yes, by an operator");
    let late = "the draining of this node failed: it did not end in time";
    restart(node, &["draining the node, for 20 s at most", late, "restarting: stopping all services"]);
    until_health_says(node, "passed");
    std::thread::sleep(Duration::from_secs(8));
    assert!(Agent(node).cat(&format!("{ANSWERS}/cordoned")).starts_with("yes"), "an operator's own was undone");
}
