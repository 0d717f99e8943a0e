//! Sites with a certificate authority of their own.

use crate::end_to_end::{MICRODC, said};
use crate::format_support::tool_ok;
use crate::looking;
use microdc::source::Quiet;
use microdc::source::http::{Client, FetchError, Patience};
use microdc::source::trust::Trust;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const ANSWER: &str =
    "{\"frr\": {\"CVE-2026-1\": {\"releases\": {\"trixie\": {\"status\": \"open\", \"urgency\": \"low\"}}}}}";

/// A server at `https://localhost` whose certificate is of an authority that nobody else knows.
struct Site {
    folder: tempfile::TempDir,
    port: u16,
    connections: Arc<AtomicUsize>,
}

impl Site {
    fn start() -> Site {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = certificates(folder.path());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        // The thread ends with the test process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                let connection = rustls::ServerConnection::new(config.clone()).unwrap();
                let mut stream = rustls::StreamOwned::new(connection, stream);
                let mut request = [0; 4096];
                if stream.read(&mut request).is_ok_and(|length| length > 0) {
                    let head =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", ANSWER.len());
                    let _ = stream.write_all(format!("{head}{ANSWER}").as_bytes());
                    stream.conn.send_close_notify();
                    let _ = stream.flush();
                }
            }
        });
        Site { folder, port, connections }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn url(&self) -> String {
        format!("https://localhost:{}/data", self.port)
    }

    fn fetch(&self, trust: &Trust) -> Result<Vec<u8>, FetchError> {
        let patience = Patience { attempts: 4, first_wait: Duration::from_millis(5), ..Patience::default() };
        Client::trusting(patience, trust, Arc::default()).small(&self.url(), 1 << 20, &Quiet)
    }
}

fn certificates(folder: &Path) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let settings = "[req]\ndistinguished_name = dn\n[dn]\n[ca]\nbasicConstraints = critical, CA:TRUE\nkeyUsage = keyCertSign\n\
                    [leaf]\nbasicConstraints = CA:FALSE\nsubjectAltName = DNS:localhost\n";
    std::fs::write(folder.join("settings"), settings).unwrap();
    let [settings, ca, ca_key] = ["settings", "ca.pem", "ca.key"].map(path);
    let [request, leaf, leaf_key] = ["leaf.csr", "leaf.pem", "leaf.key"].map(path);
    let new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-config", &settings];
    let req = |further: &[&str]| tool_ok("openssl", &[&["req"][..], &new, further].concat());
    req(&["-x509", "-days", "2", "-extensions", "ca", "-subj", "/CN=A site", "-keyout", &ca_key, "-out", &ca]);
    req(&["-subj", "/CN=localhost", "-keyout", &leaf_key, "-out", &request]);
    let by = ["-CA", &ca, "-CAkey", &ca_key, "-CAcreateserial", "-extfile", &settings, "-extensions", "leaf"];
    let sign = ["x509", "-req", "-days", "2", "-in", &request, "-out", &leaf];
    tool_ok("openssl", &[&sign[..], &by].concat());
    let chain = CertificateDer::pem_file_iter(&leaf).unwrap().collect::<Result<_, _>>().unwrap();
    (chain, PrivateKeyDer::from_pem_file(&leaf_key).unwrap())
}

#[test]
fn a_certificate_of_an_unknown_authority_is_named_and_not_tried_again() {
    let site = Site::start();
    let error = site.fetch(&Trust::default()).unwrap_err();
    assert!(matches!(error, FetchError::Certificate { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("no certificate authority that is known here") && said.contains("SSL_CERT_FILE"), "{said}");
    assert!(!said.contains("network"), "{said}");
    assert_eq!(site.connections.load(Ordering::SeqCst), 1, "a certificate is no better the second time");
}

#[test]
fn the_sites_own_authority_is_believed_and_is_asked_first_from_then_on() {
    let (site, stranger) = (Site::start(), Site::start());
    let trust = Trust::find(Some(&site.ca())).unwrap();
    let client = Client::trusting(Patience::default(), &trust, Arc::default());
    for connections in [2, 3] {
        assert_eq!(client.small(&site.url(), 1 << 20, &Quiet).unwrap(), ANSWER.as_bytes());
        assert_eq!(site.connections.load(Ordering::SeqCst), connections);
    }
    let error = client.small(&stranger.url(), 1 << 20, &Quiet).unwrap_err();
    assert!(matches!(error, FetchError::Certificate { .. }), "another's authority is still not believed: {error:?}");
}

#[test]
fn the_program_takes_the_authority_from_the_environment_and_from_microdc_toml() {
    let site = Site::start();
    let run = |folder: &Path, variable: Option<(&str, PathBuf)>, status| {
        let mut command = Command::new(MICRODC);
        command.args(["audit", looking::image().to_str().unwrap(), "--url", &site.url()]).current_dir(folder);
        command.env("MICRODC_CACHE", folder.join("cache")).env_remove("SSL_CERT_FILE").env_remove("SSL_CERT_DIR");
        command.envs(variable);
        said(&command.output().unwrap(), status)
    };
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path(), None, 3).contains("certificate is not trusted"));
    assert!(run(folder.path(), Some(("SSL_CERT_FILE", site.ca())), 0).contains("CVE-2026-1"));
    assert!(run(folder.path(), Some(("SSL_CERT_DIR", site.folder.path().to_owned())), 0).contains("CVE-2026-1"));
    let lacking = run(folder.path(), Some(("SSL_CERT_FILE", folder.path().join("none.pem"))), 3);
    assert!(lacking.contains("SSL_CERT_FILE names ") && lacking.contains("none.pem"), "{lacking}");
    std::fs::copy(site.ca(), folder.path().join("site.pem")).unwrap();
    std::fs::write(folder.path().join("microdc.toml"), "[sources]\nca = \"site.pem\"\n").unwrap();
    assert!(run(folder.path(), None, 0).contains("CVE-2026-1"));
}
