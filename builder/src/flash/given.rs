//! Where an image comes from: a file, an `http(s)://` address, or standard input; as it is, or packed by zstd, xz or gzip
//! (told by the first bytes, not by the name). What is not a plain file is unpacked into the cache's folder for work in
//! progress, sparse: the whole image is there, and its signature is checked, before a disk is touched.

use crate::bundle;
use crate::cache::{Cache, CacheError};
use crate::source::http::{Client, FetchError, FileRequest};
use crate::source::progress::Progress;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// What was named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    File(PathBuf),
    Url(String),
    Stdin,
}

impl std::str::FromStr for Given {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Given, Self::Err> {
        let is_url = text.starts_with("http://") || text.starts_with("https://");
        Ok(match text {
            "-" => Given::Stdin,
            url if is_url => Given::Url(url.to_owned()),
            path => Given::File(PathBuf::from(path)),
        })
    }
}

impl std::fmt::Display for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Given::File(path) => write!(f, "{}", path.display()),
            Given::Url(url) => f.write_str(url),
            Given::Stdin => f.write_str("standard input"),
        }
    }
}

/// An image that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    #[error("{given}: {source}")]
    Read { given: Given, source: io::Error },
    #[error("{given}: unpacking it: {source}; it is damaged or cut off, and nothing was written to the disk")]
    Unpack { given: Given, source: io::Error },
    #[error("{given} is longer than {limit} bytes when it is unpacked: no image is that long")]
    TooLong { given: Given, limit: u64 },
    #[error(
        "{0} is a bundle: it holds one slot for a running node (`nodectl update`), and no partition table. Flash the image \
        that it was made of"
    )]
    Bundle(Given),
    #[error("cannot store the image temporarily: {0}; free some space, or set MICRODC_CACHE to another folder")]
    Keep(#[source] io::Error),
    #[error(transparent)]
    Cache(#[from] CacheError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// An image as a plain file.
#[derive(Debug)]
pub struct Image {
    pub path: PathBuf,
    /// Whether it is the very file that was named, beside which its map may be.
    pub is_given: bool,
    _folder: Option<tempfile::TempDir>,
}

/// The largest image: two roots of 64 GiB, and what there is besides.
pub const LONGEST: u64 = 130 << 30;

/// How something is packed, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    Zstd,
    Xz,
    Gzip,
}

impl Packing {
    fn of(first: &[u8]) -> Packing {
        match first {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Packing::Xz,
            [0x1f, 0x8b, ..] => Packing::Gzip,
            _ => Packing::None,
        }
    }
}

/// Gets the image. `client` is asked for when it has to be downloaded.
///
/// # Errors
/// When it cannot be had, or is not one by its first bytes.
pub fn get(
    given: &Given,
    client: &dyn Fn() -> anyhow::Result<Client>,
    progress: &dyn Progress,
) -> anyhow::Result<Image> {
    let read = |source| GivenError::Read { given: given.clone(), source };
    let cache = || -> Result<Cache, CacheError> { Cache::open(Cache::default_root()?) };
    let path = match given {
        Given::File(path) => path.clone(),
        Given::Url(url) => {
            let wanted = FileRequest { url: url.clone(), limit: LONGEST, sha256: None };
            client()?.file(&cache()?, &wanted, progress).map_err(GivenError::from)?.path
        }
        Given::Stdin => return Ok(unpack(given, &mut io::stdin().lock(), &cache()?)?),
    };
    let mut file = File::open(&path).map_err(read)?;
    if file.metadata().map_err(read)?.is_dir() {
        return Err(read(io::ErrorKind::IsADirectory.into()).into());
    }
    if bundle::is_bundle(&path).map_err(read)? {
        return Err(GivenError::Bundle(given.clone()).into());
    }
    let mut first = [0; 6];
    let count = file.read(&mut first).map_err(read)?;
    if Packing::of(&first[..count]) == Packing::None {
        return Ok(Image { path, is_given: matches!(given, Given::File(_)), _folder: None });
    }
    file.seek(SeekFrom::Start(0)).map_err(read)?;
    Ok(unpack(given, &mut file, &cache()?)?)
}

/// Unpacks a stream into a sparse file.
fn unpack(given: &Given, from: &mut dyn Read, cache: &Cache) -> Result<Image, GivenError> {
    let read = |source| GivenError::Read { given: given.clone(), source };
    let mut first = [0; 6];
    let count = fill(from, &mut first).map_err(read)?;
    let stream = first[..count].chain(from);
    let mut plain: Box<dyn Read + '_> = match Packing::of(&first[..count]) {
        Packing::None => Box::new(stream),
        Packing::Zstd => Box::new(zstd::Decoder::new(stream).map_err(read)?),
        Packing::Xz => Box::new(liblzma::read::XzDecoder::new_multi_decoder(stream)),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(stream)),
    };
    let folder = cache.temp_dir()?;
    let path = folder.path().join("image");
    let mut file = File::create_new(&path).map_err(GivenError::Keep)?;
    let length = sparse(&mut plain, &mut file, given)?;
    file.set_len(length).map_err(GivenError::Keep)?;
    if bundle::is_bundle(&path).map_err(GivenError::Keep)? {
        return Err(GivenError::Bundle(given.clone()));
    }
    Ok(Image { path, is_given: false, _folder: Some(folder) })
}

/// Copies a stream, leaving out zeros; gives its length.
fn sparse(from: &mut dyn Read, to: &mut File, given: &Given) -> Result<u64, GivenError> {
    const PIECE: usize = 256 * 1024;
    let (mut buffer, zeros) = (vec![0; PIECE], vec![0; PIECE]);
    let mut length = 0;
    loop {
        let bad = |source| GivenError::Unpack { given: given.clone(), source };
        let count = fill(from, &mut buffer).map_err(bad)?;
        if count == 0 {
            return Ok(length);
        }
        length += count as u64;
        if length > LONGEST {
            return Err(GivenError::TooLong { given: given.clone(), limit: LONGEST });
        }
        if buffer[..count] == zeros[..count] {
            to.seek(SeekFrom::Start(length)).map_err(GivenError::Keep)?;
        } else {
            to.write_all(&buffer[..count]).map_err(GivenError::Keep)?;
        }
    }
}

/// Reads as much as there is, up to the length of the buffer.
fn fill(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match from.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

impl Image {
    /// The image as a file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, GivenError> {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let image = unpack(&Given::Stdin, &mut &bytes[..], &cache)?;
        Ok(std::fs::read(image.path()).unwrap())
    }

    #[test]
    fn every_packing_comes_out_as_it_went_in_and_what_is_cut_off_is_an_error() {
        let mut plain = vec![0; 700_000];
        plain[300_000..300_010].fill(9);
        plain[699_999] = 1;
        let xz = {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(&plain).unwrap();
            encoder.finish().unwrap()
        };
        let gzip = {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&plain).unwrap();
            encoder.finish().unwrap()
        };
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        assert_eq!(unpacked(&plain).unwrap(), plain);
        for (packed, wanted) in [(zstd, Packing::Zstd), (xz, Packing::Xz), (gzip, Packing::Gzip)] {
            assert_eq!(Packing::of(&packed), wanted);
            assert_eq!(unpacked(&packed).unwrap(), plain, "{wanted:?}");
            for cut in [10, packed.len() / 2, packed.len() - 1] {
                let error = unpacked(&packed[..cut]).unwrap_err();
                assert!(matches!(error, GivenError::Unpack { .. }), "{wanted:?} cut at {cut}: {error}");
            }
        }
    }
}
