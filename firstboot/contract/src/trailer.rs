//! The trailer: manifest and signature, in the last [`TRAILER_SIZE`] bytes of a root partition.
//!
//! | offset | length | field |
//! |---|---|---|
//! | 0 | 8 | magic `microdcT` |
//! | 8 | 4 | format, little-endian: 1 |
//! | 12 | 4 | length of the manifest, little-endian |
//! | 16 | 8 | id of the key that signed |
//! | 24 | 64 | ed25519 signature |
//! | 88 | | the manifest, then zeros to the end |
//!
//! A signature of zeros is one that is still to be made, on another machine, by the key of that id.
//!
//! Every bit counts: what is neither signed nor looked up must be zero.

use crate::hash::Digest;
use crate::keys::{KeyId, ManifestSignature, PublicKey, SignatureError};
use crate::layout::{Extent, TRAILER_SIZE, trailer_extent};
use crate::manifest::{Manifest, ManifestError};

const MAGIC: [u8; 8] = *b"microdcT";
const FORMAT: u32 = 1;
const HEAD: usize = 88;
const LENGTH: usize = TRAILER_SIZE as usize;

/// A trailer that is not there, or not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrailerError {
    #[error("there is no trailer: the slot is empty or half written")]
    Empty,
    #[error("the trailer is damaged: {0}")]
    Damaged(&'static str),
    #[error("the trailer has format {0}; this program reads format {FORMAT}")]
    Format(u32),
    #[error("a manifest of {0} bytes does not fit into a trailer")]
    TooLong(usize),
    #[error("it is not signed yet: the key {0} must sign it")]
    Unsigned(KeyId),
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Why a root partition has no manifest that could be trusted. `E` is what keeps its bytes from being read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError<E: std::error::Error + 'static = std::io::Error> {
    #[error("reading the trailer")]
    Read(#[source] E),
    #[error("the partition is too small for a trailer")]
    NoRoom,
    #[error(transparent)]
    Trailer(#[from] TrailerError),
}

/// A manifest whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    pub manifest: Manifest,
    /// SHA-256 of the manifest's bytes: what a slot is known by.
    pub digest: Digest,
}

/// Manifest bytes and signature as found on a disk: nothing in it is to be trusted before [`Trailer::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trailer {
    pub manifest: Vec<u8>,
    pub signature: ManifestSignature,
}

impl Trailer {
    /// Reads the trailer of a root partition that is at `root`; `read` gives the bytes there.
    ///
    /// # Errors
    /// When there is no room for one, it cannot be read, or it is none.
    pub fn of<E: std::error::Error + 'static>(
        root: Extent,
        read: impl FnOnce(Extent) -> Result<Vec<u8>, E>,
    ) -> Result<Trailer, ReadError<E>> {
        let extent = trailer_extent(root).ok_or(ReadError::NoRoom)?;
        Ok(Trailer::parse(&read(extent).map_err(ReadError::Read)?)?)
    }

    /// The manifest and its digest, after its signature was checked.
    ///
    /// # Errors
    /// As [`Trailer::verify`].
    pub fn signed(&self, trusted: &[PublicKey]) -> Result<Signed, TrailerError> {
        Ok(Signed { manifest: self.verify(trusted)?, digest: Digest::of(&self.manifest) })
    }

    /// The [`TRAILER_SIZE`] bytes to store.
    ///
    /// # Errors
    /// When the manifest is too long.
    pub fn to_bytes(&self) -> Result<Vec<u8>, TrailerError> {
        let too_long = || TrailerError::TooLong(self.manifest.len());
        let length = u32::try_from(self.manifest.len()).map_err(|_| too_long())?;
        if self.manifest.len() > LENGTH - HEAD {
            return Err(too_long());
        }
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend(MAGIC);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(length.to_le_bytes());
        bytes.extend(self.signature.key.0);
        bytes.extend(self.signature.bytes);
        bytes.extend(&self.manifest);
        bytes.resize(LENGTH, 0);
        Ok(bytes)
    }

    /// Reads the shape of a trailer.
    ///
    /// # Errors
    /// [`TrailerError::Empty`] for zeros, otherwise what is wrong with the shape.
    pub fn parse(bytes: &[u8]) -> Result<Trailer, TrailerError> {
        if bytes.iter().all(|&byte| byte == 0) {
            return Err(TrailerError::Empty);
        }
        if bytes.len() != LENGTH {
            return Err(TrailerError::Damaged("it is not 64 KiB long"));
        }
        let mut at = 0;
        if take::<8>(bytes, &mut at) != Some(MAGIC) {
            return Err(TrailerError::Damaged("its magic is wrong"));
        }
        let short = TrailerError::Damaged("it is too short");
        let (Some(format), Some(length), Some(key), Some(signature)) = (
            take::<4>(bytes, &mut at),
            take::<4>(bytes, &mut at),
            take::<8>(bytes, &mut at),
            take::<64>(bytes, &mut at),
        ) else {
            return Err(short);
        };
        match u32::from_le_bytes(format) {
            FORMAT => (),
            other => return Err(TrailerError::Format(other)),
        }
        let end = HEAD.saturating_add(u32::from_le_bytes(length) as usize);
        let manifest =
            bytes.get(HEAD..end).ok_or(TrailerError::Damaged("its manifest is longer than the trailer"))?;
        if bytes.get(end..).is_some_and(|rest| rest.iter().any(|&byte| byte != 0)) {
            return Err(TrailerError::Damaged("data follows its manifest"));
        }
        Ok(Trailer {
            manifest: manifest.to_vec(),
            signature: ManifestSignature { key: KeyId(key), bytes: signature },
        })
    }

    /// The manifest, after its signature was checked.
    ///
    /// # Errors
    /// When no trusted key signed it, or it is not a manifest for this program.
    pub fn verify(&self, trusted: &[PublicKey]) -> Result<Manifest, TrailerError> {
        if self.signature.is_awaited() {
            return Err(TrailerError::Unsigned(self.signature.key));
        }
        self.signature.verify(&self.manifest, trusted)?;
        Ok(Manifest::parse(&self.manifest)?)
    }
}

