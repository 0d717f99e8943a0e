//! OpenPGP (RFC 4880, RFC 9580), as far as checking signatures of version 4 by RSA and Ed25519 needs it: armour, packets,
//! public keys, signatures and certificates. What it does not know it refuses by name.
//!
//! It reads and computes; what counts as a good signature is the policy of [`super::keyring`].

mod algorithm;
mod armor;
mod bytes;
mod certificate;
mod key;
mod packet;
mod signature;

pub(super) use armor::{Cleartext, signatures};
pub use bytes::OpenPgpError;
pub(super) use certificate::{Certificate, Subkey};
pub(super) use signature::{Kind, Signature};
