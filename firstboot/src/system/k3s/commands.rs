//! Commands of k3s, made of how its service is run, so that they find the same configuration (k3s 1.36, "k3s etcd-snapshot"
//! and "k3s server"; kubectl's reference, `drain` and `uncordon`).

use super::files::KUBECONFIG;
use std::path::Path;
use std::time::Duration;

/// The service, by its name in the profiles.
pub const SERVICE: &str = "k3s";
/// Where k3s keeps its snapshots.
pub const SNAPSHOTS: &str = "/var/lib/rancher/k3s/server/db/snapshots";
/// Longest name of a snapshot, in bytes.
const LONGEST: usize = 200;
/// Snapshots that are named when another was asked for.
const NAMED: usize = 5;

/// Makes a snapshot, on `data` and, where that is set, in the bucket. `run` is how the service is run.
///
/// # Errors
/// This node is not a server.
pub fn snapshot(run: &[String]) -> Result<Vec<String>, String> {
    let (program, rest) = server(run)?;
    Ok(words(program, &["etcd-snapshot", "save"]).into_iter().chain(rest.iter().cloned()).collect())
}

/// Lists the snapshots of all servers and of the bucket.
///
/// # Errors
/// This node is not a server.
pub fn snapshots(run: &[String]) -> Result<Vec<String>, String> {
    let (program, rest) = server(run)?;
    Ok(words(program, &["etcd-snapshot", "list"]).into_iter().chain(rest.iter().cloned()).collect())
}

/// Makes this server the only member of the cluster's etcd.
///
/// # Errors
/// This node is not a server.
pub fn reset(run: &[String]) -> Result<Vec<String>, String> {
    let (program, rest) = server(run)?;
    let server = words(program, &["server"]).into_iter().chain(rest.iter().cloned());
    Ok(server.chain(["--cluster-reset".to_owned()]).collect())
}

/// As [`reset`], from a snapshot: one in the folder `here`, or, where `bucket` says that there is one, in the bucket.
///
/// # Errors
/// This node is not a server, or there is no such snapshot.
pub fn restore(run: &[String], name: &str, here: &Path, bucket: bool) -> Result<Vec<String>, String> {
    let mut command = reset(run)?;
    if !is_name(name) {
        return Err(format!("{name:?} is not a valid name of a snapshot: letters, digits, `-`, `_` and `.`"));
    }
    let file = here.join(name);
    if file.symlink_metadata().is_ok_and(|found| found.is_file()) {
        command.push(format!("--cluster-reset-restore-path={}", file.display()));
        if bucket {
            // Otherwise the bucket is asked for it.
            command.push("--etcd-s3=false".to_owned());
        }
        return Ok(command);
    }
    if !bucket {
        return Err(format!("there is no snapshot {name} on this node; {}", known(here)));
    }
    command.push(format!("--cluster-reset-restore-path={name}"));
    Ok(command)
}

/// Moves the pods of a node to others, and lets no new ones in.
///
/// # Errors
/// This node is not a server.
pub fn drain(run: &[String], node: &str, limit: Duration) -> Result<Vec<String>, String> {
    let mut command = kubectl(run, "drain", node)?;
    let limit = format!("--timeout={}s", limit.as_secs());
    command.extend(["--ignore-daemonsets", "--delete-emptydir-data", &limit].map(str::to_owned));
    Ok(command)
}

/// Lets pods in again.
///
/// # Errors
/// This node is not a server.
pub fn uncordon(run: &[String], node: &str) -> Result<Vec<String>, String> {
    kubectl(run, "uncordon", node)
}

fn kubectl(run: &[String], verb: &str, node: &str) -> Result<Vec<String>, String> {
    let (program, _) = server(run)?;
    Ok(words(program, &["kubectl", "--kubeconfig", KUBECONFIG, verb, node]))
}

/// The program, and what follows `server`.
fn server(run: &[String]) -> Result<(&str, &[String]), String> {
    match run {
        [program, verb, rest @ ..] if verb == "server" => Ok((program, rest)),
        _ => Err("this node is not a k3s server: agents have neither the cluster's database nor the rights of an \
                  administrator; ask a server"
            .to_owned()),
    }
}

