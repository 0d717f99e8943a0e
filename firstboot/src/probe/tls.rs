//! TLS for probes: which certificates count, and one modern set of algorithms, all in Rust. The usual providers of rustls
//! hold C and assembly, which the build of the node's program must do without; here TLS 1.3 with X25519, ChaCha20-Poly1305
//! (RFC 8439) and SHA-256, which every TLS server of today speaks. Certificates: ECDSA with P-256, or Ed25519. With
//! `insecure` the certificate's kind does not matter.
//!
//! - here what is trusted, and who signed · [`crate::probe::record`] how records are encrypted

use super::record::SUITE;
use anyhow::{Context as _, ensure};
use contract::role::HttpProbe;
use p256::ecdsa::signature::Verifier as _;
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, SharedSecret, SupportedKxGroup,
    WebPkiSupportedAlgorithms,
};
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, PrivateKeyDer, SignatureVerificationAlgorithm, alg_id,
};
use rustls::sign::SigningKey;
use rustls::{Error, NamedGroup, PeerMisbehaved, SignatureScheme};
use std::sync::Arc;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// What a probe trusts.
///
/// # Errors
/// The file of certificates that cannot be read, or holds none.
pub(super) fn config(request: &HttpProbe) -> anyhow::Result<TlsConfig> {
    if request.insecure {
        return Ok(unverified());
    }
    let builder = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(provider()));
    let path = request.ca.as_deref().context("nothing says which certificate to trust")?;
    let pem = std::fs::read(path).with_context(|| format!("cannot read {path}"))?;
    let mut trusted: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.with_context(|| format!("cannot understand {path}"))? {
            trusted.push(certificate);
        }
    }
    ensure!(!trusted.is_empty(), "{path} holds no certificate");
    Ok(builder.root_certs(RootCerts::Specific(Arc::new(trusted))).build())
}

/// Anybody's certificate: for what is believed by a signature of its own.
pub fn unverified() -> TlsConfig {
    let builder = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(provider()));
    builder.disable_verification(true).build()
}

fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![SUITE],
        kx_groups: vec![&X25519],
        signature_verification_algorithms: WebPkiSupportedAlgorithms {
            all: &[&EcdsaP256, &Ed25519],
            mapping: &[
                (SignatureScheme::ECDSA_NISTP256_SHA256, &[&EcdsaP256]),
                (SignatureScheme::ED25519, &[&Ed25519]),
            ],
        },
        secure_random: &Kernel,
        key_provider: &Kernel,
    }
}

/// Random numbers of the kernel; and no keys: a probe does not say who it is.
#[derive(Debug)]
struct Kernel;

impl SecureRandom for Kernel {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        getrandom::fill(bytes).map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for Kernel {
    fn load_private_key(&self, _key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        Err(Error::General("probes have no keys".to_owned()))
    }
}

/// RFC 7748.
#[derive(Debug)]
struct X25519;

struct Exchange {
    secret: [u8; 32],
    public: [u8; 32],
}

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = [0; 32];
        Kernel.fill(&mut secret)?;
        let public = x25519_dalek::x25519(secret, x25519_dalek::X25519_BASEPOINT_BYTES);
        Ok(Box::new(Exchange { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer = <[u8; 32]>::try_from(peer).map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        let shared = x25519_dalek::x25519(self.secret, peer);
        // RFC 8446, 7.4.2: a peer that gives a point of small order is refused.
        if shared == [0; 32] {
            return Err(PeerMisbehaved::InvalidKeyShare.into());
        }
        Ok(SharedSecret::from(&shared[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[derive(Debug)]
struct EcdsaP256;

impl SignatureVerificationAlgorithm for EcdsaP256 {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| InvalidSignature)?;
        let signature = p256::ecdsa::Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}

#[derive(Debug)]
struct Ed25519;

impl SignatureVerificationAlgorithm for Ed25519 {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = <[u8; 32]>::try_from(key).map_err(|_| InvalidSignature)?;
        let key = ed25519_dalek::VerifyingKey::from_bytes(&key).map_err(|_| InvalidSignature)?;
        let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| InvalidSignature)?;
        key.verify_strict(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ED25519
    }
}

#[cfg(test)]
mod tests {
    use super::super::http::look;
    use contract::role::HttpProbe;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;

    /// A server of OpenSSL's with a certificate of its own for localhost.
    struct Server(Child);

    impl Drop for Server {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    fn openssl(arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).output().expect("openssl is installed");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn certificate(folder: &Path, name: &str, key: &[&str]) -> [String; 2] {
        let [cert, secret] =
            ["crt", "key"].map(|end| folder.join(format!("{name}.{end}")).to_str().unwrap().to_owned());
        let config = folder.join("openssl.cnf");
        std::fs::write(&config, "[req]\ndistinguished_name = dn\n[dn]\n").unwrap();
        let fixed =
            ["req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost", "-config", config.to_str().unwrap()];
        let names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
        openssl(&[&fixed[..], &names, &["-keyout", &secret, "-out", &cert], key].concat());
        [cert, secret]
    }

    fn serve([cert, key]: &[String; 2], more: &[&str]) -> (Server, String) {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-cert", cert, "-key", key, "-www"]);
        let child = command.args(more).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let server = Server(child.unwrap());
        for _ in 0..200 {
            if std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(25));
        }
        (server, format!("https://127.0.0.1:{port}/"))
    }

    fn ask(url: &str, ca: Option<&str>) -> Result<(), String> {
        let request = HttpProbe {
            url: url.to_owned(),
            status: Some(200),
            body: Some("TLSv1.3".to_owned()),
            ca: ca.map(str::to_owned),
            insecure: ca.is_none(),
        };
        look(&request, Duration::from_secs(10)).map_err(|why| format!("{why:#}"))
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
}
