//! `--files`: the files of a slot.

use crate::cli::output;
use crate::open::files::{Entry, EntryKind};
use crate::open::{OpenError, OpenSlot};
use anyhow::{Context as _, Result, bail};
use globset::{GlobBuilder, GlobMatcher};
use serde_json::json;

/// Before the name of a file of the boot partition.
pub(super) const BOOT: &str = "boot:";

pub(super) fn list(look: &OpenSlot, pattern: &str, as_json: bool) -> Result<()> {
    let wanted = Pattern::new(pattern)?;
    let entries = look.root()?.entries()?;
    let inventory = look.inventory().ok();
    let reasons = inventory.as_ref().map(|inventory| inventory.reasons()).unwrap_or_default();
    let boot_reasons = inventory.as_ref().map(|inventory| inventory.boot_reasons()).unwrap_or_default();
    let root: Vec<(&String, &Entry)> = entries.iter().filter(|(path, _)| wanted.means(path)).collect();
    let boot = match look.boot_files() {
        Err(OpenError::NoBoot) => Default::default(),
        boot => boot?,
    };
    let boot: Vec<(String, u64)> = boot
        .into_iter()
        .map(|(name, size)| (format!("{BOOT}{name}"), size))
        .filter(|(name, _)| wanted.means(name))
        .collect();
    if root.is_empty() && boot.is_empty() {
        bail!("nothing in it matches {pattern:?}");
    }
    if as_json {
        let root = root.iter().map(|(path, entry)| {
            let mut value = json!({ "path": format!("/{path}"), "why": reasons.get(path.as_str()) });
            if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(entry) {
                fields.into_iter().for_each(|(name, field)| value[name] = field);
            }
            value["mode"] = format!("{:04o}", entry.mode).into();
            value
        });
        let boot = boot.iter().map(|(name, size)| {
            let why = boot_reasons.get(name.trim_start_matches(BOOT));
            json!({ "path": name, "kind": "file", "size": size, "why": why })
        });
        return output::json(&root.chain(boot).collect::<Vec<_>>());
    }
    for (path, entry) in root {
        let owner = format!("{}:{}", entry.uid, entry.gid);
        let target = match &entry.kind {
            EntryKind::Link { target } => format!(" -> {target}"),
            _ => String::new(),
        };
        outln!("{} {owner:>9} {:>10} /{path}{target}", entry.permissions(), entry.size())?;
    }
    for (name, size) in boot {
        outln!("{:<10} {:>9} {size:>10} {name}", "boot file", "")?;
    }
    Ok(())
}

/// Paths that are meant: those that match, and all below a folder that does.
struct Pattern {
    exact: GlobMatcher,
    below: GlobMatcher,
}

impl Pattern {
    fn new(text: &str) -> Result<Pattern> {
        let plain = text.trim_matches('/');
        let glob = |text: &str| -> Result<GlobMatcher> {
            let glob = GlobBuilder::new(text).literal_separator(true).build();
            Ok(glob.with_context(|| format!("the pattern {text:?}"))?.compile_matcher())
        };
        Ok(Pattern { exact: glob(plain)?, below: glob(&format!("{plain}/**"))? })
    }

    fn means(&self, path: &str) -> bool {
        self.exact.is_match(path) || self.below.is_match(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_files_and_all_below_a_folder() {
        let means = |pattern: &str, path: &str| Pattern::new(pattern).unwrap().means(path);
        assert!(means("**", "") && means("**", "usr/lib/a") && means("**", "boot:config.txt"));
        assert!(
            means("/usr/lib", "usr/lib/a/b") && means("/usr/lib/", "usr/lib") && !means("usr/lib", "usr/library")
        );
        assert!(means("usr/*/a", "usr/lib/a") && !means("usr/*/a", "usr/x/y/a"));
        assert!(
            means("usr/lib/{a,b}", "usr/lib/b") && means("boot:*", "boot:config.txt") && !means("boot:*", "boot")
        );
        assert!(Pattern::new("a{").is_err());
    }
}
