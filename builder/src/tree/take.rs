//! Takes files out of packages by pattern.
//!
//! Patterns are globs in which `*` and `?` stop at `/`, `**` does not, and `{a,b}` means either. A directory stands for
//! all below it. Debian's merged `/usr` is taken for granted: what an old package has in `bin`, `sbin` or `lib` lands in
//! `usr`.

use super::node::resolve;
use super::{Entry, Kind, Node, Package, Tree, TreeError, origin};
use globset::{GlobBuilder, GlobMatcher};
use rayon::prelude::*;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

/// Files that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    #[error("{package} has nothing at {pattern:?}{}", near.as_ref().map(|near| format!("; did you mean {near:?}?")).unwrap_or_default())]
    Nothing { package: String, pattern: String, near: Option<String> },
    #[error("invalid pattern {pattern:?}: {why}")]
    Pattern { pattern: String, why: String },
    #[error("{package}: /{path} is a hard link to /{target}, which the package does not have")]
    LostLink { package: String, path: String, target: String },
    #[error("/{path} of {package} cannot be taken: {source}")]
    Read { package: String, path: String, source: std::io::Error },
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// A path as it is under merged `/usr`.
#[must_use]
pub fn merged(path: &str) -> Cow<'_, str> {
    let path = path.trim_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    if matches!(first, "bin" | "sbin" | "lib") && path != first {
        Cow::Owned(format!("usr/{path}"))
    } else {
        Cow::Borrowed(path)
    }
}

/// A package's entries by their paths under merged `/usr`.
pub struct PackageEntries<'p> {
    pub package: &'p Package,
    entries: BTreeMap<Cow<'p, str>, &'p Entry>,
}

impl<'p> PackageEntries<'p> {
    #[must_use]
    pub fn new(package: &'p Package) -> PackageEntries<'p> {
        let mut entries = BTreeMap::new();
        for (path, entry) in &package.entries {
            entries.entry(merged(path)).or_insert(entry);
        }
        PackageEntries { package, entries }
    }

    #[must_use]
    pub fn get(&self, path: &str) -> Option<&'p Entry> {
        self.entries.get(path).copied()
    }

    /// Where something really stands, after the package's own symbolic links.
    #[must_use]
    pub fn resolve(&self, path: &str) -> Option<String> {
        resolve(&merged(path), |path| self.get(path).map(|entry| &entry.kind))
    }

    /// The paths that a pattern means, in order.
    ///
    /// # Errors
    /// When it is not a valid pattern, or means nothing in this package.
    pub fn find(&self, pattern: &str) -> Result<BTreeSet<String>, TakeError> {
        let plain = merged(pattern);
        let glob = compiled(&plain, pattern)?;
        let mut found = BTreeSet::new();
        for (path, entry) in self.entries.iter().filter(|(path, _)| glob.is_match(path.as_ref())) {
            found.insert(path.to_string());
            if matches!(entry.kind, Kind::Directory) {
                let below = format!("{path}/");
                let range = self.entries.range(Cow::Borrowed(below.as_str())..);
                found
                    .extend(range.take_while(|(path, _)| path.starts_with(&below)).map(|(path, _)| path.to_string()));
            }
        }
        if found.is_empty() {
            let package = self.package.to_string();
            return Err(TakeError::Nothing { package, pattern: pattern.to_owned(), near: self.near(&plain) });
        }
        Ok(found)
    }

    /// The path that was probably meant: one with the same name, or a similar name in the same folder. Documentation is meant
    /// by those alone who ask for it.
    fn near(&self, pattern: &str) -> Option<String> {
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let wanted = name(pattern);
        let score = |path: &str| strsim::jaro_winkler(path, pattern);
        let above = |path: &str| path.rsplit_once('/').map(|(above, _)| above.to_owned());
        let alike = |path: &&&str| above(path) == above(pattern) && strsim::jaro_winkler(&name(path), &wanted) > 0.8;
        let paths = self.apart_from_documentation(pattern);
        let similar = paths.iter().filter(alike).max_by(|a, b| score(a).total_cmp(&score(b)));
        self.same_name(pattern).or_else(|| similar.map(|path| (*path).to_owned()))
    }

    /// The first file with the name that a pattern ends with.
    #[must_use]
    pub fn same_name(&self, pattern: &str) -> Option<String> {
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let folder = |path: &str| self.get(path).is_some_and(|entry| matches!(entry.kind, Kind::Directory));
        let wanted = name(&merged(pattern));
        let paths = self.apart_from_documentation(pattern);
        paths.into_iter().find(|path| name(path) == wanted && !folder(path)).map(str::to_owned)
    }

    /// The paths that may be meant by a pattern.
    fn apart_from_documentation(&self, pattern: &str) -> Vec<&str> {
        let documentation = |path: &str| path.starts_with("usr/share/doc/") || path.starts_with("usr/share/lintian/");
        let paths = self.entries.keys().map(AsRef::as_ref);
        paths.filter(|path| documentation(pattern) || !documentation(path)).collect()
    }
}

fn compiled(plain: &str, pattern: &str) -> Result<GlobMatcher, TakeError> {
    let glob = GlobBuilder::new(plain).literal_separator(true).build();
    let wrong =
        |error: globset::Error| TakeError::Pattern { pattern: pattern.to_owned(), why: error.kind().to_string() };
    Ok(glob.map_err(wrong)?.compile_matcher())
}

