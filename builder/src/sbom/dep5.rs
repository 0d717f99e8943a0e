//! The licences that a package's copyright file names, where it is machine-readable (Debian's copyright format 1.0,
//! "DEP-5").

use std::collections::BTreeMap;

/// What a copyright file says of licences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copyright {
    /// Each expression that is the licence of some files, in order, once.
    pub expressions: Vec<String>,
    /// Texts of licences, by their short names.
    pub texts: BTreeMap<String, String>,
}

/// Reads a copyright file; nothing when it is not machine-readable.
#[must_use]
pub fn parse(text: &str) -> Option<Copyright> {
    let first = text.lines().find(|line| !line.trim().is_empty())?;
    let format = first.split_once(':').filter(|(field, _)| field.trim().eq_ignore_ascii_case("format"))?.1;
    if !format.contains("copyright-format") && !format.contains("dep5") {
        return None;
    }
    let mut copyright = Copyright::default();
    // Of files, or of the whole work in the first paragraph; elsewhere a licence only stands with its text.
    let mut applies = true;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim().is_empty() {
            applies = false;
            continue;
        }
        let Some((field, value)) = line.split_once(':') else { continue };
        if line.starts_with([' ', '\t', '#']) {
            continue;
        }
        if field.trim().eq_ignore_ascii_case("files") {
            applies = true;
        }
        if !field.trim().eq_ignore_ascii_case("license") {
            continue;
        }
        let expression = value.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut body = Vec::new();
        while let Some(line) = lines.next_if(|line| line.starts_with([' ', '\t'])) {
            let line = line.strip_prefix(' ').unwrap_or(line);
            body.push(if line.trim() == "." { "" } else { line.trim_end() });
        }
        if expression.is_empty() {
            continue;
        }
        if !body.is_empty() {
            copyright.texts.entry(expression.clone()).or_insert_with(|| body.join("\n"));
        }
        if applies && !copyright.expressions.contains(&expression) {
            copyright.expressions.push(expression);
        }
    }
    (!copyright.expressions.is_empty()).then_some(copyright)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_licences_of_files_are_read_once_with_their_texts() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nCopyright: x\n\
                    License: GPL-2+\n\nFiles: a\nLicense:  Expat  or BSD-3-clause\n\nFiles: b\nLicense: GPL-2+\n\n\
                    License: GPL-2+\n First line.\n .\n  Second: line\n\nLicense: unused\n Not of any file.\n";
        let found = parse(text).unwrap();
        assert_eq!(found.expressions, ["GPL-2+", "Expat or BSD-3-clause"]);
        assert_eq!(found.texts["GPL-2+"], "First line.\n\n Second: line");
        assert!(found.texts.contains_key("unused"));
    }

    #[test]
    fn a_copyright_file_of_another_form_is_not_read() {
        assert_eq!(parse("This package was debianized by\nLicense: GPL\n"), None);
        assert_eq!(parse(""), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(?s)(Format: copyright-format\n)?.{0,300}") {
            let _ = parse(&text);
        }
    }
}