fn take<const N: usize>(bytes: &[u8], at: &mut usize) -> Option<[u8; N]> {
    let field = bytes.get(*at..)?.first_chunk::<N>()?;
    *at += N;
    Some(*field)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PrivateKey;
    use crate::manifest::example;
    use proptest::prelude::*;

    fn signed() -> (Vec<u8>, Vec<PublicKey>) {
        let key = PrivateKey::from_seed(&[3; 32]);
        let manifest = example().to_bytes().unwrap();
        let trailer = Trailer { signature: key.sign(&manifest), manifest };
        (trailer.to_bytes().unwrap(), vec![key.public()])
    }

    #[test]
    fn a_trailer_is_read_back_and_verifies() {
        let (bytes, trusted) = signed();
        assert_eq!(Trailer::parse(&bytes).unwrap().verify(&trusted).unwrap(), example());
    }

    #[test]
    fn an_erased_trailer_is_no_trailer() {
        assert!(matches!(Trailer::parse(&[0; LENGTH]), Err(TrailerError::Empty)));
    }

    #[test]
    fn a_trailer_that_waits_for_its_signature_is_believed_by_nobody() {
        let (bytes, trusted) = signed();
        let mut trailer = Trailer::parse(&bytes).unwrap();
        trailer.signature = ManifestSignature::awaited(trailer.signature.key);
        let found = Trailer::parse(&trailer.to_bytes().unwrap()).unwrap().verify(&trusted);
        assert!(matches!(found, Err(TrailerError::Unsigned(key)) if key == trusted[0].id()));
    }

    #[test]
    fn a_trailer_is_read_at_the_end_of_its_partition_and_nowhere_else() {
        let (bytes, trusted) = signed();
        let disk = [vec![7; 5000], bytes].concat();
        let read = |at: Extent| {
            let range = at.offset as usize..at.end() as usize;
            disk.get(range).map(<[u8]>::to_vec).ok_or_else(|| std::io::Error::other("beyond the end"))
        };
        let root = Extent { offset: 1000, length: disk.len() as u64 - 1000 };
        let found = Trailer::of(root, read).unwrap().signed(&trusted).unwrap();
        assert_eq!(found.manifest, example());
        assert_eq!(found.digest, Digest::of(&example().to_bytes().unwrap()));
        let at = |offset, length| Trailer::of(Extent { offset, length }, read);
        assert!(matches!(at(0, disk.len() as u64 - 1), Err(ReadError::Trailer(TrailerError::Damaged(_)))));
        assert!(matches!(at(0, disk.len() as u64 + 1), Err(ReadError::Read(_))));
        assert!(matches!(at(0, TRAILER_SIZE - 1), Err(ReadError::NoRoom)));
        assert!(matches!(at(u64::MAX - 9, TRAILER_SIZE), Err(ReadError::NoRoom)));
    }

    #[test]
    fn a_manifest_that_does_not_fit_is_refused() {
        let key = PrivateKey::from_seed(&[3; 32]);
        let manifest = vec![b' '; LENGTH];
        let trailer = Trailer { signature: key.sign(&manifest), manifest };
        assert!(matches!(trailer.to_bytes(), Err(TrailerError::TooLong(LENGTH))));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_noticed(at in 0..LENGTH, bit in 0u8..8) {
            let (mut bytes, trusted) = signed();
            bytes[at] ^= 1 << bit;
            prop_assert!(Trailer::parse(&bytes).and_then(|trailer| trailer.verify(&trusted)).is_err());
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), grow: bool) {
            let mut bytes = [&MAGIC[..], &bytes].concat();
            if grow { bytes.resize(LENGTH, 0); }
            let _ = Trailer::parse(&bytes).and_then(|trailer| trailer.verify(&[]));
        }
    }
}
