//! The project's Markdown pages: their TOML parses, what they link to is there, and no file keeps the marks of a merge.

use std::path::{Path, PathBuf};

/// What is made or fetched, and not written by people.
const NOT_OURS: [&str; 4] = ["target", "out", ".git", "node_modules"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && !NOT_OURS.iter().any(|name| entry.file_name() == *name) {
            files(&entry.path(), found);
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
}

fn all() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(&root(), &mut found);
    found.into_iter().filter_map(|path| Some((path.clone(), std::fs::read_to_string(path).ok()?))).collect()
}

fn pages() -> Vec<(PathBuf, String)> {
    let pages: Vec<_> = all().into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "md")).collect();
    assert!(pages.len() >= 10, "{}", pages.len());
    pages
}

/// The blocks of a page in this language, each with the number of its first line.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<(usize, Vec<&'t str>)> {
    let mut found = Vec::new();
    let mut inside: Option<(bool, usize, Vec<&str>)> = None;
    for (index, line) in text.lines().enumerate() {
        match (&mut inside, line.trim_start().strip_prefix("```")) {
            (None, Some(named)) => inside = Some((named.trim() == language, index + 2, Vec::new())),
            (Some((_, _, lines)), None) => lines.push(line),
            (Some(_), Some(_)) => {
                if let Some((true, from, lines)) = inside.take() {
                    found.push((from, lines));
                }
                inside = None;
            }
            (None, None) => {}
        }
    }
    assert!(inside.is_none(), "a block is not closed");
    found
}

#[test]
fn no_file_keeps_the_marks_of_a_merge() {
    let marks = ["<", ">", "|"].map(|mark| format!("{} ", mark.repeat(7)));
    let files = all();
    assert!(files.len() > 300, "{}", files.len());
    for (path, text) in files {
        for (index, line) in text.lines().enumerate() {
            assert!(!marks.iter().any(|mark| line.starts_with(mark)), "{}:{}: {line}", path.display(), index + 1);
        }
    }
}

#[test]
fn the_toml_of_every_page_parses() {
    let mut count = 0;
    for (path, text) in pages() {
        for (line, block) in blocks(&text, "toml") {
            let parsed = toml::from_str::<toml::Table>(&block.join("\n"));
            assert!(parsed.is_ok(), "{}:{line}: {}", path.display(), parsed.unwrap_err());
            count += 1;
        }
    }
    assert!(count >= 15, "{count}");
}

/// A heading as the part of a link behind `#`, as forges make it.
fn anchor(heading: &str) -> String {
    let plain = heading.trim_start_matches('#').trim().to_lowercase();
    plain
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-')
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[test]
fn what_the_pages_link_to_is_there() {
    let mut count = 0;
    for (path, text) in pages() {
        for (index, line) in text.lines().enumerate() {
            for (at, _) in line.match_indices("](") {
                let target = line[at + 2..].split(')').next().unwrap();
                if target.contains("://") {
                    continue;
                }
                let (file, part) = target.split_once('#').unwrap_or((target, ""));
                let file = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
                let place = format!("{}:{}: {target}", path.display(), index + 1);
                let linked = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{place}: {error}"));
                let has = |line: &str| line.starts_with('#') && anchor(line) == part;
                assert!(part.is_empty() || linked.lines().any(has), "{place}: no such heading");
                count += 1;
            }
        }
    }
    assert!(count >= 20, "{count}");
}

#[test]
fn the_daemons_that_the_page_of_profiles_shows_are_those_under_test() {
    let read = |path: &str| std::fs::read_to_string(crate::end_to_end::workspace().join(path)).unwrap();
    let (page, tested) = (read("profiles/README.md"), read("qemu-tests/profiles/daemons.toml"));
    let section = page.split("\n## Daemons of Debian, by example\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut count = 0;
    for (line, block) in blocks(section, "toml") {
        for table in block.join("\n").split("\n\n") {
            // Of tables that others add to, the page shows lines.
            let lines = ["[link]", "[kernel]"].iter().any(|name| table.starts_with(name));
            let shown: Vec<&str> = if lines { table.lines().skip(1).collect() } else { vec![table] };
            for shown in shown.iter().filter(|shown| !shown.starts_with("modules = ")) {
                assert!(tested.contains(shown), "line {line} of the section is not in daemons.toml: {shown}");
                count += 1;
            }
        }
    }
    assert!(count >= 10, "{count}");
}
