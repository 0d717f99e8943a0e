//! A merged profile: every value with its place in a file.

use serde::Serialize;

/// One value, one list, or one named entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Merged {
    /// The tables that it is in, outermost first; none for what is at the top.
    pub table: Vec<String>,
    /// Empty where the table itself is the entry.
    pub key: String,
    pub value: Value,
    /// What it stands for, the latest first: values that do not count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instead_of: Vec<Setting>,
}

/// What holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// Stands for itself.
    One(Setting),
    /// Adds up.
    List(Vec<Setting>),
    /// A named entry: it counts as a whole, key by key as one file says it.
    Entry { at: String, keys: Vec<(String, Setting)> },
    /// Entries of an array of tables: they add up.
    Tables(Vec<Vec<(String, Setting)>>),
}

/// A value that a file sets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// As TOML, on one line.
    pub toml: String,
    /// `FILE:LINE`, with the file as people who know the profile name it.
    pub at: String,
}

impl Value {
    /// The whole of it on one line, with the place of its first part.
    pub(super) fn summary(&self) -> Option<Setting> {
        match self {
            Value::One(said) => Some(said.clone()),
            Value::List(items) => {
                items.first().map(|first| Setting { toml: "[...]".to_owned(), at: first.at.clone() })
            }
            Value::Entry { at, keys } => {
                let keys: Vec<String> = keys.iter().map(|(key, said)| format!("{key} = {}", said.toml)).collect();
                Some(Setting { toml: format!("{{ {} }}", keys.join(", ")), at: at.clone() })
            }
            Value::Tables(_) => None,
        }
    }
}
