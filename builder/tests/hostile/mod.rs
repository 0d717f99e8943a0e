//! Hostile bytes at every door of the builder, one line each: what is tried, and what is said to it. Each is refused with
//! a message of its own, and nothing of it is written: not into the cache, not beside it, not into the project. Locks and
//! programs are read in memory, where there is nothing to write to.

mod indices;
mod packages;
mod profiles;
mod programs;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// One attempt: what it is, what was said, and what the message must hold.
type Case = (&'static str, String, &'static str);

/// Every message must hold its part, and no two cases may be answered alike.
fn check_all(door: &str, cases: Vec<Case>, at_least: usize) {
    let mut wrong = Vec::new();
    let mut messages = BTreeSet::new();
    for (name, said, part) in &cases {
        println!("{door}: {name}: {}", said.lines().next().unwrap_or_default());
        if !said.contains(part) {
            wrong.push(format!("{name}: no {part:?} in: {said}"));
        }
        if !messages.insert(said) {
            wrong.push(format!("{name}: said of another case too: {said}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= at_least, "{} cases", cases.len());
}

/// Every file and link below a folder, by path, with what is in it.
fn everything(folder: &Path) -> BTreeSet<(String, Vec<u8>)> {
    let mut all = BTreeSet::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                waiting.push(path);
            } else {
                // A pipe has no end.
                let content = if metadata.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
                all.insert((path.display().to_string(), content));
            }
        }
    }
    all
}
