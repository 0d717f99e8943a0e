//! `microdc verify`: check every bit of an image, a disk or a bundle against its signature.

use super::keys;
use crate::bundle::{Reader, is_bundle};
use crate::cli::output;
use crate::format::disk_table;
use crate::open::Medium;
use crate::signing;
use crate::verify::{self, Bootsel, Expect, VerifyError};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use contract::keys::PublicKey;
use contract::layout::Partition;
use contract::manifest::Manifest;
use contract::role::Role;
use contract::trailer::TrailerError;
use std::fs::File;
use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

/// Check every bit of an image, a disk or a bundle
///
/// Checks the partition tables, bootsel and, for each filled slot, the trailer,
/// signature, boot image, root and its hash tree; everything else must be zero. For
/// a bundle: signature, hash trees, short hashes, index, every frame, checksum, and
/// what the firmware would boot. For a disk that a node has used: the slots and
/// what the node boots from; the rest belongs to the node.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc verify out/router.img\n  microdc verify out/router.img --key keys/release.pub\n  \
                  microdc verify out/router-1.2.3.bundle\n  microdc verify /dev/nvme0n1"
)]
pub(super) struct Verify {
    /// The image, disk or bundle
    file: PathBuf,
    /// Public key to trust; can be given twice [default: keys/*.pub]
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// The role that it must be for
    #[arg(long, value_name = "ROLE")]
    role: Option<Role>,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Result<()> {
        let trusted = keys::trusted(&self.key)?;
        match is_bundle(&self.file).with_context(|| format!("reading {}", self.file.display()))? {
            true => self.bundle(&trusted),
            false => self.image(&trusted),
        }
    }

    fn image(&self, trusted: &[PublicKey]) -> Result<()> {
        let expect = Expect { trusted, role: self.role.as_ref(), bootsel: Bootsel::AsBuilt };
        let is_disk = self.is_disk().with_context(|| format!("reading {}", self.file.display()))?;
        let verified = if is_disk { verify::disk(&self.file, &expect) } else { verify::verify(&self.file, &expect) };
        if let Err(VerifyError::Trailer { source: TrailerError::Unsigned(key), .. }) = &verified {
            let (image, manifest) = (self.file.display(), signing::request_of(&self.file));
            bail!(
                "{image} is not signed yet, and no node accepts it\n  on the machine with the key {key}: microdc sign \
                    {}\n  and then here: microdc sign --attach {} {image}",
                manifest.display(),
                signing::signature_of(&manifest).display()
            );
        }
        let verified = verified.with_context(|| format!("{} is damaged", self.file.display()))?;
        if self.json {
            let slots = verified.slots.iter().map(|(slot, found)| {
                serde_json::json!({ "slot": slot, "key": found.key.to_string(), "manifest": found.manifest })
            });
            let slots: Vec<_> = slots.collect();
            let kind = if is_disk { "disk" } else { "image" };
            let report = serde_json::json!({ kind: self.file, "default": verified.default, "slots": slots });
            output::json(&report)?;
            return Ok(());
        }
        let what = if is_disk { "every bit of its slots" } else { "every bit" };
        outln!("{}: {what} matches its signature", self.file.display())?;
        for (slot, found) in &verified.slots {
            let Manifest { role, version, kernel, root, .. } = &found.manifest;
            outln!("  slot {slot}    {role} {version}, kernel {kernel}, signed by {}", found.key)?;
            outln!("  root hash {}", root.root_hash)?;
        }
        outln!("  boots from slot {}", verified.default)?;
        Ok(())
    }

    /// Whether it is a disk that a node has used: a device, or a table with more partitions than an image has.
    fn is_disk(&self) -> std::io::Result<bool> {
        let file = File::open(&self.file)?;
        if file.metadata()?.file_type().is_block_device() {
            return Ok(true);
        }
        let table = disk_table::read(&file, disk_table::length(&file)?);
        Ok(table.is_ok_and(|table| table.partitions.len() > Partition::IN_IMAGE.len()))
    }

    fn bundle(&self, trusted: &[PublicKey]) -> Result<()> {
        let path = self.file.display();
        let checked = Reader::open(&self.file).and_then(|reader| reader.check(trusted, &|_| Ok(())));
        let checked = checked.with_context(|| format!("{path} is damaged"))?;
        let medium = Medium::open(&self.file).with_context(|| path.to_string())?;
        let boot = medium.pick(None).and_then(|look| look.boot()).with_context(|| path.to_string())?;
        verify::boot_content(&boot, "boot image", &checked.manifest)
            .with_context(|| format!("{path} is intact, but would not boot"))?;
        let Manifest { role: found, version, kernel, root, .. } = &checked.manifest;
        if let Some(wanted) = self.role.as_ref().filter(|wanted| *wanted != found) {
            bail!("{path} is for the role {found}, not for {wanted}");
        }
        if self.json {
            let key = checked.key.to_string();
            let report = serde_json::json!({ "bundle": self.file, "key": key, "manifest": checked.manifest });
            output::json(&report)?;
            return Ok(());
        }
        outln!("{path}: every bit matches its signature")?;
        outln!("  bundle    {found} {version}, kernel {kernel}, signed by {}", checked.key)?;
        outln!("  root hash {}", root.root_hash)?;
        Ok(())
    }
}
