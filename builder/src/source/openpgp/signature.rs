//! Signatures of version 4 (RFC 9580, section 5.2.3).

use super::algorithm::{ED25519, EDDSA_LEGACY, HashAlgorithm, KNOWN, RSA, RSA_SIGN_ONLY, Values};
use super::bytes::{Bytes, OpenPgpError};
use super::key::PublicKey;
use super::packet::{self, Packet, tag};

/// What a signature is of (section 5.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Binary,
    /// Of a text, whose lines end with `\r\n` when it is hashed.
    Text,
    /// That a user id belongs to a key.
    Certification,
    SubkeyBinding,
    PrimaryKeyBinding,
    DirectKey,
    KeyRevocation,
    SubkeyRevocation,
    CertificationRevocation,
    Other(u8),
}

impl From<u8> for Kind {
    fn from(code: u8) -> Kind {
        match code {
            0x00 => Kind::Binary,
            0x01 => Kind::Text,
            0x10..=0x13 => Kind::Certification,
            0x18 => Kind::SubkeyBinding,
            0x19 => Kind::PrimaryKeyBinding,
            0x1f => Kind::DirectKey,
            0x20 => Kind::KeyRevocation,
            0x28 => Kind::SubkeyRevocation,
            0x30 => Kind::CertificationRevocation,
            other => Kind::Other(other),
        }
    }
}

/// A signature. What it says of times and of keys is read from its hashed part alone.
#[derive(Clone, Debug)]
pub struct Signature {
    pub kind: Kind,
    pub hash: HashAlgorithm,
    /// In seconds since 1970.
    pub created: Option<u64>,
    /// How long the signature counts, in seconds; 0 for always.
    pub life: u32,
    /// How long the key it is on counts, from when the key was made, in seconds; 0 for always.
    pub key_life: u32,
    /// Whether the key it is on may sign (key flags, section 5.2.3.29).
    pub key_may_sign: bool,
    /// Who is said to have made it: a hint, until the key verifies it.
    pub issuer_fingerprint: Option<Vec<u8>>,
    pub issuer_id: Option<[u8; 8]>,
    /// By a subkey, on its primary key.
    pub embedded: Option<Box<Signature>>,
    /// Of a critical part that is not known, its kind; such a signature is not to count (section 5.2.3.7).
    pub unknown_critical: Option<u8>,
    algorithm: u8,
    /// What of the signature itself is hashed, behind what it signs.
    trailer: Vec<u8>,
    values: Values,
}

impl Signature {
    /// The signature in a packet.
    ///
    /// # Errors
    /// When it is another packet, or as [`Signature::parse`].
    pub fn of(packet: &Packet<'_>) -> Result<Signature, OpenPgpError> {
        if packet.tag == tag::SIGNATURE {
            Signature::parse(packet.body)
        } else {
            Err(OpenPgpError::Packet(packet.tag))
        }
    }

    /// Reads the body of a packet.
    ///
    /// # Errors
    /// When it is of another version or algorithm, or not well-formed.
    pub fn parse(body: &[u8]) -> Result<Signature, OpenPgpError> {
        Signature::parse_below(body, 1)
    }

    /// With as many levels of embedded signatures.
    fn parse_below(body: &[u8], levels: u8) -> Result<Signature, OpenPgpError> {
        let mut bytes = Bytes::new(body, "a signature");
        let head: [u8; 4] = bytes.array()?;
        let [version, kind, algorithm, hash] = head;
        if version != 4 {
            return Err(OpenPgpError::Version { what: "a signature", found: version });
        }
        let length = bytes.u16()?;
        let hashed = bytes.take(usize::from(length))?;
        let unhashed = bytes.u16()?;
        let unhashed = bytes.take(usize::from(unhashed))?;
        // The first two bytes of the digest: a way to give up early.
        bytes.take(2)?;
        let values = values(algorithm, &mut bytes)?;
        let mut trailer = [&head[..], &length.to_be_bytes(), hashed].concat();
        let trailer_length = u32::try_from(trailer.len()).map_err(|_| OpenPgpError::Malformed("a signature"))?;
        trailer.extend([4, 0xff]);
        trailer.extend(trailer_length.to_be_bytes());
        let mut signature = Signature {
            kind: kind.into(),
            hash: HashAlgorithm(hash),
            created: None,
            life: 0,
            key_life: 0,
            key_may_sign: false,
            issuer_fingerprint: None,
            issuer_id: None,
            embedded: None,
            unknown_critical: None,
            algorithm,
            trailer,
            values,
        };
        signature.subpackets(unhashed, false, levels)?;
        signature.subpackets(hashed, true, levels)?;
        Ok(signature)
    }

