//! `--package`: what a package's maintainer scripts would have done, as lines for a profile.

use crate::cli::output;
use crate::pipeline::{Environment, acts};
use crate::report::Reporter;
use crate::resolve::Wanted;
use crate::scripts;
use anyhow::Result;
use serde_json::json;

pub(super) fn show(wanted: Wanted, from: &Environment, as_json: bool) -> Result<()> {
    let (package, acts) = acts(wanted, from, &Reporter::new(as_json))?;
    if as_json {
        return output::json(&json!({ "package": package.name, "version": package.version, "acts": acts }));
    }
    out!("{}", scripts::to_toml(&acts, &package))?;
    Ok(())
}
