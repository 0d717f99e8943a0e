//! The API of a cluster of one node, by OpenSSL's own server. As with k3s (1.36), the supervisor answers `/ping` to anybody long
//! before there is an API; the API takes nobody without a certificate of its own authority, says for a while what is not ready,
//! and knows the node of the last start before it hears of this one. What it answers is in files below [`FOLDER`], each a whole
//! answer, so that a test changes them.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Where the answers are, and the keys that k3s does not give away.
pub const FOLDER: &str = "/var/lib/rancher/k3s/stand-in";
/// Where k3s keeps what its kubelet shows and trusts (pkg/agent/config).
const AGENT: &str = "/var/lib/rancher/k3s/agent";

/// Between two steps of the start. k3s was seen to take 50 to 110 s from the first `pong` to an API that works.
const STEP: Duration = Duration::from_secs(6);
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The answer to a request for the supervisor's or the API's readiness.
const PONG: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\npong";
const READY: &str = "HTTP/1.1 200 OK\r\n\r\n[+]ping ok\n[+]etcd ok\n[+]poststarthook/rbac/bootstrap-roles ok\nreadyz check \
                     passed\n";
const NOT_READY: &str = "HTTP/1.1 500 Internal Server Error\r\n\r\n[+]ping ok\n[+]etcd ok\n\
                         [-]poststarthook/rbac/bootstrap-roles failed: reason withheld\nreadyz check failed\n";
const NO_QUORUM: &str = "HTTP/1.1 500 Internal Server Error\r\n\r\n[+]ping ok\n[-]etcd failed: reason withheld\n\
                         [-]etcd-readiness failed: reason withheld\nreadyz check failed\n";
const UNKNOWN: &str = "HTTP/1.1 404 Not Found\r\n\r\n{\"kind\":\"Status\",\"reason\":\"NotFound\",\"code\":404}\n";

/// Starts all of it. `port` is where the API is reached; `ready` is called when k3s would say that it is.
pub fn start(port: &'static str, node: &str, ready: impl FnOnce() + Send + 'static) {
    let node = node.to_owned();
    let begun = prepare(&node).and_then(|()| serve(port, &[]));
    println!("stand-in for k3s: the supervisor answers: {begun:?}");
    std::thread::spawn(move || {
        std::thread::sleep(STEP);
        let served = begun.and_then(|mut supervisor| {
            supervisor.kill()?;
            supervisor.wait()?;
            let ca = format!("{FOLDER}/client-ca.crt");
            serve(port, &["-Verify", "1", "-verify_return_error", "-CAfile", &ca])
        });
        println!("stand-in for k3s: the API answers those who show who they are: {}", served.is_ok());
        ready();
        for (file, text) in [
            ("readyz?verbose", READY.to_owned()),
            (
                &format!("api/v1/nodes/{node}"),
                answer(&node, "False", "KubeletNotReady", "cni plugin not initialized"),
            ),
            (
                &format!("api/v1/nodes/{node}"),
                answer(&node, "True", "KubeletReady", "kubelet is posting ready status"),
            ),
        ] {
            std::thread::sleep(STEP);
            println!("stand-in for k3s: {file}: {:?}", fs::write(format!("{FOLDER}/{file}"), text));
        }
        // What a thread has started with a death signal ends with it: this one goes on.
        let mut lost = false;
        loop {
            std::thread::sleep(Duration::from_millis(500));
            if std::mem::replace(&mut lost, etcd().is_some()) != lost {
                let (now, new) = (format!("{FOLDER}/readyz?verbose"), format!("{FOLDER}/new"));
                let told = fs::write(&new, if lost { NO_QUORUM } else { READY }).and_then(|()| fs::rename(&new, now));
                println!("stand-in for k3s: etcd has lost its quorum: {lost}, {told:?}");
            }
        }
    });
}

/// What etcd says of its health instead of being healthy, when a test has written that.
pub fn etcd() -> Option<String> {
    fs::read_to_string(format!("{FOLDER}/etcd")).ok().filter(|reason| !reason.is_empty())
}

