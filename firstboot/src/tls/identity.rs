//! Who this node says it is, where a server asks for a certificate: ECDSA with P-256 and SHA-256 (RFC 8446, 4.2.3), with the
//! nonces of RFC 6979, so that no signature depends on random numbers.

use anyhow::{Context as _, bail, ensure};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::Signer;
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use std::sync::Arc;
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, parse_pem};

/// A certificate (PEM, those that vouch for it behind it) and its private key (PEM, `EC PRIVATE KEY` of RFC 5915).
///
/// # Errors
/// What is wrong with them; nothing of the key.
pub fn identity(certificate: &str, key: &str) -> anyhow::Result<ClientCert> {
    let chain = certificates(certificate)?;
    let parsed = PrivateKeyDer::from_pem_slice(key.as_bytes()).ok().context("there is no private key with it")?;
    let PrivateKeyDer::Sec1(der) = &parsed else { bail!("its private key is not of the kind `EC PRIVATE KEY`") };
    ensure!(SigningKey256::read(der.secret_sec1_der()).is_some(), "its private key is not one of ECDSA with P-256");
    let key = PrivateKey::from_pem(key.as_bytes()).ok().context("there is no private key with it")?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

/// All certificates of a PEM text.
///
/// # Errors
/// There are none, or one is damaged.
pub fn certificates(pem: &str) -> anyhow::Result<Vec<Certificate<'static>>> {
    let mut found = Vec::new();
    for item in parse_pem(pem.as_bytes()) {
        if let PemItem::Certificate(certificate) = item.context("cannot parse it")? {
            found.push(certificate);
        }
    }
    ensure!(!found.is_empty(), "it holds no certificate");
    Ok(found)
}

/// The key that rustls signs with.
///
/// # Errors
/// It is of another kind.
pub(super) fn load(key: &PrivateKeyDer<'_>) -> Result<Arc<dyn rustls::sign::SigningKey>, Error> {
    let PrivateKeyDer::Sec1(der) = key else {
        return Err(Error::General("not a private key of the kind `EC PRIVATE KEY`".to_owned()));
    };
    let key = SigningKey256::read(der.secret_sec1_der());
    key.map(|key| Arc::new(key) as Arc<dyn rustls::sign::SigningKey>)
        .ok_or_else(|| Error::General("not a private key of ECDSA with P-256".to_owned()))
}

#[derive(Clone)]
struct SigningKey256(SigningKey);

impl SigningKey256 {
    fn read(der: &[u8]) -> Option<SigningKey256> {
        Some(SigningKey256(SigningKey::from(p256::SecretKey::from_sec1_der(der).ok()?)))
    }
}

impl std::fmt::Debug for SigningKey256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a private key")
    }
}

impl rustls::sign::SigningKey for SigningKey256 {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&self.scheme()).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl Signer for SigningKey256 {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature: Signature = self.0.try_sign(message).map_err(|_| Error::General("cannot sign".to_owned()))?;
        Ok(signature.to_der().as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6979, A.2.5: the key, and the signature of "sample" with SHA-256.
    const KEY: &str = "c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721";
    const R: &str = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716";
    const S: &str = "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";

    /// RFC 5915, with the curve's name and without the public key.
    fn sec1(key: &str) -> Vec<u8> {
        let mut der = hex::decode("30310201010420").unwrap();
        der.extend(hex::decode(key).unwrap());
        der.extend(hex::decode("a00a06082a8648ce3d030107").unwrap());
        der
    }

    fn pem(kind: &str, der: &[u8]) -> String {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n")
    }

    #[test]
    fn a_message_is_signed_as_in_rfc_6979() {
        let der = sec1(KEY);
        let key = SigningKey256::read(&der).unwrap();
        // DER: both numbers are negative without a leading zero.
        let wanted = format!("3046022100{R}022100{S}");
        assert_eq!(hex::encode(key.sign(b"sample").unwrap()), wanted);
    }

    #[test]
    fn what_is_no_key_or_no_certificate_is_refused_without_a_word_of_it() {
        let der = sec1(KEY);
        let (certificate, key) = (pem("CERTIFICATE", b"any"), pem("EC PRIVATE KEY", &der));
        identity(&certificate, &key).unwrap();
        for (certificate, key, reason) in [
            ("", key.as_str(), "holds no certificate"),
            (&certificate, "", "no private key"),
            (&certificate, &certificate, "no private key"),
            (&certificate, &pem("PRIVATE KEY", &der), "EC PRIVATE KEY"),
            (&certificate, &pem("EC PRIVATE KEY", b"short"), "P-256"),
            (&certificate, &pem("EC PRIVATE KEY", &sec1(&"0".repeat(64))), "P-256"),
        ] {
            let why = format!("{:#}", identity(certificate, key).unwrap_err());
            assert!(why.contains(reason) && !why.contains("MDEC"), "{why}");
        }
    }
}
