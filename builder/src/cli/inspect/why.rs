//! `--why`: why a file is in an image, down to the line of a profile that asked for it.

use super::files::BOOT;
use crate::cli::output;
use crate::inventory::Inventory;
use crate::open::{OpenError, OpenSlot};
use crate::tree::origin::{self, Source};
use anyhow::{Result, anyhow};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// One step of the answer: a path, and the reason why it is there.
struct Step {
    path: String,
    origin: String,
}

pub(super) fn explain(look: &OpenSlot, wanted: &str, as_json: bool) -> Result<()> {
    let inventory = look.inventory()?;
    let steps = steps(look, &inventory, wanted)?;
    if as_json {
        let because: Vec<Value> = steps.iter().map(|step| to_json(&inventory, step)).collect();
        return output::json(&json!({ "asked": wanted, "because": because }));
    }
    for (depth, step) in steps.iter().enumerate() {
        let indent = "  ".repeat(depth);
        let (source, reason) = step.origin.split_once(", ").unwrap_or((&step.origin, ""));
        outln!("{indent}{}", step.path)?;
        match origin::source(&step.origin) {
            Source::Microdc => {
                outln!("{indent}  made by the build: {}", if reason.is_empty() { source } else { reason })?
            }
            Source::Overlay(name) => outln!("{indent}  from the overlay {name}")?,
            Source::Artifact(name) => outln!("{indent}  artifact {name}: {reason}")?,
            Source::Package(name) => {
                let suite = inventory.package(name).map(|package| format!(" ({})", package.suite));
                outln!("{indent}  {source}{}", suite.unwrap_or_default())?;
                outln!("{indent}  {reason}")?;
            }
        }
    }
    Ok(())
}

fn to_json(inventory: &Inventory, step: &Step) -> Value {
    let mut value = json!({ "path": step.path, "origin": step.origin });
    match origin::source(&step.origin) {
        Source::Package(name) => value["package"] = json!(inventory.package(name)),
        Source::Artifact(name) => {
            value["artifact"] = json!(inventory.artifacts.iter().find(|artifact| artifact.name == name));
        }
        Source::Overlay(name) => value["overlay"] = name.into(),
        Source::Microdc => (),
    }
    value
}

/// The path that was asked for, then what needed it, and so on to what no one needed but a person wanted.
fn steps(look: &OpenSlot, inventory: &Inventory, wanted: &str) -> Result<Vec<Step>> {
    if let Some(name) = wanted.strip_prefix(BOOT) {
        let reasons = inventory.boot_reasons();
        let reason = reasons.iter().find(|(path, _)| path.eq_ignore_ascii_case(name));
        let (name, origin) = reason.ok_or_else(|| {
            let near = crate::profile::diagnostic::did_you_mean(name, reasons.keys().copied());
            anyhow!(
                "no file {name} in the boot partition{}",
                near.map(|near| format!("; {near}")).unwrap_or_default()
            )
        })?;
        return Ok(vec![Step { path: format!("{BOOT}{name}"), origin: (*origin).to_owned() }]);
    }
    let reasons = inventory.reasons();
    let plain = wanted.trim_matches('/');
    let mut next = match reasons.get_key_value(plain) {
        Some((path, _)) => Some((*path).to_owned()),
        None => Some(resolve(look, plain, &reasons.keys().copied().collect())?),
    };
    let (mut steps, mut seen) = (Vec::new(), BTreeSet::new());
    while let Some(path) = next.take().filter(|path| seen.insert(path.clone())) {
        let Some(origin) = reasons.get(path.as_str()) else { break };
        next = origin::needed_by(origin).map(str::to_owned);
        steps.push(Step { path: format!("/{path}"), origin: (*origin).to_owned() });
    }
    Ok(steps)
}

/// A path that the inventory has not by this name: another name by way of links, or none at all.
fn resolve(look: &OpenSlot, path: &str, known: &BTreeSet<&str>) -> Result<String> {
    let root = look.root()?;
    // The last part may itself be a link, which has a reason of its own.
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    if let Ok(folder) = root.resolve(folder) {
        let path = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        if known.contains(path.as_str()) {
            return Ok(path);
        }
    }
    match root.resolve(path) {
        Ok(found) if known.contains(found.as_str()) => Ok(found),
        Ok(found) => Err(anyhow!("/{found} is in the image, but its inventory does not say why")),
        Err(OpenError::NoFile(_)) => {
            let same = known.iter().find(|other| other.rsplit('/').next() == Some(name));
            let near = match same {
                Some(same) => Some(format!("did you mean /{same}?")),
                None => crate::profile::diagnostic::did_you_mean(path, known.iter().copied()),
            };
            Err(anyhow!("/{path} is not in the image{}", near.map(|near| format!("; {near}")).unwrap_or_default()))
        }
        Err(error) => Err(error.into()),
    }
}