/// What matches a pattern, by paths under merged `/usr`; `None` when it is not a valid pattern.
#[must_use]
pub fn matcher(pattern: &str) -> Option<GlobMatcher> {
    compiled(&merged(pattern), pattern).ok()
}

/// Takes what `patterns` mean into the tree, with directories above it and the targets of symbolic links. `why` says
/// who asked, such as `router.toml takes "usr/bin/wg"`. Returns the paths taken, in order.
///
/// # Errors
/// When a pattern means nothing, or something else is in the way.
pub fn take(tree: &mut Tree, package: &Package, patterns: &[String], why: &str) -> Result<Vec<String>, TakeError> {
    let shelf = PackageEntries::new(package);
    let mut paths = BTreeSet::new();
    for pattern in patterns {
        paths.extend(shelf.find(pattern)?);
    }
    take_paths(tree, &shelf, paths, &origin::of_package(package, why))
}

/// Takes these paths of a package, and what its symbolic links among them lead to. The bytes of every file are checked:
/// what someone or something changed in the cache does not get into a tree.
///
/// # Errors
/// When a path is not in the package, its bytes are not the package's, or something else is in the way.
pub fn take_paths(
    tree: &mut Tree,
    shelf: &PackageEntries<'_>,
    mut paths: BTreeSet<String>,
    origin: &str,
) -> Result<Vec<String>, TakeError> {
    let mut waiting: Vec<String> = paths.iter().cloned().collect();
    while let Some(path) = waiting.pop() {
        if let Some(Kind::Symlink(target)) = shelf.get(&path).map(|entry| &entry.kind) {
            let next = merged(&join(&path, target)).into_owned();
            let there = shelf.get(&next).is_some_and(|entry| !matches!(entry.kind, Kind::Directory));
            if there && paths.insert(next.clone()) {
                waiting.push(next);
            }
        }
    }
    verify(shelf, &paths)?;
    let mut moved: BTreeMap<String, String> = BTreeMap::new();
    for path in &paths {
        let Some(entry) = shelf.get(path) else {
            let package = shelf.package.to_string();
            return Err(TakeError::Nothing { package, pattern: path.clone(), near: None });
        };
        let (kind, entry) = match &entry.kind {
            Kind::Hardlink(first) => {
                let first = merged(first).into_owned();
                let holder = shelf.get(&first).filter(|holder| matches!(holder.kind, Kind::File(_)));
                let holder = holder.ok_or_else(|| TakeError::LostLink {
                    package: shelf.package.to_string(),
                    path: path.clone(),
                    target: first.clone(),
                })?;
                if paths.contains(&first) {
                    (Kind::Hardlink(first), holder)
                } else if let Some(name) = moved.get(&first) {
                    (Kind::Hardlink(name.clone()), holder)
                } else {
                    // The first name stays behind: the content moves to the first of the others.
                    moved.insert(first, path.clone());
                    (holder.kind.clone(), holder)
                }
            }
            kind => (kind.clone(), entry),
        };
        for (at, _) in path.match_indices('/') {
            let above = shelf.get(&path[..at]).filter(|above| matches!(above.kind, Kind::Directory));
            if let Some(above) = above {
                tree.insert(&path[..at], node(above.kind.clone(), above, origin))?;
            }
        }
        tree.insert_parents(path);
        tree.insert(path, node(kind, entry, origin))?;
    }
    Ok(paths.into_iter().collect())
}

/// Checks the bytes of files, in parallel. A hard link's are its first name's.
fn verify(shelf: &PackageEntries<'_>, paths: &BTreeSet<String>) -> Result<(), TakeError> {
    paths.par_iter().try_for_each(|path| {
        let kind = match shelf.get(path).map(|entry| &entry.kind) {
            Some(Kind::Hardlink(first)) => shelf.get(&merged(first)).map(|entry| &entry.kind),
            kind => kind,
        };
        let Some(Kind::File(content)) = kind else { return Ok(()) };
        let package = || shelf.package.to_string();
        content.verify().map_err(|source| TakeError::Read { package: package(), path: path.clone(), source })
    })
}

fn node(kind: Kind, entry: &Entry, origin: &str) -> Node {
    Node { kind, owner: entry.owner, mode: entry.mode, xattrs: entry.xattrs.clone(), origin: origin.into() }
}

/// Where a symbolic link at `path` points, as a path from the root.
fn join(path: &str, target: &str) -> String {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    if target.starts_with('/') { lexical(target) } else { lexical(&format!("{folder}/{target}")) }
}

/// A path from the root without `.`, `..` and empty parts.
pub(crate) fn lexical(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => (),
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Symbolic links of the tree that lead nowhere, with their targets. Links into directories that are filled at run time
/// (`/run`, `/proc` and so on) are meant to.
#[must_use]
pub fn dangling(tree: &Tree) -> Vec<(String, String)> {
    let at_run_time = |target: &str| {
        let first = target.split('/').next().unwrap_or_default();
        matches!(first, "run" | "proc" | "sys" | "dev" | "tmp" | "state" | "data")
    };
    let links = tree.nodes.iter().filter_map(|(path, node)| match &node.kind {
        Kind::Symlink(target) => Some((path, target)),
        _ => None,
    });
    links
        .filter(|(path, target)| !at_run_time(&join(path, target)) && tree.resolve(path).is_none())
        .map(|(path, target)| (path.clone(), target.clone()))
        .collect()
}