/// The node, in short.
fn answer(node: &str, status: &str, reason: &str, message: &str) -> String {
    let boot = fs::read_to_string(BOOT_ID).unwrap_or_default();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{{\"kind\":\"Node\",\"apiVersion\":\"v1\",\"metadata\":\
         {{\"name\":\"{node}\"}},\"status\":{{\"conditions\":[{{\"type\":\"MemoryPressure\",\"status\":\"False\"}},\
         {{\"type\":\"Ready\",\"status\":\"{status}\",\"reason\":\"{reason}\",\"message\":\"{message}\"}}],\
         \"nodeInfo\":{{\"bootID\":\"{}\",\"machineID\":\"\"}}}}}}\n",
        boot.trim()
    )
}

/// Keys and certificates, once, and the answers of the beginning. What the API knew of the node stays.
fn prepare(node: &str) -> io::Result<()> {
    fs::create_dir_all(format!("{FOLDER}/api/v1/nodes"))?;
    fs::create_dir_all(AGENT)?;
    fs::write(format!("{FOLDER}/ping"), PONG)?;
    fs::write(format!("{FOLDER}/readyz?verbose"), NOT_READY)?;
    let own = format!("{FOLDER}/api/v1/nodes/{node}");
    if !Path::new(&own).exists() {
        fs::write(own, UNKNOWN)?;
    }
    let kubelet = format!("{AGENT}/client-kubelet.crt");
    if Path::new(&kubelet).exists() {
        return Ok(());
    }
    fs::write(format!("{FOLDER}/cnf"), "[req]\ndistinguished_name = name\n[name]\n")?;
    let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    for name in ["server-ca", "client-ca"] {
        let (key, cert) = (format!("{name}.key"), format!("{name}.crt"));
        let subject = format!("/CN=k3s-{name}@1");
        let of = ["-addext", "basicConstraints=critical,CA:TRUE", "-subj", &subject, "-keyout", &key, "-out", &cert];
        certificate(&[&new[..], &of].concat())?;
    }
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1";
    let by = ["-CA", "server-ca.crt", "-CAkey", "server-ca.key", "-addext", "basicConstraints=CA:FALSE"];
    let of = ["-subj", "/O=k3s/CN=k3s", "-addext", names, "-keyout", "api.key", "-out", "api.crt"];
    certificate(&[&new[..], &by, &of].concat())?;
    // As k3s writes it: `EC PRIVATE KEY`.
    let key = format!("{AGENT}/client-kubelet.key");
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", &key])?;
    let subject = format!("/O=system:nodes/CN=system:node:{node}");
    let by = ["-CA", "client-ca.crt", "-CAkey", "client-ca.key", "-addext", "basicConstraints=CA:FALSE"];
    certificate(&[&["-key", &key, "-subj", &subject, "-out", &kubelet], &by[..]].concat())?;
    fs::copy(format!("{FOLDER}/server-ca.crt"), format!("{AGENT}/server-ca.crt"))?;
    Ok(())
}

fn certificate(arguments: &[&str]) -> io::Result<()> {
    openssl(&[&["req", "-x509", "-days", "3650", "-config", "cnf"], arguments].concat())
}

fn openssl(arguments: &[&str]) -> io::Result<()> {
    let mut command = Command::new("/usr/bin/openssl");
    let status = command.args(arguments).current_dir(FOLDER).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("openssl {arguments:?}: {status}"))) }
}

fn serve(port: &str, more: &[&str]) -> io::Result<Child> {
    let fixed = ["s_server", "-quiet", "-HTTP", "-accept", port, "-key", "api.key", "-cert", "api.crt"];
    let mut command = Command::new("/usr/bin/openssl");
    command.args(fixed).args(more).current_dir(FOLDER).stdin(Stdio::null());
    // It is k3s itself that listens: nobody does when k3s has ended.
    let end_with_us = || Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?);
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(end_with_us) };
    command.spawn()
}
