//! OpenPGP (RFC 4880, RFC 9580), as needed to check version 4 signatures by RSA and Ed25519: armour, packets,
//! public keys, signatures and certificates. What it does not support, it rejects by name.
//!
//! It only reads and computes; [`super::keyring`] decides which signatures are valid.

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
