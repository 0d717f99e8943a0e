//! Release keys: ed25519, named by the start of the public key's digest.

use crate::hash::Digest;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The prefix of the manifest in the signed bytes, so that a signature cannot be mistaken for one of another kind.
const CONTEXT: &[u8] = b"microdc manifest v1\n";
/// First line of key files, public and private.
const PUBLIC_LABEL: &str = "microdc-public-key-1";
const PRIVATE_LABEL: &str = "microdc-private-key-1";

/// Most public keys that an image trusts: the present one and the next one.
pub const MAX_TRUSTED: usize = 2;

/// The first 8 bytes of the SHA-256 of a public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct KeyId(pub [u8; 8]);

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A key file or key that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    #[error("no {0} key: expected the line \"{0} <64 hex digits>\"")]
    Shape(&'static str),
    #[error("the public key is not a point on the curve, or is a weak one")]
    Weak,
}

/// A signature that does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SignatureError {
    #[error("signed by the unknown key {found}; trusted: {trusted}")]
    UnknownKey { found: KeyId, trusted: String },
    #[error("the signature by key {0} does not match the manifest")]
    Mismatch(KeyId),
}

/// A key that may sign manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    #[must_use]
    pub fn id(&self) -> KeyId {
        let digest = Digest::of(self.0.as_bytes());
        let mut id = [0; 8];
        id.copy_from_slice(&digest.0[..8]);
        KeyId(id)
    }

    /// Reads the text of a public key file.
    ///
    /// # Errors
    /// When it has another shape, or holds a weak key.
    pub fn parse(text: &str) -> Result<PublicKey, KeyError> {
        let bytes = parse_line(text, PUBLIC_LABEL)?;
        let key = VerifyingKey::from_bytes(&bytes).map_err(|_| KeyError::Weak)?;
        if key.is_weak() { Err(KeyError::Weak) } else { Ok(PublicKey(key)) }
    }

    /// The text of a public key file.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{PUBLIC_LABEL} {}\n", hex::encode(self.0.as_bytes()))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.to_text().trim_end())
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PublicKey, D::Error> {
        PublicKey::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The private half. It is erased from memory when dropped, and never shown.
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// A key from 32 bytes of the operating system's randomness.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> PrivateKey {
        PrivateKey(SigningKey::from_bytes(seed))
    }

    /// Reads the text of a private key file.
    ///
    /// # Errors
    /// When it has another shape.
    pub fn parse(text: &str) -> Result<PrivateKey, KeyError> {
        Ok(PrivateKey::from_seed(&parse_line(text, PRIVATE_LABEL)?))
    }

    /// The text of a private key file, to be stored with mode 0600.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{PRIVATE_LABEL} {}\n", hex::encode(self.0.as_bytes()))
    }

    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs the bytes of a manifest.
    #[must_use]
    pub fn sign(&self, manifest: &[u8]) -> ManifestSignature {
        let signature = self.0.sign(&signed_bytes(manifest));
        ManifestSignature { key: self.public().id(), bytes: signature.to_bytes() }
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({})", self.public().id())
    }
}

/// The exact bytes that are signed: any ed25519 tool (RFC 8032) can sign and verify them.
#[must_use]
pub fn signed_bytes(manifest: &[u8]) -> Vec<u8> {
    [CONTEXT, manifest].concat()
}

/// The manifest in the bytes that are signed. Nothing when they are meant for something else.
#[must_use]
pub fn manifest_in(signed: &[u8]) -> Option<&[u8]> {
    signed.strip_prefix(CONTEXT)
}

/// A signature as stored: who, and the 64 bytes of RFC 8032.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestSignature {
    pub key: KeyId,
    pub bytes: [u8; 64],
}

impl ManifestSignature {
    /// What is in place of a signature while it is being made elsewhere: zeros, which no key has ever signed
    /// with. `key` is the one that is to sign.
    #[must_use]
    pub fn awaited(key: KeyId) -> ManifestSignature {
        ManifestSignature { key, bytes: [0; 64] }
    }

    /// Whether it is still to be made.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.bytes == [0; 64]
    }

    /// Checks the signature of a manifest's bytes against the trusted keys.
    ///
    /// # Errors
    /// When no trusted key has the signature's key id, or that key did not sign these bytes.
    pub fn verify<'k>(&self, manifest: &[u8], trusted: &'k [PublicKey]) -> Result<&'k PublicKey, SignatureError> {
        let Some(key) = trusted.iter().find(|key| key.id() == self.key) else {
            let trusted: Vec<String> = trusted.iter().map(|key| key.id().to_string()).collect();
            return Err(SignatureError::UnknownKey { found: self.key, trusted: trusted.join(", ") });
        };
        key.0
            .verify_strict(&signed_bytes(manifest), &Signature::from_bytes(&self.bytes))
            .map_err(|_| SignatureError::Mismatch(self.key))?;
        Ok(key)
    }
}

fn parse_line(text: &str, label: &'static str) -> Result<[u8; 32], KeyError> {
    let mut bytes = [0; 32];
    let rest = text.trim().strip_prefix(label).ok_or(KeyError::Shape(label))?;
    hex::decode_to_slice(rest.trim(), &mut bytes).map_err(|_| KeyError::Shape(label))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_seed(&[seed; 32])
    }

    #[test]
    fn keys_survive_their_files() {
        let private = key(1);
        assert_eq!(PrivateKey::parse(&private.to_text()).unwrap().public(), private.public());
        assert_eq!(PublicKey::parse(&private.public().to_text()).unwrap(), private.public());
        assert_eq!(PublicKey::parse(&private.to_text()), Err(KeyError::Shape(PUBLIC_LABEL)));
    }

    #[test]
    fn either_of_two_trusted_keys_will_do_and_no_third() {
        let trusted = [key(1).public(), key(2).public()];
        for seed in [1, 2] {
            assert!(key(seed).sign(b"manifest").verify(b"manifest", &trusted).is_ok());
        }
        assert!(matches!(
            key(3).sign(b"manifest").verify(b"manifest", &trusted),
            Err(SignatureError::UnknownKey { .. })
        ));
    }

    #[test]
    fn a_changed_manifest_or_signature_is_refused() {
        let trusted = [key(1).public()];
        let mut signature = key(1).sign(b"manifest");
        assert!(matches!(signature.verify(b"manifesT", &trusted), Err(SignatureError::Mismatch(_))));
        signature.bytes[63] ^= 1;
        assert!(matches!(signature.verify(b"manifest", &trusted), Err(SignatureError::Mismatch(_))));
    }

    #[test]
    fn what_is_signed_says_what_it_is_for() {
        let signed = signed_bytes(b"manifest");
        assert_eq!(manifest_in(&signed), Some(&b"manifest"[..]));
        assert_eq!(manifest_in(b"manifest"), None);
    }

    #[test]
    fn a_signature_that_is_still_to_be_made_is_none() {
        let awaited = ManifestSignature::awaited(key(1).public().id());
        assert!(awaited.is_awaited() && !key(1).sign(b"manifest").is_awaited());
        assert!(awaited.verify(b"manifest", &[key(1).public()]).is_err());
    }

    #[test]
    fn a_private_key_does_not_show_itself() {
        let shown = format!("{:?}", key(7));
        assert!(!shown.contains(&hex::encode([7; 32])), "{shown}");
    }
}
