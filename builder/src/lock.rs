//! The lock: the exact version and SHA-256 of every package and artifact of a profile.
//!
//! It names no host: a package is its path in the archive, its size and its digest, so any mirror serves it and no
//! index is needed to fetch it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use contract::hash::Digest;
use serde::{Deserialize, Serialize};

use crate::profile::artifact::GoProgram;

mod artifact;
mod diff;

pub use diff::{Change, Entry};

/// Version of the lock's own format.
pub const FORMAT: u32 = 1;

/// How a lock file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("cannot {action} the lock {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the lock {} cannot be read: {source}\nTo recreate it, remove it and build", path.display())]
    Syntax { path: PathBuf, source: Box<toml::de::Error> },
    #[error("the lock {} has format {found}, this microdc reads format {FORMAT}: use a newer microdc, or remove the \
        lock and build", path.display())]
    Format { path: PathBuf, found: u32 },
    #[error("the lock {}: {what}\nTo recreate it, remove it and build", path.display())]
    Content { path: PathBuf, what: String },
}

/// One package, exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LockedPackage {
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub suite: String,
    pub component: String,
    /// In the archive, from its base: `pool/…`.
    pub path: String,
    /// Of the package file, in bytes.
    pub size: u64,
    /// Of the package file.
    pub sha256: Digest,
}

/// One artifact, exactly: a file that comes from no package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "artifact::Written", into = "artifact::Written")]
pub struct LockedArtifact {
    /// As the profile calls it.
    pub name: String,
    pub from: LockedFrom,
    /// Of the bytes placed into the root.
    pub size: u64,
    /// Of the bytes placed into the root.
    pub sha256: Digest,
}

/// Where a locked artifact comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockedFrom {
    Url {
        url: String,
    },
    Go {
        /// Import path of the main package, and the version of its module.
        program: GoProgram,
        /// The module, and Go's own hash of its source (`h1:…`).
        module: String,
        sum: String,
        /// The Go that made these bytes: `go1.26.8`.
        go: String,
    },
    File,
}

/// All that a profile takes from outside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// When each suite's index that was used was made, in seconds since 1970.
    pub index: BTreeMap<String, u64>,
    /// By name.
    pub packages: BTreeMap<String, LockedPackage>,
    /// By name. Those handed over by hand are not in it.
    pub artifacts: BTreeMap<String, LockedArtifact>,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

/// The lock as it is in the file.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct File {
    /// Format of this file: 1.
    format: u32,
    #[serde(default)]
    index: BTreeMap<String, u64>,
    #[serde(default, rename = "package")]
    packages: Vec<LockedPackage>,
    #[serde(default, rename = "artifact")]
    artifacts: Vec<LockedArtifact>,
}

/// The JSON Schema of a lock file.
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(File)
}

impl Lock {
    /// The time that images built from this lock carry: the newest of the indices' dates, in seconds since 1970.
    #[must_use]
    pub fn built(&self) -> u64 {
        self.index.values().copied().max().unwrap_or(0)
    }

    /// Reads a lock file; none at `path` is `None`.
    ///
    /// # Errors
    /// When it cannot be read or is not a lock of this format.
    pub fn load(path: &Path) -> Result<Option<Lock>, LockError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LockError::Io { action: "read", path: path.into(), source }),
        };
        Lock::parse(&text, path).map(Some)
    }

    /// Reads the text of a lock; `path` is for messages.
    ///
    /// # Errors
    /// When it is not a lock of this format.
    pub fn parse(text: &str, path: &Path) -> Result<Lock, LockError> {
        let syntax = |source| LockError::Syntax { path: path.into(), source: Box::new(source) };
        let FormatOnly { format } = toml::from_str(text).map_err(syntax)?;
        if format != FORMAT {
            return Err(LockError::Format { path: path.into(), found: format });
        }
        let file: File = toml::from_str(text).map_err(syntax)?;
        let content = |what| LockError::Content { path: path.into(), what };
        let mut packages = BTreeMap::new();
        for package in file.packages {
            if !is_pool_path(&package.path) {
                return Err(content(format!(
                    "{}: {:?} is not a valid path in the archive",
                    package.name, package.path
                )));
            }
            let name = package.name.clone();
            if packages.insert(name.clone(), package).is_some() {
                return Err(content(format!("{name} is listed twice")));
            }
        }
        let mut artifacts = BTreeMap::new();
        for artifact in file.artifacts {
            let name = artifact.name.clone();
            if artifacts.insert(name.clone(), artifact).is_some() {
                return Err(content(format!("the artifact {name} is listed twice")));
            }
        }
        Ok(Lock { index: file.index, packages, artifacts })
    }

    /// The text of the lock file: packages by name, fields in fixed order.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text =
            format!("# Made by microdc: the exact inputs of this profile.\nformat = {FORMAT}\n\n[index]\n");
        for (suite, date) in &self.index {
            let _ = writeln!(text, "{} = {date}", toml_key(suite));
        }
        for package in self.packages.values() {
            text.push_str("\n[[package]]\n");
            // A struct of strings and a number always has a TOML form.
            text.push_str(&toml::to_string(package).unwrap_or_default());
        }
        for artifact in self.artifacts.values() {
            text.push_str("\n[[artifact]]\n");
            text.push_str(&toml::to_string(artifact).unwrap_or_default());
        }
        text
    }

    /// Writes the lock under another name and renames it; an unchanged lock is not written.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), LockError> {
        let io = |action| move |source| LockError::Io { action, path: path.into(), source };
        let text = self.to_text();
        if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io("write"))?;
        file.write_all(text.as_bytes()).map_err(io("write"))?;
        // Temporary files are private; a lock is for everyone.
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(everyone).map_err(io("write"))?;
        file.as_file().sync_all().map_err(io("write"))?;
        file.persist(path).map_err(|error| io("write")(error.error))?;
        Ok(())
    }
}

