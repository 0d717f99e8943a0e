//! A build needs no privilege: it mounts nothing, touches no device, and starts no program but the Rust toolchain.

use crate::end_to_end::project::{Project, Warmth, public_key, unpacked};
use crate::end_to_end::{MICRODC, is_root, router, said, workspace};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

const NOBODY: u32 = 65_534;

/// Calls that start programs.
const STARTS: [&str; 6] = ["execve", "execveat", "clone", "clone3", "fork", "vfork"];
/// Calls that want privileges, or that only a builder of the other kind makes.
const PRIVILEGED: [&str; 21] = [
    "mount",
    "umount2",
    "move_mount",
    "fsmount",
    "fsopen",
    "open_tree",
    "pivot_root",
    "chroot",
    "unshare",
    "setns",
    "mknod",
    "mknodat",
    "setuid",
    "setresuid",
    "setgroups",
    "capset",
    "init_module",
    "finit_module",
    "ptrace",
    "swapon",
    "chown",
];
const OPENS: [&str; 3] = ["open", "openat", "openat2"];

/// One line of strace's log.
struct Call {
    process: u32,
    name: String,
    text: String,
}

fn strace(log: &Path, program: &Path) -> Command {
    let calls = [&STARTS[..], &PRIVILEGED, &OPENS].concat().join(",");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-s", "4096", "-e", &format!("trace={calls}"), "-e", "signal=none", "-o"]);
    strace.arg(log).arg(program);
    strace
}

fn calls(log: &Path) -> Vec<Call> {
    let text = std::fs::read_to_string(log).unwrap();
    let call = |line: &str| {
        let (process, rest) = line.split_once(' ')?;
        // `<... clone3 resumed>` is the end of a call that another one interrupted, with its result.
        let rest = rest.trim_start();
        let rest = rest.strip_prefix("<... ").unwrap_or(rest);
        let (name, text) = rest.split_at(rest.find(['(', ' '])?);
        Some(Call { process: process.parse().ok()?, name: name.to_owned(), text: text.to_owned() })
    };
    text.lines().filter_map(call).collect()
}

/// Names of the programs that `first` itself starts, from any of its threads.
fn started(calls: &[Call]) -> BTreeSet<String> {
    let first = calls[0].process;
    let mut own = BTreeSet::from([first]);
    let mut parents = BTreeMap::new();
    for call in calls.iter().filter(|call| STARTS[2..].contains(&call.name.as_str())) {
        let child = call.text.rsplit_once("= ").and_then(|(_, child)| child.trim().parse::<u32>().ok());
        if let Some(child) = child {
            parents.insert(child, call.process);
            // The flags stand where the call began, which may be a line before: a thread is known by never starting a
            // program.
        }
    }
    let starters: BTreeSet<u32> =
        calls.iter().filter(|call| call.name.starts_with("execve")).map(|call| call.process).collect();
    loop {
        let more: Vec<u32> = parents
            .iter()
            .filter(|(child, parent)| own.contains(parent) && !own.contains(child) && !starters.contains(child))
            .map(|(child, _)| *child)
            .collect();
        if more.is_empty() {
            break;
        }
        own.extend(more);
    }
    let children = |process: &u32| parents.get(process).is_some_and(|parent| own.contains(parent));
    let programs = calls.iter().filter(|call| call.name.starts_with("execve") && children(&call.process));
    let succeeded = programs.filter(|call| call.text.trim_end().ends_with("= 0"));
    let path = succeeded.filter_map(|call| call.text.split('"').nth(1));
    path.map(|path| path.rsplit('/').next().unwrap_or(path).to_owned()).collect()
}

fn assert_unprivileged(calls: &[Call]) {
    for call in calls {
        assert!(!PRIVILEGED.contains(&call.name.as_str()), "{}{}", call.name, call.text);
        let device = call.text.split('"').nth(1).filter(|path| path.starts_with("/dev/"));
        // What the toolchain inherits from cargo, such as the pipe by which its processes share their number, is no device.
        let harmless =
            |path: &str| ["/dev/null", "/dev/urandom", "/dev/tty"].contains(&path) || path.starts_with("/dev/fd/");
        assert!(device.is_none_or(harmless), "{}{}", call.name, call.text);
    }
}

/// Gives a folder to someone, with all below it but what other caches share.
fn give(path: &Path, owner: u32) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    if metadata.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), owner));
    }
    if metadata.is_dir() || metadata.is_file() && std::os::unix::fs::MetadataExt::nlink(&metadata) == 1 {
        chown(path, Some(owner), Some(owner)).unwrap();
    }
}

#[test]
fn a_build_starts_no_program_mounts_nothing_and_needs_no_root() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    // Nothing but the package files: every stage runs.
    let project = Project::new(&folder.path().join("own"), Warmth::Fetched);
    let program = project.folder.join("microdc");
    std::fs::copy(MICRODC, &program).unwrap();
    let log = project.folder.join("log");
    let mut command = strace(&log, &program);
    command.args(project.build_arguments(&[]));
    project.settle(&mut command);
    if is_root() {
        give(&folder.path().join("own"), NOBODY);
        command.uid(NOBODY).gid(NOBODY);
    }
    said(&command.output().unwrap(), 0);
    let calls = calls(&log);
    assert_unprivileged(&calls);
    let programs: Vec<&str> =
        calls.iter().filter(|call| call.name.starts_with("execve")).map(|call| call.text.as_str()).collect();
    assert_eq!(programs.len(), 1, "microdc itself: {programs:?}");
    assert!(calls.iter().any(|call| call.text.contains(".router.img.part")), "the log has seen the build");
    let key = project.folder.join("key.pub");
    std::fs::write(&key, public_key().to_text()).unwrap();
    said(&Command::new(MICRODC).arg("verify").arg(project.image()).arg("--key").arg(key).output().unwrap(), 0);
}

#[test]
fn only_the_toolchain_is_started_when_firstboot_is_compiled() {
    let folder = tempfile::tempdir().unwrap();
    // A cache without firstboot. The compiler finds its own work of the checkout done, and the build asks it anyway.
    let project = Project::new(folder.path(), Warmth::Warm);
    let package = router().package("frr");
    assert!(unpacked(&project.cache, package.sha256).exists());
    let log = folder.path().join("log");
    let image = folder.path().join("router.img");
    let mut command = strace(&log, Path::new(MICRODC));
    command.args(["build", "router", "--offline", "-o"]).arg(&image);
    command.current_dir(workspace()).env("MICRODC_CACHE", &project.cache);
    said(&command.output().unwrap(), 0);
    let calls = calls(&log);
    let own: BTreeSet<String> = started(&calls);
    let toolchain = ["cargo", "rustc", "rustup"].map(str::to_owned);
    assert!(own.contains("cargo"), "{own:?}");
    assert!(own.iter().all(|program| toolchain.contains(program)), "{own:?}");
    assert_unprivileged(&calls);
}
