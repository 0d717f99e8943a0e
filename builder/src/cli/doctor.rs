//! `microdc doctor`: what this machine lacks.

use crate::cli::output;
use crate::doctor::{self, Found, Health};
use anyhow::{Context as _, Result, bail};
use clap::Args;

/// Show what this machine lacks, and how to install it
///
/// Checks what each verb needs: the Rust toolchain that compiles the node's
/// program, a mirror, disk space, keys, QEMU, and tools for flashing. Nothing is
/// changed or installed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  microdc doctor\n  microdc doctor --json\n\nExit status: 0 `microdc build` has \
        everything it needs; 1 something is missing;\n2 wrong usage.")]
pub(super) struct Doctor {
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(self) -> Result<()> {
        let base = std::env::current_dir().context("the current folder no longer exists")?;
        let found = doctor::examine(&base);
        let lacking: Vec<&Found> =
            found.iter().filter(|found| found.health == Health::Lacks && found.needed_for("build")).collect();
        if self.json {
            let report = serde_json::json!({ "can_build": lacking.is_empty(), "checks": found });
            output::json(&report)?;
        } else {
            for Found { what, health, says, advice, verbs } in &found {
                let word = match health {
                    Health::Good => "good",
                    Health::Note => "note",
                    Health::Lacks => "lacks",
                };
                outln!("{word:>6}  {what}: {says}")?;
                if let Some(advice) = advice {
                    outln!("        for {}: {advice}", verbs.join(", "))?;
                }
            }
        }
        if !lacking.is_empty() {
            let names: Vec<&str> = lacking.iter().map(|found| found.what).collect();
            bail!("`microdc build` cannot run here; missing: {}", names.join(", "));
        }
        Ok(())
    }
}