    /// Reads what a signature says (section 5.2.3.7). Where it says a thing twice, the last counts.
    fn subpackets(&mut self, area: &[u8], hashed: bool, levels: u8) -> Result<(), OpenPgpError> {
        const WHAT: &str = "a part of a signature";
        let mut area = Bytes::new(area, WHAT);
        while !area.rest.is_empty() {
            let length = packet::length(&mut area)?;
            let mut bytes = Bytes::new(area.take(length as usize)?, WHAT);
            let kind = bytes.byte()?;
            match (kind & 0x7f, hashed) {
                (2, true) => self.created = Some(u64::from(bytes.u32()?)),
                (3, true) => self.life = bytes.u32()?,
                (9, true) => self.key_life = bytes.u32()?,
                (27, true) => self.key_may_sign = bytes.rest.first().is_some_and(|flags| flags & 2 != 0),
                (16, _) => self.issuer_id = Some(bytes.array()?),
                (33, _) => {
                    bytes.byte()?;
                    self.issuer_fingerprint = Some(bytes.rest.to_vec());
                }
                // One that cannot be read is none: the key has no valid signature over its primary key then.
                (32, _) if levels > 0 => {
                    self.embedded = Signature::parse_below(bytes.rest, levels - 1).ok().map(Box::new);
                }
                // Who may revoke, preferences, reasons and the like: nothing that makes a signature count less.
                (2 | 3 | 4 | 5 | 7 | 9 | 11 | 12 | 21..=32 | 34 | 35, _) => {}
                (other, _) if hashed && kind & 0x80 != 0 => self.unknown_critical = Some(other),
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether it names a key as its maker.
    #[must_use]
    pub fn is_by(&self, key: &PublicKey) -> bool {
        self.issuer_fingerprint.as_deref() == Some(&key.fingerprint) || self.issuer_id == Some(key.id())
    }

    /// Whether a key made it over a content; `content` is as it is hashed.
    #[must_use]
    pub fn verifies(&self, key: &PublicKey, content: &[&[u8]]) -> bool {
        let message = [content, &[&self.trailer]].concat().concat();
        key.is_of(self.algorithm) && key.verifies(self.hash, &message, &self.values)
    }

    /// Whether it is of this kind, on this key, by `signer`.
    #[must_use]
    pub fn is_on_key(&self, kind: Kind, key: &PublicKey, signer: &PublicKey) -> bool {
        self.kind == kind && self.is_by(signer) && self.verifies(signer, &[&key.hashed()])
    }

    /// Whether it is of this kind, on a primary key and a subkey, by `signer`, which is one of them.
    #[must_use]
    pub fn is_on_keys(&self, kind: Kind, primary: &PublicKey, subkey: &PublicKey, signer: &PublicKey) -> bool {
        self.kind == kind && self.verifies(signer, &[&primary.hashed(), &subkey.hashed()])
    }

    /// Whether it is of this kind, on a user id and the key, by that key.
    #[must_use]
    pub fn is_on_user(&self, kind: Kind, user: &[u8], key: &PublicKey) -> bool {
        let length = u32::try_from(user.len()).unwrap_or(u32::MAX).to_be_bytes();
        self.kind == kind && self.is_by(key) && self.verifies(key, &[&key.hashed(), &[0xb4], &length, user])
    }
}

/// The numbers of a signature (section 5.2.3).
fn values(algorithm: u8, bytes: &mut Bytes<'_>) -> Result<Values, OpenPgpError> {
    let values = match algorithm {
        RSA | RSA_SIGN_ONLY => Values::Rsa(bytes.number()?.to_vec()),
        EDDSA_LEGACY => {
            let mut both = [0; 64];
            for half in both.chunks_exact_mut(32) {
                let number = bytes.number()?;
                let start = half.len().checked_sub(number.len()).ok_or(OpenPgpError::Malformed("a signature"))?;
                half.get_mut(start..).unwrap_or_default().copy_from_slice(number);
            }
            Values::Ed25519(both)
        }
        ED25519 => Values::Ed25519(bytes.array()?),
        found => return Err(OpenPgpError::Algorithm { what: "a signature", found, known: KNOWN }),
    };
    bytes.end()?;
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_signature_or_an_error(
            tail in prop::collection::vec(any::<u8>(), 0..300),
            algorithm in prop::sample::select(vec![RSA, EDDSA_LEGACY, ED25519, 17]),
            hashed in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let _ = Signature::parse(&tail);
            let _ = PublicKey::parse(&[&[4, 0, 0, 0, 0, algorithm][..], &tail].concat());
            let length = u16::try_from(hashed.len()).unwrap().to_be_bytes();
            let head = [&[4, 0, algorithm, 8][..], &length, &hashed, &[0, 0, 0, 0]].concat();
            let _ = Signature::parse(&[head, tail].concat());
        }
    }
}