/// A path below the archive's base: relative, plain characters, nothing that climbs out of it or ends the URL's path.
#[must_use]
pub fn is_pool_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._+-~:=@".contains(&byte);
    path.bytes().all(plain) && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn toml_key(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if bare { key.to_owned() } else { toml::Value::String(key.to_owned()).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> LockedPackage {
        LockedPackage {
            name: name.into(),
            version: version.into(),
            architecture: "arm64".into(),
            suite: "trixie".into(),
            component: "main".into(),
            path: format!("pool/main/{name}_{version}_arm64.deb"),
            size: 4096,
            sha256: Digest::of(format!("{name}{version}").as_bytes()),
        }
    }

    fn lock(packages: &[(&str, &str)]) -> Lock {
        Lock {
            index: BTreeMap::from([("trixie".into(), 1_789_200_000), ("trixie-security".into(), 1_795_000_000)]),
            packages: packages.iter().map(|(name, version)| ((*name).into(), package(name, version))).collect(),
            artifacts: BTreeMap::new(),
        }
    }

    #[test]
    fn a_lock_comes_back_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("router.lock");
        assert_eq!(Lock::load(&path).unwrap(), None);
        let lock = lock(&[("frr", "10.3-3"), ("libc6", "2.41-12")]);
        lock.save(&path).unwrap();
        assert_eq!(Lock::load(&path).unwrap(), Some(lock.clone()));
        assert_eq!(lock.built(), 1_795_000_000);
        assert_eq!(lock.to_text(), Lock::load(&path).unwrap().unwrap().to_text());
    }

    #[test]
    fn the_text_of_a_lock_is_stable_and_readable() {
        assert_eq!(
            lock(&[("frr", "10.3-3")]).to_text(),
            format!(
                "# Made by microdc: the exact inputs of this profile.\nformat = 1\n\n[index]\ntrixie = 1789200000\n\
                 trixie-security = 1795000000\n\n[[package]]\nname = \"frr\"\nversion = \"10.3-3\"\n\
                 architecture = \"arm64\"\nsuite = \"trixie\"\ncomponent = \"main\"\n\
                 path = \"pool/main/frr_10.3-3_arm64.deb\"\nsize = 4096\nsha256 = \"{}\"\n",
                Digest::of(b"frr10.3-3")
            )
        );
    }

    #[test]
    fn a_path_that_leaves_the_archive_is_refused() {
        let good = lock(&[("frr", "10.3-3")]).to_text();
        for bad in ["../frr.deb", "/pool/frr.deb", "pool//frr.deb", "pool/a?b", "pool/a b", "http://x/frr.deb"] {
            let text = good.replace("pool/main/frr_10.3-3_arm64.deb", bad);
            let error = Lock::parse(&text, Path::new("router.lock")).unwrap_err();
            assert!(matches!(error, LockError::Content { .. }), "{bad}: {error}");
        }
    }

    #[test]
    fn a_lock_of_a_later_format_says_so() {
        let error = Lock::parse("format = 2\nnews = 1\n", Path::new("router.lock")).unwrap_err();
        assert!(matches!(error, LockError::Format { found: 2, .. }), "{error}");
    }

    #[test]
    fn a_package_locked_twice_is_refused() {
        let text = lock(&[("frr", "10.3-3")]).to_text();
        let twice = format!("{text}{}", &text[text.find("\n[[package]]").unwrap()..]);
        assert!(Lock::parse(&twice, Path::new("router.lock")).unwrap_err().to_string().contains("twice"));
    }
}
