//! What must not come into git: private keys, and what builds make.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// A file that could not be extended.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}; add {} to .gitignore yourself", path.display(), lines.join(" and "))]
pub struct GitignoreError {
    path: PathBuf,
    lines: Vec<String>,
    source: io::Error,
}

/// Sees to it that git ignores the private keys in `keys`, and with `out` what builds make, by `.gitignore` in `base`; for keys
/// elsewhere, by one beside them. Returns the file when it was written.
///
/// # Errors
/// When it can be neither read nor written.
pub fn extend(base: &Path, keys: &Path, out: bool) -> Result<Option<PathBuf>, GitignoreError> {
    let inside = if keys.is_absolute() { keys.strip_prefix(base).ok() } else { Some(keys) };
    let plain = |path: &&Path| path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let inside = inside.filter(plain).and_then(Path::to_str);
    let (folder, pattern) = match inside {
        Some("") => (base.to_owned(), "/*.key".to_owned()),
        Some(inside) => (base.to_owned(), format!("/{inside}/*.key")),
        None => (base.join(keys), "/*.key".to_owned()),
    };
    let mut wanted = vec![pattern];
    if out && inside.is_some() {
        wanted.push("/out/".to_owned());
    }
    let path = folder.join(".gitignore");
    append(&path, &wanted)
        .map_err(|source| GitignoreError { path: path.clone(), lines: wanted, source })
        .map(|written| written.then_some(path))
}

/// Adds the lines that no line of the file stands for already. Returns whether there were any.
fn append(path: &Path, wanted: &[String]) -> io::Result<bool> {
    let there = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let text = String::from_utf8_lossy(&there);
    let missing: Vec<&String> = wanted.iter().filter(|line| !covered(&text, line)).collect();
    if missing.is_empty() {
        return Ok(false);
    }
    let mut add = String::new();
    if !there.is_empty() && !there.ends_with(b"\n") {
        add.push('\n');
    }
    add.push_str("# microdc: private keys, and what builds make\n");
    missing.iter().for_each(|line| add.push_str(&format!("{line}\n")));
    std::fs::OpenOptions::new().create(true).append(true).open(path)?.write_all(add.as_bytes())?;
    Ok(true)
}

/// Whether some line means the same or more. What comes later may take it back (`!`): then the line is added again, behind.
fn covered(text: &str, wanted: &str) -> bool {
    let bare = |line: &str| line.trim_matches('/').to_owned();
    let wanted = bare(wanted);
    let last = wanted.rsplit('/').next().unwrap_or(&wanted);
    let mut covered = false;
    for line in text.lines().map(str::trim_end) {
        let (taken_back, line) = line.strip_prefix('!').map_or((false, line), |line| (true, line));
        if bare(line) == wanted || line == last {
            covered = !taken_back;
        }
    }
    covered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(folder: &Path) -> String {
        std::fs::read_to_string(folder.join(".gitignore")).unwrap()
    }

    #[test]
    fn keys_and_builds_are_ignored_once_and_what_is_there_stays() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path();
        std::fs::write(base.join(".gitignore"), "*.tmp").unwrap();
        assert_eq!(extend(base, &base.join("keys"), true).unwrap(), Some(base.join(".gitignore")));
        let once = text(base);
        assert_eq!(once, "*.tmp\n# microdc: private keys, and what builds make\n/keys/*.key\n/out/\n");
        assert_eq!(extend(base, Path::new("keys"), true).unwrap(), None);
        assert_eq!(text(base), once);
    }

    #[test]
    fn what_is_ignored_already_is_left_alone_unless_it_is_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        for (before, extended) in [
            ("/target\n/out\n/keys/*.key\n", false),
            ("out/\n*.key\n", false),
            ("out\nkeys/*.key\r\n", false),
            ("out\n*.key\n!*.key\n", true),
            ("# *.key\nout\n", true),
            ("output\nkeys/*.keys\n", true),
        ] {
            std::fs::write(folder.path().join(".gitignore"), before).unwrap();
            assert_eq!(extend(folder.path(), Path::new("keys"), true).unwrap().is_some(), extended, "{before:?}");
            assert!(text(folder.path()).starts_with(before));
        }
    }

    #[test]
    fn git_itself_ignores_the_keys() {
        let folder = tempfile::tempdir().unwrap();
        let git = |arguments: &[&str]| {
            let mut git = std::process::Command::new("git");
            git.args(arguments).current_dir(folder.path()).output().unwrap()
        };
        assert!(git(&["init", "-q"]).status.success());
        let elsewhere = folder.path().join("a/secret");
        std::fs::create_dir_all(&elsewhere).unwrap();
        extend(folder.path(), Path::new("keys"), true).unwrap();
        extend(&folder.path().join("b"), &elsewhere, true).unwrap();
        for (path, ignored) in [
            ("keys/release.key", true),
            ("keys/release.pub", false),
            ("out/router.img", true),
            ("a/secret/x.key", true),
        ] {
            assert_eq!(git(&["check-ignore", "-q", path]).status.success(), ignored, "{path}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named_with_the_lines() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".gitignore")).unwrap();
        let said = extend(folder.path(), Path::new("keys"), true).unwrap_err().to_string();
        assert!(said.contains(".gitignore") && said.contains("/keys/*.key and /out/"), "{said}");
    }
}
