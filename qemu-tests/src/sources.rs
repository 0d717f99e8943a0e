//! The sources of the workspace as its rules see them: which file imports which, and how long files and functions are.
//! Read as text, without a compiler: enough for code that `cargo fmt` has laid out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The path of a module from the crate's root.
type Module = Vec<String>;

/// A crate's files as its modules. Tests are left out: they may import what they like.
#[derive(Debug, Default)]
struct Sources {
    files: BTreeMap<Module, (PathBuf, String)>,
    /// What a module gives on under its own name: `pub use`.
    given_on: BTreeMap<Module, BTreeMap<String, Module>>,
}

impl Sources {
    /// The crate whose `src` folder this is.
    fn of(src: &Path) -> Sources {
        let root = ["lib.rs", "main.rs"].iter().map(|name| src.join(name)).find(|path| path.exists());
        let mut sources = Sources::default();
        sources.load(Vec::new(), &root.unwrap_or_else(|| panic!("{} has no root", src.display())));
        let modules: Vec<Module> = sources.files.keys().cloned().collect();
        for module in modules {
            for (public, path) in sources.uses(&module).0 {
                if public && let Some(target) = sources.absolute(&module, &path) {
                    let name = target.last().cloned().unwrap_or_default();
                    sources.given_on.entry(module.clone()).or_default().insert(name, target);
                }
            }
        }
        sources
    }

