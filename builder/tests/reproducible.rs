//! The same inputs give the same image, whoever builds it, where, when and how.

use crate::end_to_end::project::{Project, Warmth, digest_in, digests_in, private_key, stages_in};
use crate::end_to_end::{MICRODC, is_root, router, said, sha256sum, workspace};
use crate::folders::copy;
use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const NOBODY: u32 = 65_534;

/// Where and how a build runs.
#[derive(Clone, Copy)]
struct Surroundings {
    umask: &'static str,
    zone: &'static str,
    locale: &'static str,
    jobs: &'static str,
    /// For faketime; the machine's own clock when there is none.
    clock: Option<&'static str>,
    /// An unprivileged user, where the tests run as root.
    nobody: bool,
}

const USUAL: Surroundings =
    Surroundings { umask: "022", zone: "UTC", locale: "C", jobs: "1", clock: None, nobody: false };
const OTHER: Surroundings = Surroundings {
    umask: "077",
    zone: "Pacific/Kiritimati",
    locale: "tr_TR.UTF-8",
    jobs: "2",
    clock: Some("2031-02-03 04:05:06"),
    nobody: true,
};

impl Surroundings {
    /// Runs a program in these surroundings, in the project.
    fn run(self, project: &Project, program: &[&str]) -> String {
        let mut line = vec![];
        if let Some(clock) = self.clock {
            line.extend(["faketime", clock]);
        }
        line.extend(["sh", "-c", "umask \"$0\"; exec \"$@\"", self.umask]);
        line.extend(program);
        let mut command = Command::new(line[0]);
        command.args(&line[1..]);
        project.settle(&mut command);
        command.env("TZ", self.zone).env("LC_ALL", self.locale).env("LANG", self.locale);
        if self.nobody && is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap_or_else(|error| panic!("{} cannot be started: {error}", line[0]));
        said(&output, 0)
    }

    /// Builds the images of some roles again, and returns their digests by profile. What no package brings, the router's
    /// firstboot stands in for: it takes the same way into an image.
    fn build_all(self, project: &Project, roles: &[&str]) -> BTreeMap<String, String> {
        // These surroundings are what they say.
        let seen = self.run(project, &["sh", "-c", "umask; id -u; date +%Y"]);
        let seen: Vec<&str> = seen.split_whitespace().collect();
        assert_eq!(seen[0].trim_start_matches('0'), self.umask.trim_start_matches('0'));
        assert!(!self.nobody || seen[1] != "0", "an unprivileged user: {seen:?}");
        assert_eq!(self.clock.is_some(), seen[2] == "2031", "{seen:?}");
        let _ = std::fs::remove_dir_all(project.folder.join("out"));
        let program = project.folder.join("microdc");
        let mut line = vec![program.to_str().unwrap(), "build", "--offline", "--json", "--jobs", self.jobs];
        line.extend(roles);
        line.extend(stand_ins(roles));
        let digests = digests_in(&self.run(project, &line));
        assert_eq!(digests.keys().map(String::as_str).collect::<Vec<_>>(), roles);
        digests
    }
}

/// The profiles that come with the builder: one of each role.
const ROLES: [&str; 6] = ["garage", "k3s-agent", "k3s-server", "minio", "router", "tinkerbell"];
/// Those with the most parts and packages between them.
const USUAL_ROLES: [&str; 2] = ["k3s-server", "router"];

/// What stands in for the programs that no package brings.
fn stand_ins(roles: &[&str]) -> Vec<&'static str> {
    let programs = [
        ("", "firstboot=firstboot"),
        ("garage", "garage=firstboot"),
        ("k3s", "k3s=firstboot"),
        ("minio", "minio=firstboot"),
        ("tinkerbell", "tinkerbell=firstboot"),
    ];
    let wanted = |of: &str| of.is_empty() || roles.iter().any(|role| role.starts_with(of));
    programs.iter().filter(|(of, _)| wanted(of)).flat_map(|&(_, program)| ["--supply", program]).collect()
}

