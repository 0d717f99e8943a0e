//! A suite's list of packages, reduced to what choosing and fetching needs.
//!
//! The reduced list is text, sorted by line, so that a name is found by bisection without reading the rest:
//! ```text
//! @awk<TAB>gawk                                    a virtual package, and one that provides it
//! frr<TAB>10.3-4<TAB>arm64<TAB>pool/…<TAB>size<TAB>sha256
//! ```

use std::collections::BTreeSet;
use std::io::BufRead;

use super::version::Version;
use contract::hash::Digest;
use deb822_fast::{Deb822, Paragraph};

use super::depends;
use crate::lock::{LockedPackage, is_pool_path};

/// How a list of packages is not understood.
#[derive(Debug, thiserror::Error)]
pub enum PackagesError {
    #[error("it cannot be parsed: {0}")]
    Syntax(String),
    #[error("package {package:?}: {what}")]
    Package { package: String, what: String },
}

/// Version of the reduced form; part of the cache's key.
pub const FORMAT: u32 = 1;

/// Reduces a `Packages` file to the packages for `architecture` and for all.
///
/// # Errors
/// When it is not deb822, or a package lacks a field.
pub fn reduce(packages: impl BufRead, architecture: &str) -> Result<String, PackagesError> {
    let mut lines = BTreeSet::new();
    for paragraph in Deb822::iter_paragraphs_from_reader(packages) {
        let paragraph = paragraph.map_err(|error| PackagesError::Syntax(error.to_string()))?;
        if let Some(line) = line(&paragraph, architecture, &mut lines)? {
            lines.insert(line);
        }
    }
    let mut text = String::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

fn line(
    paragraph: &Paragraph,
    architecture: &str,
    lines: &mut BTreeSet<String>,
) -> Result<Option<String>, PackagesError> {
    let field = |name| paragraph.get(name).map(str::trim).unwrap_or_default();
    let name = field("Package");
    let bad = |what: String| PackagesError::Package { package: name.to_owned(), what };
    if !matches!(field("Architecture"), "all") && field("Architecture") != architecture {
        return Ok(None);
    }
    if !depends::is_package_name(name) {
        return Err(bad("that is not a name of a package".to_owned()));
    }
    let (version, path) = (field("Version"), field("Filename"));
    if version.parse::<Version>().is_err() {
        return Err(bad(format!("its Version is {version:?}")));
    }
    if !is_pool_path(path) {
        return Err(bad(format!("its Filename is {path:?}")));
    }
    let size: u64 = field("Size").parse().map_err(|_| bad(format!("its Size is {:?}", field("Size"))))?;
    let sha256: Digest = field("SHA256").parse().map_err(|error| bad(format!("its SHA256: {error}")))?;
    for provided in depends::parse(field("Provides")).into_iter().flatten().filter(|provided| provided != name) {
        lines.insert(format!("@{provided}\t{name}"));
    }
    Ok(Some(format!("{name}\t{version}\t{}\t{path}\t{size}\t{sha256}", field("Architecture"))))
}

/// A reduced list, of one suite and component.
#[derive(Clone, Debug)]
pub struct PackageList {
    pub suite: String,
    pub component: String,
    /// When the suite's index was made, in seconds since 1970.
    pub date: u64,
    text: String,
}

impl PackageList {
    /// Takes a reduced list.
    #[must_use]
    pub fn new(suite: &str, component: &str, date: u64, text: String) -> PackageList {
        PackageList { suite: suite.to_owned(), component: component.to_owned(), date, text }
    }

    /// The highest version of a package in this list.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<LockedPackage> {
        let all = self.lines_of(name).filter_map(|line| self.package(line));
        all.max_by(|one, other| compare_versions(&one.version, &other.version))
    }

    /// The packages that provide a virtual one, by name.
    #[must_use]
    pub fn providers(&self, name: &str) -> Vec<&str> {
        self.lines_of(&format!("@{name}")).filter_map(|line| line.split('\t').nth(1)).collect()
    }

    /// All names of real packages.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter(|line| !line.starts_with('@')).filter_map(|line| line.split('\t').next())
    }

    /// The names of the packages whose files are in this folder of the pool.
    #[must_use]
    pub fn in_folder(&self, folder: &str) -> Vec<String> {
        let inside = |path: &str| path.rsplit_once('/').is_some_and(|(of, _)| of == folder);
        let lines = self.text.lines().filter(|line| !line.starts_with('@'));
        let lines = lines.filter(|line| line.split('\t').nth(3).is_some_and(inside));
        lines.filter_map(|line| line.split('\t').next().map(str::to_owned)).collect()
    }

    fn package(&self, line: &str) -> Option<LockedPackage> {
        let mut fields = line.split('\t');
        let mut next = || fields.next().map(str::to_owned);
        let (name, version, architecture, path) = (next()?, next()?, next()?, next()?);
        let (size, sha256) = (next()?.parse().ok()?, next()?.parse().ok()?);
        let (suite, component) = (self.suite.clone(), self.component.clone());
        Some(LockedPackage { name, version, architecture, suite, component, path, size, sha256 })
    }

    /// The lines whose first field is `name`.
    fn lines_of(&self, name: &str) -> impl Iterator<Item = &str> {
        let wanted = format!("{name}\t");
        let bytes = self.text.as_bytes();
        let (mut low, mut high) = (0, bytes.len());
        // Both are starts of lines (or the end); the line that is sought begins at `low` or behind it.
        while low < high {
            let middle = low + (high - low) / 2;
            let start = bytes[low..middle].iter().rposition(|byte| *byte == b'\n').map_or(low, |at| low + at + 1);
            let end =
                bytes[middle..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| middle + at + 1);
            if bytes[start..end] < *wanted.as_bytes() {
                low = end;
            } else {
                high = start;
            }
        }
        self.text[low..].lines().take_while(move |line| line.starts_with(&wanted))
    }
}

