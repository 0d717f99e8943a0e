//! `microdc keys`: release keys.

use crate::{gitignore, release_key};
use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use contract::keys::PublicKey;
use std::path::PathBuf;

/// Create and show release keys
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    New(New),
    Show(Show),
}

/// Create an ed25519 release key
///
/// The private half is written with mode 0600 and must never leave the signing
/// machine; the public half may be committed. Images are signed with release.key
/// if it exists, otherwise with a development key that the first build creates.
///
/// To rotate keys: create a key named `next`, build and roll out (nodes then trust
/// both), rename next.key to release.key, build and roll out again.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  microdc keys new\n  microdc keys new --name next")]
pub(super) struct New {
    /// Name of the two files, without extension
    #[arg(long, default_value = "release")]
    name: String,
    /// Folder to write to
    #[arg(long, default_value = "keys", value_name = "FOLDER")]
    folder: PathBuf,
}

/// Show the id of a public key
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  microdc keys show keys/release.pub")]
pub(super) struct Show {
    /// A .pub file
    file: PathBuf,
}

impl Keys {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Keys::New(new) => {
                let (path, public) = release_key::make(&new.folder, &new.name)?;
                let base = std::env::current_dir().context("the current folder is gone")?;
                match gitignore::extend(&base, &new.folder, false) {
                    Ok(Some(file)) => outln!("{}: git ignores private keys now", file.display())?,
                    Ok(None) => (),
                    Err(error) => note!("warning: {error}"),
                }
                for warning in release_key::warnings(&path)? {
                    note!("warning: {warning}");
                }
                outln!("{}: private, keep it safe and out of git", path.display())?;
                outln!("{}: public, key id {}", path.with_extension("pub").display(), public.id())?;
            }
            Keys::Show(show) => outln!("{}", release_key::read_public(&show.file)?.id())?,
        }
        Ok(())
    }
}

/// The public keys that were named, or those in `keys/`.
pub(super) fn trusted(named: &[PathBuf]) -> Result<Vec<PublicKey>> {
    let found = if named.is_empty() { known_keys()? } else { named.to_owned() };
    Ok(found.iter().map(|path| release_key::read_public(path)).collect::<Result<_, _>>()?)
}

/// The public keys in `keys/`.
fn known_keys() -> Result<Vec<PathBuf>> {
    let folder = std::fs::read_dir("keys").context("no --key, and no folder keys/ here to take public keys from")?;
    let paths = folder.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
    let mut keys: Vec<PathBuf> =
        paths.into_iter().filter(|path| path.extension().is_some_and(|e| e == "pub")).collect();
    keys.sort();
    anyhow::ensure!(
        !keys.is_empty(),
        "no --key, and no .pub file in keys/: name the public key that signed the image"
    );
    Ok(keys)
}
