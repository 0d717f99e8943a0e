//! Runs the programs of others.

use anyhow::{Context as _, Result, bail};
use std::process::{Command, Stdio};

/// Runs a program that must be content. `install` says how to get it.
pub fn run(command: &mut Command, install: &str) -> Result<()> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {shown}; {install}"))?;
    if !output.status.success() {
        let text = [output.stdout, output.stderr].concat();
        bail!("{command:?} failed:\n{}", String::from_utf8_lossy(&text));
    }
    Ok(())
}
