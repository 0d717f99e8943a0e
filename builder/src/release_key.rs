//! Release keys on the builder's disk: made, found and read.
//!
//! In `keys/`: `NAME.key` is private (mode 0600, ignored by git), `NAME.pub` public. Images are signed with
//! `release.key`; where there is none, with `development.key`, which the first build makes. `next.pub` is trusted
//! beside the signing key, so that a key can be rotated.

mod place;

pub use place::PlaceError;

use crate::slot::Sign;
use contract::keys::{KeyError, MAX_TRUSTED, ManifestSignature, PrivateKey, PublicKey};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A key that cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseKeyError {
    #[error("{0} already exists, and a key is never overwritten: choose another --name, or move it away")]
    Exists(PathBuf),
    #[error("cannot {doing} {path}: {source}")]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{path} holds {source}")]
    Malformed { path: PathBuf, source: KeyError },
    #[error("{path} can be read by others (mode {mode:04o}); make it private, run: chmod 600 {path}")]
    TooOpen { path: PathBuf, mode: u32 },
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("cannot get random numbers from the operating system: {0}")]
    Random(String),
    #[error(
        "there is no {0}: the image must contain the public key of its signer; copy it from the machine that has the \
            private key, or name it with --public"
    )]
    NoPublic(PathBuf),
    #[error("{0} public keys to trust; an image trusts one or two")]
    TooMany(usize),
}

/// Who signs an image.
#[derive(Debug)]
pub enum Signer {
    /// The build.
    Here(PrivateKey),
    /// Whoever has the private half, afterwards, on another machine.
    Elsewhere(PublicKey),
}

impl Signer {
    #[must_use]
    pub fn public(&self) -> PublicKey {
        match self {
            Signer::Here(key) => key.public(),
            Signer::Elsewhere(key) => key.clone(),
        }
    }

    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Signer::Elsewhere(_))
    }
}

impl Sign for Signer {
    fn signature(&self, manifest: &[u8]) -> ManifestSignature {
        match self {
            Signer::Here(key) => key.sign(manifest),
            Signer::Elsewhere(key) => ManifestSignature::awaited(key.id()),
        }
    }
}

/// The key that signs, and the public ones that the image trusts: the signer's own first.
#[derive(Debug)]
pub struct ReleaseKeys {
    pub signer: Signer,
    pub trusted: Vec<PublicKey>,
    pub path: PathBuf,
    /// Whether it is the development key, and whether it was made just now.
    pub development: bool,
    pub made: bool,
    /// What is worth a warning of where the keys lie.
    pub warnings: Vec<String>,
}

/// Makes `NAME.key` and `NAME.pub` in a folder.
///
/// # Errors
/// When one exists already or cannot be written.
pub fn make(folder: &Path, name: &str) -> Result<(PathBuf, PublicKey), ReleaseKeyError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| ReleaseKeyError::Random(error.to_string()))?;
    let key = PrivateKey::from_seed(&seed);
    let io = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| ReleaseKeyError::Io { doing, path, source }
    };
    std::fs::create_dir_all(folder).map_err(io("make the folder", folder))?;
    let private = folder.join(format!("{name}.key"));
    let public = folder.join(format!("{name}.pub"));
    for path in [&private, &public] {
        if path.exists() {
            return Err(ReleaseKeyError::Exists(path.clone()));
        }
    }
    let new = |path: &Path, mode, text: &str| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    new(&private, 0o600, &key.to_text()).map_err(io("write", &private))?;
    new(&public, 0o644, &key.public().to_text()).map_err(io("write", &public))?;
    Ok((private, key.public()))
}

/// The keys for a build: `explicit`, else `release.key`, else the development key, made when it is missing.
///
/// # Errors
/// When a key cannot be read, is open to others, or there are more than two to trust.
pub fn find(folder: &Path, explicit: Option<&Path>, trust: &[PathBuf]) -> Result<ReleaseKeys, ReleaseKeyError> {
    let release = folder.join("release.key");
    let development = folder.join("development.key");
    let path = match explicit {
        Some(path) => path.to_owned(),
        None if release.exists() => release,
        None => development.clone(),
    };
    let is_development = path == development;
    let made = is_development && !path.exists();
    if made {
        make(folder, "development")?;
    }
    let signer = Signer::Here(read_private(&path)?);
    let mut warnings = place::check(&path)?;
    let trusted = trusted(folder, &signer, trust, &mut warnings)?;
    Ok(ReleaseKeys { signer, trusted, path, development: is_development, made, warnings })
}

