//! Lists of SHA-256 sums, as upstreams publish them beside their release files: the lines of sha256sum(1), and the ones
//! that `sha256sum --tag` and BSD write.

use contract::hash::Digest;
use std::collections::BTreeMap;

/// The largest list that is read, in bytes.
pub const LARGEST: u64 = 1 << 20;

/// A list without the sum that is looked for.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    #[error("it lists no SHA-256 of {name:?}{}", there(.near))]
    Missing { name: String, near: Vec<String> },
    #[error("it lists two different SHA-256 sums of {name:?}")]
    Ambiguous { name: String },
}

fn there(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; it lists those of {}", near.join(", ")) }
}

/// The sum of the file with this name, whatever folder the list has it in.
///
/// # Errors
/// When the list has none, or several that differ.
pub fn find(list: &[u8], name: &str) -> Result<Digest, ChecksumError> {
    let text = String::from_utf8_lossy(list);
    let mut names = BTreeMap::new();
    let mut found = None;
    for (file, sum) in text.lines().filter_map(entry) {
        let file = file.rsplit('/').next().unwrap_or(file);
        if file == name && *found.get_or_insert(sum) != sum {
            return Err(ChecksumError::Ambiguous { name: name.to_owned() });
        }
        names.insert(file, ());
    }
    found.ok_or_else(|| {
        let mut near: Vec<&str> = names.into_keys().collect();
        near.sort_by(|a, b| strsim::jaro_winkler(b, name).total_cmp(&strsim::jaro_winkler(a, name)));
        let near = near.into_iter().take(3).map(str::to_owned).collect();
        ChecksumError::Missing { name: name.to_owned(), near }
    })
}

/// File and sum of a line that is one of a list.
fn entry(line: &str) -> Option<(&str, Digest)> {
    let line = line.trim_end();
    if let Some(rest) = line.strip_prefix("SHA256 (") {
        let (file, sum) = rest.rsplit_once(") = ")?;
        return Some((file, digest(sum)?));
    }
    let (sum, rest) = line.split_at_checked(64)?;
    // Two spaces, or a space and a star for what was read as binary.
    let file = rest.strip_prefix("  ").or_else(|| rest.strip_prefix(" *")).or_else(|| rest.strip_prefix(' '))?;
    (!file.is_empty()).then_some((file, digest(sum)?))
}

fn digest(text: &str) -> Option<Digest> {
    text.to_ascii_lowercase().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(text: &str) -> Digest {
        Digest::of(text.as_bytes())
    }

    #[test]
    fn the_lines_of_all_writers_are_understood() {
        let (a, b, c) = (sum("a"), sum("b"), sum("c"));
        let upper = a.to_string().to_uppercase();
        let list = format!("# sums\n\n{upper}  k3s\n{b} *dist/k3s-arm64\nSHA256 (k3s-arm64.tar) = {c}\r\n");
        assert_eq!(find(list.as_bytes(), "k3s"), Ok(a));
        assert_eq!(find(list.as_bytes(), "k3s-arm64"), Ok(b));
        assert_eq!(find(list.as_bytes(), "k3s-arm64.tar"), Ok(c));
    }

    #[test]
    fn a_sum_that_is_not_there_is_told_with_what_is() {
        let list = format!("{}  k3s-arm64\n{}  other\n", sum("a"), sum("b"));
        let error = find(list.as_bytes(), "k3s-arm46").unwrap_err();
        assert!(
            error.to_string().contains("no SHA-256 of \"k3s-arm46\"; it lists those of k3s-arm64, other"),
            "{error}"
        );
        assert!(
            matches!(find(b"<html>not found</html>", "k3s"), Err(ChecksumError::Missing { near, .. }) if near.is_empty())
        );
    }

    #[test]
    fn two_sums_of_one_file_are_refused_unless_they_are_the_same() {
        let same = format!("{0}  k3s\n{0}  ./k3s\n", sum("a"));
        assert_eq!(find(same.as_bytes(), "k3s"), Ok(sum("a")));
        let two = format!("{}  k3s\n{}  other/k3s\n", sum("a"), sum("b"));
        assert!(matches!(find(two.as_bytes(), "k3s"), Err(ChecksumError::Ambiguous { .. })));
    }

    proptest! {
        #[test]
        fn foreign_bytes_are_read_or_refused(list in proptest::collection::vec(any::<u8>(), 0..400), name in "[a-z0-9./-]{0,12}") {
            let _ = find(&list, &name);
        }

        #[test]
        fn a_listed_sum_is_found_among_any_others(
            name in "[a-z0-9.-]{1,12}", before in "[ -~\n]{0,200}", after in "[ -~\n]{0,200}"
        ) {
            let list = format!("{before}\n{}  {name}\n{after}", sum("x"));
            let found = find(list.as_bytes(), &name);
            let ambiguous = matches!(found, Err(ChecksumError::Ambiguous { .. }));
            prop_assert!(ambiguous || found == Ok(sum("x")));
        }
    }
}
