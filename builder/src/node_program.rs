//! Compiles firstboot for the node. The only stage that starts programs: `cargo`, and `rustup` when the target's
//! standard library is missing.
//!
//! The bytes depend on the sources, the lock file and the pinned toolchain alone: paths of this machine are mapped to
//! fixed names, and settings from the environment are kept away from the compiler.

use contract::hash::Digest;
use sha2::{Digest as _, Sha256};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// The node's target.
pub const TARGET: &str = "aarch64-unknown-linux-musl";
/// Cargo profile of what runs as PID 1 (in the workspace's Cargo.toml).
const PROFILE: &str = "node";
/// How soon a running compiler is stopped when it is to be.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// What of the workspace firstboot's bytes depend on.
const INPUTS: [&str; 5] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo/config.toml", "firstboot"];

/// firstboot could not be compiled.
#[derive(Debug, thiserror::Error)]
pub enum NodeProgramError {
    #[error(
        "cannot find firstboot's sources: no folder with Cargo.toml and firstboot/ at or above {0}; run microdc in a \
         checkout of its repository, or pass a compiled one with --supply firstboot=FILE"
    )]
    NoSources(PathBuf),
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot start {program}: {source}; firstboot is compiled with the Rust toolchain: see the README")]
    Start { program: String, source: std::io::Error },
    #[error("`{command}` failed:\n{output}")]
    Failed { command: String, output: String },
    #[error("the compilation of firstboot was stopped")]
    Stopped,
}

/// The workspace that holds firstboot: at or above `from`, else where this program itself was compiled.
///
/// # Errors
/// When there is none.
pub fn sources(from: &Path) -> Result<PathBuf, NodeProgramError> {
    let compiled_at = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let is_workspace = |folder: &&Path| folder.join("firstboot/contract/Cargo.toml").is_file();
    let absolute = std::path::absolute(from).unwrap_or_else(|_| from.to_owned());
    let found = absolute.ancestors().find(is_workspace).or(compiled_at.filter(is_workspace));
    found.map(Path::to_owned).ok_or(NodeProgramError::NoSources(absolute))
}

/// Digest of everything that firstboot's bytes depend on.
///
/// # Errors
/// When a source file cannot be read.
pub fn fingerprint(workspace: &Path) -> Result<Digest, NodeProgramError> {
    let mut files = Vec::new();
    for input in INPUTS {
        collect(&workspace.join(input), &mut files)?;
    }
    files.sort();
    let mut hasher = Sha256::new();
    hasher.update(PROFILE);
    for path in files {
        let content = std::fs::read(&path).map_err(|source| NodeProgramError::Read { path: path.clone(), source })?;
        let name = path.strip_prefix(workspace).unwrap_or(&path).to_string_lossy().into_owned();
        for part in [name.as_bytes(), &content] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    Ok(Digest(hasher.finalize().into()))
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), NodeProgramError> {
    let fail = |source| NodeProgramError::Read { path: path.to_owned(), source };
    let kind = match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(fail)?,
    };
    if !kind.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        // What tests and fuzzers leave behind is not a source.
        if name != "target" && name != "corpus" && name != "artifacts" {
            collect(&path.join(name), files)?;
        }
    }
    Ok(())
}

/// Compiles firstboot and returns its bytes. `note` receives what the compiler is doing; `stop` is polled
/// whether to give up.
///
/// # Errors
/// When the toolchain is missing or the compilation fails, with the compiler's own words; when it was stopped.
pub fn compile(workspace: &Path, note: &dyn Fn(&str), stop: &dyn Fn() -> bool) -> Result<Vec<u8>, NodeProgramError> {
    bring_target(workspace, note, stop)?;
    let target_dir = workspace.join("target");
    let mut command = clean("cargo", workspace);
    command
        .args(["build", "--locked", "--package", "firstboot", "--profile", PROFILE, "--target", TARGET])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(workspace).join("\x1f"));
    run(command, note, stop)?;
    let path = target_dir.join(TARGET).join(PROFILE).join("firstboot");
    std::fs::read(&path).map_err(|source| NodeProgramError::Read { path, source })
}

/// The crates of others that are linked into firstboot, as `NAME VERSION LICENCE`, in order; the licence is an expression of
/// SPDX, and may be missing.
///
/// # Errors
/// When the toolchain is missing, or does not know.
pub fn crates(workspace: &Path) -> Result<Vec<String>, NodeProgramError> {
    let mut command = clean("cargo", workspace);
    command.args(["tree", "--locked", "--package", "firstboot", "--target", TARGET]);
    // What only runs while it is compiled is not in it.
    command.args(["--edges", "normal,no-proc-macro", "--prefix", "none", "--format", "{p}\t{l}"]);
    let shown = format!("{command:?}").replace('"', "");
    let output =
        command.output().map_err(|source| NodeProgramError::Start { program: "cargo".to_owned(), source })?;
    if !output.status.success() {
        let output = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(NodeProgramError::Failed { command: shown, output });
    }
    Ok(listed(&String::from_utf8_lossy(&output.stdout)))
}