/// Brings the packages of these roles into the cache that everyone uses.
fn fetch_all(within: &Path, roles: &[&str]) {
    let project = Project::new(within, Warmth::Empty);
    let mut build = Command::new(MICRODC);
    build.args(["build", "--json"]).args(roles).args(stand_ins(roles)).current_dir(&project.folder);
    said(&build.output().unwrap(), 0);
    std::fs::remove_dir_all(project.folder).unwrap();
}

/// A project whose files carry the modes that a checkout under this umask gives, and belong to its user. The program
/// and its firstboot come along: the user may not be allowed to look where the tests lie.
fn project(folder: PathBuf, cache: PathBuf, warmth: Warmth, surroundings: Surroundings) -> Project {
    let project = Project::at(folder, cache, warmth);
    std::fs::copy(MICRODC, project.folder.join("microdc")).unwrap();
    let mask = u32::from_str_radix(surroundings.umask, 8).unwrap();
    let owner = (surroundings.nobody && is_root()).then_some(NOBODY);
    for root in [&project.folder, &project.cache] {
        // What is linked from another cache keeps its modes and its owner.
        let own = root == &project.folder;
        settle(root, mask, owner, own);
    }
    project
}

fn settle(path: &Path, mask: u32, owner: Option<u32>, files: bool) {
    let metadata = std::fs::symlink_metadata(path).unwrap();
    if metadata.is_symlink() || metadata.is_file() && !files {
        return;
    }
    let private = path.extension().is_some_and(|extension| extension == "key");
    let mode =
        if private { 0o600 } else { metadata.permissions().mode() | (metadata.permissions().mode() & 0o700) >> 3 };
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode & 0o777 & !mask)).unwrap();
    chown(path, owner, owner).unwrap();
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            settle(&entry.unwrap().path(), mask, owner, files);
        }
    }
}

/// A folder that every user may enter.
fn open_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn an_image_is_the_same_whoever_builds_it_where_when_and_how() {
    same_everywhere(&USUAL_ROLES);
}

fn same_everywhere(roles: &[&str]) {
    if !is_root() {
        println!("not root: both builds run as this user; root and another user are not compared");
    }
    let folder = open_folder();
    fetch_all(&folder.path().join("fetching"), roles);
    // From cold: everything that can differ differs.
    let short = project(folder.path().join("a"), folder.path().join("c"), Warmth::AllFetched, USUAL);
    let other = Surroundings { nobody: is_root(), ..OTHER };
    let below = folder.path().join("another/and/much/longer/folder with spaces/and-ümlauts");
    let long = project(below.join("project"), below.join("cache"), Warmth::AllFetched, other);
    let expected = USUAL.build_all(&short, roles);
    for (role, digest) in &expected {
        let image = short.folder.join(format!("out/{role}.img"));
        assert_eq!(&sha256sum(&image), digest, "the summary of {role} states what is there");
    }
    let warm = Surroundings { jobs: OTHER.jobs, clock: None, ..other };
    if other.build_all(&long, roles) == expected
        && warm.build_all(&long, roles) == expected
        && USUAL.build_all(&short, roles) == expected
    {
        return;
    }
    // One difference at a time, to say which one it was.
    let cases = [
        ("warm cache", USUAL),
        ("umask", Surroundings { umask: OTHER.umask, ..USUAL }),
        ("time zone", Surroundings { zone: OTHER.zone, ..USUAL }),
        ("locale", Surroundings { locale: OTHER.locale, ..USUAL }),
        ("jobs", Surroundings { jobs: OTHER.jobs, ..USUAL }),
        ("clock", Surroundings { clock: OTHER.clock, ..USUAL }),
    ];
    for (name, surroundings) in cases {
        assert_eq!(surroundings.build_all(&short, roles), expected, "{name}");
    }
    panic!("everything together makes other images, and nothing alone does but perhaps the user or the folder");
}

