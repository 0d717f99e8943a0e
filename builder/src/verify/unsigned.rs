//! An image whose manifest is still to be signed: its trailer, and the keys that its own initramfs will trust.

use super::read::Blocks;
use super::{VerifyError, extent, open, table};
use crate::format::cpio_read;
use crate::format::fat_read::{InFile, Reader};
use contract::keys::PublicKey;
use contract::layout::{Slot, TRAILER_SIZE, trailer_offset};
use contract::names::{INITRAMFS, INITRAMFS_SPEC};
use contract::trailer::{Trailer, TrailerError};
use std::io::Read as _;
use std::path::Path;

/// No initramfs is longer than this when it is unpacked, in bytes.
const LONGEST_INITRAMFS: u64 = 256 * 1024 * 1024;

/// A slot that waits for its signature.
#[derive(Clone, Debug)]
pub struct Unsigned {
    pub slot: Slot,
    pub trailer: Trailer,
    /// Where the trailer is in the image, in bytes.
    pub offset: u64,
    /// Whom the slot's initramfs trusts.
    pub trusted: Vec<PublicKey>,
}

/// The slot of the image at `path` that waits for its signature; nothing when every filled slot has one.
///
/// # Errors
/// When the image cannot be read so far.
pub fn unsigned(path: &Path) -> Result<Option<Unsigned>, VerifyError> {
    let (file, length) = open(path)?;
    let blocks = Blocks { file: &file, length };
    let layout = table(blocks)?;
    for slot in Slot::BOTH {
        let root = extent(layout, slot.root());
        let offset = root.offset + trailer_offset(root.length).unwrap_or(0);
        let bad = |source| VerifyError::Trailer { place: slot.root().name(), offset, source };
        let trailer = match Trailer::parse(&blocks.read(offset, TRAILER_SIZE)?) {
            Err(TrailerError::Empty) => continue,
            trailer => trailer.map_err(bad)?,
        };
        if trailer.signature.is_awaited() {
            let boot = extent(layout, slot.boot());
            let place = slot.boot().name();
            let reader = Reader::open(InFile { file: &file, offset: boot.offset });
            let packed = reader.and_then(|reader| reader.read(INITRAMFS));
            let packed = packed.map_err(|source| VerifyError::Fat { place, source })?;
            let trusted = packed.ok_or_else(|| "there is no initramfs".to_owned()).and_then(|bytes| keys_in(&bytes));
            let trusted = trusted.map_err(|what| VerifyError::Part { place, extent: boot, what })?;
            return Ok(Some(Unsigned { slot, trailer, offset, trusted }));
        }
    }
    Ok(None)
}

/// The release keys that an initramfs trusts. Other builders have written more, or less, beside them.
fn keys_in(packed: &[u8]) -> Result<Vec<PublicKey>, String> {
    #[derive(serde::Deserialize)]
    struct Trusted {
        keys: Vec<PublicKey>,
    }
    let spec: Trusted = serde_json::from_slice(&spec_in(packed)?).map_err(|error| format!("{INITRAMFS}: {error}"))?;
    Ok(spec.keys)
}

/// The bytes of what an initramfs is told ([`contract::initramfs::InitramfsSpec`]).
pub(crate) fn spec_in(packed: &[u8]) -> Result<Vec<u8>, String> {
    let bad = |what: &dyn std::fmt::Display| format!("{INITRAMFS}: {what}");
    let mut archive = Vec::new();
    let unpacked = zstd::Decoder::new(packed).and_then(|plain| {
        let mut bounded = plain.take(LONGEST_INITRAMFS + 1);
        bounded.read_to_end(&mut archive)
    });
    let length = unpacked.map_err(|error| bad(&error))?;
    if length as u64 > LONGEST_INITRAMFS {
        return Err(bad(&"it is too long"));
    }
    let path = INITRAMFS_SPEC.trim_start_matches('/');
    let spec = cpio_read::file(&archive, path).map_err(|error| bad(&error))?;
    Ok(spec.ok_or_else(|| bad(&format!("it has no {path}")))?.to_vec())
}
