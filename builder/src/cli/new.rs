//! `microdc new`: a profile to start from.

use crate::profile::diagnostic::did_you_mean;
use crate::{gitignore, scaffold};
use anyhow::{Context as _, Result};
use clap::Args;
use contract::role::Role;
use std::path::Path;

/// Create a profile of your own
///
/// Writes profiles/NAME.toml, which includes the role's profile and declares what
/// yours adds to it; its example profiles/NAME.node.toml; the overlay overlays/NAME
/// for your own files; and a lock with the same versions as the role's lock.
/// Nothing is overwritten; .gitignore gets lines for private keys and out/. A role
/// without a profile in profiles/ is your own: its profile includes the common
/// parts.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc new edge\n  microdc new store --role minio\n  microdc new cache --role cache"
)]
pub(super) struct New {
    /// The profile's name: lower-case letters, digits and hyphens
    name: String,
    /// What its nodes are for: a role in profiles/, or one of your own
    #[arg(long, default_value = "router", value_name = "ROLE")]
    role: Role,
}

impl New {
    pub(super) fn run(self) -> Result<()> {
        let base = std::env::current_dir().context("the current folder no longer exists")?;
        let made = scaffold::make(&base, &self.name, &self.role, &super::node::starter)?;
        for path in &made.files {
            outln!("{}", path.strip_prefix(&base).unwrap_or(path).display())?;
        }
        match gitignore::extend(&base, Path::new("keys"), true) {
            Ok(Some(file)) => outln!("{}", file.strip_prefix(&base).unwrap_or(&file).display())?,
            Ok(None) => (),
            Err(error) => note!("warning: {error}"),
        }
        let name = &self.name;
        if made.own_role {
            let role = &self.role;
            let meant = did_you_mean(role.name(), super::node::roles());
            let meant = meant.map(|help| format!(" ({help})")).unwrap_or_default();
            outln!("\n{role} is a role of your own{meant}: its profile includes the parts that every node has")?;
        }
        outln!("\nNext:")?;
        outln!("  edit profiles/{name}.toml; profiles/REFERENCE.md documents every key")?;
        outln!("  microdc build {name}     makes out/{name}.img")?;
        outln!("  microdc boot out/{name}.img --node profiles/{name}.node.toml")?;
        Ok(())
    }
}
