//! The API of a server, as far as its clients are concerned: `pong` for those who look whether anything answers, as from k3s's
//! supervisor; whether the API is ready, for those who show the kubelet's certificate; and datagrams for those who want to know
//! which server they have reached.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio, exit};
use std::thread::spawn;

/// Where k3s keeps what its kubelet shows and trusts.
const AGENT: &str = "/var/lib/rancher/k3s/agent";
const PONG: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong";
const READY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 42\r\n\r\n[+]ping ok\n[+]etcd ok\nreadyz check passed\n";

/// Answers until the process ends: `pong` at `port`, whether the API is ready at `tls`, datagrams at `port` of these addresses.
pub fn run(port: &str, tls: &str, addresses: &[&str]) {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned();
    for address in addresses {
        let socket = bound(&format!("{address}:{port}"), UdpSocket::bind);
        let name = name.clone();
        spawn(move || {
            let mut asked = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut asked) {
                let answer = [name.as_bytes(), b" ", &asked[..length]].concat();
                let _ = socket.send_to(&answer, from);
            }
        });
    }
    if let Err(error) = keys().and_then(|()| ready(tls)) {
        println!("the API at {tls}: {error}");
        exit(98)
    }
    let listener = bound(&format!("0.0.0.0:{port}"), TcpListener::bind);
    for caller in listener.incoming().flatten() {
        spawn(move || {
            let Ok(out) = caller.try_clone() else { return };
            answer(caller, out, PONG);
        });
    }
}

/// Gives the same answer to each request.
fn answer(mut requests: impl Read, mut answers: impl Write, text: &str) {
    let mut request = [0; 2048];
    while requests.read(&mut request).is_ok_and(|length| length > 0) {
        if answers.write_all(text.as_bytes()).and_then(|()| answers.flush()).is_err() {
            break;
        }
    }
}

/// One certificate for the server and the kubelet, which both know no other, and a key as k3s writes it: once.
fn keys() -> io::Result<()> {
    fs::create_dir_all(AGENT)?;
    if Path::new(&format!("{AGENT}/server-ca.crt")).exists() {
        return Ok(());
    }
    fs::write(format!("{AGENT}/cnf"), "[req]\ndistinguished_name = name\n[name]\n")?;
    openssl(&["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "client-kubelet.key"])?;
    let new =
        ["req", "-x509", "-days", "3650", "-config", "cnf", "-key", "client-kubelet.key", "-subj", "/CN=localhost"];
    let names = ["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"];
    openssl(&[&new[..], &names, &["-out", "client-kubelet.crt"]].concat())?;
    fs::copy(format!("{AGENT}/client-kubelet.crt"), format!("{AGENT}/server-ca.crt")).map(drop)
}

fn openssl(arguments: &[&str]) -> io::Result<()> {
    let status = Command::new("/usr/bin/openssl").args(arguments).current_dir(AGENT).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("openssl {arguments:?}: {status}"))) }
}

/// OpenSSL's server speaks TLS with one caller after the other, and hands on what is said.
fn ready(port: &str) -> io::Result<()> {
    let fixed = ["s_server", "-quiet", "-accept", port, "-key", "client-kubelet.key", "-cert", "client-kubelet.crt"];
    let known = ["-Verify", "1", "-verify_return_error", "-CAfile", "server-ca.crt"];
    let mut command = Command::new("/usr/bin/openssl");
    command.args(fixed).args(known).current_dir(AGENT).stdin(Stdio::piped()).stdout(Stdio::piped());
    // It is the API itself that listens: nobody does when that has ended.
    let end_with_us = || Ok(rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?);
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(end_with_us) };
    let mut server = command.spawn()?;
    let (Some(requests), Some(answers)) = (server.stdout.take(), server.stdin.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    spawn(move || answer(requests, answers, READY));
    Ok(())
}

fn bound<'a, T>(address: &'a str, bind: impl Fn(&'a str) -> io::Result<T>) -> T {
    bind(address).unwrap_or_else(|error| {
        println!("{address}: {error}");
        exit(97)
    })
}
