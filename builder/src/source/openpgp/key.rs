//! Public keys of version 4 (RFC 9580, sections 5.5.2.2 and 5.5.5) and checking with them.

use super::algorithm::{ED25519, EDDSA_LEGACY, HashAlgorithm, RSA, RSA_SIGN_ONLY, Values};
use super::bytes::{Bytes, OpenPgpError};
use ed25519_dalek::VerifyingKey;
use ring::signature::RsaPublicKeyComponents;
use sha1::{Digest as _, Sha1};

/// Ed25519 as `EdDSALegacy` names it (section 9.2), with the length in front.
const ED25519_OID: [u8; 10] = [9, 0x2b, 0x06, 0x01, 0x04, 0x01, 0xda, 0x47, 0x0f, 0x01];

#[derive(Clone, Debug)]
enum Material {
    /// Modulus and exponent, without zeroes in front.
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    Ed25519(Box<VerifyingKey>),
    /// For anything but signatures, or of an algorithm that is not read; it verifies nothing.
    Other,
}

/// A primary key or a subkey.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// In seconds since 1970.
    pub created: u64,
    /// SHA-1 of the key, which is what OpenPGP calls it by.
    pub fingerprint: [u8; 20],
    algorithm: u8,
    material: Material,
    body: Vec<u8>,
}

impl PublicKey {
    /// Reads the body of a packet.
    ///
    /// # Errors
    /// When it is of another version, or not well-formed. A key of an unknown algorithm is read and verifies nothing.
    pub fn parse(body: &[u8]) -> Result<PublicKey, OpenPgpError> {
        let mut bytes = Bytes::new(body, "a public key");
        let version = bytes.byte()?;
        if version != 4 {
            return Err(OpenPgpError::Version { what: "a public key", found: version });
        }
        let created = u64::from(bytes.u32()?);
        let algorithm = bytes.byte()?;
        let malformed = || OpenPgpError::Malformed("a public key");
        let point = |bytes: &[u8]| {
            let bytes: &[u8; 32] = bytes.try_into().map_err(|_| malformed())?;
            let key = VerifyingKey::from_bytes(bytes).map_err(|_| malformed())?;
            Ok::<_, OpenPgpError>(Material::Ed25519(Box::new(key)))
        };
        let material = match algorithm {
            RSA | RSA_SIGN_ONLY => {
                let material = Material::Rsa { n: bytes.number()?.to_vec(), e: bytes.number()?.to_vec() };
                bytes.end()?;
                material
            }
            EDDSA_LEGACY if bytes.rest.starts_with(&ED25519_OID) => {
                bytes.take(ED25519_OID.len())?;
                let number = bytes.number()?;
                bytes.end()?;
                point(number.strip_prefix(&[0x40]).ok_or_else(malformed)?)?
            }
            ED25519 => point(bytes.rest)?,
            _ => Material::Other,
        };
        let length = u16::try_from(body.len()).map_err(|_| malformed())?;
        let fingerprint = Sha1::new().chain_update([0x99]).chain_update(length.to_be_bytes()).chain_update(body);
        Ok(PublicKey {
            created,
            fingerprint: fingerprint.finalize().into(),
            algorithm,
            material,
            body: body.to_vec(),
        })
    }

    /// The last eight bytes of the fingerprint.
    #[must_use]
    pub fn id(&self) -> [u8; 8] {
        let [.., a, b, c, d, e, f, g, h] = self.fingerprint;
        [a, b, c, d, e, f, g, h]
    }

    /// How a signature of this key, or of something with it, hashes it (section 5.2.4).
    pub(super) fn hashed(&self) -> Vec<u8> {
        let length = u16::try_from(self.body.len()).unwrap_or(u16::MAX);
        [&[0x99][..], &length.to_be_bytes(), &self.body].concat()
    }

    /// Whether the values of a signature are by this key over a message.
    pub(super) fn verifies(&self, hash: HashAlgorithm, message: &[u8], values: &Values) -> bool {
        match (&self.material, values) {
            (Material::Rsa { n, e }, Values::Rsa(signature)) => {
                let Some(scheme) = hash.rsa() else { return false };
                // As long as the modulus (RFC 8017, section 8.2.2).
                let Some(zeroes) = n.len().checked_sub(signature.len()) else { return false };
                let signature = [&vec![0; zeroes], signature.as_slice()].concat();
                RsaPublicKeyComponents { n, e }.verify(scheme, message, &signature).is_ok()
            }
            (Material::Ed25519(key), Values::Ed25519(signature)) => {
                let Some(digest) = hash.digest(message) else { return false };
                key.verify_strict(&digest, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
            }
            _ => false,
        }
    }

    /// Whether a signature by this algorithm can be one of this key.
    pub(super) fn is_of(&self, algorithm: u8) -> bool {
        let rsa = |algorithm| matches!(algorithm, RSA | RSA_SIGN_ONLY);
        self.algorithm == algorithm || rsa(self.algorithm) && rsa(algorithm)
    }
}
