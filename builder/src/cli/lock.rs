//! `microdc lock`: the exact inputs of profiles, without an image.

use super::from::FromArguments;
use crate::cli::output;
use crate::pipeline::{self, LockOptions, Supply};
use crate::report::Reporter;
use anyhow::{Context as _, Result, bail};
use clap::Args;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Create or update the locks of profiles
///
/// A lock pins the exact version and SHA-256 of every input of a profile. Without
/// --update, locked entries stay as they are: what the profile newly needs is
/// added, and what it no longer needs is removed. Prints what changed.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  microdc lock                       all profiles in profiles/\n  microdc lock router \
                  --update       resolve the router again\n  microdc lock router --update frr   resolve frr again, and \
                  nothing else\n  microdc lock --check               fail if a lock is out of date"
)]
pub(super) struct Lock {
    /// Profiles: names in profiles/, or paths of .toml files [default: all]
    profiles: Vec<String>,
    /// Resolve these packages and artifacts again, or all if none are named
    #[arg(long, value_name = "NAME", num_args = 0..)]
    update: Option<Vec<String>>,
    /// Write nothing; fail if a lock would change
    #[arg(long)]
    check: bool,
    /// Use FILE for an artifact that cannot be fetched here; it is not locked
    #[arg(long, value_name = "NAME=FILE", value_parser = Supply::parse)]
    supply: Vec<Supply>,
    #[command(flatten)]
    from: FromArguments,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Lock {
    pub(super) fn run(self, interrupted: &Arc<AtomicBool>) -> Result<()> {
        let base = std::env::current_dir().context("the current folder no longer exists")?;
        let profiles = if self.profiles.is_empty() { pipeline::all_profiles(&base)? } else { self.profiles };
        let from = self.from.read(base, interrupted);
        let options = LockOptions { profiles, update: self.update, check: self.check, supplies: self.supply, from };
        let done = pipeline::lock(&options, &Reporter::new(self.json))?;
        if self.json {
            output::json(&done)?;
        } else {
            for lock in &done {
                let path = lock.lock.display();
                let count = format!("{} packages, {} artifacts", lock.packages, lock.artifacts);
                match (lock.changes.len(), lock.differs) {
                    (0, false) => outln!("{path}: unchanged, {count}")?,
                    (0, true) => outln!("{path}: the same packages, newer indices; {count}")?,
                    (changes, _) => outln!("{path}: {changes} changed; {count}")?,
                }
                lock.changes.iter().try_for_each(|change| outln!("  {change}"))?;
            }
        }
        let open: Vec<&str> = done.iter().filter(|lock| lock.differs).map(|lock| lock.profile.as_str()).collect();
        if self.check && !open.is_empty() {
            bail!("--check: the locks of {} are out of date; run `microdc lock` without --check", open.join(", "));
        }
        Ok(())
    }
}
