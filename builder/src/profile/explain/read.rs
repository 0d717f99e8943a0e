//! The statements of one file, each with its line.

use super::super::diagnostic::{Diagnostic, FileId, Sources};
use super::super::field::{Keys as _, Kind};
use super::super::schema::ProfileFile;
use super::merged::{Merged, Setting, Value};
use serde_spanned::Spanned;
use toml::de::{DeString, DeTable, DeValue};

struct File<'a> {
    name: &'a str,
    text: &'a str,
}

/// The statements of a file, in order.
pub(super) fn statements(sources: &Sources, id: FileId, name: &str) -> Result<Vec<Merged>, Diagnostic> {
    let text = sources.text(id);
    let document = DeTable::parse(text).map_err(|error| Diagnostic::from_toml(sources, id, &error))?;
    let file = File { name, text };
    let mut found = Vec::new();
    for (key, value) in in_order(document.get_ref()) {
        let name = key.get_ref().as_ref();
        let kind = ProfileFile::KEYS.iter().find(|key| key.name == name).map(|key| key.kind);
        match value.get_ref() {
            _ if kind == Some(Kind::Includes) => (),
            DeValue::Table(table) if kind == Some(Kind::Entries) => found.extend(file.entries(name, table)),
            DeValue::Table(table) if kind == Some(Kind::Tables) => {
                for (package, keys) in in_order(table) {
                    let path = vec![name.to_owned(), bare(package.get_ref())];
                    if let DeValue::Table(keys) = keys.get_ref() {
                        found.extend(file.singles(&path, keys));
                    }
                }
            }
            DeValue::Table(table) => found.extend(file.singles(&[name.to_owned()], table)),
            DeValue::Array(items) if items.iter().any(|item| item.get_ref().is_table()) => {
                let tables = items.iter().filter_map(|item| item.get_ref().as_table());
                let tables = tables.map(|table| file.keys(table)).collect();
                found.push(merged(&[], bare(name), Value::Tables(tables)));
            }
            _ => found.push(file.single(&[], key, value)),
        }
    }
    Ok(found)
}

fn merged(table: &[String], key: String, value: Value) -> Merged {
    Merged { table: table.to_vec(), key, value, instead_of: Vec::new() }
}

impl File<'_> {
    /// Named entries. Those that are one value are in the table of all of them.
    fn entries(&self, kind: &str, table: &DeTable<'_>) -> Vec<Merged> {
        let entry = |(name, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| match value.get_ref() {
            DeValue::Table(keys) => {
                let path = [kind.to_owned(), bare(name.get_ref())];
                let keys = self.keys(keys);
                merged(&path, String::new(), Value::Entry { at: self.at(name.span().start), keys })
            }
            _ => merged(&[kind.to_owned()], bare(name.get_ref()), Value::One(self.said(name, value))),
        };
        in_order(table).into_iter().map(entry).collect()
    }

    fn singles(&self, path: &[String], table: &DeTable<'_>) -> Vec<Merged> {
        in_order(table).into_iter().map(|(key, value)| self.single(path, key, value)).collect()
    }

    /// A value or a list.
    fn single(&self, path: &[String], key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) -> Merged {
        let what = match value.get_ref() {
            DeValue::Array(items) => {
                let item =
                    |item: &Spanned<DeValue<'_>>| Setting { toml: self.toml(item), at: self.at(item.span().start) };
                Value::List(items.iter().map(item).collect())
            }
            _ => Value::One(self.said(key, value)),
        };
        merged(path, bare(key.get_ref()), what)
    }

    fn keys(&self, table: &DeTable<'_>) -> Vec<(String, Setting)> {
        let said = in_order(table).into_iter().map(|(key, value)| (bare(key.get_ref()), self.said(key, value)));
        said.collect()
    }

    fn said(&self, key: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) -> Setting {
        Setting { toml: self.toml(value), at: self.at(key.span().start) }
    }

    fn at(&self, byte: usize) -> String {
        let before = self.text.get(..byte).unwrap_or(self.text);
        format!("{}:{}", self.name, before.matches('\n').count() + 1)
    }

    /// A value on one line.
    fn toml(&self, value: &Spanned<DeValue<'_>>) -> String {
        match value.get_ref() {
            DeValue::String(text) => quoted(text),
            DeValue::Array(items) => {
                format!("[{}]", items.iter().map(|item| self.toml(item)).collect::<Vec<_>>().join(", "))
            }
            DeValue::Table(table) => {
                let pair = |(key, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
                    format!("{} = {}", bare(key.get_ref()), self.toml(value))
                };
                format!("{{ {} }}", in_order(table).into_iter().map(pair).collect::<Vec<_>>().join(", "))
            }
            _ => self.text.get(value.span()).unwrap_or_default().to_owned(),
        }
    }
}

type Pair<'t, 'i> = (&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>);

/// The pairs of a table as they are in the file.
fn in_order<'t, 'i>(table: &'t DeTable<'i>) -> Vec<Pair<'t, 'i>> {
    let mut pairs: Vec<_> = table.iter().collect();
    pairs.sort_by_key(|(key, _)| key.span().start);
    pairs
}

/// A basic string of TOML; JSON escapes what must be escaped, but for the one character that only TOML minds.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A key as TOML writes it.
fn bare(key: &str) -> String {
    let plain = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if plain { key.to_owned() } else { quoted(key) }
}