/// Debian's order of versions. Versions were checked when the list was reduced.
#[must_use]
pub fn compare_versions(one: &str, other: &str) -> std::cmp::Ordering {
    match (one.parse::<Version>(), other.parse::<Version>()) {
        (Ok(one), Ok(other)) => one.cmp(&other),
        _ => one.cmp(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(name: &str, version: &str, more: &str) -> String {
        let digest = Digest::of(format!("{name}{version}").as_bytes());
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: arm64\nFilename: pool/{name}_{version}.deb\nSize: 10\n\
             SHA256: {digest}\nDescription: x\n with more\n{more}\n"
        )
    }

    fn list(stanzas: &[String]) -> PackageList {
        let text = reduce(stanzas.concat().as_bytes(), "arm64").unwrap();
        PackageList::new("trixie", "main", 0, text)
    }

    #[test]
    fn every_package_is_found_by_bisection_and_no_other() {
        let names: Vec<String> =
            (0..500).map(|n| format!("pkg{n}")).chain(["libc6".into(), "libc6-dev".into()]).collect();
        let list = list(&names.iter().map(|name| stanza(name, "1.0", "")).collect::<Vec<_>>());
        for name in &names {
            assert_eq!(list.find(name).unwrap().name, *name);
        }
        for name in ["pkg", "pkg500", "a", "zz", "libc", "libc6-"] {
            assert_eq!(list.find(name), None);
        }
        assert_eq!(list.names().count(), 502);
    }

    #[test]
    fn the_highest_version_of_several_is_found() {
        let list =
            list(&[stanza("frr", "10.3-10", ""), stanza("frr", "10.3-9", ""), stanza("frr", "10.3-10~rc1", "")]);
        assert_eq!(list.find("frr").unwrap().version, "10.3-10");
    }

    #[test]
    fn virtual_packages_name_their_providers() {
        let list = list(&[
            stanza("mawk", "1", "Provides: awk\n"),
            stanza("gawk", "1", "Provides: awk (= 2), gawk\n"),
            stanza("awkward", "1", ""),
        ]);
        assert_eq!(list.providers("awk"), ["gawk", "mawk"]);
        assert_eq!(list.find("awk"), None);
        assert!(list.providers("gawk").is_empty());
    }

    #[test]
    fn a_package_of_another_architecture_is_left_out() {
        let other = stanza("frr", "1", "").replace("Architecture: arm64", "Architecture: amd64");
        let all = stanza("tzdata", "1", "").replace("Architecture: arm64", "Architecture: all");
        let list = list(&[other, all]);
        assert_eq!(list.find("frr"), None);
        assert_eq!(list.find("tzdata").unwrap().architecture, "all");
    }

    #[test]
    fn a_path_out_of_the_archive_is_refused() {
        let bad = stanza("frr", "1", "").replace("pool/", "../");
        assert!(matches!(reduce(bad.as_bytes(), "arm64"), Err(PackagesError::Package { .. })));
    }
}
