//! `--profile`: the merged profile.

use crate::cli::output;
use crate::profile::explain::explain;
use crate::profile::load;
use anyhow::{Context as _, Result};

pub(super) fn show(name: &str, as_json: bool) -> Result<()> {
    let base = std::env::current_dir().context("the current folder no longer exists")?;
    let explained = explain(&load::find(name, &base)?)?;
    if as_json {
        return output::json(&explained);
    }
    out!("{}", explained.to_toml())?;
    Ok(())
}
