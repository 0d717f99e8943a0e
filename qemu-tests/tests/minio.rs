//! Nodes that serve objects, each with a blank NVMe disk of its own: one alone, from the MinIO image with the probe, and four
//! from the very bytes that get flashed, as one cluster, which loses nothing when a node loses its power.

use emulator::{Machine, Network, Node, Nvme};
use qemu_tests::agent::Agent;
use qemu_tests::attack::{only_what_is_expected_is_reached, reached};
use qemu_tests::figures::figure;
use qemu_tests::images;
use qemu_tests::memory;
use qemu_tests::probe::PORT;
use qemu_tests::s3::{self, Account, Answer};
use std::time::{Duration, Instant};

/// Longest wait for one step: four emulated nodes share the cores with whatever else runs.
const LONG: Duration = Duration::from_secs(900);
/// From first power-on to the end of the test.
const DEADLINE: Duration = Duration::from_secs(3600);
/// Size of each disk for data, in bytes; sparse.
const DISK: u64 = 4 << 30;
const ROOT: Account<'_> = Account { user: "keeper", password: "correct horse battery staple" };
/// Larger than what MinIO keeps in an object's own entry, so that each disk has a part of it.
const OBJECT: usize = 3 << 20;

struct Member {
    name: String,
    node: Node,
    /// Of this host's loopback, led to the node's S3 port and to its metrics.
    port: u16,
    metrics: u16,
}

fn node_config(number: u8, of: u8) -> String {
    let peers: Vec<String> = (1..=of).map(|n| format!("\"m{n}\"")).collect();
    let peers = if of > 1 { format!("peers = [{}]\n", peers.join(", ")) } else { String::new() };
    let hosts: String = (1..=of).map(|n| format!("m{n} = \"10.0.0.{n}\"\n")).collect();
    format!(
        "name = \"m{number}\"\n[cluster]\nname = \"rack1\"\n\
         [network.eth0]\naddresses = [\"10.0.0.{number}/24\"]\n\
         [network.eth1]\naddresses = [\"10.0.2.15/24\"]\n\
         [metrics]\nlisten = \"10.0.2.15:9100\"\n[hosts]\n{hosts}[disks]\ndata = \"xfs\"\n\
         [minio]\nuser = \"{}\"\npassword = \"{}\"\n{peers}",
        ROOT.user, ROOT.password
    )
}

/// Switches on a node of this machine, which has nothing but its image.
fn start(machine: Machine, number: u8, of: u8, rack: &Network) -> Member {
    let name = format!("m{number}");
    let mut machine = machine
        .name(&name)
        .memory(1024)
        .deadline(DEADLINE)
        .serial(&format!("SYSTEM{number}"))
        .emmc()
        .nvme(Nvme::new(&format!("DATA{number}")).size(DISK))
        .network(rack)
        .user_network()
        .node_config(node_config(number, of));
    let [port, metrics] = [9000, 9100].map(|port| machine.forward(port).unwrap());
    Member { name, node: machine.start().unwrap(), port, metrics }
}

impl Member {
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> std::io::Result<Answer> {
        s3::ask(self.port, Some(ROOT), method, path, body)
    }

