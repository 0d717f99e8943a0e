//! The cluster's database: one file, whose snapshots are copies of it, here and in a bucket, with the names, places, flags and
//! messages of k3s 1.36 ("k3s etcd-snapshot", pkg/etcd).

use super::setting;
use contract::calendar::stamp;
use guest::s3::{Account, ask_at};
use std::fs;
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

const FOLDER: &str = "/var/lib/rancher/k3s/server/db";
/// What keeps a second reset from following the first without a start between them.
const FLAG: &str = "/var/lib/rancher/k3s/server/db/reset-flag";

fn state() -> String {
    format!("{FOLDER}/etcd/state")
}

/// A start of the service: a new database where there is none.
pub fn open() -> std::io::Result<()> {
    fs::create_dir_all(format!("{FOLDER}/etcd"))?;
    let _ = fs::remove_file(FLAG);
    if fs::exists(state())? { Ok(()) } else { fs::write(state(), "a new cluster\n") }
}

/// `etcd-snapshot save`: asks the running server.
pub fn save(rest: &[&str]) -> Result<(), String> {
    let config = configuration(rest)?;
    if TcpStream::connect("127.0.0.1:6443").is_err() {
        return Err("failed to request snapshot: dial tcp 127.0.0.1:6443: connect: connection refused".to_owned());
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let name = format!("on-demand-{}-{seconds}", setting(&config, "node-name").unwrap_or_default());
    let content = fs::read(state()).map_err(|error| format!("etcd database not found in {FOLDER}: {error}"))?;
    let here = format!("{FOLDER}/snapshots");
    let kept = fs::create_dir_all(&here).and_then(|()| fs::write(format!("{here}/{name}"), &content));
    kept.map_err(|error| format!("{here}: {error}"))?;
    if setting(&config, "etcd-s3").is_some() {
        bucket(&config, "PUT", &name, &content)?;
    }
    println!("level=info msg=\"Snapshot {name} saved.\"");
    Ok(())
}

/// `etcd-snapshot list`: what the running server knows of, in columns (pkg/cli/etcdsnapshot), among lines of its log.
pub fn list(rest: &[&str]) -> Result<(), String> {
    let config = configuration(rest)?;
    if TcpStream::connect("127.0.0.1:6443").is_err() {
        return Err("failed to list snapshots: dial tcp 127.0.0.1:6443: connect: connection refused".to_owned());
    }
    println!("level=warning msg=\"Unknown flag --node-name found in config.yaml, skipping\"");
    let here = format!("{FOLDER}/snapshots");
    let mut rows = Vec::new();
    for entry in fs::read_dir(&here).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let found = entry.metadata().map_err(|error| format!("{here}: {error}"))?;
        let made = found.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let (size, made) = (found.len(), stamp(made.as_secs()));
        rows.push(format!("{name} file://{here}/{name} {size} {made}"));
        if setting(&config, "etcd-s3").is_some() {
            let place = ["etcd-s3-bucket", "etcd-s3-folder"].map(|key| setting(&config, key).unwrap_or_default());
            rows.push(format!("{name} s3://{}/{name} {size} {made}", place.join("/")));
        }
    }
    println!("Name Location Size Created");
    rows.iter().for_each(|row| println!("{row}"));
    Ok(())
}

/// `server --cluster-reset`: in place of the service, with or without a snapshot.
pub fn reset(rest: &[&str]) -> Result<(), String> {
    let config = configuration(rest)?;
    if TcpStream::connect("127.0.0.1:6443").is_ok() {
        return Err(
            "starting kubernetes: preparing server: listen tcp :6443: bind: address already in use".to_owned()
        );
    }
    if setting(&config, "server").is_some() {
        return Err(
            "cannot perform cluster-reset while server URL is set - remove server from configuration before \
                    resetting"
                .to_owned(),
        );
    }
    if fs::exists(FLAG).unwrap_or(false) {
        return Err(
            "cluster-reset was successfully performed, please remove the cluster-reset flag and start k3s normally"
                .to_owned(),
        );
    }
    let in_bucket = setting(&config, "etcd-s3").is_some() && !rest.contains(&"--etcd-s3=false");
    if let Some(path) = rest.iter().find_map(|word| word.strip_prefix("--cluster-reset-restore-path=")) {
        let content = if in_bucket {
            bucket(&config, "GET", path, b"")?
        } else {
            fs::read(path).map_err(|error| format!("etcd: snapshot path does not exist: {path}: {error}"))?
        };
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let _ = fs::rename(format!("{FOLDER}/etcd"), format!("{FOLDER}/etcd-old-{seconds}"));
        fs::create_dir_all(format!("{FOLDER}/etcd"))
            .and_then(|()| fs::write(state(), content))
            .map_err(|error| format!("{FOLDER}: {error}"))?;
    } else if !fs::exists(state()).unwrap_or(false) {
        return Err(format!("etcd database not found in {FOLDER}"));
    }
    fs::write(FLAG, "").map_err(|error| format!("{FLAG}: {error}"))?;
    println!(
        "level=info msg=\"Managed etcd cluster membership has been reset, restart without --cluster-reset flag now. Backup and \
         delete ${{datadir}}/server/db on each peer etcd server and rejoin the nodes\""
    );
    Ok(())
}

fn configuration(rest: &[&str]) -> Result<String, String> {
    let path = rest.iter().skip_while(|word| **word != "--config").nth(1).ok_or("no configuration was named")?;
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

/// Asks the bucket of the configuration for an object.
fn bucket(config: &str, method: &str, name: &str, body: &[u8]) -> Result<Vec<u8>, String> {
    let of = |key: &str| setting(config, key).ok_or_else(|| format!("{key} is not set"));
    let (host, user, password) = (of("etcd-s3-endpoint")?, of("etcd-s3-access-key")?, of("etcd-s3-secret-key")?);
    let folder = setting(config, "etcd-s3-folder").map_or_else(String::new, |folder| format!("{folder}/"));
    let path = format!("/{}/{folder}{name}", of("etcd-s3-bucket")?);
    if setting(config, "etcd-s3-insecure").is_none() {
        return Err(format!("{host} is asked by HTTPS, which this stand-in cannot"));
    }
    let account = Account { user: &user, password: &password };
    let answer = ask_at(&host, Some(account), method, &path, body).map_err(|error| format!("{host}: {error}"))?;
    if answer.status != 200 {
        return Err(format!("{method} of {path} at {host}: {}", answer.status));
    }
    Ok(answer.body)
}