/// The long test compiles it in another folder; this holds what would make that differ.
#[test]
fn firstboot_holds_no_path_of_the_machine_that_compiled_it() {
    let program = std::fs::read(&router().firstboot).unwrap();
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let place =
        |variable: &str, usual: &str| std::env::var_os(variable).map_or_else(|| home.join(usual), PathBuf::from);
    for path in [workspace().to_owned(), place("CARGO_HOME", ".cargo"), place("RUSTUP_HOME", ".rustup")] {
        let path = path.to_str().unwrap();
        let found = program.windows(path.len()).any(|bytes| bytes == path.as_bytes());
        assert!(!found, "firstboot holds the path {path}");
    }
    // The paths are there under names that every machine has.
    for name in ["/cargo/registry/", "/rustc/"] {
        assert!(program.windows(name.len()).any(|bytes| bytes == name.as_bytes()), "firstboot does not hold {name}");
    }
}

mod long {
    use super::*;

    #[test]
    fn every_role_s_image_is_the_same_whoever_builds_it_where_when_and_how() {
        same_everywhere(&ROLES);
    }

    /// Copies what git has of the workspace, as a clone would.
    fn clone(to: &Path) {
        for name in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml"] {
            std::fs::create_dir_all(to).unwrap();
            std::fs::copy(workspace().join(name), to.join(name)).unwrap();
        }
        for name in [".cargo", "builder", "firstboot", "qemu-tests", "profiles", "overlays", "keys/debian"] {
            let from = workspace().join(name);
            if from.exists() {
                copy(&from, &to.join(name));
            }
        }
    }

    #[test]
    fn firstboot_is_the_same_from_two_checkouts_with_two_cargo_homes() {
        let folder = tempfile::tempdir().unwrap();
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
        let other_home = folder.path().join("the/other/cargo");
        std::fs::create_dir_all(&other_home).unwrap();
        // The crates are not fetched again, only found under other paths.
        for name in ["registry", "git", "config.toml", "config", "credentials.toml"] {
            if cargo_home.join(name).exists() {
                symlink(cargo_home.join(name), other_home.join(name)).unwrap();
            }
        }
        let checkouts = [
            (folder.path().join("one"), cargo_home.clone()),
            (folder.path().join("two/in/a/folder/further/down"), other_home),
        ];
        let mut programs = Vec::new();
        for (checkout, cargo_home) in &checkouts {
            clone(checkout);
            let key = checkout.join("keys/development.key");
            std::fs::write(&key, private_key().to_text()).unwrap();
            std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
            // A cache that has the packages, and no firstboot.
            let cache = Project::at(checkout.join("target/seed"), checkout.join("target/cache"), Warmth::Warm).cache;
            let build = || {
                let mut build = Command::new(MICRODC);
                build.args(["build", "router", "--json"]).current_dir(checkout);
                build.env("CARGO_HOME", cargo_home).env("MICRODC_CACHE", &cache);
                said(&build.output().unwrap(), 0)
            };
            let digest = digest_in(&build());
            let program = std::fs::read(checkout.join("target/aarch64-unknown-linux-musl/node/firstboot")).unwrap();
            for path in [checkout.to_str().unwrap(), cargo_home.to_str().unwrap()] {
                let found = program.windows(path.len()).any(|bytes| bytes == path.as_bytes());
                assert!(!found, "firstboot holds the path {path}");
            }
            if programs.is_empty() {
                // A changed source makes the program and the image again. The initramfs depends on the program's bytes, which
                // are the same: a remark is not in them.
                let source = checkout.join("firstboot/src/main.rs");
                let text = std::fs::read_to_string(&source).unwrap();
                std::fs::write(&source, text + "// A remark.\n").unwrap();
                let text = build();
                let made = ["firstboot", "image"].map(str::to_owned).into();
                assert_eq!((stages_in(&text, "made"), digest_in(&text)), (made, digest.clone()));
            }
            programs.push((program, digest));
            std::fs::remove_dir_all(checkout).unwrap();
        }
        assert!(programs[0].0 == programs[1].0, "the two programs differ");
        assert_eq!(programs[0].1, programs[1].1, "the images differ");
        assert!(programs[0].0 == std::fs::read(&router().firstboot).unwrap(), "the checkout's own differs");
    }
}
