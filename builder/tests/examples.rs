//! Every example of a `microdc` command line, in help texts and in the pages of the repository, is run in a project of its
//! own; the few that need a board, a site or minutes are read by the command line's own parser at least.

use crate::end_to_end::project::{NOWHERE, Project, Warmth};
use crate::end_to_end::{MICRODC, said, workspace};
use crate::folders::copy;
use microdc::cli;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Examples that are only parsed: what they contain, and why they are not run here.
const ONLY_PARSED: [(&str, &str); 14] = [
    ("microdc audit", "asks Debian's security tracker: audit's own tests do it with a server of theirs"),
    ("boot out/router.img --raspi4b", "the boot tests do it, for minutes"),
    ("10.0.0.254", "an address of a site"),
    ("inspect --package", "asks Debian's archive: the tests of elsewhere.rs do it with an archive of theirs"),
    ("--update", "asks Debian's archive: lock's own tests do it with an archive of theirs"),
    ("minio", "compiles MinIO, for minutes"),
    ("k3s", "takes a release that is not Debian's"),
    ("tinkerbell", "takes a release that is not Debian's"),
    ("--all", "makes all of them"),
    ("edge.toml", "a profile of the reader's own"),
    ("/dev/", "a disk of the reader's own"),
    ("http://", "a server of the site"),
    ("https://", "a server of the site"),
    ("ssh ", "a node"),
];

/// The same, of whole lines.
const ONLY_PARSED_LINES: [(&str, &str); 2] = [
    ("microdc lock", "resolves every profile from Debian's archive"),
    ("microdc lock --check", "looks at every profile"),
];

/// An example and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Example {
    line: String,
    place: String,
}

/// Those in the help texts.
fn in_help() -> Vec<Example> {
    let mut top = cli::command().disable_help_subcommand(true);
    top.build();
    let mut queue = vec![top];
    let mut found = Vec::new();
    while let Some(command) = queue.pop() {
        let place = format!("help of {}", command.get_display_name().unwrap_or("microdc"));
        let after = joined(&command.get_after_help().map(ToString::to_string).unwrap_or_default());
        let lines =
            after.lines().filter_map(|line| line.strip_prefix("  ")).filter(|line| line.starts_with("microdc "));
        found.extend(lines.map(|line| Example { line: without_comment(line), place: place.clone() }));
        queue.extend(command.get_subcommands().cloned());
    }
    found
}

