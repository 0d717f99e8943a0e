//! `microdc inspect`: what an image, a disk or a bundle contains, and why; the merged profile.

mod files;
mod package;
mod profile;
mod security;
mod show;
mod why;

use super::from::FromArguments;
use super::keys;
use crate::open::{Medium, OpenSlot};
use crate::resolve::Wanted;
use anyhow::{Context as _, Result};
use clap::Args;
use contract::layout::Slot;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Show what an image, a disk or a bundle contains, and why
///
/// Shows the partitions, manifest, signer and contents. Only the signature is
/// checked; use `microdc verify` to check everything. Nothing is written, so a
/// node's disk can be inspected by its device.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc inspect out/router.img\n  microdc inspect out/router.img --packages\n  microdc \
                  inspect out/router.img --files 'usr/lib/frr/*'\n  microdc inspect out/router.img --why \
                  /usr/sbin/nft\n  microdc inspect out/router.img --licence frr\n  microdc inspect \
                  out/router-1.2.3.bundle --files 'boot:*'\n  microdc inspect --profile router\n  microdc inspect \
                  --profile router --security\n  microdc inspect --package nginx\n\nIn patterns, `*` stops at a slash and `**` does not; a folder means all below it.\n`boot:NAME` is a file of the boot \
                  partition."
)]
pub(super) struct Inspect {
    /// The image, disk, root partition or bundle
    #[arg(required_unless_present_any = ["profile", "package"])]
    file: Option<PathBuf>,
    /// Show a profile with its includes merged, and which file sets each value
    #[arg(long, value_name = "NAME", conflicts_with_all = ["file", "files", "why", "packages", "licence", "slot", "key"])]
    profile: Option<String>,
    /// Show how exposed the node is to each service of the profile, from 0.0 to
    /// 10.0
    #[arg(long, requires = "profile")]
    security: bool,
    /// Show what the maintainer scripts of a Debian package would have done, as
    /// lines for a profile; they never run
    #[arg(long, value_name = "NAME", conflicts_with_all = ["file", "profile", "files", "why", "packages", "licence", "slot", "key"])]
    package: Option<String>,
    /// With --package: the suite, if not one of the default ones
    #[arg(long, requires = "package")]
    suite: Option<String>,
    /// With --package: the component, if not `main`
    #[arg(long, requires = "package")]
    component: Option<String>,
    /// List the files, or those that match a pattern
    #[arg(long, value_name = "PATTERN", num_args = 0..=1, default_missing_value = "**")]
    files: Option<String>,
    /// Explain why a file is in it
    #[arg(long, value_name = "PATH", conflicts_with_all = ["files", "packages"])]
    why: Option<String>,
    /// List the packages and artifacts that it is made of
    #[arg(long, conflicts_with = "files")]
    packages: bool,
    /// Print the copyright file of a package
    #[arg(long, value_name = "PACKAGE", conflicts_with_all = ["files", "packages", "why"])]
    licence: Option<String>,
    /// The slot [default: the one that boots]
    #[arg(long, value_name = "A|B", value_parser = super::bundle::slot)]
    slot: Option<Slot>,
    /// Public key to trust; can be given twice [default: keys/*.pub]
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    #[command(flatten)]
    from: FromArguments,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self, interrupted: &Arc<AtomicBool>) -> Result<()> {
        if let Some(name) = self.profile.as_ref().filter(|_| self.security) {
            return security::show(name, self.json);
        }
        if let Some(name) = &self.profile {
            return profile::show(name, self.json);
        }
        if let Some(name) = self.package {
            let base = std::env::current_dir().context("the current folder no longer exists")?;
            let wanted = Wanted { name, suite: self.suite, component: self.component };
            return package::show(wanted, &self.from.read(base, interrupted), self.json);
        }
        let file = self.file.as_deref().unwrap_or(Path::new(""));
        let path = || file.display().to_string();
        let medium = Medium::open(file).with_context(path)?;
        let pick = || -> Result<&OpenSlot> { medium.pick(self.slot).with_context(path) };
        if let Some(pattern) = &self.files {
            return files::list(pick()?, pattern, self.json).with_context(path);
        }
        if let Some(wanted) = &self.why {
            return why::explain(pick()?, wanted, self.json).with_context(path);
        }
        if let Some(package) = &self.licence {
            return show::licence(pick()?, package).with_context(path);
        }
        if self.packages {
            return show::packages(pick()?, self.json).with_context(path);
        }
        let signed = |look: &OpenSlot| match keys::trusted(&self.key) {
            Ok(trusted) => look.signed(&trusted),
            Err(error) => Err(error.to_string()),
        };
        show::all(file, &medium, self.slot, &signed, self.json).with_context(path)
    }
}
