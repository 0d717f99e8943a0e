//! Where packages come from: Debian's archive, its signed indices, and what is inside a package.
//!
//! [`mirror`] finds the archive's base URLs; [`http`] downloads into the cache; [`release`] trusts a suite's signed
//! index, [`packages`] reads its list of packages; [`deb`] unpacks one into an [`unpacked`] package.

pub mod ar;
pub mod checksums;
pub mod deb;
pub mod depends;
mod fetch_error;
pub mod go;
pub mod http;
pub mod index;
pub mod keyring;
pub mod local;
pub mod mirror;
mod openpgp;
pub mod packages;
mod partial;
pub mod percent;
pub mod progress;
pub mod release;
pub mod signer;
pub mod tarball;
pub mod trust;
pub mod unpacked;
pub mod url;
pub mod version;

pub use progress::{Progress, Quiet};
