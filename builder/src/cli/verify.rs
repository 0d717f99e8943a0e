//! `microdc verify`: whether an image is what its signature says, to the last bit.

use crate::release_key;
use crate::verify::{self, Bootsel, Expect};
use anyhow::{Context as _, Result};
use clap::Args;
use contract::manifest::Manifest;
use contract::role::Role;
use std::path::PathBuf;

/// Check an image to the last bit
///
/// Partition tables, bootsel, and for each filled slot: trailer, signature,
/// boot image, root and its hash tree; everything else must be zero.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc verify out/router.img\n  microdc verify out/router.img --key keys/release.pub"
)]
pub(super) struct Verify {
    /// The image
    image: PathBuf,
    /// Public key to trust; may be given twice [default: keys/*.pub]
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// Role that the image must be for
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Result<()> {
        let trusted = if self.key.is_empty() { known_keys()? } else { self.key.clone() };
        let trusted = trusted.iter().map(|path| release_key::read_public(path)).collect::<Result<Vec<_>, _>>()?;
        let role = match &self.role {
            None => None,
            Some(name) => Some(Role::ALL.into_iter().find(|role| role.name() == name).with_context(|| {
                let names = Role::ALL.map(Role::name).join(", ");
                format!("there is no role {name:?}; roles: {names}")
            })?),
        };
        let expect = Expect { trusted: &trusted, role, bootsel: Bootsel::AsBuilt };
        let verified =
            verify::verify(&self.image, &expect).with_context(|| format!("{} is not whole", self.image.display()))?;
        if self.json {
            let slots = verified.slots.iter().map(|(slot, found)| {
                serde_json::json!({ "slot": slot, "key": found.key.to_string(), "manifest": found.manifest })
            });
            let slots: Vec<_> = slots.collect();
            let report = serde_json::json!({ "image": self.image, "default": verified.default, "slots": slots });
            println!("{}", serde_json::to_string_pretty(&report)?);
            return Ok(());
        }
        println!("{}: every bit is as it was signed", self.image.display());
        for (slot, found) in &verified.slots {
            let Manifest { role, version, kernel, root, .. } = &found.manifest;
            println!("  slot {slot}    {role} {version}, kernel {kernel}, signed by {}", found.key);
            println!("  root hash {}", root.root_hash);
        }
        println!("  boots from slot {}", verified.default);
        Ok(())
    }
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
