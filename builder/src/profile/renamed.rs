//! The format of profiles, and keys that have another name now.
//!
//! A profile may say `format = 1`. A key that gets a better name keeps its old one for as long as the format lives: it
//! is in [`RENAMED`], is taken for the new one, and a warning points at its line. What cannot be said that way gets
//! the next format.

use super::diagnostic::{Diagnostic, FileId, Place, Sources};
use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

/// Format of profiles and parts that this code reads.
pub const FORMAT: u32 = 1;

/// A key with a former name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renamed {
    /// Path of the table that has it, with dots; `*` stands for any name, and elements of a list count as one. Empty for
    /// the top.
    pub table: &'static str,
    pub old: &'static str,
    pub new: &'static str,
    /// The version of microdc that knew the new name first.
    pub since: &'static str,
}

/// Every key that has another name now. None yet.
pub const RENAMED: &[Renamed] = &[];

/// Refuses another format than ours, before anything else of the file is checked.
pub(super) fn check_format(table: &DeTable<'_>, sources: &Sources, file: FileId) -> Result<(), Box<Diagnostic>> {
    let Some((_, value)) = table.iter().find(|(key, _)| key.get_ref() == "format") else { return Ok(()) };
    match value.get_ref().as_integer() {
        Some(number) if number.as_str() != FORMAT.to_string() => {
            let number = number.as_str();
            let message = format!("format {number} is not supported; this microdc reads format {FORMAT}");
            let help = Some("use a newer microdc, or write the file in the older format".to_owned());
            let place = Place { file, span: value.span() };
            Err(Box::new(Diagnostic::new(sources, message, &place, "here", None, help)))
        }
        _ => Ok(()),
    }
}

/// Gives keys their present names, and tells of each.
pub(super) fn apply(
    table: &mut DeTable<'_>,
    renamed: &[Renamed],
    sources: &Sources,
    file: FileId,
) -> Result<Vec<Diagnostic>, Box<Diagnostic>> {
    let mut warnings = Vec::new();
    for rename in renamed {
        let path: Vec<&str> = rename.table.split('.').filter(|part| !part.is_empty()).collect();
        walk(table, &path, &mut |table| {
            let key = |name: &str| table.keys().find(|key| key.get_ref() == name).cloned();
            let Some(old) = key(rename.old) else { return Ok(()) };
            let place = Place { file, span: old.span() };
            let Renamed { old: old_name, new, since, .. } = rename;
            if let Some(other) = key(new) {
                let message = format!("`{old_name}` and `{new}` are the same key, and both are set");
                let other = Place { file, span: other.span() };
                let other = Some((&other, "the current name"));
                let help = Some(format!("keep `{new}`"));
                return Err(Box::new(Diagnostic::new(sources, message, &place, "the former name", other, help)));
            }
            let message = format!("`{old_name}` has been called `{new}` since microdc {since}");
            let help = Some(format!("use `{new}`; the former name still works"));
            warnings.push(Diagnostic::warning(sources, message, &place, "the former name", help));
            if let Some(value) = table.remove(&old) {
                table.insert(Spanned::new(old.span(), (*new).into()), value);
            }
            Ok(())
        })?;
    }
    Ok(warnings)
}

type Visit<'v, 'i> = &'v mut dyn FnMut(&mut DeTable<'i>) -> Result<(), Box<Diagnostic>>;

fn walk<'i>(table: &mut DeTable<'i>, path: &[&str], visit: Visit<'_, 'i>) -> Result<(), Box<Diagnostic>> {
    let Some((first, rest)) = path.split_first() else { return visit(table) };
    for (key, value) in table.iter_mut() {
        if *first != "*" && key.get_ref() != first {
            continue;
        }
        match value.get_mut() {
            DeValue::Table(inner) => walk(inner, rest, visit)?,
            DeValue::Array(list) => {
                for element in list.iter_mut() {
                    if let DeValue::Table(inner) = element.get_mut() {
                        walk(inner, rest, visit)?;
                    }
                }
            }
            _ => (),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const RENAMES: &[Renamed] = &[
        Renamed { table: "", old: "title", new: "summary", since: "0.2.0" },
        Renamed { table: "service.*", old: "rights", new: "capabilities", since: "0.2.0" },
        Renamed { table: "health", old: "neighbor", new: "neighbour", since: "0.3.0" },
    ];

    fn read(text: &str) -> Result<(toml::Table, Vec<Diagnostic>), Box<Diagnostic>> {
        let mut sources = Sources::default();
        let file = sources.add(Path::new("router.toml"), text);
        let mut table = DeTable::parse(text).unwrap();
        check_format(table.get_ref(), &sources, file)?;
        let warnings = apply(table.get_mut(), RENAMES, &sources, file)?;
        let read = serde::Deserialize::deserialize(toml::Deserializer::from(table)).unwrap();
        Ok((read, warnings))
    }

    #[test]
    fn a_former_name_still_works_and_its_line_is_shown() {
        let text = "title = \"x\"\n[service.a]\nrun = []\nrights = [\"KILL\"]\n[service.b]\nrun = []\n\
                    [[health]]\nneighbor = \"10.0.0.1\"\n";
        let (table, warnings) = read(text).unwrap();
        assert_eq!(table["summary"].as_str(), Some("x"));
        assert_eq!(table["service"]["a"]["capabilities"][0].as_str(), Some("KILL"));
        assert_eq!(table["health"][0]["neighbour"].as_str(), Some("10.0.0.1"));
        let places: Vec<(usize, usize)> = warnings.iter().map(|warning| (warning.line, warning.column)).collect();
        assert_eq!(places, [(1, 1), (4, 1), (8, 1)]);
        let shown = warnings[1].to_string();
        for part in ["warning", "router.toml:4:1", "rights = [\"KILL\"]", "`capabilities` since microdc 0.2.0"] {
            assert!(shown.contains(part), "no {part:?} in:\n{shown}");
        }
    }

    #[test]
    fn both_names_at_once_contradict_each_other() {
        let found = read("summary = \"a\"\ntitle = \"b\"\n").unwrap_err();
        assert_eq!((found.line, found.message.contains("are the same key")), (2, true), "{found}");
    }

    #[test]
    fn the_same_word_elsewhere_is_left_alone() {
        let (table, warnings) = read("[service.a]\nrun = []\ntitle = \"x\"\n[link]\nrights = \"/x\"\n").unwrap();
        assert!(warnings.is_empty());
        assert!(table["link"].get("rights").is_some() && table["service"]["a"].get("title").is_some());
    }

    #[test]
    fn a_later_format_is_refused_before_its_keys_are() {
        let found = read("colour = 3\nformat = 2\n").unwrap_err();
        assert_eq!((found.line, found.column), (2, 10));
        assert!(found.message.contains("reads format 1"), "{found}");
        assert!(read("format = 1\n").is_ok());
    }
}
