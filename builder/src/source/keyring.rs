//! Whose signature on a suite's index is believed.
//!
//! A key is taken only when its primary fingerprint is pinned here. The OpenPGP crate applies no policy, so this does:
//! a signature counts when its hash is SHA-256 or stronger, its time is not to come, and its key may sign, is neither
//! revoked nor expired, and is bound to its primary key by signatures that verify.

use std::io::Read;

use pgp::composed::{
    CleartextSignedMessage, Deserializable as _, DetachedSignature, SignedPublicKey, SignedPublicSubKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails as _, Tag, VerifyingKey};

use contract::calendar::show_time;

/// Debian's keys: primary fingerprint, then the certificate. The Debian 12 and 13 automatic keys sign sid as well.
const DEBIAN: [(&str, &str); 6] = [
    ("b8b80b5b623eab6ad8775c45b7c5d7d6350947f8", include_str!("../../../keys/debian/bookworm-automatic.asc")),
    (
        "05ab90340c0c5e797f44a8c8254cf3b5aec0a8f0",
        include_str!("../../../keys/debian/bookworm-security-automatic.asc"),
    ),
    ("4d64fec119c2029067d6e791f8d2585b8783d481", include_str!("../../../keys/debian/bookworm-stable.asc")),
    ("04b54c3cdca79751b16bc6b5225629df75b188bd", include_str!("../../../keys/debian/trixie-automatic.asc")),
    ("5e04a1e3223a19a20706e20f9904613d4cce68c6", include_str!("../../../keys/debian/trixie-security-automatic.asc")),
    ("41587f7db8c774bccf131416762f67a0b2c39de4", include_str!("../../../keys/debian/trixie-stable.asc")),
];

/// Clocks differ; a signature may seem to be made this many seconds from now.
pub const CLOCK_SLACK: u64 = 24 * 3600;

/// Signatures of one file that are looked at.
const MOST_SIGNATURES: usize = 16;

/// How a signed text is not believed, or a key not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("a certificate cannot be read: {0}")]
    Certificate(String),
    #[error("the certificate's primary fingerprint is {found}, {pinned} is pinned")]
    NotPinned { pinned: String, found: String },
    #[error("there is no certificate in it")]
    NoCertificate,
    #[error("it is no text with an OpenPGP signature in it: {0}")]
    NotSigned(String),
    #[error("it is no OpenPGP signature: {0}")]
    NoSignature(String),
    #[error("what is signed cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("no signature on it is by a key that microdc trusts (found: {found})")]
    Untrusted { found: String },
}

/// The trusted keys.
#[derive(Clone, Debug)]
pub struct Keyring {
    keys: Vec<SignedPublicKey>,
}

impl Keyring {
    /// Debian's archive keys, as pinned in this file.
    ///
    /// # Errors
    /// When a certificate compiled in does not fit its pin.
    pub fn debian() -> Result<Keyring, KeyError> {
        Keyring::new(&DEBIAN)
    }

    /// A keyring of armoured certificates, each with its pinned primary fingerprint in hex digits.
    ///
    /// # Errors
    /// When a certificate cannot be read, or has another fingerprint.
    pub fn new(pinned: &[(&str, &str)]) -> Result<Keyring, KeyError> {
        let keys = pinned.iter().map(|(fingerprint, armored)| {
            let (key, _) =
                SignedPublicKey::from_string(armored).map_err(|error| KeyError::Certificate(error.to_string()))?;
            let found = fingerprint_of(&key.primary_key);
            if found.eq_ignore_ascii_case(fingerprint) {
                Ok(key)
            } else {
                Err(KeyError::NotPinned { pinned: (*fingerprint).to_owned(), found })
            }
        });
        Ok(Keyring { keys: keys.collect::<Result<_, _>>()? })
    }

    /// A keyring of every certificate of a file, armoured or not, that its owner believes as it stands.
    ///
    /// # Errors
    /// When one cannot be read, or there is none.
    pub fn of_file(bytes: &[u8]) -> Result<Keyring, KeyError> {
        let unreadable = |error: pgp::errors::Error| KeyError::Certificate(error.to_string());
        let (keys, _) = SignedPublicKey::from_reader_many(bytes).map_err(unreadable)?;
        let keys = keys.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
        if keys.is_empty() { Err(KeyError::NoCertificate) } else { Ok(Keyring { keys }) }
    }

