//! What k3s shows of itself: its [`api`], kubelet's health at 10248, etcd's at 2381, the token and the kubeconfig that it makes,
//! and `READY=1` when the node is part of the cluster. As k3s does, it takes no cgroup for its own but `/` and `/init.scope`
//! (pkg/cgroups), and an agent whose node password the cluster does not know waits and says so again and again.

mod api;
mod database;
mod kubectl;

use super::{Facts, answer};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
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
/// The node password that the cluster does not know, for as long as this file says `yes`.
const REJECTED: &str = "/var/lib/rancher/k3s/stand-in/password-is-rejected";
const TOKEN: &str = "/var/lib/rancher/k3s/server/token";

/// A setting of the configuration, which is YAML of one line for each in what is asked for here.
fn setting(text: &str, key: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
    line.map(|value| value.trim_matches('"').to_owned())
}

/// Commands other than the service's own.
pub fn command(arguments: &[String]) -> Option<Result<(), String>> {
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match words.as_slice() {
        ["kubectl", rest @ ..] => Some(kubectl::run(rest)),
        ["etcd-snapshot", "save", rest @ ..] => Some(database::save(rest)),
        ["etcd-snapshot", "list", rest @ ..] => Some(database::list(rest)),
        ["server", rest @ ..] if rest.contains(&"--cluster-reset") => Some(database::reset(rest)),
        _ => None,
    }
}

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
    let text = fs::read_to_string(&config).unwrap_or_default();
    let setting = |key: &str| setting(&text, key);
    let server = arguments.get(1).is_some_and(|verb| verb == "server");
    if server {
        println!("stand-in for k3s: the kubeconfig: {:?}", kubeconfig());
        println!("stand-in for k3s: the database: {:?}", database::open());
        println!("stand-in for k3s: the token: {:?}", token(setting("token")));
        super::answer_as("127.0.0.1:2381", || match api::etcd() {
            Some(reason) => (503, format!("{{\"health\":\"false\",\"reason\":\"{reason}\"}}")),
            None => (200, "{\"health\":\"true\",\"reason\":\"\"}".to_owned()),
        });
    } else {
        wait_for_the_password();
    }
    answer("127.0.0.1:10248", "ok");
    // An agent reaches the API of its servers by a balancer of its own.
    let port = if server { "6443" } else { "6444" };
    api::start(port, &setting("node-name").unwrap_or_default(), || {
        let Ok(path) = std::env::var("NOTIFY_SOCKET") else { return };
        let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"READY=1\n", path));
        println!("stand-in for k3s: said that it is ready: {sent:?}");
    });
}

/// pkg/agent/config: the answer 403 of the server is logged every five seconds.
fn wait_for_the_password() {
    while fs::read_to_string(REJECTED).is_ok_and(|text| text.starts_with("yes")) {
        println!(
            "level=info msg=\"Waiting to retrieve agent configuration; server is not ready: Node password rejected, duplicate \
             hostname or contents of '/etc/rancher/node/password' may not match server node-passwd entry, try enabling a unique \
             node name with the --with-node-id flag\""
        );
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The one of the configuration, or one that is made once.
fn token(given: Option<String>) -> std::io::Result<()> {
    fs::create_dir_all("/var/lib/rancher/k3s/server")?;
    if given.is_none() && Path::new(TOKEN).exists() {
        return Ok(());
    }
    let made = || {
        let random = |_| fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default().replace('-', "");
        let [one, two, password] = [0, 1, 2].map(random).map(|word| word.trim().to_owned());
        format!("K10{one}{two}::server:{password}")
    };
    fs::write(TOKEN, given.unwrap_or_else(made) + "\n")
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
