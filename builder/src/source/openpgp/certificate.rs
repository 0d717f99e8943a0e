//! Certificates, as `gpg --export` writes them: a primary key, its user ids and subkeys, and the signatures on each
//! (RFC 9580, section 10.1).

use super::armor::unarmor;
use super::bytes::OpenPgpError;
use super::key::PublicKey;
use super::packet::{Packet, Packets, tag};
use super::signature::Signature;

/// A name that a key vouches for.
#[derive(Clone, Debug, Default)]
pub struct User {
    pub id: Vec<u8>,
    pub signatures: Vec<Signature>,
}

#[derive(Clone, Debug)]
pub struct Subkey {
    pub key: PublicKey,
    pub signatures: Vec<Signature>,
}

/// A key and what is said of it. Nothing is checked yet.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub primary: PublicKey,
    /// On the primary key alone.
    pub signatures: Vec<Signature>,
    pub users: Vec<User>,
    pub subkeys: Vec<Subkey>,
}

/// On what the signatures that follow are.
enum On {
    Primary,
    User,
    Subkey,
    /// A photograph, or a subkey of another version.
    Ignored,
}

impl Certificate {
    /// Every certificate of a file, armoured or not.
    ///
    /// # Errors
    /// When it holds anything else. Signatures of others, and of kinds that are not read, are left out.
    pub fn all(bytes: &[u8]) -> Result<Vec<Certificate>, OpenPgpError> {
        let bytes = unarmor(bytes)?;
        let mut all = Vec::new();
        let mut on = On::Primary;
        for packet in Packets::new(&bytes) {
            let packet = packet?;
            match packet.tag {
                tag::PUBLIC_KEY => {
                    let primary = PublicKey::parse(packet.body)?;
                    on = On::Primary;
                    all.push(Certificate { primary, signatures: Vec::new(), users: Vec::new(), subkeys: Vec::new() });
                }
                tag::SECRET_KEY | tag::SECRET_SUBKEY => return Err(OpenPgpError::PrivateKey),
                tag::MARKER | tag::TRUST | tag::PADDING => {}
                other => {
                    let certificate = all.last_mut().ok_or(OpenPgpError::Packet(other))?;
                    on = certificate.add(&packet, on)?;
                }
            }
        }
        Ok(all)
    }

    fn add(&mut self, packet: &Packet<'_>, on: On) -> Result<On, OpenPgpError> {
        match packet.tag {
            tag::USER_ID => {
                self.users.push(User { id: packet.body.to_vec(), signatures: Vec::new() });
                Ok(On::User)
            }
            tag::USER_ATTRIBUTE => Ok(On::Ignored),
            tag::PUBLIC_SUBKEY => Ok(match PublicKey::parse(packet.body) {
                Ok(key) => {
                    self.subkeys.push(Subkey { key, signatures: Vec::new() });
                    On::Subkey
                }
                Err(_) => On::Ignored,
            }),
            tag::SIGNATURE => {
                let signatures = match on {
                    On::Primary => Some(&mut self.signatures),
                    On::User => self.users.last_mut().map(|user| &mut user.signatures),
                    On::Subkey => self.subkeys.last_mut().map(|subkey| &mut subkey.signatures),
                    On::Ignored => None,
                };
                if let (Some(signatures), Ok(signature)) = (signatures, Signature::of(packet)) {
                    signatures.push(signature);
                }
                Ok(on)
            }
            other => Err(OpenPgpError::Packet(other)),
        }
    }
}
