//! TLS: which certificates count, and one modern set of algorithms, all in Rust. The usual providers of rustls
//! hold C and assembly, which the build of the node's program must do without; here TLS 1.3 with X25519, ChaCha20-Poly1305
//! (RFC 8439) and SHA-256, which every TLS server of today speaks. Certificates: ECDSA with P-256, or Ed25519. With
//! `insecure` the certificate's kind does not matter.
//!
//! Secrets are erased from memory when they are no longer needed: the key exchange here, keys and secrets by rustls,
//! ciphers by their crate. The state of a keyed hash is not: it dies with its short-lived process.
//!
//! - here what is trusted, and who signed · [`identity`] who this node says it is · [`record`] how records are encrypted

mod identity;
mod record;
#[cfg(test)]
mod vectors;

use anyhow::Context as _;
pub use identity::identity;
use p256::ecdsa::signature::Verifier as _;
use record::SUITE;
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
use ureq::tls::{ClientCert, RootCerts, TlsConfig};
use zeroize::Zeroizing;

/// What those certificates vouch for that are in the PEM file `path`.
///
/// # Errors
/// The file cannot be read, or holds no certificate.
pub fn trusting(path: &str) -> anyhow::Result<TlsConfig> {
    let pem = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    verified(&pem, None).with_context(|| path.to_owned())
}

/// What the certificates of a PEM text vouch for. A server that asks who calls is told `identity`.
///
/// # Errors
/// The text holds no certificate.
pub fn verified(pem: &str, identity: Option<ClientCert>) -> anyhow::Result<TlsConfig> {
    let builder = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(provider()));
    let trusted = identity::certificates(pem)?;
    Ok(builder.root_certs(RootCerts::Specific(Arc::new(trusted))).client_cert(identity).build())
}

/// Anybody's certificate: for what is trusted by a signature of its own.
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

/// Random numbers of the kernel, and keys of [`identity`].
#[derive(Debug)]
struct Kernel;

impl SecureRandom for Kernel {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        getrandom::fill(bytes).map_err(|_| GetRandomFailed)
    }
}

impl KeyProvider for Kernel {
    fn load_private_key(&self, key: PrivateKeyDer<'static>) -> Result<Arc<dyn SigningKey>, Error> {
        identity::load(&key)
    }
}

/// RFC 7748.
#[derive(Debug)]
struct X25519;

struct Exchange {
    secret: Zeroizing<[u8; 32]>,
    public: [u8; 32],
}

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let mut secret = Zeroizing::new([0; 32]);
        Kernel.fill(&mut *secret)?;
        Ok(Box::new(Exchange::with(secret)))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl Exchange {
    fn with(secret: Zeroizing<[u8; 32]>) -> Exchange {
        let public = x25519_dalek::x25519(*secret, x25519_dalek::X25519_BASEPOINT_BYTES);
        Exchange { secret, public }
    }
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer = <[u8; 32]>::try_from(peer).map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        let shared = Zeroizing::new(x25519_dalek::x25519(*self.secret, peer));
        // RFC 8446, 7.4.2: a peer that gives a point of small order is refused.
        if *shared == [0; 32] {
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
