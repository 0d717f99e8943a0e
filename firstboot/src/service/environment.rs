//! A service's variables from files: lines `KEY=value`.

use contract::role::EnvironmentFile;
use std::io::Read as _;

/// Longest file, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Reads the files in their order; what comes later wins.
///
/// # Errors
/// The file that cannot be had, and why, in words.
pub fn read_all(files: &[EnvironmentFile]) -> Result<Vec<(String, String)>, String> {
    let mut variables = Vec::new();
    for file in files {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&file.path).and_then(|open| open.take(LONGEST + 1).read_to_end(&mut bytes));
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && file.optional => continue,
            Err(error) => return Err(format!("cannot read its environment file {}: {error}", file.path)),
            Ok(length) if length as u64 > LONGEST => {
                return Err(format!("its environment file {} is longer than {LONGEST} bytes", file.path));
            }
            Ok(_) => {}
        }
        let text =
            String::from_utf8(bytes).map_err(|_| format!("its environment file {} is not UTF-8", file.path))?;
        let found = parse(&text)
            .map_err(|line| format!("line {line} of its environment file {} is not KEY=value", file.path))?;
        for (key, value) in found {
            set(&mut variables, key, value);
        }
    }
    Ok(variables)
}

/// Sets a variable, in place of one of the same name.
pub fn set(variables: &mut Vec<(String, String)>, key: String, value: String) {
    variables.retain(|(other, _)| *other != key);
    variables.push((key, value));
}

/// Parses a file. Quotes around a whole value are taken off; nothing is expanded.
///
/// # Errors
/// The number of the first line that is not a variable.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, usize> {
    let mut variables = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        let (key, value) = line.split_once('=').ok_or(number + 1)?;
        let (key, value) = (key.trim_end(), value.trim_start());
        let begins_well = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !begins_well || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') || value.contains('\0') {
            return Err(number + 1);
        }
        let unquoted = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
        variables.push((key.to_owned(), unquoted.unwrap_or(value).to_owned()));
    }
    Ok(variables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_variables_and_quotes_are_not_part_of_them() {
        let text = "# comment\n\n; another\nA=1\n B = two words \nC=\"quoted = value\"\nD='it is'\nE=\nF=\"half\n";
        let wanted =
            [("A", "1"), ("B", "two words"), ("C", "quoted = value"), ("D", "it is"), ("E", ""), ("F", "\"half")];
        let wanted: Vec<_> = wanted.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        assert_eq!(parse(text), Ok(wanted));
    }

    #[test]
    fn the_line_that_is_no_variable_is_named() {
        for (text, line) in [("A=1\nexport", 2), ("1A=1", 1), ("A B=1", 1), ("=1", 1), ("A=\0", 1)] {
            assert_eq!(parse(text), Err(line), "{text:?}");
        }
    }

    #[test]
    fn later_files_win_and_only_optional_ones_may_be_missing() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, optional| EnvironmentFile {
            path: folder.path().join(name).to_str().unwrap().to_owned(),
            optional,
        };
        std::fs::write(folder.path().join("one"), "A=1\nB=1\n").unwrap();
        std::fs::write(folder.path().join("two"), "B=2\n").unwrap();
        let wanted = vec![("A".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())];
        assert_eq!(read_all(&[file("one", false), file("none", true), file("two", false)]), Ok(wanted));
        assert!(read_all(&[file("none", false)]).unwrap_err().contains("none: No such file"));
        std::fs::write(folder.path().join("big"), vec![b'#'; 70_000]).unwrap();
        assert!(read_all(&[file("big", true)]).unwrap_err().contains("longer than"));
        std::fs::write(folder.path().join("bad"), b"A=\xff").unwrap();
        assert!(read_all(&[file("bad", true)]).unwrap_err().contains("not UTF-8"));
    }

    proptest! {
        #[test]
        fn what_is_parsed_can_be_given_to_a_program(text in "(?s).{0,200}") {
            for (key, value) in parse(&text).unwrap_or_default() {
                prop_assert!(!key.is_empty() && !key.contains(['=', '\0']) && !value.contains('\0'));
            }
        }
    }
}
