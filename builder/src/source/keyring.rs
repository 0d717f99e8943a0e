//! The keys whose signatures on a suite's index are trusted.
//!
//! A key is taken only when its primary fingerprint is pinned here. A signature counts when its hash is SHA-256 or stronger,
//! its time is not in the future, and its key may sign, is neither revoked nor expired, and is bound to its primary key by
//! signatures that verify.

use std::io::Read;

use contract::calendar::show_time;

use super::openpgp::{Certificate, Cleartext, Kind, OpenPgpError, Signature, Subkey, signatures};

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

/// Signatures of one file that are inspected.
const MOST_SIGNATURES: usize = 16;

/// The largest content whose detached signature is checked, in bytes: it is checked in memory.
const LARGEST_CONTENT: u64 = 2 << 30;

/// How a signed text is not trusted, or a key not taken.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("a certificate cannot be read: {0}")]
    Certificate(#[source] OpenPgpError),
    #[error("the certificate's primary fingerprint is {found}, {pinned} is pinned")]
    NotPinned { pinned: String, found: String },
    #[error("there is no certificate in it")]
    NoCertificate,
    #[error("it is not text with an OpenPGP signature: {0}")]
    NotSigned(#[source] OpenPgpError),
    #[error("it is not an OpenPGP signature: {0}")]
    NoSignature(#[source] OpenPgpError),
    #[error("the signed content cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("the signed content is larger than {LARGEST_CONTENT} bytes")]
    TooLarge,
    #[error("no signature on it is by a key that microdc trusts (found: {found})")]
    Untrusted { found: String },
}

/// The trusted keys.
#[derive(Clone, Debug)]
pub struct Keyring {
    keys: Vec<Certificate>,
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
        let mut keys = Vec::new();
        for (fingerprint, armored) in pinned {
            let Keyring { keys: read } = Keyring::of_file(armored.as_bytes())?;
            for key in read {
                let found = hex::encode(key.primary.fingerprint);
                if !found.eq_ignore_ascii_case(fingerprint) {
                    return Err(KeyError::NotPinned { pinned: (*fingerprint).to_owned(), found });
                }
                keys.push(key);
            }
        }
        Ok(Keyring { keys })
    }

    /// A keyring of every certificate of a file, armoured or not, that its owner trusts as it stands.
    ///
    /// # Errors
    /// When one cannot be read, or there is none.
    pub fn of_file(bytes: &[u8]) -> Result<Keyring, KeyError> {
        let keys = Certificate::all(bytes).map_err(KeyError::Certificate)?;
        if keys.is_empty() { Err(KeyError::NoCertificate) } else { Ok(Keyring { keys }) }
    }

    /// Whether a trusted key signed some content with a detached signature, armoured or not; gives the fingerprint of the
    /// key that did. `content` is read into memory when a trusted key is named; `now` is in seconds since 1970.
    ///
    /// # Errors
    /// When it is not a signature, or by no one trusted; the message lists every signature and why it does not count.
    pub fn verify_detached<R: Read>(
        &self,
        signature: &[u8],
        content: impl Fn() -> std::io::Result<R>,
        now: u64,
    ) -> Result<String, KeyError> {
        let signatures = signatures(signature).map_err(KeyError::NoSignature)?;
        let mut reasons = Vec::new();
        for signature in signatures.into_iter().take(MOST_SIGNATURES) {
            let signature = signature.map_err(KeyError::NoSignature)?;
            let checked = self.may_count(&signature, &[Kind::Binary, Kind::Text], now);
            let checked = match checked {
                Ok(()) => self.check(&signature, &read(content()?, signature.kind)?, now),
                Err(reason) => Err(reason),
            };
            match checked {
                Ok(()) => return Ok(issuer(&signature)),
                Err(reason) => reasons.push(format!("{}: {reason}", issuer(&signature))),
            }
        }
        Err(untrusted(reasons))
    }

    /// The text of a cleartext-signed message, when a trusted key signed it. `now` is in seconds since 1970.
    /// The text returned is the one that was signed, not the one that was read.
    ///
    /// # Errors
    /// When it is not signed, or by no one trusted; the message lists every signature and why it does not count.
    pub fn verify(&self, message: &str, now: u64) -> Result<String, KeyError> {
        let Cleartext { text, signatures } = Cleartext::parse(message).map_err(KeyError::NotSigned)?;
        let signed = text.replace('\n', "\r\n");
        let mut reasons = Vec::new();
        for signature in signatures.into_iter().take(MOST_SIGNATURES) {
            // Beside one that is not read here there may be one that is.
            let signature = match signature {
                Ok(signature) => signature,
                Err(error) => {
                    reasons.push(error.to_string());
                    continue;
                }
            };
            let may_count = self.may_count(&signature, &[Kind::Text], now);
            match may_count.and_then(|()| self.check(&signature, signed.as_bytes(), now)) {
                Ok(()) => return Ok(text),
                Err(reason) => reasons.push(format!("{}: {reason}", issuer(&signature))),
            }
        }
        Err(untrusted(reasons))
    }

    /// What a signature must be before its content is checked.
    fn may_count(&self, signature: &Signature, kinds: &[Kind], now: u64) -> Result<(), String> {
        if !kinds.contains(&signature.kind) {
            return Err("it is not a signature over text or a file".to_owned());
        }
        check_hash(signature)?;
        check_critical(signature)?;
        let created = signature.created.ok_or("it has no timestampstamp")?;
        if created > now + CLOCK_SLACK {
            return Err(format!("its timestamp, {}, is in the future", show_time(created)));
        }
        if expired(created, signature.life, now) {
            return Err("it has expired".to_owned());
        }
        let named = |key: &Certificate| {
            signature.is_by(&key.primary) || key.subkeys.iter().any(|subkey| signature.is_by(&subkey.key))
        };
        if self.keys.iter().any(named) { Ok(()) } else { Err("the key is not trusted".to_owned()) }
    }

    /// Whether a signature that may count does; `content` matches its signature.
    fn check(&self, signature: &Signature, content: &[u8], now: u64) -> Result<(), String> {
        let mut reason = "the key is not trusted".to_owned();
        for key in &self.keys {
            if signature.is_by(&key.primary) {
                if !signature.verifies(&key.primary, &[content]) {
                    return Err("it does not verify".to_owned());
                }
                match primary_may(key, now, true) {
                    Ok(()) => return Ok(()),
                    Err(why) => reason = why,
                }
            }
            for subkey in key.subkeys.iter().filter(|subkey| signature.is_by(&subkey.key)) {
                if !signature.verifies(&subkey.key, &[content]) {
                    return Err("it does not verify".to_owned());
                }
                match primary_may(key, now, false).and_then(|()| subkey_may_sign(key, subkey, now)) {
                    Ok(()) => return Ok(()),
                    Err(why) => reason = why,
                }
            }
        }
        Err(reason)
    }
}

fn untrusted(reasons: Vec<String>) -> KeyError {
    KeyError::Untrusted {
        found: if reasons.is_empty() { "no OpenPGP signature".to_owned() } else { reasons.join("; ") },
    }
}

/// A content as a signature of this kind hashes it.
fn read(content: impl Read, kind: Kind) -> Result<Vec<u8>, KeyError> {
    let mut bytes = Vec::new();
    content.take(LARGEST_CONTENT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_CONTENT {
        return Err(KeyError::TooLarge);
    }
    if kind == Kind::Text {
        let mut text = Vec::with_capacity(bytes.len());
        for byte in bytes {
            if byte == b'\n' && text.last() != Some(&b'\r') {
                text.push(b'\r');
            }
            text.push(byte);
        }
        return Ok(text);
    }
    Ok(bytes)
}

/// A life of 0 seconds is one without end.
fn expired(from: u64, life: u32, now: u64) -> bool {
    life > 0 && from + u64::from(life) <= now
}

fn issuer(signature: &Signature) -> String {
    let fingerprint = signature.issuer_fingerprint.as_ref().map(hex::encode);
    fingerprint.or_else(|| signature.issuer_id.map(hex::encode)).unwrap_or_else(|| "somebody".to_owned())
}

fn check_hash(signature: &Signature) -> Result<(), String> {
    match signature.hash.is_strong() {
        true => Ok(()),
        false => Err(format!("its hash, {}, is too weak or unknown", signature.hash.name())),
    }
}

fn check_critical(signature: &Signature) -> Result<(), String> {
    match signature.unknown_critical {
        Some(kind) => Err(format!("it has a critical subpacket that microdc does not know, of type {kind}")),
        None => Ok(()),
    }
}

/// Whether a key's signature on itself, on a user id or on a subkey says what counts now.
fn is_in_force(signature: &&Signature, now: u64) -> bool {
    check_hash(signature).is_ok()
        && check_critical(signature).is_ok()
        && signature.created.is_some_and(|created| !expired(created, signature.life, now))
}

/// Whether the primary key is in force and, when `signing`, may sign.
fn primary_may(key: &Certificate, now: u64, signing: bool) -> Result<(), String> {
    let primary = &key.primary;
    if key.signatures.iter().any(|signature| signature.is_on_key(Kind::KeyRevocation, primary, primary)) {
        return Err("the key is revoked".to_owned());
    }
    // Debian's keys carry signatures on the key alone that only name who may revoke it; the one on the user id says what
    // the key is for. An end of life is heeded wherever it stands.
    for signature in key.signatures.iter().filter(|signature| signature.is_on_key(Kind::DirectKey, primary, primary))
    {
        still_lives(primary.created, signature, now)?;
    }
    let users = key.users.iter().filter(|user| {
        let revokes = |signature: &Signature| signature.is_on_user(Kind::CertificationRevocation, &user.id, primary);
        !user.signatures.iter().any(revokes)
    });
    let own = users
        .flat_map(|user| user.signatures.iter().map(|signature| (&user.id, signature)))
        .filter(|(_, signature)| is_in_force(signature, now))
        .filter(|(user, signature)| signature.is_on_user(Kind::Certification, user, primary))
        .max_by_key(|(_, signature)| signature.created)
        .ok_or("the key has no valid self-signature")?;
    still_lives(primary.created, own.1, now)?;
    if signing && !own.1.key_may_sign {
        return Err("the key is not allowed to sign".to_owned());
    }
    Ok(())
}

fn subkey_may_sign(key: &Certificate, subkey: &Subkey, now: u64) -> Result<(), String> {
    let primary = &key.primary;
    let bound = |kind| {
        subkey.signatures.iter().filter(move |signature| signature.is_on_keys(kind, primary, &subkey.key, primary))
    };
    if bound(Kind::SubkeyRevocation).next().is_some() {
        return Err("the key is revoked".to_owned());
    }
    let binding = bound(Kind::SubkeyBinding)
        .filter(|signature| is_in_force(signature, now))
        .max_by_key(|signature| signature.created)
        .ok_or("the key is not bound to its primary key")?;
    still_lives(subkey.key.created, binding, now)?;
    // Without the subkey's own word, someone could claim another's signing key as theirs.
    let back = binding.embedded.as_deref().filter(|_| binding.key_may_sign);
    let back = back.ok_or("the key is not allowed to sign")?;
    check_hash(back)?;
    check_critical(back)?;
    match back.is_on_keys(Kind::PrimaryKeyBinding, primary, &subkey.key, &subkey.key) {
        true => Ok(()),
        false => Err("the key has no valid signature over its primary key".to_owned()),
    }
}

/// Whether a key made at `from` has begun to live, and has not ended by what `own` says.
fn still_lives(from: u64, own: &Signature, now: u64) -> Result<(), String> {
    if from > now + CLOCK_SLACK {
        return Err("the key's timestamp is in the future".to_owned());
    }
    match expired(from, own.key_life, now) {
        true => Err(format!("the key has expired on {}", show_time(from + u64::from(own.key_life)))),
        false => Ok(()),
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
            primary_may(key, now, key.subkeys.is_empty()).unwrap();
            for subkey in &key.subkeys {
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
