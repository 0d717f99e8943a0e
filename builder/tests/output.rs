//! Standard output that takes no more ends a command, with one line or none, and never with a panic.

use crate::folders::copy;
use crate::format_support::{public, write_image};
use microdc::cli;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

/// What the shell says of a program that a closed pipe ended.
const READER_IS_GONE: i32 = 141;

/// A folder with an image, its bundle and the key that signed both.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("a.img");
    write_image(&image, None);
    crate::installer::installable(&folder.path().join("installer.img"));
    let trusted = [public(1)];
    let request = microdc::bundle::Request { image: &image, slot: None, trusted: &trusted, frame_blocks: 8 };
    microdc::bundle::write(&request, Some(&folder.path().join("a.bundle")), &|_| Ok(())).unwrap();
    std::fs::write(folder.path().join("one.pub"), public(1).to_text()).unwrap();
    let node = microdc(&["node", "new", "router", "r1"], Stdio::piped(), folder.path()).stdout;
    // With a key, or `node check` warns that nobody can log in.
    let key = "keys = [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1WqPZ3m0c1mFvYBkTt9k5N0c4d8gq3cJY1x2vV4n7b\"]";
    let node = String::from_utf8(node).unwrap().replace("keys = []", key);
    std::fs::write(folder.path().join("node.toml"), node).unwrap();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for name in ["profiles", "overlays"] {
        copy(&workspace.join(name), &folder.path().join(name));
    }
    folder
});

/// A call of each verb that prints. What makes a file gets a name of its own.
fn calls(run: &str) -> Vec<Vec<String>> {
    let calls = [
        "bundle a.img --key one.pub -o RUN.bundle",
        "cache gc --dry-run",
        "cache show",
        "completions bash",
        "diff a.img a.bundle",
        "diff a.img a.bundle --json",
        "doctor",
        "inspect a.bundle --key one.pub",
        "inspect a.img --files",
        "inspect a.img --key one.pub",
        "inspect a.img --key one.pub --json",
        "keys new --folder RUN.keys",
        "keys show one.pub",
        "man",
        "man node check",
        "man --to RUN.man",
        "new RUN",
        "node check node.toml",
        "node new router r1",
        "schema node",
        "schema profile --markdown",
        "installer installer.img --key one.pub --to RUN-installer --install http://10.0.0.1/a.bundle",
        "installer installer.img --key one.pub --to RUN-installer --install http://10.0.0.1/a.bundle --json",
        "schema profile",
        "serve . --listen 127.0.0.1:0",
        "verify a.bundle --key one.pub",
        "verify a.img --key one.pub",
        "verify a.img --key one.pub --json",
        "--help",
        "--version",
    ];
    calls.iter().map(|call| call.split(' ').map(|word| word.replace("RUN", run)).collect()).collect()
}

/// Verbs that print after work that is too long for here: building, booting, resolving, signing what was built, and asking
/// Debian's security tracker; `flash` says what the disks of this machine are. They print by the same functions, which the
/// last test holds them to.
const LONG: [&str; 7] = ["audit", "build", "boot", "flash", "lock", "sbom", "sign"];

fn microdc(arguments: &[&str], out: Stdio, folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_microdc"));
    command.args(arguments).current_dir(folder).env("MICRODC_CACHE", folder.join("cache"));
    command.stdin(Stdio::null()).stdout(out).stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().unwrap()
}

/// Runs every call with a standard output of this kind; gives its arguments, exit status and standard error.
fn every_call(run: &str, out: impl Fn() -> Stdio) -> Vec<(String, Option<i32>, String)> {
    let call = |arguments: Vec<String>| {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = microdc(&words, out(), FOLDER.path());
        (arguments.join(" "), output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    calls(run).into_iter().map(call).collect()
}

/// Clap prints help and version itself, and does not say that it could not.
fn is_clap(arguments: &str) -> bool {
    arguments.starts_with("--")
}

#[test]
fn when_the_reader_has_gone_a_command_ends_without_a_word() {
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    for (arguments, status, said) in every_call("gone", closed) {
        assert_eq!(said, "", "{arguments}");
        assert!(status == Some(READER_IS_GONE) || is_clap(&arguments), "{arguments}: {status:?}");
    }
}

#[test]
fn when_the_disk_is_full_a_command_fails_with_one_line() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    for (arguments, status, said) in every_call("full", full) {
        if is_clap(&arguments) {
            assert!(!said.contains("panicked"), "{arguments}: {said}");
            continue;
        }
        assert_eq!(status, Some(1), "{arguments}: {said}");
        assert!(said.starts_with("error: ") && said.lines().count() == 1, "{arguments}: {said}");
        assert!(said.contains("standard output") && said.contains("No space left"), "{arguments}: {said}");
    }
}

#[test]
fn when_standard_error_takes_no_more_nothing_panics() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_microdc"));
    command.args(["verify", "no-such.img", "--key", "one.pub"]).current_dir(FOLDER.path());
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert_eq!(command.stderr(full).status().unwrap().code(), Some(1), "a panic would be 101");
}

#[test]
fn every_verb_is_called_here_or_known_to_be_long() {
    let mut called: BTreeSet<String> = calls("x").into_iter().filter_map(|call| call.into_iter().next()).collect();
    called.extend(LONG.map(str::to_owned));
    let command = cli::command();
    let missing: Vec<_> =
        command.get_subcommands().map(clap::Command::get_name).filter(|verb| !called.contains(*verb)).collect();
    assert!(missing.is_empty(), "no call of {missing:?}: add one to `calls`");
}

#[test]
fn the_command_line_prints_in_one_place() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            // Tests may print.
            let text = text.split("#[cfg(test)]").next().unwrap();
            for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
                let bare = ["println!(", "print!(", "io::stdout()"].iter().any(|word| line.contains(word));
                let allowed = path.ends_with("cli/output.rs");
                assert!(!bare || allowed, "{}:{}: use outln!, out! or note!", path.display(), at + 1);
            }
            files += 1;
        }
    }
    assert!(files > 50, "{files} files");
}
