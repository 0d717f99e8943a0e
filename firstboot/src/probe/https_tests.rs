//! Probes by HTTPS against OpenSSL's server.

use super::check;
use contract::role::HttpProbe;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server of OpenSSL's with a certificate of its own for localhost.
pub struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn openssl(arguments: &[&str]) {
    let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

pub fn certificate(folder: &Path, name: &str, key: &[&str]) -> [String; 2] {
    let [cert, secret] = ["crt", "key"].map(|end| folder.join(format!("{name}.{end}")).to_str().unwrap().to_owned());
    let config = folder.join("openssl.cnf");
    std::fs::write(&config, "[req]\ndistinguished_name = dn\n[dn]\n").unwrap();
    let fixed =
        ["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-config", config.to_str().unwrap()];
    let names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
    openssl(&[&fixed[..], &names, &["-keyout", &secret, "-out", &cert], key].concat());
    [cert, secret]
}

fn serve(own: &[String; 2], more: &[&str]) -> (Server, String) {
    let (server, api) = serve_files(own, &[&["-www"], more].concat(), Path::new("/"));
    (server, api + "/")
}

/// Files of `folder` where `more` says so. Gives the server and its address without a path.
pub fn serve_files([cert, key]: &[String; 2], more: &[&str], folder: &Path) -> (Server, String) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-cert", cert, "-key", key]);
    let child = command
        .current_dir(folder)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let server = Server(child.unwrap());
    for _ in 0..200 {
        if std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(25));
    }
    (server, format!("https://127.0.0.1:{port}"))
}

fn ask(url: &str, ca: Option<&str>) -> Result<(), String> {
    let request = HttpProbe {
        url: url.to_owned(),
        status: Some(200),
        body: Some("TLSv1.3".to_owned()),
        ca: ca.map(str::to_owned),
        insecure: ca.is_none(),
    };
    check(&request, Duration::from_secs(10)).map_err(|why| format!("{why:#}"))
}

#[test]
fn a_server_is_asked_by_https_and_its_certificate_must_be_one_that_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let p256 = certificate(folder.path(), "p256", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let ed25519 = certificate(folder.path(), "ed25519", &["-newkey", "ed25519"]);
    let rsa = certificate(folder.path(), "rsa", &["-newkey", "rsa:2048"]);
    for (own, other) in [(&p256, &ed25519), (&ed25519, &p256)] {
        let (_server, url) = serve(own, &[]);
        assert_eq!(ask(&url, Some(&own[0])), Ok(()));
        assert_eq!(ask(&url, None), Ok(()), "anybody's certificate");
        assert!(ask(&url, Some(&other[0])).is_err(), "somebody else's certificate was trusted");
    }
    let (_server, url) = serve(&rsa, &[]);
    assert_eq!(ask(&url, None), Ok(()));
    assert!(ask(&url, Some("/nowhere/ca.crt")).unwrap_err().contains("cannot read /nowhere/ca.crt"));
}

#[test]
fn a_server_of_an_older_tls_and_one_without_any_are_no_good_answer() {
    let folder = tempfile::tempdir().unwrap();
    let p256 = certificate(folder.path(), "p256", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    let (_server, url) = serve(&p256, &["-tls1_2"]);
    assert!(ask(&url, None).is_err());
    let plain = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", plain.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        use std::io::Write as _;
        let (mut caller, _) = plain.accept().unwrap();
        let _ = caller.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nTLSv1.3");
    });
    assert!(ask(&url, None).is_err());
    server.join().unwrap();
}
