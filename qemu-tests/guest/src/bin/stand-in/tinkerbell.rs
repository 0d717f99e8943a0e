//! What Tinkerbell shows of itself: the health check of its HTTP server. Before that it looks at its variables, more strictly
//! than the real one, which ignores what it does not know.

use super::{Facts, answer};
use std::collections::BTreeSet;
use std::fs;
use std::process::exit;

/// Flags of Tinkerbell 0.25.0, by its sources: cmd/tinkerbell/flag/{global,smee,tink_server,ui}.go, and of the embedded
/// services, docs/technical/EMBEDDED_SERVICES.md (those of the Kubernetes API as kube-apiserver documents them; the
/// certificate of the API has a prefix since 0.22.1, as Tinkerbell has one of its own).
const FLAGS: [&str; 53] = [
    "backend",
    "backend-kube-burst",
    "backend-kube-config",
    "backend-kube-namespace",
    "backend-kube-qps",
    "bind-address",
    "client-ca-file",
    "dhcp-bind-addr",
    "dhcp-bind-interface",
    "dhcp-enable-netboot-options",
    "dhcp-enabled",
    "dhcp-ip-for-packet",
    "dhcp-mode",
    "dhcp-syslog-ip",
    "dhcp-tftp-ip",
    "dhcp-tftp-port",
    "enable-crd-migrations",
    "enable-embedded-etcd",
    "enable-embedded-kube-apiserver",
    "enable-rufio-controller",
    "enable-secondstar",
    "enable-smee",
    "enable-tink-controller",
    "enable-tink-server",
    "enable-tootles",
    "enable-ui",
    "etcd-dir",
    "etcd-servers",
    "http-port",
    "ipxe-http-binary-enabled",
    "ipxe-http-script-enabled",
    "ipxe-http-script-extra-kernel-args",
    "ipxe-http-script-osie-url",
    "ipxe-http-script-retries",
    "ipxe-http-script-retry-delay",
    "kube-apiserver-tls-cert-file",
    "kube-apiserver-tls-private-key-file",
    "log-level",
    "public-ipv4",
    "service-account-issuer",
    "service-account-key-file",
    "service-account-signing-key-file",
    "smee-log-level",
    "syslog-enabled",
    "tftp-block-size",
    "tftp-server-enabled",
    "tftp-timeout",
    "tink-server-auto-discovery-enabled",
    "tink-server-auto-discovery-namespace",
    "tink-server-auto-enrollment-enabled",
    "tls-cert-file",
    "tls-key-file",
    "trusted-proxies",
];

/// Flags that make sense together only.
const PAIRS: [(&str, &str); 4] = [
    ("kube-apiserver-tls-cert-file", "kube-apiserver-tls-private-key-file"),
    ("tls-cert-file", "tls-key-file"),
    ("service-account-key-file", "service-account-signing-key-file"),
    ("enable-embedded-kube-apiserver", "etcd-servers"),
];

pub fn run(facts: &mut Facts) {
    if let Err(why) = check() {
        println!("stand-in for tinkerbell: refused: {why}");
        exit(2);
    }
    facts.keeps("/var/lib/tinkerbell");
    let mut files: Vec<_> =
        fs::read_dir("/run/tinkerbell").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    for path in files {
        facts.file(&path.to_string_lossy());
    }
    answer(&format!("{}:{}", variable("bind-address"), variable("http-port")), "ok");
}

/// The variable of a flag.
fn key(flag: &str) -> String {
    format!("TINKERBELL_{}", flag.to_uppercase().replace('-', "_"))
}

fn variable(flag: &str) -> String {
    std::env::var(key(flag)).unwrap_or_default()
}

fn check() -> Result<(), String> {
    let known: BTreeSet<String> = FLAGS.iter().map(|flag| key(flag)).collect();
    let unknown =
        std::env::vars().map(|(key, _)| key).find(|key| key.starts_with("TINKERBELL_") && !known.contains(key));
    if let Some(unknown) = unknown {
        return Err(format!("{unknown} is not a flag of Tinkerbell 0.25.0"));
    }
    // Of two lines with one name the environment has only the last.
    let text = fs::read_to_string("/run/tinkerbell/environment").map_err(|error| error.to_string())?;
    let mut seen = BTreeSet::new();
    let names = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    if let Some((twice, _)) = names.into_iter().find(|(name, _)| !seen.insert(name.to_string())) {
        return Err(format!("{twice} is set twice"));
    }
    for (one, other) in PAIRS {
        let set = |flag| !["", "false"].contains(&variable(flag).as_str());
        if set(one) != set(other) {
            return Err(format!("{one} and {other} belong together"));
        }
    }
    for flag in FLAGS.iter().filter(|flag| flag.ends_with("-file") || **flag == "backend-kube-config") {
        let path = variable(flag);
        if !path.is_empty() && fs::read(&path).is_err() {
            return Err(format!("{flag}: {path} cannot be read"));
        }
    }
    Ok(())
}
