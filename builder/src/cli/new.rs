//! `microdc new`: a profile to begin with.

use crate::scaffold;
use anyhow::{Context as _, Result};
use clap::Args;
use contract::role::Role;

/// Begin a profile of your own
///
/// Writes profiles/NAME.toml, which includes the role's own profile and says
/// what yours has beyond it; its example profiles/NAME.node.toml; the overlay
/// overlays/NAME for files of your own; and a lock with the versions that the
/// role's lock has. Nothing is overwritten.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  microdc new edge\n  microdc new store --role minio")]
pub(super) struct New {
    /// Name of the profile: small letters, digits and hyphens
    name: String,
    /// What its nodes are for
    #[arg(long, default_value = "router", value_parser = super::role, value_name = "ROLE")]
    role: Role,
}

impl New {
    pub(super) fn run(self) -> Result<()> {
        let base = std::env::current_dir().context("the current folder is gone")?;
        let made = scaffold::make(&base, &self.name, self.role, &super::node::example)?;
        for path in &made.files {
            println!("{}", path.strip_prefix(&base).unwrap_or(path).display());
        }
        let name = &self.name;
        println!("\nNext:");
        println!("  edit profiles/{name}.toml: profiles/REFERENCE.md names every key");
        println!("  microdc build {name}     makes out/{name}.img");
        println!("  microdc boot out/{name}.img --node profiles/{name}.node.toml");
        Ok(())
    }
}
