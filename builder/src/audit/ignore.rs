//! Holes that somebody accepted: named on the command line, or in a file with one on each line and the reason behind `#`.

use super::tracker::is_id;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A list that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IgnoreError {
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} line {line}: {found:?} is not the name of an issue, such as CVE-2026-1234; what follows # is a comment", path.display())]
    Line { path: PathBuf, line: usize, found: String },
}

/// Reads a list.
///
/// # Errors
/// When the file cannot be read, or a line holds something else.
pub fn read(path: &Path) -> Result<BTreeSet<String>, IgnoreError> {
    let text = std::fs::read_to_string(path).map_err(|source| IgnoreError::Read { path: path.to_owned(), source })?;
    let mut names = BTreeSet::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        if !is_id(line) {
            return Err(IgnoreError::Line { path: path.to_owned(), line: number + 1, found: line.to_owned() });
        }
        names.insert(line.to_owned());
    }
    Ok(names)
}

/// One name, for the command line.
///
/// # Errors
/// In words.
pub fn name(text: &str) -> Result<String, String> {
    if is_id(text) {
        Ok(text.to_owned())
    } else {
        Err("write the name of an issue, such as CVE-2026-1234".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_one_name_on_a_line_and_anything_else_is_named_by_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("accepted");
        let parse = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path)
        };
        let names = parse("# ours\nCVE-2026-1  # no such port\n\n  TEMP-0290435-0B57B5\n").unwrap();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["CVE-2026-1", "TEMP-0290435-0B57B5"]);
        let error = parse("CVE-2026-1\nCVE-2026-2 CVE-2026-3\n").unwrap_err();
        assert!(matches!(error, IgnoreError::Line { line: 2, .. }), "{error}");
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read(&path), Err(IgnoreError::Read { .. })));
    }
}
