//! Certificate authorities, made by OpenSSL, and a TLS server: OpenSSL's `s_server`, which writes down what it is sent.

use crate::foreign::run;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A certificate authority with one certificate that it has signed, each an elliptic-curve key in a file.
pub struct Authority {
    folder: TempDir,
}

impl Authority {
    /// A new one, and a server's certificate for this address.
    ///
    /// # Panics
    /// When OpenSSL does not make it.
    #[must_use]
    pub fn new(address: &str) -> Authority {
        let authority = Authority { folder: TempDir::new().expect("no folder for certificates") };
        let path = |name: &str| authority.path(name).to_str().expect("a path that is not text").to_owned();
        let settings = format!(
            "[req]\ndistinguished_name = dn\n[dn]\n[ca]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = keyCertSign\n\
             [leaf]\nbasicConstraints = CA:FALSE\nextendedKeyUsage = serverAuth\nsubjectAltName = IP:{address}\n"
        );
        std::fs::write(path("settings"), settings).expect("cannot write");
        let [settings, ca, ca_key] = ["settings", CA, "ca.key"].map(path);
        let [request, leaf, leaf_key] = ["leaf.csr", LEAF, LEAF_KEY].map(path);
        let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config", &settings];
        // What it writes comes last.
        let openssl = |arguments: &[&[&str]], output: &String| {
            let _ = run("openssl", &[&arguments.concat()[..], &["-out"]].concat(), "", output.as_ref());
        };
        let root = ["-x509", "-days", "20", "-extensions", "ca", "-subj", "/CN=A site of tests"];
        openssl(&[&["req"], &new, &root, &["-keyout", &ca_key]], &ca);
        openssl(&[&["req"], &new, &["-subj", "/CN=server", "-keyout", &leaf_key]], &request);
        let by = ["-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial", "-extfile", &settings, "-extensions", "leaf"];
        openssl(&[&["x509", "-req", "-days", "20", "-in", &request], &by], &leaf);
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The authority's own certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.path(CA)
    }

    /// The server's certificate and its key.
    #[must_use]
    pub fn server(&self) -> [PathBuf; 2] {
        [self.path(LEAF), self.path(LEAF_KEY)]
    }
}

const CA: &str = "ca.pem";
const LEAF: &str = "leaf.pem";
const LEAF_KEY: &str = "leaf.key";

/// Ends with the value.
pub struct TlsServer {
    authority: Authority,
    server: Child,
    lines: Receiver<String>,
    /// On every address of the host.
    pub port: u16,
}

impl TlsServer {
    /// A server with a certificate for this address, signed by a new authority.
    pub fn start(address: &str) -> TlsServer {
        let authority = Authority::new(address);
        let [leaf, key] = authority.server();
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("no port").port();
        let mut server = Command::new("openssl")
            .args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-cert"])
            .arg(leaf)
            .arg("-key")
            .arg(key)
            // It would end with its input.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl cannot be started");
        let output = server.stdout.take().expect("it has a pipe");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let begin = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(20), "openssl s_server does not listen");
            std::thread::sleep(Duration::from_millis(50));
        }
        TlsServer { authority, server, lines, port }
    }

    /// The certificate of its authority.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.authority.certificate()
    }

    /// Waits for a line that begins so, sent by a client that believes the authority.
    ///
    /// # Panics
    /// When none comes.
    pub fn expect(&self, begin: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.starts_with(begin) => return line,
                Ok(_) => {}
                Err(error) => panic!("nobody sent {begin:?} by TLS: {error}"),
            }
        }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
