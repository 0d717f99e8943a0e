//! The trailer of a root partition, by its place on a disk.

use contract::keys::PublicKey;
use contract::layout::Extent;
use contract::trailer::{ReadError, Signed, Trailer};
use std::io::{self, Read, Seek, SeekFrom};

/// Reads a root partition's trailer and checks its signature.
///
/// # Errors
/// When there is none, or no trusted key signed it.
pub fn read(disk: &mut (impl Read + Seek + ?Sized), root: Extent, keys: &[PublicKey]) -> Result<Signed, ReadError> {
    let trailer = Trailer::of(root, |at| -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(at.length).map_err(io::Error::other)?];
        disk.seek(SeekFrom::Start(at.offset))?;
        disk.read_exact(&mut bytes)?;
        Ok(bytes)
    })?;
    Ok(trailer.signed(keys)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::keys::PrivateKey;

    #[test]
    fn an_empty_root_and_one_beyond_the_disk_have_no_manifest() {
        let keys = [PrivateKey::from_seed(&[1; 32]).public()];
        let mut disk = io::Cursor::new(vec![0; 256 * 1024]);
        let read =
            |disk: &mut io::Cursor<Vec<u8>>, offset, length| super::read(disk, Extent { offset, length }, &keys);
        assert!(matches!(read(&mut disk, 0, 256 * 1024), Err(ReadError::Trailer(_))));
        assert!(matches!(read(&mut disk, 0, 4096), Err(ReadError::NoRoom)));
        assert!(matches!(read(&mut disk, 0, 512 * 1024), Err(ReadError::Read(_))));
        assert!(matches!(read(&mut disk, u64::MAX, 512 * 1024), Err(ReadError::NoRoom)));
    }
}
