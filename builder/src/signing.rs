//! Signing where the private key is: a build without it writes `NAME.manifest`, the exact bytes to be signed; its
//! ed25519 signature (RFC 8032, 64 bytes) comes back as `NAME.manifest.sig` and is put into the image, which is then
//! bit for bit what a build with the key would have made.
//!
//! Other tools can read and write both files, for hardware keys: `openssl pkeyutl -sign -rawin`.

use crate::image::file_digest;
use crate::unfinished::{Unfinished, UnfinishedError};
use crate::verify::{self, Bootsel, Expect, Unsigned, VerifyError};
use contract::hash::Digest;
use contract::keys::{KeyId, ManifestSignature, PrivateKey, PublicKey, manifest_in, signed_bytes};
use contract::manifest::{Manifest, ManifestError};
use contract::trailer::{Trailer, TrailerError};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Length of a signature file, in bytes.
pub const SIGNATURE_LENGTH: usize = 64;

/// What could not be signed, or not be put together.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Unfinished(#[from] UnfinishedError),
    #[error(
        "{} is not a manifest to sign: `microdc build --unsigned` writes one, as NAME.manifest beside the image",
        .0.display()
    )]
    NoRequest(PathBuf),
    #[error("{}: {source}", path.display())]
    Manifest { path: PathBuf, source: ManifestError },
    #[error("{} has {length} bytes, and a signature has {SIGNATURE_LENGTH}: `microdc sign NAME.manifest` makes one", path.display())]
    NoSignature { path: PathBuf, length: usize },
    #[error("{}: {source}", path.display())]
    Image { path: PathBuf, source: Box<VerifyError> },
    #[error("{} has nothing to sign: it is already signed (`microdc verify` says by whom), or all of its slots are empty", .0.display())]
    Signed(PathBuf),
    #[error(
        "{} is not a signature of this image's manifest by a key that the image trusts ({trusted}): sign the manifest that \
         was built together with the image, with the key {wanted}",
        signature.display()
    )]
    Foreign { signature: PathBuf, trusted: String, wanted: KeyId },
    #[error(transparent)]
    Trailer(#[from] TrailerError),
}

/// `out/router.img` → `out/router.manifest`.
#[must_use]
pub fn request_of(image: &Path) -> PathBuf {
    image.with_extension("manifest")
}

/// `out/router.manifest` → `out/router.manifest.sig`.
#[must_use]
pub fn signature_of(request: &Path) -> PathBuf {
    let mut name = request.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
}

/// Writes the bytes to be signed beside an image.
///
/// # Errors
/// When they cannot be written.
pub fn write_request(image: &Path, manifest: &Manifest) -> Result<PathBuf, SigningError> {
    let path = request_of(image);
    let bytes = manifest.to_bytes().map_err(|source| SigningError::Manifest { path: path.clone(), source })?;
    write(&path, &signed_bytes(&bytes))?;
    Ok(path)
}

/// What is to be signed: its manifest, and the bytes of that.
///
/// # Errors
/// When the file is not a manifest to sign: nothing else is ever signed.
pub fn read_request(path: &Path) -> Result<(Manifest, Vec<u8>), SigningError> {
    let bytes = read(path)?;
    let manifest = manifest_in(&bytes).ok_or_else(|| SigningError::NoRequest(path.to_owned()))?;
    let parsed = Manifest::parse(manifest);
    Ok((parsed.map_err(|source| SigningError::Manifest { path: path.to_owned(), source })?, manifest.to_vec()))
}

/// Signs a manifest's bytes and writes the signature to `path`.
///
/// # Errors
/// When it cannot be written.
pub fn sign(manifest: &[u8], key: &PrivateKey, path: &Path) -> Result<(), SigningError> {
    write(path, &key.sign(manifest).bytes)
}

/// An image that has its signature now.
#[derive(Clone, Debug)]
pub struct Attached {
    pub manifest: Manifest,
    pub key: PublicKey,
    /// SHA-256 of the whole image.
    pub digest: Digest,
}

/// Puts a signature into the image that waits for it. Before a byte is written, the image is checked to the last bit
/// as it will be, and the signer is looked up among the keys of the image's own initramfs. The signature and who made it
/// are in one sector: the image is signed, or as it was.
///
/// # Errors
/// When they do not belong together; then the image is as it was.
pub fn attach(signature: &Path, image: &Path) -> Result<Attached, SigningError> {
    let bytes = read(signature)?;
    let bytes: [u8; SIGNATURE_LENGTH] = bytes
        .try_into()
        .map_err(|bytes: Vec<u8>| SigningError::NoSignature { path: signature.to_owned(), length: bytes.len() })?;
    let bad = |source| SigningError::Image { path: image.to_owned(), source: Box::new(source) };
    let found = verify::unsigned(image).map_err(bad)?;
    let Unsigned { slot, trailer, offset, trusted } = found.ok_or_else(|| SigningError::Signed(image.to_owned()))?;

    let by = |key: &PublicKey| ManifestSignature { key: key.id(), bytes };
    let signer = trusted.iter().find(|key| by(key).verify(&trailer.manifest, &trusted).is_ok());
    let key = signer.ok_or_else(|| SigningError::Foreign {
        signature: signature.to_owned(),
        trusted: trusted.iter().map(|key| key.id().to_string()).collect::<Vec<_>>().join(", "),
        wanted: trailer.signature.key,
    })?;
    let expect = Expect { trusted: &trusted, role: None, bootsel: Bootsel::AsBuilt };
    verify::as_if_signed(image, &expect, slot, by(key)).map_err(bad)?;

    let manifest = Manifest::parse(&trailer.manifest)
        .map_err(|source| SigningError::Manifest { path: image.to_owned(), source })?;
    let stored = Trailer { signature: by(key), manifest: trailer.manifest }.to_bytes()?;
    let io = |doing| move |source| SigningError::Io { doing, path: image.to_owned(), source };
    let file = File::options().read(true).write(true).open(image).map_err(io("open"))?;
    file.write_all_at(&stored[..contract::layout::SECTOR as usize], offset).map_err(io("write"))?;
    file.sync_all().map_err(io("write"))?;
    let length = file.metadata().map_err(io("read the metadata of"))?.len();
    let digest = file_digest(&file, length, &|_| Ok(())).map_err(io("read"))?;
    Ok(Attached { manifest, key: key.clone(), digest })
}

fn read(path: &Path) -> Result<Vec<u8>, SigningError> {
    /// Of a manifest or a signature; both are far shorter.
    const LONGEST: u64 = 64 * 1024;
    let io = |source| SigningError::Io { doing: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let mut bounded = io::Read::take(File::open(path).map_err(io)?, LONGEST + 1);
    io::Read::read_to_end(&mut bounded, &mut bytes).map_err(io)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io(io::Error::other("it is too long to be a manifest or a signature")));
    }
    Ok(bytes)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), SigningError> {
    let io = |source| SigningError::Io { doing: "write", path: path.to_owned(), source };
    let unfinished = Unfinished::create(path)?;
    let mut file = unfinished.file();
    file.write_all(bytes).map_err(io)?;
    file.sync_all().map_err(io)?;
    Ok(unfinished.finish()?)
}