    fn load(&mut self, module: Module, path: &Path) {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let text = without_tests(&text);
        let is_folder = ["lib.rs", "main.rs", "mod.rs"].iter().any(|name| path.ends_with(name));
        let folder = if is_folder { path.parent().unwrap().to_owned() } else { path.with_extension("") };
        self.files.insert(module.clone(), (path.to_owned(), text.clone()));
        for line in text.lines() {
            let words: Vec<&str> = line.trim_end_matches(';').split_whitespace().collect();
            let name = match words.as_slice() {
                ["mod", name] | [_, "mod", name] if line.ends_with(';') => *name,
                _ => continue,
            };
            let places = [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")];
            if let Some(path) = places.iter().find(|path| path.exists()) {
                self.load([module.clone(), vec![name.to_owned()]].concat(), path);
            }
        }
    }

    /// The paths of all `use` of a module, one by one, and whether they are given on; and the code without them.
    fn uses(&self, module: &Module) -> (Vec<(bool, String)>, String) {
        let (mut found, mut code) = (Vec::new(), String::new());
        let mut rest = self.files[module].1.as_str();
        while let Some(at) = rest.find("use ") {
            let (before, behind) = rest.split_at(at);
            let line = before.rsplit('\n').next().unwrap_or_default().trim();
            let (statement, next) = behind[4..].split_once(';').unwrap_or((&behind[4..], ""));
            code.push_str(before);
            if line.is_empty() || line.starts_with("pub") {
                let flat: String = statement.split_whitespace().collect::<Vec<_>>().join(" ");
                found.extend(spread(&flat).into_iter().map(|path| (line.starts_with("pub"), path)));
                rest = next;
            } else {
                code.push(' ');
                rest = &behind[4..];
            }
        }
        code.push_str(rest);
        (found, code)
    }

    /// A path from the crate's root; `None` for what another crate has.
    fn absolute(&self, module: &Module, path: &str) -> Option<Module> {
        let path = path.split(" as ").next()?.trim_end_matches("::self").trim_end_matches("::*");
        let words: Vec<String> = path.split("::").map(str::to_owned).collect();
        let ups = words.iter().take_while(|word| *word == "super").count();
        match words.first()?.as_str() {
            "crate" => Some(words[1..].to_vec()),
            "self" => Some([module.as_slice(), &words[1..]].concat()),
            "super" => Some([&module[..module.len().checked_sub(ups)?], &words[ups..]].concat()),
            first => {
                let child = [module.as_slice(), &[first.to_owned()]].concat();
                self.files.contains_key(&child).then(|| [module.as_slice(), &words].concat())
            }
        }
    }

    /// The module that has what a path names, whoever gives it on.
    fn owner(&self, path: &Module, depth: usize) -> Option<Module> {
        let length = (0..=path.len()).rev().find(|&length| self.files.contains_key(&path[..length]))?;
        let (module, rest) = path.split_at(length);
        let given_on = rest.first().and_then(|name| self.given_on.get(module)?.get(name));
        match given_on {
            Some(target) if target != path && depth < 8 => {
                self.owner(&[target.as_slice(), &rest[1..]].concat(), depth + 1)
            }
            _ => Some(module.to_vec()),
        }
    }

    /// The modules that a module imports: by `use`, or by a path in its code.
    fn imports(&self, module: &Module) -> BTreeSet<Module> {
        let (uses, code) = self.uses(module);
        let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        let name = |path: &str| path.rsplit([':', ' ']).next().unwrap_or_default().to_owned();
        let names: BTreeMap<String, Module> =
            uses.iter().filter_map(|(_, path)| Some((name(path), self.absolute(module, path)?))).collect();
        let mut paths: Vec<String> = uses.into_iter().filter(|(public, _)| !public).map(|(_, path)| path).collect();
        paths.extend(code.split(|c| !is_path(c)).filter(|word| word.contains("::")).map(str::to_owned));
        let of = |path: &String| {
            let absolute = self.absolute(module, path).or_else(|| {
                let (first, rest) = path.split_once("::")?;
                let rest = rest.split("::").map(str::to_owned);
                Some(names.get(first)?.iter().cloned().chain(rest).collect())
            })?;
            self.owner(&absolute, 0).filter(|owner| owner != module)
        };
        paths.iter().filter_map(of).collect()
    }

    /// The files that import each other in a circle, as one way around it: empty when there is none. The files of each
    /// module of `units` count as one.
    fn circle(&self, units: &[&[&str]]) -> Vec<PathBuf> {
        let unit = |module: &Module| {
            let of = units.iter().find(|unit| unit.iter().zip(module).filter(|(a, b)| *a == b).count() == unit.len());
            of.map_or_else(|| module.clone(), |unit| unit.iter().map(|word| (*word).to_owned()).collect())
        };
        let mut imports: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
        for module in self.files.keys() {
            let from = unit(module);
            let to = self.imports(module).iter().map(unit).filter(|to| *to != from).collect::<Vec<_>>();
            imports.entry(from).or_default().extend(to);
        }
        let mut done = BTreeSet::new();
        for module in imports.keys() {
            let mut way = Vec::new();
            if let Some(circle) = walk(module, &imports, &mut way, &mut done) {
                return circle.iter().map(|module| self.files[module].0.clone()).collect();
            }
        }
        Vec::new()
    }
}

fn walk(
    at: &Module,
    imports: &BTreeMap<Module, BTreeSet<Module>>,
    way: &mut Vec<Module>,
    done: &mut BTreeSet<Module>,
) -> Option<Vec<Module>> {
    if let Some(begin) = way.iter().position(|before| before == at) {
        return Some(way[begin..].to_vec());
    }
    if done.contains(at) {
        return None;
    }
    way.push(at.clone());
    let found = imports[at].iter().find_map(|next| walk(next, imports, way, done));
    way.pop();
    done.insert(at.clone());
    found
}

/// `a::{b, c::{d, e}}` as `a::b`, `a::c::d` and `a::c::e`.
fn spread(tree: &str) -> Vec<String> {
    let Some((front, inner)) = tree.trim().split_once('{') else { return vec![tree.trim().to_owned()] };
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let (mut depth, mut part, mut parts) = (0, String::new(), Vec::new());
    for letter in inner.chars() {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        if letter == ',' && depth == 0 {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push(letter);
        }
    }
    parts.push(part);
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts.flat_map(|part| spread(part)).map(|path| format!("{front}{path}")).collect()
}

/// A file without comments and without the modules and items of tests.
fn without_tests(text: &str) -> String {
    let mut kept = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let trimmed = line.trim_start();
        if trimmed.starts_with("//") {
            continue;
        }
        if !(trimmed.starts_with("#[cfg(test)]") || trimmed.starts_with("#[cfg(all(test")) {
            kept.push(line.split(" // ").next().unwrap_or(line));
            continue;
        }
        // The item ends at the first line that closes what its own line opened.
        let indent = &line[..line.len() - trimmed.len()];
        let end = format!("{indent}}}");
        for line in lines.by_ref() {
            let ends = line == end || (line.ends_with(';') && line.trim_start().len() + indent.len() == line.len());
            if ends && !line.trim_start().starts_with('#') {
                break;
            }
        }
    }
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Crates whose files import each other one way.
    const CRATES: [&str; 4] = ["firstboot/contract", "firstboot", "qemu-tests/emulator", "qemu-tests"];
    /// Each of these is one piece of unsafe code in several files.
    const UNITS: [&[&str]; 2] = [&["sys", "firmware"], &["sys", "process"]];

