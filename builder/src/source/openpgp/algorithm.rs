//! Algorithms by their numbers (RFC 9580, section 9), and the numbers that a key makes with them.

use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters,
};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// Of public-key algorithms (section 9.1).
pub const RSA: u8 = 1;
pub const RSA_SIGN_ONLY: u8 = 3;
pub const EDDSA_LEGACY: u8 = 22;
pub const ED25519: u8 = 27;
pub const KNOWN: &str = "RSA (1) and Ed25519 (22, 27)";

/// How a signature hashes (section 9.5), by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashAlgorithm(pub u8);

impl HashAlgorithm {
    const SHA256: HashAlgorithm = HashAlgorithm(8);
    const SHA384: HashAlgorithm = HashAlgorithm(9);
    const SHA512: HashAlgorithm = HashAlgorithm(10);

    /// SHA-256 and what is stronger. The others verify nothing here.
    #[must_use]
    pub fn is_strong(self) -> bool {
        matches!(self, HashAlgorithm::SHA256 | HashAlgorithm::SHA384 | HashAlgorithm::SHA512)
    }

    #[must_use]
    pub fn name(self) -> String {
        match self.0 {
            1 => "MD5".to_owned(),
            2 => "SHA-1".to_owned(),
            3 => "RIPEMD-160".to_owned(),
            8 => "SHA-256".to_owned(),
            9 => "SHA-384".to_owned(),
            10 => "SHA-512".to_owned(),
            11 => "SHA-224".to_owned(),
            other => format!("OpenPGP's hash {other}"),
        }
    }

    pub(super) fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            HashAlgorithm::SHA256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            HashAlgorithm::SHA384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            HashAlgorithm::SHA512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            _ => None,
        }
    }

    pub(super) fn digest(self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            HashAlgorithm::SHA256 => Some(Sha256::digest(message).to_vec()),
            HashAlgorithm::SHA384 => Some(Sha384::digest(message).to_vec()),
            HashAlgorithm::SHA512 => Some(Sha512::digest(message).to_vec()),
            _ => None,
        }
    }
}

/// The numbers that the key made.
#[derive(Clone, Debug)]
pub(super) enum Values {
    /// Big-endian, without zeroes in front.
    Rsa(Vec<u8>),
    Ed25519([u8; 64]),
}
