//! Daemons that are awkward without maintainer scripts, systemd and a shell: all in one image, and each answers.

use emulator::{Machine, Network};
use qemu_tests::agent::Agent;
use qemu_tests::images;
use qemu_tests::probe::{PORT, Request};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// PostgreSQL makes its first database without hardware help.
const LONG: Duration = Duration::from_secs(600);
const TOKEN: &str = "not-shown-anywhere";
const NODE: &str = "name = \"n1\"\n[network.eth0]\naddresses = [\"10.0.0.1/24\"]\n[network.eth1]\n\
                    addresses = [\"10.0.2.15/24\"]\n[disks]\ndata = \"ext4\"\n[vars]\ngreeting = \"good evening\"\n[vars.secret]\n";

#[test]
fn awkward_daemons_come_up_in_one_boot_and_each_answers() {
    let mut machine = Machine::new(images::daemons())
        .name("n1")
        .deadline(Duration::from_secs(1200))
        .port(PORT)
        .network(&Network::new())
        .user_network()
        .node_config(format!("{NODE}token = \"{TOKEN}\"\n"));
    let [web, names, files] = [8080, 5335, 445].map(|port| machine.forward(port).unwrap());
    let node = machine.start().unwrap();
    let begin = Instant::now();
    let daemons = [
        "nginx",
        "unbound",
        "postgres",
        "smbd",
        "keepalived",
        "charon",
        "ovsdb-server",
        "ovs-vswitchd",
        "avahi",
        "mountd",
    ];
    let tasks = ["initdb", "ovsdb-create", "determinant", "exportfs", "nfsd"];
    let said = |name: &str, what: &str| node.console().contains(&format!("service {name} {what}"));
    while !(daemons.iter().all(|name| said(name, "ready")) && tasks.iter().all(|name| said(name, "done"))) {
        assert!(begin.elapsed() < LONG, "not every daemon is ready:\n{}", node.console());
        std::thread::sleep(Duration::from_secs(1));
    }

    let agent = Agent(&node);
    let run = |words: &str| agent.ask(&Request::Run(words.split(' ').map(str::to_owned).collect())).unwrap();
    // What this node says, from [vars].
    assert!(ask(web, b"GET / HTTP/1.0\r\n\r\n").ends_with(b"good evening from nginx\n"), "nginx");
    assert!(ask(names, &name_question()).ends_with(&[10, 9, 8, 7]), "unbound");
    let sum = run("/usr/lib/postgresql/17/bin/psql -h 127.0.0.1 -U postgres -tAc select(6*7)");
    assert_eq!(sum.trim(), "42", "postgresql");
    let dialect = ask(files, &smb_negotiation());
    assert_eq!(dialect.get(4..8), Some(&b"\xfeSMB"[..]), "samba");
    // SMB 2.1 with a good status, as asked for.
    assert_eq!((&dialect[12..16], &dialect[72..74]), (&[0; 4][..], &[0x10, 0x02][..]), "samba");
    agent.until("keepalived has taken the address", |agent| {
        agent.cat("/proc/net/fib_trie").contains("10.0.0.50").then_some(())
    });
    let stats = run("/usr/sbin/swanctl --stats");
    assert!(stats.contains("uptime") && stats.contains("openssl"), "strongswan: {stats}");
    run("/usr/bin/ovs-vsctl --timeout=60 add-br br9");
    agent.until("openvswitch has made the bridge", |agent| agent.cat("/proc/net/dev").contains("br9").then_some(()));
    let log = agent.cat("/state/log/determinant");
    assert!(log.contains(&format!("numpy says 32, the token has {} letters", TOKEN.len())), "{log}");
    let log = agent.cat("/state/log/avahi");
    assert!(log.contains("Server startup complete. Host name is n1.local."), "{log}");
    let mount = "/usr/bin/mount -i -t nfs4 -o addr=127.0.0.1,clientaddr=127.0.0.1,vers=4.2 127.0.0.1:/ /var/tmp";
    run(mount);
    agent.until("nfs", |agent| agent.cat("/var/tmp/determinant.py").contains("numpy").then_some(()));
    // It gives its containerd 15 s, which may not do here: the next start goes on where the first one ended.
    let version =
        "/usr/bin/docker --host unix:///run/docker-api/docker.sock version --format {{.Server.Os}}/{{.Server.Arch}}";
    let version = Request::Run(version.split(' ').map(str::to_owned).collect());
    let server = loop {
        match agent.ask(&version) {
            Ok(server) => break server,
            Err(error) => assert!(begin.elapsed() < LONG, "docker: {error}\n{}", agent.cat("/state/log/docker")),
        }
        std::thread::sleep(Duration::from_secs(5));
    };
    assert_eq!(server.trim(), "linux/arm64", "docker");
    assert!(!node.console().contains(TOKEN), "a secret is on the console");
}

/// Sends a request and reads what comes within a while, or until the other side has done.
fn ask(port: u16, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = vec![0; 4096];
    let mut length = 0;
    // The first piece is the whole answer of those that keep the connection.
    while let Ok(count @ 1..) = stream.read(&mut answer[length..]) {
        length += count;
        if !request.starts_with(b"GET") || length == answer.len() {
            break;
        }
    }
    answer.truncate(length);
    answer
}

/// A question for the address of `printer.lan`, over TCP (RFC 1035, 4.1 and 4.2.2).
fn name_question() -> Vec<u8> {
    let mut question = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    question.extend(b"\x07printer\x03lan\x00\x00\x01\x00\x01");
    let length = u16::try_from(question.len()).unwrap();
    [length.to_be_bytes().to_vec(), question].concat()
}

/// An SMB2 NEGOTIATE request for dialect 2.1 (MS-SMB2, 2.2.1 and 2.2.3), with the length that goes before it over TCP.
fn smb_negotiation() -> Vec<u8> {
    let mut header = b"\xfeSMB".to_vec();
    header.extend(64_u16.to_le_bytes());
    header.resize(64, 0);
    let mut body = Vec::new();
    // Its size, one dialect, signing enabled, no capabilities, a client's GUID, no contexts, the dialect.
    for field in [36_u16, 1, 1, 0] {
        body.extend(field.to_le_bytes());
    }
    body.extend([0; 4]);
    body.extend([7; 16]);
    body.extend([0; 8]);
    body.extend(0x0210_u16.to_le_bytes());
    let length = u32::try_from(header.len() + body.len()).unwrap();
    [length.to_be_bytes().to_vec(), header, body].concat()
}