    fn root() -> &'static Path {
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
    }

    fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                rust_files(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn no_two_files_of_a_crate_import_each_other_in_a_circle() {
        for name in CRATES {
            let sources = Sources::of(&root().join(name).join("src"));
            assert!(sources.files.len() > 5, "{name}: {:?}", sources.files.keys());
            let circle = sources.circle(&UNITS);
            assert!(circle.is_empty(), "these files of {name} import each other: {circle:#?}");
        }
    }

    #[test]
    fn a_circle_is_found_whatever_it_goes_through() {
        for (what, parent, one, other) in [
            ("use", "mod one;\nmod other;\n", "use super::other::B;\n", "use super::one::A;\n"),
            ("a group", "mod one;\nmod other;\n", "use crate::{\n    other::{B, C},\n};\n", "use crate::one;\n"),
            ("a path", "mod one;\nmod other;\n", "fn a() {\n    super::other::b();\n}\n", "use crate::one::A;\n"),
            (
                "what is given on",
                "mod one;\nmod other;\npub use other::B;\n",
                "use crate::B;\n",
                "use crate::one::A;\n",
            ),
            (
                "the parent",
                "mod one;\nmod other;\npub struct P;\nfn p() {\n    one::a();\n}\n",
                "use super::P;\n",
                "",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            for (name, text) in [("lib.rs", parent), ("one.rs", one), ("other.rs", other)] {
                fs::write(folder.path().join(name), text).unwrap();
            }
            assert_eq!(Sources::of(folder.path()).circle(&[]).len(), 2, "{what}");
            let test = format!("#[cfg(test)]\nmod tests {{\n    {}}}\n", one.replace('\n', "\n    "));
            fs::write(folder.path().join("one.rs"), test).unwrap();
            assert!(Sources::of(folder.path()).circle(&[]).is_empty(), "{what}, in a test");
        }
    }

    #[test]
    fn no_file_has_more_than_480_lines_and_no_function_more_than_80() {
        let mut files = Vec::new();
        for name in CRATES {
            rust_files(&root().join(name).join("src"), &mut files);
        }
        for path in files {
            let text = fs::read_to_string(&path).unwrap();
            let lines: Vec<&str> = text.lines().collect();
            assert!(lines.len() <= 480, "{}: {} lines", path.display(), lines.len());
            for (at, line) in lines.iter().enumerate() {
                let trimmed = line.trim_start();
                let words = ["fn ", "pub fn ", "pub(crate) fn ", "pub(super) fn ", "async fn ", "pub async fn "];
                if words.iter().any(|word| trimmed.starts_with(word)) && !line.ends_with([';', '}']) {
                    let end = format!("{}}}", &line[..line.len() - trimmed.len()]);
                    let length = lines[at..].iter().position(|line| *line == end).map_or(0, |length| length + 1);
                    assert!(length <= 80, "{}:{}: a function of {length} lines", path.display(), at + 1);
                }
            }
        }
    }
}