/// The keys for a build that someone signs later, with the private half of `explicit`, else of `release.pub`.
///
/// # Errors
/// When there is none, one cannot be read, or there are more than two to trust.
pub fn find_public(
    folder: &Path,
    explicit: Option<&Path>,
    trust: &[PathBuf],
) -> Result<ReleaseKeys, ReleaseKeyError> {
    let path = explicit.map_or_else(|| folder.join("release.pub"), Path::to_owned);
    if !path.exists() {
        return Err(ReleaseKeyError::NoPublic(path));
    }
    let signer = Signer::Elsewhere(read_public(&path)?);
    let mut warnings = place::check(&path)?;
    let trusted = trusted(folder, &signer, trust, &mut warnings)?;
    Ok(ReleaseKeys { signer, trusted, path, development: false, made: false, warnings })
}

/// The signer's own key, and those beside it.
fn trusted(
    folder: &Path,
    signer: &Signer,
    trust: &[PathBuf],
    warnings: &mut Vec<String>,
) -> Result<Vec<PublicKey>, ReleaseKeyError> {
    let mut trusted = vec![signer.public()];
    let next = folder.join("next.pub");
    let listed = if trust.is_empty() && next.exists() { std::slice::from_ref(&next) } else { trust };
    for path in listed {
        let key = read_public(path)?;
        warnings.extend(place::check(path)?);
        if !trusted.contains(&key) {
            trusted.push(key);
        }
    }
    if trusted.len() > MAX_TRUSTED {
        return Err(ReleaseKeyError::TooMany(trusted.len()));
    }
    Ok(trusted)
}

/// What is worth a warning of the place at which a key lies.
///
/// # Errors
/// When anyone could replace it there.
pub fn warnings(path: &Path) -> Result<Vec<String>, ReleaseKeyError> {
    Ok(place::check(path)?)
}

/// Reads a private key that nobody else may read or replace.
///
/// # Errors
/// When it is missing, malformed, or open to others.
pub fn read_private(path: &Path) -> Result<PrivateKey, ReleaseKeyError> {
    let io = |source| ReleaseKeyError::Io { doing: "read", path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(io)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(ReleaseKeyError::TooOpen { path: path.to_owned(), mode });
    }
    place::check(path)?;
    let text = std::fs::read_to_string(path).map_err(io)?;
    PrivateKey::parse(&text).map_err(|source| ReleaseKeyError::Malformed { path: path.to_owned(), source })
}

/// Reads a public key.
///
/// # Errors
/// When it is missing or malformed, or anyone could replace it.
pub fn read_public(path: &Path) -> Result<PublicKey, ReleaseKeyError> {
    let io = |source| ReleaseKeyError::Io { doing: "read", path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(io)?;
    place::check(path)?;
    PublicKey::parse(&text).map_err(|source| ReleaseKeyError::Malformed { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_build_makes_a_development_key_that_only_its_owner_can_read() {
        let folder = tempfile::tempdir().unwrap();
        let first = find(folder.path(), None, &[]).unwrap();
        assert!(first.made && first.development);
        let mode = std::fs::metadata(&first.path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
        let second = find(folder.path(), None, &[]).unwrap();
        assert!(!second.made);
        assert_eq!(second.trusted, first.trusted);
    }

    #[test]
    fn a_release_key_goes_before_the_development_key_and_a_next_one_is_trusted() {
        let folder = tempfile::tempdir().unwrap();
        find(folder.path(), None, &[]).unwrap();
        let (_, release) = make(folder.path(), "release").unwrap();
        let (_, next) = make(folder.path(), "next").unwrap();
        let found = find(folder.path(), None, &[]).unwrap();
        assert!(!found.development);
        assert_eq!(found.trusted, [release, next]);
    }

    #[test]
    fn who_signs_elsewhere_is_known_by_the_public_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(find_public(folder.path(), None, &[]), Err(ReleaseKeyError::NoPublic(_))));
        let (private, public) = make(folder.path(), "release").unwrap();
        std::fs::remove_file(private).unwrap();
        let found = find_public(folder.path(), None, &[]).unwrap();
        assert!(found.signer.is_elsewhere() && found.signer.signature(b"manifest").is_awaited());
        assert_eq!((found.signer.public(), found.trusted), (public.clone(), vec![public]));
    }

    #[test]
    fn keys_are_never_overwritten_and_never_more_than_two() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path(), "a").unwrap();
        assert!(matches!(make(folder.path(), "a"), Err(ReleaseKeyError::Exists(_))));
        for name in ["b", "c"] {
            make(folder.path(), name).unwrap();
        }
        let paths = ["a.pub", "b.pub", "c.pub"].map(|name| folder.path().join(name));
        let found = find(folder.path(), Some(&folder.path().join("a.key")), &paths);
        assert!(matches!(found, Err(ReleaseKeyError::TooMany(3))));
    }

    #[test]
    fn a_private_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _) = make(folder.path(), "a").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(read_private(&path), Err(ReleaseKeyError::TooOpen { mode: 0o644, .. })));
    }
}
