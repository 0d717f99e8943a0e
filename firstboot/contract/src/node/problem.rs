//! What is wrong with a `node.toml`, and where: line and column for people, the span in bytes for a snippet.

use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Longest `node.toml` that is read, in bytes.
pub const MAX_LENGTH: usize = 64 * 1024;

/// A `node.toml` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeConfigError {
    #[error("it is longer than {MAX_LENGTH} bytes, the limit")]
    TooLong,
    /// Line and column count from 1, in characters.
    #[error("line {line}, column {column}: this is not UTF-8 text")]
    NotUtf8 { line: usize, column: usize },
    #[error("line {line}, column {column}: {message}{}", help.as_ref().map(|help| format!("; {help}")).unwrap_or_default())]
    At {
        line: usize,
        column: usize,
        /// In bytes from the start of the file.
        span: Range<usize>,
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
}

impl NodeConfigError {
    /// A mistake at `span` of `text`.
    #[must_use]
    pub fn at(text: &str, span: Range<usize>, message: String, help: Option<String>) -> NodeConfigError {
        let (line, column) = place(text, span.start);
        NodeConfigError::At { line, column, span, message, help }
    }

    /// What the TOML reader found, with a proposal where a key is misspelt.
    pub(super) fn toml(text: &str, error: &toml::de::Error) -> NodeConfigError {
        let message = error.message().lines().next().unwrap_or("malformed TOML").to_owned();
        let mut quoted = message.split('`').skip(1).step_by(2);
        let help = quoted.next().and_then(|found| nearest(found, quoted));
        NodeConfigError::at(text, error.span().unwrap_or(0..0), message, help)
    }

    /// Bytes that are not UTF-8 from `valid` on.
    pub(super) fn not_utf8(bytes: &[u8], valid: usize) -> NodeConfigError {
        let text = std::str::from_utf8(bytes.get(..valid).unwrap_or_default()).unwrap_or_default();
        let (line, column) = place(text, valid);
        NodeConfigError::NotUtf8 { line, column }
    }
}

/// Line and column of a byte, from 1.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    (before.matches('\n').count() + 1, before.rsplit('\n').next().unwrap_or("").chars().count() + 1)
}

/// `did you mean ...?` with the nearest known name, when one is near.
fn nearest<'n>(found: &str, known: impl Iterator<Item = &'n str>) -> Option<String> {
    known
        .map(|name| (strsim::jaro_winkler(found, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| format!("did you mean `{name}`?"))
}

/// A mistake in what the values mean together, at a path of keys (and positions in lists) from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    path: Vec<String>,
    message: String,
}

/// Makes a [`Problem`]: `problem(["network", name, "mtu"], "...")`.
pub fn problem<'p>(path: impl IntoIterator<Item = &'p str>, message: impl Into<String>) -> Problem {
    Problem { path: path.into_iter().map(str::to_owned).collect(), message: message.into() }
}

impl Problem {
    /// The table at the top that it is in.
    pub(super) fn table(&self) -> &str {
        self.path.first().map_or("", String::as_str)
    }

    /// Finds the place in the text that holds the values.
    pub(super) fn locate(self, text: &str) -> NodeConfigError {
        let span = DeTable::parse(text).map_or(0..0, |table| find(table.get_ref(), &self.path));
        let message = format!("{}: {}", self.path.join("."), self.message);
        NodeConfigError::at(text, span, message, None)
    }
}

/// The span of a value given whole in several lines, from one of these lines on: `line` counts from 0 in the value. `None` when
/// the value is not there, or is written in one line.
pub(super) fn line_of_value(text: &str, path: &[String], line: usize) -> Option<Range<usize>> {
    let table = DeTable::parse(text).ok()?;
    let span = find(table.get_ref(), path);
    let raw = text.get(span.clone())?;
    let quotes = ["\"\"\"", "'''"].into_iter().find(|quotes| raw.starts_with(quotes))?;
    // An end of line right behind the quotes is not part of the value.
    let begin = raw.strip_prefix(quotes).map_or(0, |rest| {
        let first = if rest.starts_with("\r\n") { 2 } else { usize::from(rest.starts_with('\n')) };
        raw.len() - rest.len() + first
    });
    let value = raw.get(begin..)?.strip_suffix(quotes)?;
    let before: usize = value.split_inclusive('\n').take(line).map(str::len).sum();
    let here = value.get(before..)?.split('\n').next()?;
    let indent = here.len() - here.trim_start().len();
    let start = span.start + begin + before + indent;
    Some(start..start + here.trim().len())
}

/// The span of what is at `path`, or of the last that is there on the way to it.
fn find(table: &DeTable<'_>, path: &[String]) -> Range<usize> {
    let mut last = 0..0;
    let mut table = Some(table);
    let mut list = None;
    for step in path {
        let value = if let Some(here) = table {
            let Some((key, value)) = here.iter().find(|(key, _)| key.get_ref() == step.as_str()) else { break };
            last = if value.get_ref().is_table() { key.span() } else { value.span() };
            value
        } else {
            let number = step.parse::<usize>().ok();
            let Some(value) = list.zip(number).and_then(|(list, at): (&toml::de::DeArray<'_>, _)| list.get(at))
            else {
                break;
            };
            last = value.span();
            value
        };
        (table, list) = match value.get_ref() {
            DeValue::Table(inner) => (Some(inner), None),
            DeValue::Array(inner) => (None, Some(inner)),
            _ => (None, None),
        };
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, path: &[&str]) -> String {
        let NodeConfigError::At { line, column, span, .. } = problem(path.iter().copied(), "x").locate(text) else {
            panic!("no place")
        };
        format!("{line}:{column} {}", &text[span])
    }

    #[test]
    fn a_mistake_is_found_by_its_path() {
        let text = "name = \"r1\"\n[network.\"eth0.10\"]\nmtu = 1400\naddresses = [\"a\", \"b\"]\n[[list]]\nx = 1\n[[list]]\nx = 2\n";
        assert_eq!(found(text, &["network", "eth0.10", "mtu"]), "3:7 1400");
        assert_eq!(found(text, &["network", "eth0.10", "addresses", "1"]), "4:19 \"b\"");
        assert_eq!(found(text, &["list", "1", "x"]), "8:5 2");
        assert_eq!(found(text, &["network", "eth0.10", "absent"]), "2:10 \"eth0.10\"");
    }

    #[test]
    fn a_misspelt_key_is_answered_with_the_one_that_is_near() {
        let error = super::super::NodeConfig::parse(b"name = \"r1\"\n[network.eth0]\nadresses = []\n").unwrap_err();
        assert!(error.to_string().contains("did you mean `addresses`?"), "{error}");
    }
}
