//! `microdc sign`: sign a manifest where the private key is, and put the signature into the image.

use crate::cli::output::{self, OutputError};
use crate::flash;
use crate::release_key;
use crate::signing::{self, Attached};
use anyhow::{Result, bail};
use clap::Args;
use contract::manifest::Manifest;
use std::path::{Path, PathBuf};

/// Sign an image that was built without the private key
///
/// `microdc build --unsigned` makes an image and, beside it, its manifest. Take
/// the manifest to the machine that has the key, sign it there, and bring the
/// signature back. With --attach, it is written into the image, once both have been
/// checked against each other and against the keys that the image trusts. The
/// result is bit for bit what a build with the key would have made.
///
/// The signature is a plain 64-byte ed25519 signature of the manifest file, so any
/// other ed25519 signer works as well.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc build router --unsigned\n  microdc sign out/router.manifest\n  microdc \
                        sign out/router.manifest --key /media/stick/release.key\n  microdc sign --attach \
                        out/router.manifest.sig out/router.img\n\nExit status: 0 signed; 1 they do not fit, or \
                        cannot be read or written;\n2 wrong usage."
)]
pub(super) struct Sign {
    /// The manifest; with --attach, the image
    file: PathBuf,
    /// Private key to sign with [default: keys/release.key]
    #[arg(long, value_name = "FILE", conflicts_with = "attach")]
    key: Option<PathBuf>,
    /// Where to write the signature [default: the manifest's name with .sig]
    #[arg(short, long, value_name = "FILE", conflicts_with = "attach")]
    output: Option<PathBuf>,
    /// Put this signature into the image
    #[arg(long, value_name = "SIGNATURE")]
    attach: Option<PathBuf>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Sign {
    pub(super) fn run(self) -> Result<()> {
        match &self.attach {
            None => self.sign(),
            Some(signature) => self.attach(signature),
        }
    }

    fn sign(&self) -> Result<()> {
        let (manifest, bytes) = signing::read_request(&self.file)?;
        let path = self.key.clone().unwrap_or_else(|| PathBuf::from("keys/release.key"));
        if !path.exists() {
            bail!(
                "there is no private key {}: name it with --key, or make one with `microdc keys new`",
                path.display()
            );
        }
        let key = release_key::read_private(&path)?;
        for warning in release_key::warnings(&path)? {
            note!("warning: {warning}");
        }
        let output = self.output.clone().unwrap_or_else(|| signing::signature_of(&self.file));
        signing::sign(&bytes, &key, &output)?;
        let id = key.public().id().to_string();
        if self.json {
            let report = serde_json::json!({ "signature": output, "key": id, "manifest": manifest });
            output::json(&report)?;
            return Ok(());
        }
        outln!("{}", output.display())?;
        Ok(show(&manifest, &id)?)
    }

    fn attach(&self, signature: &Path) -> Result<()> {
        let Attached { manifest, key, digest } = signing::attach(signature, &self.file)?;
        // The trailer is one of the blocks in it.
        flash::write_bmap(&self.file)?;
        let id = key.id().to_string();
        if self.json {
            let report = serde_json::json!({
                "image": self.file, "image_digest": digest, "key": id, "manifest": manifest,
            });
            output::json(&report)?;
            return Ok(());
        }
        outln!("{}", self.file.display())?;
        show(&manifest, &id)?;
        outln!("  image     SHA-256 {digest}")?;
        Ok(())
    }
}

fn show(manifest: &Manifest, key: &str) -> Result<(), OutputError> {
    let Manifest { role, version, kernel, rollback_index, root, .. } = manifest;
    outln!("  slot      {role} {version}, kernel {kernel}")?;
    outln!("  root hash {}", root.root_hash)?;
    outln!("  signed by {key}, rollback index {rollback_index}")
}