    /// Whether a trusted key signed some content with a detached signature, armoured or not; gives the fingerprint of the
    /// key that did. `content` is read once for each signature by a trusted key; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// When it is no signature, or by nobody trusted; the message lists every signature and why it does not count.
    pub fn verify_detached<R: Read>(
        &self,
        signature: &[u8],
        content: impl Fn() -> std::io::Result<R>,
        now: u64,
    ) -> Result<String, KeyError> {
        let unreadable = |error: pgp::errors::Error| KeyError::NoSignature(error.to_string());
        let (signatures, _) = DetachedSignature::from_reader_many(signature).map_err(unreadable)?;
        let mut reasons = Vec::new();
        for signature in signatures.take(MOST_SIGNATURES) {
            let signature = signature.map_err(unreadable)?.signature;
            let kinds = [SignatureType::Binary, SignatureType::Text];
            match self.check(&signature, &kinds, &content, now)? {
                Ok(()) => return Ok(issuer(&signature)),
                Err(reason) => reasons.push(format!("{}: {reason}", issuer(&signature))),
            }
        }
        let found = if reasons.is_empty() { "no signature".to_owned() } else { reasons.join("; ") };
        Err(KeyError::Untrusted { found })
    }

    /// The text of a cleartext-signed message, when a trusted key signed it. `now` is in seconds since 1970.
    /// The text returned is the one that was signed, not the one that was read.
    ///
    /// # Errors
    /// When it is not signed, or by nobody trusted; the message lists every signature and why it does not count.
    pub fn verify(&self, message: &str, now: u64) -> Result<String, KeyError> {
        let (message, _) =
            CleartextSignedMessage::from_string(message).map_err(|error| KeyError::NotSigned(error.to_string()))?;
        let text = message.signed_text();
        let mut reasons = Vec::new();
        for signature in message.signatures() {
            match self.check(signature, &[SignatureType::Text], &|| Ok(text.as_bytes()), now)? {
                Ok(()) => return Ok(text.replace("\r\n", "\n")),
                Err(reason) => reasons.push(format!("{}: {reason}", issuer(signature))),
            }
        }
        let found = if reasons.is_empty() { "no signature".to_owned() } else { reasons.join("; ") };
        Err(KeyError::Untrusted { found })
    }

    /// Whether a signature counts. The outer error is the content's.
    fn check<R: Read>(
        &self,
        signature: &Signature,
        kinds: &[SignatureType],
        content: &impl Fn() -> std::io::Result<R>,
        now: u64,
    ) -> std::io::Result<Result<(), String>> {
        if let Err(reason) = may_count(signature, kinds, now) {
            return Ok(Err(reason));
        }
        let mut reason = "the key is not trusted".to_owned();
        for key in &self.keys {
            let primary = &key.primary_key;
            if signed_by(signature, primary) {
                if signature.verify(primary, content()?).is_err() {
                    return Ok(Err("it does not verify".to_owned()));
                }
                match primary_may(key, now, true) {
                    Ok(()) => return Ok(Ok(())),
                    Err(why) => reason = why,
                }
            }
            for subkey in key.public_subkeys.iter().filter(|subkey| signed_by(signature, &subkey.key)) {
                if signature.verify(&subkey.key, content()?).is_err() {
                    return Ok(Err("it does not verify".to_owned()));
                }
                match primary_may(key, now, false).and_then(|()| subkey_may_sign(key, subkey, now)) {
                    Ok(()) => return Ok(Ok(())),
                    Err(why) => reason = why,
                }
            }
        }
        Ok(Err(reason))
    }
}

/// What a signature must be whoever made it.
fn may_count(signature: &Signature, kinds: &[SignatureType], now: u64) -> Result<(), String> {
    if !signature.typ().is_some_and(|kind| kinds.contains(&kind)) {
        return Err("it is no signature of a text or a file".to_owned());
    }
    check_hash(signature)?;
    let created = created(signature).ok_or("it has no time")?;
    if created > now + CLOCK_SLACK {
        return Err(format!("its time, {}, is to come", show_time(created)));
    }
    match signature.signature_expiration_time() {
        Some(life) if expired(created, life.as_secs(), now) => Err("it has expired".to_owned()),
        _ => Ok(()),
    }
}

fn created(signature: &Signature) -> Option<u64> {
    signature.created().map(|time| u64::from(time.as_secs()))
}

fn expired(from: u64, life: u32, now: u64) -> bool {
    life > 0 && from + u64::from(life) <= now
}

