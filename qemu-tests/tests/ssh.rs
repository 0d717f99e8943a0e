//! An operator's way in: ssh with a key gives nodectl, and nothing else gives anything.

use qemu_tests::figures::figure;
use qemu_tests::probe::Request;
use qemu_tests::router::{STEP, number_after};
use qemu_tests::site::{SECRETS, Site, words};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Answers to a session that never began, and to a command that nodectl does not know.
const NOT_IN: i32 = 255;
const MISUSED: i32 = 2;
/// Answer to `health` when it has not passed.
const UNHEALTHY: i32 = 3;

#[test]
fn an_operator_with_a_key_gets_nodectl_and_nobody_gets_more() {
    let site = Site::start();
    a_key_gives_nodectl(&site);
    connections_without_a_login_lock_nobody_out(&site);
    no_command_is_a_shell(&site);
    nothing_of_the_client_reaches_nodectl(&site);
    nothing_is_forwarded_or_copied(&site);
    without_the_key_there_is_no_way_in(&site);
    noise_does_not_bring_sshd_down(&site);
    noise_does_not_bring_nodectl_or_pid_1_down(&site);
    the_prompt_takes_the_same_commands(&site);
    no_secret_is_shown(&site);
    // Last: it ends the node.
    let output = site.ssh(&["poweroff"]);
    assert!(words(&output).contains("powers off"), "{output:?}");
    site.node.expect("all stopped; power off", STEP).unwrap();
}

