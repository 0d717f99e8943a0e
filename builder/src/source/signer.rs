//! Who signs release files: an OpenPGP certificate, or a minisign public key, in a file of the project.

use std::io::Read;
use std::path::Path;

use minisign_verify::{Error as MinisignError, PublicKey, Signature};

use super::keyring::{KeyError, Keyring};

/// The largest file of a key that is read, in bytes: certificates with the signatures of many others are large.
pub const LARGEST_KEY: u64 = 4 << 20;
/// The largest signature that is read, in bytes.
pub const LARGEST_SIGNATURE: u64 = 64 << 10;

/// Bytes hashed at a time.
const CHUNK: usize = 64 << 10;

/// What a signer's public key is.
#[derive(Clone, Debug)]
pub enum Signer {
    OpenPgp(Keyring),
    Minisign(Box<PublicKey>),
}

/// How a key is not one, or a signature does not count.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    #[error(
        "the key {path}: {what}; it must be an OpenPGP certificate (gpg --export --armor) or a minisign public key"
    )]
    Key { path: String, what: String },
    #[error("{0}")]
    OpenPgp(#[from] KeyError),
    #[error("{0}")]
    Minisign(&'static str),
    #[error("the signed content cannot be read: {0}")]
    Read(#[from] std::io::Error),
}

impl Signer {
    /// Reads a key's file.
    ///
    /// # Errors
    /// When it cannot be read, or holds neither kind of key.
    pub fn read(path: &Path) -> Result<Signer, SignerError> {
        let wrong = |what: String| SignerError::Key { path: path.display().to_string(), what };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
        file.take(LARGEST_KEY + 1).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
        if bytes.len() as u64 > LARGEST_KEY {
            return Err(wrong(format!("it is longer than {LARGEST_KEY} bytes")));
        }
        Signer::parse(&bytes).map_err(|error| wrong(error.to_string()))
    }

    /// Reads a key: minisign's two lines, or else OpenPGP.
    ///
    /// # Errors
    /// When it is neither.
    pub fn parse(bytes: &[u8]) -> Result<Signer, SignerError> {
        match std::str::from_utf8(bytes).ok().and_then(|text| PublicKey::decode(text).ok()) {
            Some(key) => Ok(Signer::Minisign(Box::new(key))),
            None => Ok(Signer::OpenPgp(Keyring::of_file(bytes)?)),
        }
    }

    /// Whether the signer signed some content; gives by which key, for people. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// When the signature is none, is someone else's, or is of something else.
    pub fn check<R: Read>(
        &self,
        signature: &[u8],
        content: impl Fn() -> std::io::Result<R>,
        now: u64,
    ) -> Result<String, SignerError> {
        match self {
            Signer::OpenPgp(keyring) => {
                let key = keyring.verify_detached(signature, content, now)?;
                Ok(format!("the OpenPGP key {key}"))
            }
            Signer::Minisign(key) => {
                minisign(key, signature, content()?)?;
                Ok(format!("the minisign key with {:?}", key.untrusted_comment().unwrap_or_default()))
            }
        }
    }
}

fn minisign(key: &PublicKey, signature: &[u8], mut content: impl Read) -> Result<(), SignerError> {
    let text = std::str::from_utf8(signature).ok();
    let signature = text.and_then(|text| Signature::decode(text).ok());
    let signature = signature.ok_or(SignerError::Minisign("it is not a minisign signature"))?;
    let mut verifier = key.verify_stream(&signature).map_err(refused)?;
    let mut chunk = vec![0; CHUNK];
    loop {
        match content.read(&mut chunk)? {
            0 => break,
            length => verifier.update(chunk.get(..length).unwrap_or_default()),
        }
    }
    verifier.finalize().map_err(refused)
}

fn refused(error: MinisignError) -> SignerError {
    SignerError::Minisign(match error {
        MinisignError::UnexpectedKeyId => "it was made by another key",
        MinisignError::UnsupportedLegacyMode => {
            "it is a legacy minisign signature, made without a hash (\"Ed\"), which is not accepted"
        }
        MinisignError::InvalidSignature => "it does not verify",
        _ => "it is not a minisign signature",
    })
}