/// A signature says who made it by fingerprint or, older, by key id. Either is a hint only: the key must verify it.
fn signed_by(signature: &Signature, key: &impl VerifyingKey) -> bool {
    signature.issuer_fingerprint().contains(&&key.fingerprint())
        || signature.issuer_key_id().contains(&&key.legacy_key_id())
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint().first().map(|fingerprint| format!("{fingerprint:x}"));
    fingerprint
        .or_else(|| signature.issuer_key_id().first().map(|id| id.to_string()))
        .unwrap_or_else(|| "somebody".to_owned())
}

fn fingerprint_of(key: &pgp::packet::PublicKey) -> String {
    format!("{:x}", key.fingerprint())
}

fn check_hash(signature: &Signature) -> Result<(), String> {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    match signature.hash_alg() {
        Some(Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512) => Ok(()),
        Some(weak) => Err(format!("its hash, {weak}, is too weak")),
        None => Err("its hash is unknown".to_owned()),
    }
}

/// Whether the primary key is in force and, when `signing`, may sign.
fn primary_may(key: &SignedPublicKey, now: u64, signing: bool) -> Result<(), String> {
    let primary = &key.primary_key;
    if key.details.revocation_signatures.iter().any(|revocation| revocation.verify_key(primary).is_ok()) {
        return Err("the key is revoked".to_owned());
    }
    // Debian's keys carry signatures on the key alone that only name who may revoke it; the one on the user id says what
    // the key is for. An end of life is heeded wherever it stands.
    let direct = key.details.direct_signatures.iter().filter(|signature| signature.verify_key(primary).is_ok());
    for signature in direct {
        in_force(primary.created_at().as_secs(), signature, now)?;
    }
    let users = key.details.users.iter().flat_map(|user| {
        let by_key = |signature: &&Signature| signature.verify_certification(primary, Tag::UserId, &user.id).is_ok();
        let own: Vec<_> = user.signatures.iter().filter(by_key).collect();
        let revoked = own.iter().any(|signature| signature.typ() == Some(SignatureType::CertRevocation));
        if revoked { Vec::new() } else { own }
    });
    let own = users
        .filter(|signature| check_hash(signature).is_ok())
        .max_by_key(|signature| created(signature))
        .ok_or("the key does not vouch for itself")?;
    in_force(primary.created_at().as_secs(), own, now)?;
    if signing && !own.key_flags().sign() {
        return Err("the key may not sign".to_owned());
    }
    Ok(())
}

fn subkey_may_sign(key: &SignedPublicKey, subkey: &SignedPublicSubKey, now: u64) -> Result<(), String> {
    let primary = &key.primary_key;
    let bound: Vec<_> = subkey
        .signatures
        .iter()
        .filter(|signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok())
        .collect();
    if bound.iter().any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation)) {
        return Err("the key is revoked".to_owned());
    }
    let binding = bound
        .into_iter()
        .filter(|signature| check_hash(signature).is_ok())
        .max_by_key(|signature| created(signature))
        .ok_or("the key is not bound to its primary key")?;
    in_force(subkey.key.created_at().as_secs(), binding, now)?;
    // Without the subkey's own word, somebody could claim another's signing key as theirs.
    let back = binding.embedded_signature().filter(|_| binding.key_flags().sign());
    let back = back.ok_or("the key may not sign")?;
    check_hash(back)?;
    back.verify_primary_key_binding(&subkey.key, primary)
        .map_err(|_| "the key does not vouch for its primary key".to_owned())
}

fn in_force(key_created: u32, own: &Signature, now: u64) -> Result<(), String> {
    let from = u64::from(key_created);
    if from > now + CLOCK_SLACK {
        return Err("the key is of a time to come".to_owned());
    }
    match own.key_expiration_time() {
        Some(life) if expired(from, life.as_secs(), now) => {
            Err(format!("the key has expired on {}", show_time(from + u64::from(life.as_secs()))))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_certificates_are_the_pinned_ones_and_in_force() {
        let keyring = Keyring::debian().unwrap();
        let now = 1_795_000_000;
        for key in &keyring.keys {
            primary_may(key, now, key.public_subkeys.is_empty()).unwrap();
            for subkey in &key.public_subkeys {
                subkey_may_sign(key, subkey, now).unwrap();
            }
            // In 2050 all of them have expired.
            assert!(primary_may(key, 2_524_608_000, false).unwrap_err().contains("expired"));
        }
    }

    #[test]
    fn a_certificate_with_another_fingerprint_is_not_taken() {
        let error = Keyring::new(&[(DEBIAN[0].0, DEBIAN[3].1)]).unwrap_err();
        assert!(matches!(error, KeyError::NotPinned { .. }), "{error}");
    }
}
