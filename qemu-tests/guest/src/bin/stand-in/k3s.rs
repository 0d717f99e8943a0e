//! What k3s shows of itself: `/ping` of its API at port 6443, which its supervisor answers long before the API works;
//! kubelet's health at 10248; and `READY=1` when the node is part of the cluster (k3s 1.36: seen 50 to 110 s after the first
//! `pong`, here a few seconds). As k3s does, it takes no cgroup for its own but `/` and `/init.scope` (pkg/cgroups).

use super::{Facts, answer};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Folders that k3s, kubelet and network plugins write to.
const FOLDERS: [&str; 8] = [
    "/etc/rancher",
    "/var/lib/rancher",
    "/var/lib/kubelet",
    "/var/log/pods",
    "/var/log/containers",
    "/var/lib/cni",
    "/opt/cni/bin",
    "/etc/cni/net.d",
];
/// Where its own key and answers are.
const TLS: &str = "/run/stand-in-tls";

/// From the first answer to its word that it is ready.
const STARTING: Duration = Duration::from_secs(6);

pub fn run(arguments: &[String], facts: &mut Facts) {
    let cgroup = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if !["0::/", "0::/init.scope"].contains(&cgroup.trim()) {
        println!("stand-in for k3s: refused: in the cgroup {}, it would move itself", cgroup.trim());
        std::process::exit(2);
    }
    for folder in FOLDERS {
        facts.keeps(folder);
    }
    let config = arguments.iter().skip_while(|word| *word != "--config").nth(1).cloned().unwrap_or_default();
    facts.file(&config);
    // k3s reads these after it, by name.
    let folder = format!("{config}.d");
    let mut more: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    more.sort();
    for path in more {
        facts.file(&path.to_string_lossy());
    }
    let images: Vec<String> = fs::read_dir("/var/lib/rancher/k3s/agent/images")
        .into_iter()
        .flatten()
        .flatten()
        // k3s's own notes.
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .map(|entry| {
            let path = entry.path();
            format!("{} {}", path.display(), fs::read_to_string(&path).unwrap_or_else(|error| error.to_string()))
        })
        .collect();
    facts.line("images", images.join(" ").trim());
    // As k3s does, one link is followed (pkg/deploy, walkFiles).
    let manifests = fs::read_dir("/var/lib/rancher/k3s/server/manifests/image").into_iter().flatten().flatten();
    let manifests: Vec<String> = manifests.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    facts.line("manifests", &manifests.join(" "));
    program_runs_from_data(facts);
    if arguments.get(1).is_some_and(|verb| verb == "server") {
        println!("stand-in for k3s: the kubeconfig: {:?}", kubeconfig());
        api();
    }
    answer("127.0.0.1:10248", "ok");
    std::thread::spawn(|| {
        std::thread::sleep(STARTING);
        let Ok(path) = std::env::var("NOTIFY_SOCKET") else { return };
        let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1\n", path));
        println!("stand-in for k3s: said that it is ready: {sent:?}");
    });
}

/// k3s unpacks its programs there and runs them.
fn program_runs_from_data(facts: &mut Facts) {
    let program = "/var/lib/rancher/k3s-program";
    let ended = fs::copy("/usr/sbin/xtables-nft-multi", program)
        .and_then(|_| Command::new(program).args(["iptables", "--version"]).output());
    let said =
        ended.map_or_else(|error| error.to_string(), |output| String::from_utf8_lossy(&output.stdout).into_owned());
    facts.line("ran from data:", said.trim());
}

/// What k3s writes for administrators, in short.
fn kubeconfig() -> std::io::Result<()> {
    fs::create_dir_all("/etc/rancher/k3s")?;
    let text = "apiVersion: v1\nclusters:\n- cluster:\n    server: https://127.0.0.1:6443\n  name: default\n";
    fs::write("/etc/rancher/k3s/k3s.yaml", text)
}

/// By OpenSSL's own server, with a certificate that no one knows: `ping` holds the whole answer.
fn api() {
    let prepare = || -> std::io::Result<()> {
        fs::create_dir_all(TLS)?;
        std::env::set_current_dir(TLS)?;
        fs::write("cnf", "[req]\ndistinguished_name = name\n[name]\n")?;
        fs::write("ping", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\npong")?;
        let made = Command::new("/usr/bin/openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650"])
            .args(["-config", "cnf", "-subj", "/CN=stand-in", "-keyout", "key", "-out", "cert"])
            .stdin(Stdio::null())
            .status()?;
        println!("stand-in for k3s: a key was made: {made}");
        Command::new("/usr/bin/openssl")
            .args(["s_server", "-quiet", "-HTTP", "-accept", "6443", "-key", "key", "-cert", "cert"])
            .stdin(Stdio::null())
            .spawn()?;
        Ok(())
    };
    println!("stand-in for k3s: the API: {:?}", prepare());
}