fn a_key_gives_nodectl(site: &Site) {
    let status = site.json(&["nodectl", "status", "--json"]);
    assert_eq!((&status["name"], &status["role"], &status["slot"]), (&"r1".into(), &"router".into(), &"A".into()));
    assert_eq!(status["not_ready"], Value::Array(Vec::new()));
    assert!(status["addresses"].as_str().unwrap().contains("10.0.2.15"), "{status}");
    assert!(site.fine(&["status"]).contains("role       router"));
    let services = site.fine(&["services"]);
    assert!(services.starts_with("SERVICE") && services.contains("\nzebra "), "{services}");
    // Some checks want a service to be stable for a while; until then the exit status says so too.
    let begin = Instant::now();
    loop {
        let output = site.ssh(&["health", "--json"]);
        let health: Value = serde_json::from_slice(&output.stdout).unwrap();
        let passed = health["verdict"] == "passed";
        assert_eq!(output.status.code(), Some(if passed { 0 } else { UNHEALTHY }), "{health}");
        if passed {
            assert!(!health["checks"].as_array().unwrap().is_empty(), "{health}");
            break;
        }
        assert!(begin.elapsed() < STEP, "{health}");
        std::thread::sleep(Duration::from_secs(1));
    }
    let network = site.json(&["network", "--json"]);
    let routes = network["routes"].as_array().unwrap();
    assert!(
        routes.iter().any(|route| route.as_str().unwrap().starts_with("route default via 10.0.2.2")),
        "{network}"
    );
    let disks = site.json(&["disks", "--json"]);
    assert_eq!(
        (&disks["state"]["is"], &disks["data"]["is"]),
        (&"persistent".into(), &"not-wanted".into()),
        "{disks}"
    );
    assert_eq!((&disks["disks"][0]["name"], &disks["disks"][0]["system"]), (&"nvme0n1".into(), &true.into()));
    let config = site.json(&["config", "--json"]);
    assert_eq!(config["config"]["router"]["asn"], 65001);
    assert!(site.fine(&["logs", "sshd", "-n", "50"]).contains("Accepted publickey for operator"));

    let restarted = site.fine(&["restart", "bgpd"]);
    assert!(restarted.contains("bgpd is being restarted"), "{restarted}");
    site.node.expect("service bgpd ready", STEP).unwrap();
    let refused = site.ssh(&["restart", "nothing"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains("no service nothing"), "{refused:?}");

    // A follower sees what is written after it came.
    let mut follower = site.client("ssh", "operator");
    let mut follower = follower.args(["operator@127.0.0.1", "logs", "-f", "--json", "sshd"]);
    follower = follower.stdout(Stdio::piped());
    let mut follower = follower.spawn().unwrap();
    site.fine(&["status"]);
    let mut output = follower.stdout.take().unwrap();
    let mut seen = String::new();
    let begin = Instant::now();
    // The session before this one, its own, and the one after it.
    while seen.matches("Accepted publickey").count() < 3 {
        assert!(begin.elapsed() < STEP, "{seen}");
        let mut buffer = [0; 4096];
        let length = output.read(&mut buffer).unwrap();
        assert_ne!(length, 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        site.fine(&["status"]);
    }
    follower.kill().unwrap();
    follower.wait().unwrap();
}

/// Connections that are opened and say nothing: more than sshd takes in all, from one source. The operator is another one.
fn connections_without_a_login_lock_nobody_out(site: &Site) {
    const AT_ONCE: usize = 120;
    /// PerSourceMaxStartups of overlays/ssh.
    const GREETED: u32 = 4;
    let begin = Instant::now();
    let run = ["/usr/lib/microdc/probe", "half-open", "10.0.2.15:22", &AT_ONCE.to_string()].map(str::to_owned);
    site.probe(&Request::Begin { name: "half-open".to_owned(), run: run.to_vec() }).unwrap();
    let log = || String::from_utf8(site.probe(&Request::Cat("/run/half-open.log".to_owned())).unwrap()).unwrap();
    while log().lines().count() < 3 {
        assert!(begin.elapsed() < STEP, "no connections: {}", log());
        std::thread::sleep(Duration::from_millis(500));
    }
    for _ in 0..3 {
        // No second try: whoever is turned away once has been locked out.
        assert!(site.fine(&["status"]).contains("role       router"));
    }
    let log = log();
    let greeted = |line: &str| number_after(line, "greeted").unwrap();
    assert!(log.lines().all(|line| greeted(line) <= GREETED), "{log}");
    assert!(log.lines().any(|line| greeted(line) > 0), "sshd is not where the connections go: {log}");
    let opened = number_after(log.lines().next_back().unwrap(), "opened").unwrap();
    assert!(opened as usize > AT_ONCE, "{log}");
    site.probe(&Request::Kill { name: "half-open".to_owned(), signal: 9 }).unwrap();
    site.still_up("connections without a login");
    figure(
        "120 ssh connections without a login from one source",
        format_args!("{:.1} s", begin.elapsed().as_secs_f64()),
    );
}

fn no_secret_is_shown(site: &Site) {
    let config = site.fine(&["config"]);
    assert_eq!(config.matches("(kept secret)").count(), SECRETS.len(), "{config}");
    let mut shown = site.node.console() + &config;
    for words in [
        &["config", "--json"][..],
        &["status"],
        &["status", "--json"],
        &["services", "--json"],
        &["logs", "-n", "1000"],
        &["logs", "-n", "1000", "--json"],
        &["health", "--json"],
        &["network"],
        &["network", "--json"],
        &["metrics"],
        &["metrics", "--json"],
    ] {
        shown += &site.fine(words);
    }
    for page in ["s", "r", "l"] {
        shown += &site.node.page(page, STEP).unwrap();
    }
    for secret in SECRETS {
        assert!(!shown.contains(secret), "a secret of node.toml is shown: {shown}");
    }
}

fn no_command_is_a_shell(site: &Site) {
    for line in [
        "/bin/sh",
        "sh",
        "status; reboot",
        "status && reboot",
        "status\nreboot",
        "$(reboot)",
        "`reboot`",
        "nodectl nodectl status",
        "-c status",
        "status > /run/x",
        "logs ../../../etc/shadow",
        "scp -t /tmp",
    ] {
        let output = site.ssh(&[line]);
        assert_eq!(output.status.code(), Some(MISUSED), "{line:?}: {output:?}");
        assert!(output.stdout.is_empty(), "{line:?}: {output:?}");
        assert!(words(&output).contains("nodectl: inspect this node"), "{line:?}: {output:?}");
    }
    // Neither a command nor a terminal.
    assert_eq!(site.ssh(&[]).status.code(), Some(MISUSED));
    site.still_up("tricks");
}

/// A program that ends with the test, however that ends.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A client that sets variables and offers its agent and its display: nothing of it reaches nodectl.
fn nothing_of_the_client_reaches_nodectl(site: &Site) {
    let socket = site.path("agent");
    let agent = Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    let _agent = Ended(agent);
    let begin = Instant::now();
    while !socket.exists() {
        assert!(begin.elapsed() < STEP, "ssh-agent does not come up");
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut session = site
        .client("ssh", "operator")
        .env("DISPLAY", "127.0.0.1:0")
        .args(["-X", "-oSetEnv=LD_PRELOAD=/x EVIL=1 LANG=evil BASH_ENV=/x PATH=/x"])
        .arg(format!("-oForwardAgent={}", socket.display()))
        .args(["operator@127.0.0.1", "logs", "-f"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let environment = loop {
        let found = site.processes().into_iter().find(|(_, name)| name == "nodectl");
        let environment = found.map(|(pid, _)| site.probe(&Request::Cat(format!("/proc/{pid}/environ"))));
        // Just after its start it is still empty.
        if let Some(Ok(environment)) = environment.filter(|found| found.as_ref().is_ok_and(|text| !text.is_empty())) {
            break String::from_utf8(environment).unwrap();
        }
        assert!(begin.elapsed() < STEP, "no nodectl runs");
        std::thread::sleep(Duration::from_millis(200));
    };
    for variable in environment.split_terminator('\0') {
        let name = variable.split('=').next().unwrap();
        let own = ["USER", "LOGNAME", "HOME", "PATH", "SHELL", "SSH_CLIENT", "SSH_CONNECTION", "MAIL"];
        assert!(own.contains(&name), "{variable}");
    }
    assert!(!environment.contains("PATH=/x"), "{environment}");
    session.kill().unwrap();
    let output = session.wait_with_output().unwrap();
    assert!(words(&output).contains("X11 forwarding request failed"), "{output:?}");
    site.still_up("offers");
}

fn nothing_is_forwarded_or_copied(site: &Site) {
    let file = site.path("file");
    std::fs::write(&file, "content").unwrap();
    for old in [&["-O"][..], &[]] {
        let mut scp = site.client("scp", "operator");
        let output = scp.args(old).arg(&file).arg("operator@127.0.0.1:/tmp/file").output().unwrap();
        assert!(!output.status.success(), "{output:?}");
    }
    let output = site.client("sftp", "operator").arg("operator@127.0.0.1").output().unwrap();
    assert!(!output.status.success(), "{output:?}");
    // Each would show bgpd's or zebra's greeting or open a way through the node if it were let.
    let direct = site.client("ssh", "operator").args(["-W", "127.0.0.1:22", "operator@127.0.0.1"]).output().unwrap();
    assert!(!words(&direct).contains("SSH-2.0"), "{direct:?}");
    assert_eq!(direct.status.code(), Some(NOT_IN), "{direct:?}");
    for forward in ["-R127.0.0.1:4444:127.0.0.1:22", "-w0:0"] {
        let mut ssh = site.client("ssh", "operator");
        let output =
            ssh.args(["-oExitOnForwardFailure=yes", forward, "operator@127.0.0.1", "status"]).output().unwrap();
        assert!(!output.status.success(), "{forward}: {output:?}");
    }
    // The client listens by itself; what goes in must not come out.
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let local = free();
    opened_by_the_client(site, local, &format!("-L{local}:127.0.0.1:22"), b"");
    let local = free();
    // SOCKS 5 (RFC 1928): no authentication; then connect to 127.0.0.1, port 22.
    let socks = b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x16";
    opened_by_the_client(site, local, &format!("-D{local}"), socks);
    site.still_up("forwarding");
}

/// What the client opens with this option leads nowhere.
fn opened_by_the_client(site: &Site, local: std::net::SocketAddr, option: &str, say: &[u8]) {
    let mut ssh = site.client("ssh", "operator");
    let mut ssh = ssh.args([option, "operator@127.0.0.1", "logs", "-f"]);
    ssh = ssh.stdout(Stdio::null());
    let mut ssh = ssh.spawn().unwrap();
    let begin = Instant::now();
    let mut stream = loop {
        match TcpStream::connect(local) {
            Ok(stream) => break stream,
            Err(error) => assert!(begin.elapsed() < STEP, "{error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let mut through = Vec::new();
    stream.set_read_timeout(Some(STEP)).unwrap();
    let _ = stream.write_all(say);
    let _ = stream.read_to_end(&mut through);
    let text = String::from_utf8_lossy(&through);
    assert!(!text.contains("SSH-2.0"), "{option}: {text:?}");
    ssh.kill().unwrap();
    ssh.wait().unwrap();
}

fn without_the_key_there_is_no_way_in(site: &Site) {
    let output = site.client("ssh", "stranger").args(["operator@127.0.0.1", "status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(NOT_IN), "{output:?}");
    assert!(words(&output).contains("Permission denied (publickey)"), "{output:?}");
    site.still_up("a wrong key");
    for user in ["root", "nobody"] {
        let output = site.client("ssh", "operator").args([&format!("{user}@127.0.0.1"), "status"]).output().unwrap();
        assert_eq!(output.status.code(), Some(NOT_IN), "{output:?}");
        site.still_up(user);
    }
    let mut ssh = site.client("ssh", "stranger");
    let methods = "-oPreferredAuthentications=password,keyboard-interactive,hostbased,gssapi-with-mic,none";
    let output = ssh.args(["-oPubkeyAuthentication=no", methods, "operator@127.0.0.1", "status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(NOT_IN), "{output:?}");
    // The server names what it would take: no password among it.
    assert!(words(&output).contains("Permission denied (publickey)"), "{output:?}");
    site.still_up("a password");
}

/// The same noise each time (xorshift), so that a failure can be repeated.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut noise = vec![0; length];
    for chunk in noise.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    noise
}

/// Noise on the standard input of nodectl, with a command, without one, and at its prompt; and what PID 1 has in memory
/// afterwards.
fn noise_does_not_bring_nodectl_or_pid_1_down(site: &Site) {
    let resident = || site.json(&["status", "--json"])["pid1_resident_bytes"].as_f64().unwrap();
    let before = resident();
    let noise = noise(10 << 20);
    let prompt: Vec<u8> = noise.iter().copied().take(256 << 10).filter(|byte| ![4, 28].contains(byte)).collect();
    for (words, input) in [(&["services"][..], &noise), (&["logs", "-f"], &noise), (&[], &noise), (&["-tt"], &prompt)]
    {
        let mut ssh = site.client("ssh", "operator");
        // `-tt` is for the client, the others for the node.
        let ssh = if words == ["-tt"] {
            ssh.args(["-tt", "operator@127.0.0.1"])
        } else {
            ssh.args(["operator@127.0.0.1", "--"]).args(words)
        };
        let mut session = ssh.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdin = session.stdin.take().unwrap();
        // Some hang up at once, and some never read: they end with the session.
        let input = input.clone();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let begin = Instant::now();
        while !writer.is_finished() && begin.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(50));
        }
        session.kill().unwrap();
        session.wait().unwrap();
        let _ = writer.join().unwrap();
        site.still_up(&format!("noise for nodectl {words:?}"));
    }
    let after = resident();
    assert!(after < before + 1e6, "PID 1 had {before} bytes in memory before the noise and has {after} after it");
}

fn noise_does_not_bring_sshd_down(site: &Site) {
    let noise = noise(10 << 20);
    let mut sent = 0;
    let begin = Instant::now();
    // sshd hangs up as soon as it has seen enough; then the rest comes on new connections.
    while sent < noise.len() && begin.elapsed() < STEP {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", site.port)) else { continue };
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        if sent % 2 == 1 {
            // Past the greeting, into the packets.
            let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n");
        }
        while let Ok(length @ 1..) = stream.write(&noise[sent..(sent + 65_521).min(noise.len())]) {
            sent += length;
            if sent >= noise.len() {
                break;
            }
        }
    }
    assert_eq!(sent, noise.len(), "the noise could not be sent");
    site.still_up("10 MB of noise");
}

fn the_prompt_takes_the_same_commands(site: &Site) {
    let mut ssh = site.client("ssh", "operator");
    let mut session =
        ssh.args(["-tt", "operator@127.0.0.1"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    session.stdin.as_mut().unwrap().write_all(b"status\nsh\n!sh\nhelp\nexit\n").unwrap();
    let output = session.wait_with_output().unwrap();
    let text = words(&output);
    assert!(output.status.success(), "{text}");
    for expected in ["nodectl> ", "role       router", "there is no command \"sh\"", "there is no shell", "poweroff"]
    {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }
}
