//! No two files of a crate import each other in a circle: whoever reads one file can stop at what it imports.
//!
//! A module and what lies below it count as one another's own: a child may use its parent's types, and a parent re-exports
//! what its children hold. A re-exported name leads to the file that it comes from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// `a::b` as `["a", "b"]`, below the crate.
type Module = Vec<String>;

/// The files of a crate, by module, without their tests.
fn files(source: &Path) -> BTreeMap<Module, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![source.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // A folder of programs: each is a crate of its own.
                if !path.ends_with("src/bin") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.insert(module(source, &path), without_tests_and_comments(&text));
            }
        }
    }
    found
}

fn module(source: &Path, path: &Path) -> Module {
    let below = path.strip_prefix(source).unwrap().with_extension("");
    let mut module: Module = below.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

fn without_tests_and_comments(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Every path that begins with `crate`, `super` or `self`, and with `also` where they are given, with groups in braces
/// written out.
fn paths(text: &str, also: &BTreeSet<String>) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("::") {
        let start = rest[..at].rfind(|c: char| !c.is_alphanumeric() && c != '_').map_or(0, |at| at + 1);
        let first = &rest[start..at];
        let follows_path = rest[..start].ends_with("::") || rest[..start].ends_with('$');
        if !follows_path && (matches!(first, "crate" | "super" | "self") || also.contains(first)) {
            tree(&rest[start..], &[], &mut all);
        }
        rest = &rest[at + 2..];
    }
    all
}

/// Reads `a::b::{c, d::e}`; returns what follows.
fn tree<'t>(text: &'t str, before: &[String], all: &mut Vec<Vec<String>>) -> &'t str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = tree(rest, before, all).trim_start();
            match rest.strip_prefix(',') {
                Some(more) if !more.trim_start().starts_with('}') => rest = more,
                Some(more) => rest = more.trim_start(),
                None => {}
            }
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            if rest.is_empty() || rest.starts_with(';') {
                return rest;
            }
            let skip = rest.find([',', '}']).unwrap_or(rest.len());
            rest = rest[skip..].strip_prefix(',').unwrap_or(&rest[skip..]);
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let path = [before, &[text[..end].to_owned()]].concat();
    match text[end..].strip_prefix("::") {
        Some(rest) if end > 0 => tree(rest, &path, all),
        _ => {
            all.push(path);
            &text[end..]
        }
    }
}

/// A path as it is below the crate.
fn absolute(path: &[String], module: &Module) -> Option<Module> {
    let mut at: Module = match path.first()?.as_str() {
        "crate" => Vec::new(),
        _ => module.clone(),
    };
    let mut rest = path;
    while let Some((first, more)) = rest.split_first() {
        match first.as_str() {
            "crate" | "self" => {}
            "super" => drop(at.pop()?),
            _ => break,
        }
        rest = more;
    }
    at.extend(rest.iter().cloned());
    Some(at)
}

struct Crate {
    files: BTreeMap<Module, String>,
    /// Where a name that a module re-exports comes from.
    exports: BTreeMap<Module, Module>,
}

impl Crate {
    fn of(source: &Path) -> Crate {
        let files = files(source);
        let mut exports = BTreeMap::new();
        for (module, text) in &files {
            let children: BTreeSet<String> = files
                .keys()
                .filter(|other| other.len() == module.len() + 1 && other.starts_with(module))
                .filter_map(|other| other.last().cloned())
                .collect();
            for statement in text.split(';').filter_map(|part| Some(&part[part.find("pub use ")?..])) {
                for path in paths(statement, &children) {
                    let (Some(from), Some(name)) = (absolute(&path, module), path.last()) else { continue };
                    exports.insert([module.as_slice(), &[name.clone()]].concat(), from);
                }
            }
        }
        Crate { files, exports }
    }

    /// The file that a path leads to.
    fn file(&self, mut path: Module) -> Module {
        // As many steps as a chain of re-exports can have.
        for _ in 0..8 {
            match (1..=path.len()).find_map(|length| Some((length, self.exports.get(&path[..length])?))) {
                Some((length, from)) => path = [from.as_slice(), &path[length..]].concat(),
                None => break,
            }
        }
        while !self.files.contains_key(&path) {
            path.pop();
        }
        path
    }

    fn imports(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let of = |(module, text): (&'_ Module, &String)| -> BTreeSet<Module> {
            let absolute = paths(text, &BTreeSet::new()).into_iter().filter_map(|path| absolute(&path, module));
            let files = absolute.map(|path| self.file(path));
            files.filter(|file| !file.starts_with(module) && !module.starts_with(file)).collect()
        };
        self.files.iter().map(|file| (file.0, of(file))).collect()
    }

    /// Files that reach one another.
    fn circles(&self) -> BTreeSet<BTreeSet<String>> {
        let imports = self.imports();
        let reached = |from: &Module| {
            let mut seen: BTreeSet<Module> = BTreeSet::new();
            let mut open = vec![from.clone()];
            while let Some(next) = open.pop() {
                for to in imports.get(&next).into_iter().flatten() {
                    if seen.insert(to.clone()) {
                        open.push(to.clone());
                    }
                }
            }
            seen
        };
        let all: BTreeMap<&Module, BTreeSet<Module>> = self.files.keys().map(|file| (file, reached(file))).collect();
        let circle = |file: &&Module| -> Option<BTreeSet<String>> {
            let back = |other: &&Module| all[*file].contains(*other) && all[*other].contains(*file);
            let circle: BTreeSet<String> = self.files.keys().filter(back).map(|file| file.join("::")).collect();
            (!circle.is_empty()).then_some(circle)
        };
        self.files.keys().filter_map(|file| circle(&file)).collect()
    }
}

fn sources() -> Vec<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let manifest = std::fs::read_to_string(workspace.join("Cargo.toml")).unwrap();
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    members.split('"').skip(1).step_by(2).map(|member| workspace.join(member).join("src")).collect()
}

#[test]
fn no_crate_has_an_import_circle() {
    let mut circles = Vec::new();
    for source in sources() {
        let found = Crate::of(&source).circles();
        circles.extend(found.iter().map(|circle| {
            let files: Vec<&str> = circle.iter().map(String::as_str).collect();
            format!("{}: {}", source.display(), files.join(", "))
        }));
    }
    assert!(circles.is_empty(), "these files import each other:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found_through_groups_re_exports_and_paths_in_code() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("lib.rs", "mod a;\nmod b;\nmod c;\npub mod d;\n");
    write("a.rs", "use crate::{c::{Other, Thing}, d};\n");
    write("b/mod.rs", "mod inner;\npub use inner::Deep;\n");
    write("b/inner.rs", "fn f() { crate::a::g() }\n");
    write("c.rs", "use super::b::Deep;\n");
    write("d.rs", "// use crate::a;\n#[cfg(test)]\nmod tests { use crate::a; }\n");
    let circles = Crate::of(folder.path()).circles();
    let circle = ["a", "b::inner", "c"].map(str::to_owned);
    assert_eq!(circles, BTreeSet::from([BTreeSet::from(circle)]));
}
