//! `microdc.toml`: the mirrors of this site.

use crate::profile;
use crate::source::mirror::MirrorSettings;
use crate::source::url::UrlMirror;
use anyhow::{Context as _, Result};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What the file says; nothing of it is needed.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Debian's archive.
    pub debian: MirrorSettings,
    /// Copies of release files, in the order in which they are asked.
    pub mirrors: Vec<UrlMirror>,
    /// Certificates of the site's own authority, in PEM form.
    pub ca: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    debian: Debian,
    #[serde(default)]
    sources: Sources,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Debian {
    mirror: Option<String>,
    security: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sources {
    #[serde(default)]
    mirrors: Vec<String>,
    ca: Option<PathBuf>,
}

impl Settings {
    /// Reads `microdc.toml` in `base`, where there is one.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn load(base: &Path) -> Result<Settings> {
        let path = base.join("microdc.toml");
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Settings::default()),
            other => other.with_context(|| format!("reading {}", path.display()))?,
        };
        let mut sources = profile::Sources::default();
        let file = sources.add(&path, &text);
        let read: File =
            toml::from_str(&text).map_err(|error| profile::Diagnostic::from_toml(&sources, file, &error))?;
        let mirrors = read.sources.mirrors.iter().map(|text| UrlMirror::parse(text, base));
        let mirrors = mirrors.collect::<Result<_, _>>().with_context(|| format!("{}: mirrors", path.display()))?;
        Ok(Settings {
            debian: MirrorSettings { mirror: read.debian.mirror, security: read.debian.security },
            mirrors,
            ca: read.sources.ca.map(|ca| base.join(ca)),
        })
    }
}