/// The crates in `cargo tree`'s lines: `NAME vVERSION`, perhaps a remark, and behind a tab the licence. The workspace's own
/// have their folder as the remark.
fn listed(tree: &str) -> Vec<String> {
    let name = |line: &str| {
        let (package, licence) = line.split_once('\t').unwrap_or((line, ""));
        let mut words = package.split_whitespace();
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        // Before SPDX's expressions a slash meant a choice, and cargo shows it so; behind it may stand that a crate was shown
        // before.
        let licence = licence.trim_end_matches("(*)").trim().replace(" / ", "/").replace('/', " OR ");
        (!package.contains(" (/")).then(|| format!("{name} {version} {licence}").trim_end().to_owned())
    };
    let crates: std::collections::BTreeSet<String> = tree.lines().filter_map(name).collect();
    crates.into_iter().collect()
}

/// Maps the paths of this machine to fixed names.
fn flags(workspace: &Path) -> Vec<String> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let rustup_home = std::env::var_os("RUSTUP_HOME").map_or_else(|| home.join(".rustup"), PathBuf::from);
    [(workspace, "/microdc"), (cargo_home.as_path(), "/cargo"), (rustup_home.as_path(), "/rustup")]
        .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
        .into()
}

/// A command that no setting of the environment reaches but those that say where toolchains are; which one of them is
/// taken says the workspace's `rust-toolchain.toml` alone.
fn clean(program: &str, workspace: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(workspace);
    for (name, _) in std::env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let steers = text.starts_with("CARGO_")
            && !matches!(text, "CARGO_HOME" | "CARGO_HTTP_PROXY" | "CARGO_HTTP_CAINFO" | "CARGO_NET_OFFLINE")
            && !text.starts_with("CARGO_REGISTRIES_")
            || text.starts_with("RUSTC")
            || matches!(text, "RUSTFLAGS" | "RUSTDOCFLAGS" | "RUSTUP_TOOLCHAIN" | "SOURCE_DATE_EPOCH");
        if steers {
            command.env_remove(&name);
        }
    }
    command
}

/// Installs the target's standard library when rustc does not have it.
fn bring_target(workspace: &Path, note: &dyn Fn(&str), stop: &dyn Fn() -> bool) -> Result<(), NodeProgramError> {
    let mut question = clean("rustc", workspace);
    question.args(["--print", "target-libdir", "--target", TARGET]);
    let start = |program: &str| {
        let program = program.to_owned();
        move |source| NodeProgramError::Start { program, source }
    };
    let answer = question.output().map_err(start("rustc"))?;
    let folder = PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim());
    if answer.status.success() && folder.is_dir() {
        return Ok(());
    }
    note(&format!("bringing the Rust target {TARGET}"));
    let mut command = clean("rustup", workspace);
    command.args(["target", "add", TARGET]);
    run(command, note, stop)
}

fn run(mut command: Command, note: &dyn Fn(&str), stop: &dyn Fn() -> bool) -> Result<(), NodeProgramError> {
    let shown = format!("{command:?}").replace('"', "");
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| NodeProgramError::Start { program: program.clone(), source })?;
    let mut output = String::new();
    let (sender, lines) = mpsc::channel();
    if let Some(stderr) = child.stderr.take() {
        std::thread::spawn(move || {
            BufReader::new(stderr).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
    }
    loop {
        match lines.recv_timeout(ASK_AGAIN) {
            Ok(line) => {
                note(line.trim());
                output.push_str(&line);
                output.push('\n');
            }
            Err(RecvTimeoutError::Timeout) if stop() => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(NodeProgramError::Stopped);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = child.wait().map_err(|source| NodeProgramError::Start { program, source })?;
    if status.success() { Ok(()) } else { Err(NodeProgramError::Failed { command: shown, output }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_of_a_tree_are_listed_once_and_without_remarks() {
        let tree = "firstboot v0.1.0 (/x/firstboot)\tMIT\ncontract v0.1.0 (/x/firstboot/contract)\tMIT\nserde v1.0.2\tMIT OR Apache-2.0\nanyhow v1.0.1\tMIT/Apache-2.0\nserde v1.0.2\tMIT OR Apache-2.0 (*)\nbare v2.0.0\t\n\nno crate\n";
        assert_eq!(listed(tree), ["anyhow 1.0.1 MIT OR Apache-2.0", "bare 2.0.0", "serde 1.0.2 MIT OR Apache-2.0"]);
    }

    #[test]
    fn a_compiler_that_is_to_stop_stops_at_once() {
        let mut sleeper = Command::new("sleep");
        sleeper.arg("60");
        let started = std::time::Instant::now();
        let error = run(sleeper, &|_| (), &|| true).unwrap_err();
        assert!(matches!(error, NodeProgramError::Stopped) && started.elapsed() < Duration::from_secs(30), "{error}");
    }

    #[test]
    fn the_words_of_a_compiler_that_fails_are_told() {
        let mut failing = Command::new("sh");
        failing.args(["-c", "echo one >&2; echo two >&2; exit 3"]);
        let told = std::cell::RefCell::new(Vec::new());
        let error = run(failing, &|line| told.borrow_mut().push(line.to_owned()), &|| false).unwrap_err();
        assert!(error.to_string().ends_with("failed:\none\ntwo\n"), "{error}");
        assert_eq!(*told.borrow(), ["one", "two"]);
    }

    #[test]
    fn what_is_linked_is_known_and_what_only_compiles_or_tests_it_is_not() {
        let crates = crates(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).unwrap();
        let has = |name: &str| crates.iter().any(|one| one.split(' ').next() == Some(name));
        assert!(!has("contract") && has("rustix") && has("serde"), "{crates:?}");
        assert!(!has("serde_derive") && !has("syn") && !has("proptest") && !has("clap"), "{crates:?}");
    }
}
