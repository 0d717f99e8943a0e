//! Licences by their SPDX names. Debian's copyright files have short names of their own (DEP-5), and free ones beside; a
//! name that SPDX does not know becomes a `LicenseRef-`.

/// Names of Debian's copyright files and SPDX's, in lower case, and the SPDX name. Versions of the GPL and its kin are
/// reckoned by [`gnu`].
const KNOWN: [(&str, &str); 58] = [
    ("0bsd", "0BSD"),
    ("afl-2.1", "AFL-2.1"),
    ("apache-1.1", "Apache-1.1"),
    ("apache-2", "Apache-2.0"),
    ("apache-2.0", "Apache-2.0"),
    ("artistic", "Artistic-1.0"),
    ("artistic-1.0", "Artistic-1.0"),
    ("artistic-2.0", "Artistic-2.0"),
    ("beerware", "Beerware"),
    ("boost-1.0", "BSL-1.0"),
    ("bsd-1-clause", "BSD-1-Clause"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("bsd-4-clause-uc", "BSD-4-Clause-UC"),
    ("bsl-1.0", "BSL-1.0"),
    ("cc-by-3.0", "CC-BY-3.0"),
    ("cc-by-4.0", "CC-BY-4.0"),
    ("cc-by-sa-3.0", "CC-BY-SA-3.0"),
    ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
    ("cc0", "CC0-1.0"),
    ("cc0-1.0", "CC0-1.0"),
    ("cddl-1.0", "CDDL-1.0"),
    ("curl", "curl"),
    ("eupl-1.2", "EUPL-1.2"),
    ("expat", "MIT"),
    ("fsfap", "FSFAP"),
    ("fsful", "FSFUL"),
    ("fsfullr", "FSFULLR"),
    ("gfdl-niv-1.2", "GFDL-1.2-no-invariants-only"),
    ("gfdl-niv-1.2+", "GFDL-1.2-no-invariants-or-later"),
    ("gfdl-niv-1.3", "GFDL-1.3-no-invariants-only"),
    ("gfdl-niv-1.3+", "GFDL-1.3-no-invariants-or-later"),
    ("gfdl-nivs-1.3+", "GFDL-1.3-no-invariants-or-later"),
    ("hpnd", "HPND"),
    ("isc", "ISC"),
    ("libpng", "Libpng"),
    ("linux-syscall-note", "LicenseRef-Linux-syscall-note"),
    ("mit", "MIT"),
    ("mit-0", "MIT-0"),
    ("mit-cmu", "MIT-CMU"),
    ("mpl-1.1", "MPL-1.1"),
    ("mpl-2.0", "MPL-2.0"),
    ("ms-pl", "MS-PL"),
    ("ncsa", "NCSA"),
    ("ofl-1.1", "OFL-1.1"),
    ("openssl", "OpenSSL"),
    ("postgresql", "PostgreSQL"),
    ("psf-2", "PSF-2.0"),
    ("psf-2.0", "PSF-2.0"),
    ("python-2.0", "Python-2.0"),
    ("sleepycat", "Sleepycat"),
    ("unicode-3.0", "Unicode-3.0"),
    ("unlicense", "Unlicense"),
    ("w3c", "W3C"),
    ("wtfpl", "WTFPL"),
    ("x11", "X11"),
    ("zlib", "Zlib"),
];

/// Versions of GNU's licences that SPDX has names for.
const GNU: [(&str, &str, &[&str]); 4] = [
    ("agpl-", "AGPL", &["1.0", "3.0"]),
    ("lgpl-", "LGPL", &["2.0", "2.1", "3.0"]),
    ("gfdl-", "GFDL", &["1.1", "1.2", "1.3"]),
    ("gpl-", "GPL", &["1.0", "2.0", "3.0"]),
];

/// An expression of a copyright file in SPDX's form. Commas bind less than `or`, and `or` less than `and` (DEP-5, "License
/// specification: syntax").
#[must_use]
pub fn expression(text: &str) -> String {
    let mut clauses: Vec<(&str, String)> = Vec::new();
    for clause in text.split(',').map(str::trim).filter(|clause| !clause.is_empty()) {
        let (operator, rest) = match clause.split_once(' ') {
            Some((first, rest)) if first.eq_ignore_ascii_case("and") => (" AND ", rest),
            Some((first, rest)) if first.eq_ignore_ascii_case("or") => (" OR ", rest),
            _ => (" AND ", clause),
        };
        clauses.push((operator, alternatives(rest)));
    }
    let several = clauses.len() > 1;
    let mut whole = String::new();
    for (number, (operator, clause)) in clauses.into_iter().enumerate() {
        let clause = if several { wrapped(&clause) } else { clause };
        whole = match number {
            0 => clause,
            1 => format!("{whole}{operator}{clause}"),
            _ => format!("({whole}){operator}{clause}"),
        };
    }
    if whole.is_empty() { reference("unnamed") } else { whole }
}

fn alternatives(text: &str) -> String {
    let parts: Vec<String> = words(text, "or").iter().map(|part| together(part)).collect();
    match &parts[..] {
        [one] => one.clone(),
        many => many.iter().map(|part| wrapped(part)).collect::<Vec<_>>().join(" OR "),
    }
}

fn together(text: &str) -> String {
    words(text, "and").iter().map(|part| name(part)).collect::<Vec<_>>().join(" AND ")
}

fn wrapped(text: &str) -> String {
    if text.contains(' ') { format!("({text})") } else { text.to_owned() }
}

/// The parts of a text between a word, in any case.
fn words(text: &str, between: &str) -> Vec<String> {
    let mut parts = vec![Vec::new()];
    for word in text.split_whitespace() {
        // An old custom: `GPL-2+|Expat`, `and/or`.
        if word.eq_ignore_ascii_case(between) || between == "or" && matches!(word, "|" | "and/or") {
            parts.push(Vec::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(word);
        }
    }
    parts.into_iter().filter(|part| !part.is_empty()).map(|part| part.join(" ")).collect()
}

/// The SPDX name of one licence, or a `LicenseRef-` made of the name that it has.
#[must_use]
pub fn name(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    if let Some((_, name)) = KNOWN.iter().find(|(known, _)| *known == lower) {
        return (*name).to_owned();
    }
    gnu(&lower).unwrap_or_else(|| reference(text))
}

/// `gpl-2+` is `GPL-2.0-or-later`.
fn gnu(lower: &str) -> Option<String> {
    let (version, name, known) =
        GNU.iter().find_map(|(prefix, name, known)| Some((lower.strip_prefix(prefix)?, name, known)))?;
    let (version, later) = match version {
        version if version.ends_with("-or-later") => (version.trim_end_matches("-or-later"), true),
        version if version.ends_with("-only") => (version.trim_end_matches("-only"), false),
        version => (version.trim_end_matches('+'), version.ends_with('+')),
    };
    let version = if version.contains('.') { version.to_owned() } else { format!("{version}.0") };
    let rest = if later { "or-later" } else { "only" };
    known.contains(&&*version).then(|| format!("{name}-{version}-{rest}"))
}

/// A name for what SPDX has none for: letters, digits, `.` and `-` (SPDX 2.3, annex D).
#[must_use]
pub fn reference(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    // `+` matters: it tells two licences apart.
    let text: String = text.replace('+', "-or-later").chars().map(plain).collect();
    let short: String = text.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-");
    format!("LicenseRef-{}", if short.is_empty() { "unnamed" } else { &short })
}

/// The `LicenseRef-`s in an expression.
pub fn references(expression: &str) -> impl Iterator<Item = &str> {
    expression.split([' ', '(', ')']).filter(|word| word.starts_with("LicenseRef-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_debian_become_those_of_spdx() {
        for (debian, spdx) in [
            ("GPL-2+", "GPL-2.0-or-later"),
            ("GPL-2", "GPL-2.0-only"),
            ("LGPL-2.1+", "LGPL-2.1-or-later"),
            ("GPL-3.0-or-later", "GPL-3.0-or-later"),
            ("GFDL-1.3", "GFDL-1.3-only"),
            ("Expat", "MIT"),
            ("BSD-3-Clause", "BSD-3-Clause"),
            ("public-domain", "LicenseRef-public-domain"),
            ("GPL-2+ with OpenSSL exception", "LicenseRef-GPL-2-or-later-with-OpenSSL-exception"),
            ("GPL-7", "LicenseRef-GPL-7"),
            ("***", "LicenseRef-unnamed"),
        ] {
            assert_eq!(name(debian), spdx, "{debian}");
        }
    }

    #[test]
    fn expressions_keep_their_meaning() {
        for (debian, spdx) in [
            ("GPL-2+ or Expat", "GPL-2.0-or-later OR MIT"),
            ("GPL-2+ and Expat or ISC", "(GPL-2.0-or-later AND MIT) OR ISC"),
            ("GPL-2+ or Artistic, and BSD-3-clause", "(GPL-2.0-or-later OR Artistic-1.0) AND BSD-3-Clause"),
            ("", "LicenseRef-unnamed"),
        ] {
            assert_eq!(expression(debian), spdx, "{debian}");
        }
    }

    proptest! {
        #[test]
        fn any_text_becomes_an_expression_of_plain_words(text in ".{0,80}") {
            let made = expression(&text);
            prop_assert!(!made.is_empty());
            prop_assert!(made.chars().all(|c| c.is_ascii_alphanumeric() || " ()-.".contains(c)), "{}", made);
            prop_assert_eq!(made.matches('(').count(), made.matches(')').count());
        }
    }
}
