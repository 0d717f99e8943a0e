//! A merged profile, and which file sets each part of it: the rules of [`super::merge`], in the words of the files
//! themselves. The result is itself a profile, without includes ([`Explained::to_toml`]); a test compares the two.

mod merged;
mod read;

pub use merged::{Merged, Setting, Value};

use super::diagnostic::Sources;
use super::file::{Loaded, ProfileError, load_file};
use super::merge;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A profile with all its parts, each value with its place.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The profile's file, then its parts in the order in which they count.
    pub files: Vec<String>,
    /// In the order in which they were first said.
    pub values: Vec<Merged>,
}

/// Reads the profile at `path` with all its parts, and tells what it comes to.
///
/// # Errors
/// As [`super::load::load`].
pub fn explain(path: &Path) -> Result<Explained, ProfileError> {
    let mut sources = Sources::default();
    let loaded = load_file(path, &mut sources, &mut Vec::new())?;
    // Only what is a profile is explained.
    merge::merge(&loaded, sources.clone())?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut teller = Teller { sources: &sources, folder, seen: BTreeSet::new(), files: Vec::new() };
    let values = teller.layer(&loaded)?;
    // The profile itself counts last, and is what is asked about.
    teller.files.rotate_right(1);
    Ok(Explained { files: teller.files, values })
}

struct Teller<'s> {
    sources: &'s Sources,
    folder: &'s Path,
    seen: BTreeSet<PathBuf>,
    files: Vec<String>,
}

impl Teller<'_> {
    /// What a file and its includes come to.
    fn layer(&mut self, loaded: &Loaded) -> Result<Vec<Merged>, ProfileError> {
        let mut layer: Vec<Merged> = Vec::new();
        for include in &loaded.includes {
            let canonical = include.path.canonicalize().unwrap_or_else(|_| include.path.clone());
            if !self.seen.insert(canonical) {
                continue;
            }
            for value in self.layer(include)? {
                add(&mut layer, value, false);
            }
        }
        let name = self.name(&loaded.path);
        for value in read::statements(self.sources, loaded.file, &name)? {
            add(&mut layer, value, true);
        }
        self.files.push(name);
        Ok(layer)
    }

    fn name(&self, path: &Path) -> String {
        let inside = path.strip_prefix(self.folder).ok().or(path.file_name().map(Path::new));
        inside.unwrap_or(path).display().to_string()
    }
}

/// Adds a value to those before it. Lists add up. Of single values and named entries the later stands for the earlier
/// where a file says it over what it includes (`over`); of two includes that say the same the first is named.
fn add(layer: &mut Vec<Merged>, mut value: Merged, over: bool) {
    let same = |there: &&mut Merged| there.table == value.table && there.key == value.key;
    let Some(there) = layer.iter_mut().find(same) else {
        layer.push(value);
        return;
    };
    match (&mut there.value, value.value) {
        (Value::List(items), Value::List(more)) => items.extend(more),
        (Value::Tables(items), Value::Tables(more)) => items.extend(more),
        (_, new) if over => {
            let old = std::mem::replace(&mut there.value, new);
            there.instead_of.splice(0..0, old.summary());
        }
        // What contradicts it is decided by the file that includes both, or the profile would not have loaded.
        (_, new) => {
            there.instead_of.extend(new.summary().filter(|said| Some(&said.toml) != summary_toml(there).as_ref()))
        }
    }
    there.instead_of.append(&mut value.instead_of);
}

fn summary_toml(merged: &Merged) -> Option<String> {
    merged.value.summary().map(|said| said.toml)
}

impl Explained {
    /// A profile without includes that says the same, with comments that say where each line comes from.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for (number, file) in self.files.iter().enumerate() {
            let _ = writeln!(text, "{} {file}", if number == 0 { "#" } else { "#   and" });
        }
        let top = || self.values.iter().filter(|merged| merged.table.is_empty());
        let one = |merged: &&Merged| matches!(merged.value, Value::One(_));
        let list = |merged: &&Merged| matches!(merged.value, Value::List(_));
        top().filter(one).chain(top().filter(list)).for_each(|merged| line(&mut text, merged));
        let mut tables: Vec<&Vec<String>> = Vec::new();
        for merged in self.values.iter().filter(|merged| !merged.table.is_empty()) {
            if !tables.contains(&&merged.table) {
                tables.push(&merged.table);
            }
        }
        for table in tables {
            let _ = writeln!(text, "\n[{}]", table.join("."));
            self.values.iter().filter(|merged| merged.table == *table).for_each(|merged| line(&mut text, merged));
        }
        for merged in &self.values {
            let Value::Tables(items) = &merged.value else { continue };
            for item in items {
                let _ = writeln!(text, "\n[[{}]]", merged.key);
                item.iter().for_each(|(key, said)| pair(&mut text, key, said));
            }
        }
        text
    }
}

fn line(text: &mut String, Merged { key, value, instead_of, .. }: &Merged) {
    for said in instead_of {
        let _ = writeln!(text, "# instead of {}  ({})", said.toml, said.at);
    }
    match value {
        Value::One(said) => pair(text, key, said),
        Value::Entry { keys, .. } => keys.iter().for_each(|(key, said)| pair(text, key, said)),
        Value::List(items) => {
            let _ = writeln!(text, "{key} = [");
            for said in items {
                let _ = writeln!(text, "  {:<48} # {}", format!("{},", said.toml), said.at);
            }
            text.push_str("]\n");
        }
        Value::Tables(_) => (),
    }
}

fn pair(text: &mut String, key: &str, said: &Setting) {
    let _ = writeln!(text, "{:<50} # {}", format!("{key} = {}", said.toml), said.at);
}