/// The pages for people, and whether a line of theirs is in a block of commands.
fn pages() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut queue = vec![workspace().to_owned()];
    while let Some(folder) = queue.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() && !path.is_symlink() && !name.starts_with('.') && name != "target" && name != "out" {
                queue.push(path);
            } else if name.ends_with(".md") && name != "CHANGELOG.md" {
                let place = path.strip_prefix(workspace()).unwrap().display().to_string();
                found.push((place, std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// Commands in blocks marked `sh`.
fn in_blocks() -> Vec<Example> {
    let mut found = Vec::new();
    for (place, text) in pages() {
        for block in text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            for line in joined(block).lines() {
                let line = line.replace("cargo run --release -- ", "microdc ");
                if line.starts_with("microdc ") {
                    found.push(Example { line: without_comment(&line), place: place.clone() });
                }
            }
        }
    }
    found
}

/// Commands within sentences: `microdc keys new`.
fn in_sentences() -> Vec<Example> {
    let mut found = Vec::new();
    for (place, text) in pages() {
        let outside: String = text.split("```").step_by(2).collect();
        for span in outside.split('`').skip(1).step_by(2).filter(|span| span.starts_with("microdc ")) {
            let line = span.split_whitespace().collect::<Vec<_>>().join(" ");
            found.push(Example { line, place: place.clone() });
        }
    }
    found
}

/// A line that goes on behind a backslash is one line.
fn joined(text: &str) -> String {
    text.split("\\\n").map(|part| part.trim_start_matches(' ')).collect()
}

/// What follows a `#`, or in a column of its own, is for people.
fn without_comment(line: &str) -> String {
    let line = line.split("  #").next().unwrap_or(line);
    line.split("   ").next().unwrap_or(line).trim_end().to_owned()
}

/// The words of the first program of a line, as a shell takes them.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = None;
    for letter in line.chars() {
        match (quoted, letter) {
            (None, '|' | '>' | '<' | '&' | ';') => break,
            (None, '\'' | '"') => quoted = Some(letter),
            (Some(quote), _) if letter == quote => quoted = None,
            (None, ' ') => words.push(String::new()),
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_example_is_understood_by_the_command_line() {
    for Example { line, place } in in_help().into_iter().chain(in_blocks()) {
        if let Err(error) = cli::command().try_get_matches_from(words(&line)) {
            panic!("{place}: {line}\n{error}");
        }
    }
    use clap::error::ErrorKind::{InvalidSubcommand, UnknownArgument};
    for Example { line, place } in in_sentences() {
        match cli::command().try_get_matches_from(words(&line)) {
            Ok(_) => (),
            Err(error) if matches!(error.kind(), InvalidSubcommand | UnknownArgument) => {
                panic!("{place}: {line}\n{error}")
            }
            // In a sentence, a verb may be named without what it works on, or with a word in its place.
            Err(_) => (),
        }
    }
}

/// A project in which a reader may be, and where each example begins again.
struct Bench {
    project: Project,
    /// `microdc`, as the examples call it.
    bin: PathBuf,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let project = Project::new(folder.path(), Warmth::Warm);
        project.write("microdc.toml", &format!("[debian]\nmirror = \"{NOWHERE}\"\n"));
        let bin = folder.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        // A build takes the node's program that is there, and a server ends after a while.
        let wrapper = format!(
            "#!/bin/sh\ncase $1 in\n  build) shift; exec {MICRODC} build --supply firstboot=firstboot \"$@\" ;;\n  serve) \
             exec timeout --foreground --preserve-status -s INT 2 {MICRODC} \"$@\" ;;\nesac\nexec {MICRODC} \"$@\"\n"
        );
        let path = bin.join("microdc");
        std::fs::write(&path, wrapper).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        let bench = Bench { project, bin, folder };
        // What examples take for granted: an image, its bundle, an older image, a node config.
        for line in [
            "microdc build router",
            "microdc bundle out/router.img -o out/router-1.2.3.bundle",
            "cp out/router-1.2.3.bundle out/router-VERSION.bundle",
            "cp --sparse=always out/router.img out/old.img",
            "microdc build router --unsigned --public keys/development.pub -o out/unsigned/router.img",
            "microdc node new router r1 > r1.toml",
        ] {
            bench.run(&bench.project.folder, line);
        }
        bench
    }

    fn run(&self, folder: &Path, line: &str) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:/usr/sbin:/sbin:{path}", self.bin.display());
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", line]).current_dir(folder).env_clear().env("PATH", path);
        command.env("MICRODC_CACHE", &self.project.cache).env("HOME", self.folder.path()).env("LC_ALL", "C.UTF-8");
        // Where the toolchain is, which `microdc doctor` asks.
        let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
        for (name, folder) in [("RUSTUP_HOME", ".rustup"), ("CARGO_HOME", ".cargo")] {
            command.env(name, std::env::var_os(name).map_or_else(|| home.join(folder), PathBuf::from));
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{line}\n{}", said(&output, output.status.code().unwrap_or(-1)));
        said(&output, 0)
    }

    /// A copy of the project, prepared for what a line takes for granted.
    fn prepared(&self, number: usize, line: &str) -> PathBuf {
        let (from, folder) = (&self.project.folder, self.folder.path().join(format!("example-{number}")));
        for name in ["profiles", "overlays", "keys"] {
            copy(&from.join(name), &folder.join(name));
        }
        let take = |name: &str, to: &str| {
            let to = folder.join(to);
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            let mut copy = Command::new("cp");
            copy.args(["-p", "--sparse=always", "--reflink=auto"]).arg(from.join(name)).arg(to);
            said(&copy.output().unwrap(), 0);
        };
        for name in ["microdc.toml", "firstboot"] {
            take(name, name);
        }
        // Folders of the reader's own; the page of installations makes the second one.
        for name in ["outside", "srv/nodes"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
        }
        if !line.contains("> r1.toml") {
            take("r1.toml", "r1.toml");
        }
        let unsigned = line.contains("--attach") || line.contains("sign out/router.manifest");
        if unsigned {
            take("out/unsigned/router.img", "out/router.img");
            take("out/unsigned/router.manifest", "out/router.manifest");
        } else if !line.starts_with("microdc build") {
            for name in ["out/router.img", "out/old.img", "out/router-1.2.3.bundle", "out/router-VERSION.bundle"] {
                if line.contains(name) || line.contains("serve out") {
                    take(name, name);
                }
            }
        }
        // Older ones of the reader's own, to compare with.
        let older = [
            ("out/old.img", "old.img"),
            ("out/router-1.2.3.bundle", "router-1.2.2.bundle"),
            ("profiles/router.lock", "old.lock"),
        ];
        for (name, to) in older.into_iter().filter(|(_, to)| line.contains(&format!(" {to}"))) {
            take(name, to);
        }
        // The development key under the names of a release key, where a line names it.
        if !line.contains("keys new") {
            take("keys/development.pub", "keys/release.pub");
            take("keys/development.key", "outside/release.key");
            if unsigned {
                take("keys/development.key", "keys/release.key");
            }
        }
        if line.contains("--attach") {
            self.run(&folder, "microdc sign out/router.manifest");
        }
        folder
    }
}

/// Folders of the reader's own become one of the bench's.
fn at_the_bench(line: &str) -> String {
    ["/srv/", "/tmp/", "/media/stick/"]
        .iter()
        .fold(line.to_owned(), |line, outside| line.replace(outside, "outside/"))
}

#[test]
fn every_example_does_what_it_says() {
    let examples: BTreeSet<Example> = in_help().into_iter().chain(in_blocks()).collect();
    let lines: BTreeSet<&str> = examples.iter().map(|example| example.line.as_str()).collect();
    assert!(lines.len() > 30, "where are the examples? {lines:#?}");
    let bench = Bench::new();
    let mut ran = 0;
    for (number, line) in lines.iter().enumerate() {
        let whole = ONLY_PARSED_LINES.iter().any(|(whole, _)| line == whole);
        if whole || ONLY_PARSED.iter().any(|(part, _)| line.contains(part)) {
            continue;
        }
        // Without a terminal, only a boot that ends by itself makes sense; it shows that the others' arguments are good.
        if line.starts_with("microdc boot") && !line.contains("--until-healthy") {
            continue;
        }
        let folder = bench.prepared(number, line);
        let said = bench.run(&folder, &at_the_bench(line));
        assert!(!said.contains("panicked"), "{line}\n{said}");
        std::fs::remove_dir_all(folder).unwrap();
        ran += 1;
    }
    assert!(ran * 3 > lines.len() * 2, "only {ran} of {} examples are run", lines.len());
    the_script_of_the_docs_publishes(&bench);
}

/// `builder/docs/ci.sh`, but for its boot: an example has shown that.
fn the_script_of_the_docs_publishes(bench: &Bench) {
    let folder = bench.prepared(usize::MAX, "microdc build");
    let without_boot = folder.join("without-boot/microdc");
    std::fs::create_dir(without_boot.parent().unwrap()).unwrap();
    let wrapper = format!("#!/bin/sh\n[ \"$1\" = boot ] || exec {}/microdc \"$@\"\n", bench.bin.display());
    std::fs::write(&without_boot, wrapper).unwrap();
    std::fs::set_permissions(&without_boot, PermissionsExt::from_mode(0o755)).unwrap();
    let script = workspace().join("builder/docs/ci.sh");
    let said = bench.run(&folder, &format!("PATH=$PWD/without-boot:$PATH {} router www", script.display()));
    assert!(said.contains("published: www/router-"), "{said}");
    bench.run(&folder.join("www"), "sha256sum -c router.sha256 && test -f router-*.bundle && test -f router.img");
    let names = std::fs::read_dir(folder.join("www")).unwrap().count();
    assert_eq!(names, 3, "nothing else lies there");
}

#[test]
fn the_exceptions_are_still_needed() {
    let all: Vec<Example> = in_help().into_iter().chain(in_blocks()).collect();
    let used = ONLY_PARSED.iter().filter(|(part, _)| all.iter().any(|example| example.line.contains(part))).count();
    assert!(used * 3 >= ONLY_PARSED.len(), "only {used} of the exceptions are used: remove the others");
}
