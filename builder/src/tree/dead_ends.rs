//! What the tree has and nothing can use: scripts whose interpreter is not in the image, and links that lead nowhere.

use super::take::dangling;
use super::{Content, Kind, Tree};

/// The longest first line that Linux reads (BINPRM_BUF_SIZE in include/uapi/linux/binfmts.h).
const FIRST_LINE: u64 = 256;
/// Where programs are found by name.
const PATH: [&str; 4] = ["usr/local/bin", "usr/bin", "usr/sbin", "usr/local/sbin"];

/// What cannot be used, each in a sentence, by path.
#[must_use]
pub fn find(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, node) in &tree.nodes {
        let Kind::File(content) = &node.kind else { continue };
        if node.mode & 0o111 == 0 {
            continue;
        }
        if let Some(interpreter) = interpreter(content).and_then(|line| missing(tree, &line)) {
            found.push(format!(
                "/{path} ({}) is a script for {interpreter}, which is not in the image: take it too, or leave the script out",
                node.origin
            ));
        }
    }
    for (path, target) in dangling(tree) {
        let origin = tree.nodes.get(&path).map_or_else(String::new, |node| format!(" ({})", node.origin));
        found.push(format!(
            "/{path}{origin} is a link to {target}, which is not in the image: take it too, or leave the link out"
        ));
    }
    found
}

/// The first line of a script, behind `#!`.
fn interpreter(content: &Content) -> Option<String> {
    let mut line = vec![0; content.len().min(FIRST_LINE) as usize];
    content.read_exact_at(&mut line, 0).ok()?;
    let line = line.strip_prefix(b"#!")?;
    let end = line.iter().position(|&byte| byte == b'\n').unwrap_or(line.len());
    Some(String::from_utf8_lossy(&line[..end]).trim().to_owned())
}

/// The program of such a line that is not in the tree. `/usr/bin/env NAME` looks for the name.
fn missing(tree: &Tree, line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let program = words.next()?;
    let there = |path: &str| tree.resolve(path.trim_start_matches('/')).is_some();
    if !there(program) {
        return Some(program.to_owned());
    }
    if program.rsplit('/').next() != Some("env") {
        return None;
    }
    let name = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    let found =
        if name.contains('/') { there(name) } else { PATH.iter().any(|folder| there(&format!("{folder}/{name}"))) };
    (!found).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Node, skeleton};

    fn found(files: &[(&str, &str)], links: &[(&str, &str)]) -> Vec<String> {
        let mut tree = skeleton();
        let files = files.iter().map(|(path, text)| (path, Kind::File(Content::from(text.as_bytes().to_vec()))));
        let links = links.iter().map(|(path, target)| (path, Kind::Symlink((*target).to_owned())));
        for (path, kind) in files.chain(links) {
            tree.insert_parents(path);
            tree.insert(path, Node::of(kind, 0o755, "package p 1, wanted")).unwrap();
        }
        find(&tree)
    }

    #[test]
    fn scripts_without_their_interpreter_are_named() {
        for (line, missing) in [
            ("#!/usr/bin/python3\n", "/usr/bin/python3"),
            ("#! /bin/sh -e", "/bin/sh"),
            ("#!/usr/bin/env -S LANG=C perl -w\n", "perl"),
        ] {
            let found = found(&[("usr/bin/a", line), ("usr/bin/env", "\x7fELF")], &[]);
            assert_eq!(found.len(), 1, "{line}: {found:?}");
            assert!(
                found[0].starts_with(&format!("/usr/bin/a (package p 1, wanted) is a script for {missing},")),
                "{found:?}"
            );
        }
    }

    #[test]
    fn scripts_with_their_interpreter_and_links_that_lead_somewhere_are_fine() {
        let files = [
            ("usr/bin/a", "#!/usr/bin/env -S dash -e\n"),
            ("usr/bin/env", ""),
            ("usr/bin/dash", ""),
            ("usr/bin/b", "#!/bin/sh"),
        ];
        let links = [("usr/bin/sh", "dash"), ("etc/mtab", "/proc/self/mounts"), ("etc/resolv.conf", "../run/x")];
        assert_eq!(found(&files, &links), Vec::<String>::new());
    }

    #[test]
    fn links_that_lead_nowhere_are_named() {
        let found = found(&[], &[("usr/bin/python3", "python3.13")]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("/usr/bin/python3 (package p 1, wanted) is a link to python3.13, which is not"),
            "{found:?}"
        );
    }
}