    /// A request that is answered with 200, at the latest after a few tries: a cluster that has just lost a member answers
    /// 503 until it has noticed.
    fn fine(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let begin = Instant::now();
        loop {
            let answer = self.ask(method, path, body);
            match answer {
                Ok(Answer { status: 200, body }) => return body,
                other => assert!(begin.elapsed() < LONG, "{method} {path} through {}: {other:?}", self.name),
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    /// Waits until this member says that enough of the cluster is there to write.
    fn in_cluster(&self) {
        let begin = Instant::now();
        while !matches!(s3::ask(self.port, None, "GET", "/minio/health/cluster", b""), Ok(Answer { status: 200, .. }))
        {
            assert!(begin.elapsed() < LONG, "{} has no cluster:\n{}", self.name, self.node.console());
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn said(&self, text: &str) {
        let begin = Instant::now();
        while !self.node.console().contains(text) {
            assert!(begin.elapsed() < LONG, "{} never said {text:?}:\n{}", self.name, self.node.console());
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

fn object(seed: u64) -> Vec<u8> {
    s3::object(seed, OBJECT)
}

fn seconds(time: Duration) -> String {
    format!("{:.0} s", time.as_secs_f32())
}

#[test]
fn a_node_alone_is_an_object_storage_that_outlasts_a_restart() {
    let begin = Instant::now();
    let mut member = start(Machine::new(images::minio_with_probe()).port(PORT), 1, 1, &Network::new());
    member.said("data (xfs) was made on /dev/nvme0n1p1");
    member.said("the secrets of node.toml were moved from bootsel to state");
    member.in_cluster();
    figure("a MinIO node alone, power-on to objects", seconds(begin.elapsed()));
    let first = object(1);
    member.fine("PUT", "/rack", b"");
    member.fine("PUT", "/rack/first", &first);
    strangers_get_nothing(&member);
    member.said("] health passed");
    assert!(!member.node.console().contains(ROOT.password), "the password stands on the console");
    only_what_is_expected_is_reached(Agent(&member.node), &[("minio", &[])]);
    let bare = reached(Agent(&member.node), "minio", true);
    for attempt in ["init-seen", "user-namespace", "own-program"] {
        assert!(bare.contains(attempt), "{attempt} among {bare:?}");
    }

    // Not by a cut: alone, MinIO does not sync what it has just taken. A cluster's members have each other: see below.
    member.node.power_off().unwrap();
    member.node.wait_off(LONG).unwrap();
    member.node.kill();
    member.node.power_on().unwrap();
    member.said("data (xfs) is on /dev/nvme0n1p1");
    member.in_cluster();
    assert!(member.fine("GET", "/rack/first", b"") == first, "the object changed in a restart");
}

fn strangers_get_nothing(member: &Member) {
    let wrong = Account { password: "a wrong password", ..ROOT };
    for account in [None, Some(wrong), Some(Account { user: "nobody", ..ROOT })] {
        let answer = s3::ask(member.port, account, "GET", "/rack/first", b"").unwrap();
        assert_eq!(answer.status, 403, "{account:?}: {}", String::from_utf8_lossy(&answer.body));
    }
}

mod long {
    use super::*;

    #[test]
    fn four_nodes_are_one_object_storage_that_outlasts_a_power_cut_of_any_one() {
        let (rack, begin) = (Network::new(), Instant::now());
        let member = |number| start(Machine::new(images::minio()), number, 4, &rack);
        let mut members: Vec<Member> = (1..=4).map(member).collect();
        for member in &members {
            member.said("data (xfs) was made on /dev/nvme0n1p1");
            member.said("the secrets of node.toml were moved from bootsel to state");
        }
        figure("four MinIO nodes, power-on to four disks claimed", seconds(begin.elapsed()));
        members.iter().for_each(Member::in_cluster);
        figure("four MinIO nodes, power-on to one cluster", seconds(begin.elapsed()));

        let (first, second) = (object(1), object(2));
        members[0].fine("PUT", "/rack", b"");
        let written = Instant::now();
        members[0].fine("PUT", "/rack/first", &first);
        assert!(members[2].fine("GET", "/rack/first", b"") == first, "through another node comes another object");
        figure(
            "an object of 3 MiB written through one MinIO node and read through another",
            seconds(written.elapsed()),
        );
        strangers_get_nothing(&members[1]);
        for member in &members {
            member.said("] health passed");
            assert!(!member.node.console().contains(ROOT.password), "the password stands on a console");
        }

        let memory = members.iter().map(|member| memory::of_service(member.metrics, "minio")).fold(0.0, f64::max);
        let memory = memory / 1_048_576.0;
        figure("MinIO, most memory of four nodes with its page cache", format_args!("{memory:.0} MiB"));

        // One loses its power: what is there can be read through those that are left, and more can be written.
        members[1].node.kill();
        assert!(members[3].fine("GET", "/rack/first", b"") == first, "the object changed when a node went");
        members[2].fine("PUT", "/rack/second", &second);
        assert!(members[0].fine("GET", "/rack/second", b"") == second);
        figure("four MinIO nodes, power-on to an object read with one node off", seconds(begin.elapsed()));

        // It comes back to its own disk, and serves what was written while it was away, also when another goes.
        members[1].node.power_on().unwrap();
        members[1].said("data (xfs) is on /dev/nvme0n1p1");
        members[1].in_cluster();
        assert!(members[1].fine("GET", "/rack/second", b"") == second);
        members[2].node.kill();
        assert!(members[1].fine("GET", "/rack/first", b"") == first);
        assert!(members[1].fine("GET", "/rack/second", b"") == second);
        figure("four MinIO nodes, the whole test", seconds(begin.elapsed()));
    }
}