fn words(program: &str, more: &[&str]) -> Vec<String> {
    std::iter::once(program).chain(more.iter().copied()).map(str::to_owned).collect()
}

fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=LONGEST).contains(&name.len()) && !name.starts_with(['-', '.']) && name.bytes().all(inner)
}

/// The snapshots that there are, newest names last.
fn known(here: &Path) -> String {
    let entries = std::fs::read_dir(here).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| is_name(name));
    names.sort();
    let from = names.len().saturating_sub(NAMED);
    match names.get(from..).unwrap_or_default() {
        [] => "it has none, and node.toml names no bucket".to_owned(),
        last => format!("the last ones are {}", last.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(words: &str) -> Vec<String> {
        words.split(' ').map(str::to_owned).collect()
    }

    const SERVER: &str = "/usr/bin/k3s server --config /run/rancher/k3s/config.yaml";

    #[test]
    fn commands_find_the_services_own_configuration() {
        let server = run(SERVER);
        let joined = |command: Result<Vec<String>, String>| command.unwrap().join(" ");
        assert_eq!(
            joined(snapshot(&server)),
            "/usr/bin/k3s etcd-snapshot save --config /run/rancher/k3s/config.yaml"
        );
        assert_eq!(
            joined(snapshots(&server)),
            "/usr/bin/k3s etcd-snapshot list --config /run/rancher/k3s/config.yaml"
        );
        assert_eq!(joined(reset(&server)), format!("{SERVER} --cluster-reset"));
        assert_eq!(
            joined(drain(&server, "s1", Duration::from_secs(90))),
            "/usr/bin/k3s kubectl --kubeconfig /etc/rancher/k3s/k3s.yaml drain s1 --ignore-daemonsets --delete-emptydir-data \
             --timeout=90s"
        );
        assert_eq!(
            joined(uncordon(&server, "s1")),
            "/usr/bin/k3s kubectl --kubeconfig /etc/rancher/k3s/k3s.yaml uncordon s1"
        );
        let agent = run("/usr/bin/k3s agent --config /run/rancher/k3s/config.yaml");
        for refused in [snapshot(&agent), snapshots(&agent), reset(&agent), uncordon(&agent, "a1"), snapshot(&[])] {
            assert!(refused.unwrap_err().contains("not a k3s server"));
        }
    }

    #[test]
    fn a_snapshot_is_taken_from_the_node_before_the_bucket() {
        let folder = tempfile::tempdir().unwrap();
        let (server, here) = (run(SERVER), folder.path());
        std::fs::write(here.join("on-demand-s1-1"), "x").unwrap();
        let own = here.join("on-demand-s1-1").display().to_string();
        let last = |name: &str, bucket| restore(&server, name, here, bucket).map(|command| command[4..].join(" "));
        assert_eq!(
            last("on-demand-s1-1", false).unwrap(),
            format!("--cluster-reset --cluster-reset-restore-path={own}")
        );
        assert_eq!(
            last("on-demand-s1-1", true).unwrap(),
            format!("--cluster-reset --cluster-reset-restore-path={own} --etcd-s3=false")
        );
        assert_eq!(last("other", true).unwrap(), "--cluster-reset --cluster-reset-restore-path=other");
        assert!(last("other", false).unwrap_err().contains("the last ones are on-demand-s1-1"));
        for name in ["", "../token", "-x", ".x", "a b", "a/b", &"a".repeat(201)] {
            assert!(last(name, true).unwrap_err().contains("not a valid name"), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_name_of_a_snapshot_is_an_option_or_a_path(name in ".{0,20}|[-a-z/.=]{0,20}") {
            if let Ok(command) = restore(&run(SERVER), &name, Path::new("/nowhere"), true) {
                let named = command.last().unwrap().strip_prefix("--cluster-reset-restore-path=").unwrap();
                prop_assert!(!named.is_empty() && !named.contains(['/', ' ', '=']) && !named.starts_with(['-', '.']));
            }
        }
    }
}
