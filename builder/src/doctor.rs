//! What this machine has and lacks for each command. Read-only; every finding says what to do next.

use crate::cache::Cache;
use crate::lock::Lock;
use crate::node_program::TARGET;
use crate::pipeline;
use crate::report::human_bytes;
use crate::source::mirror::{Mirror, MirrorSettings};
use emulator::{Model, Qemu};
use serde::Serialize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Room that a build of a role with a cold cache takes, and an image in `out/`, in bytes. With less it cannot end well;
/// with less than [`SPARE`] times that, the next one may not.
const CACHE_ROOM: u64 = 512 << 20;
const IMAGE_ROOM: u64 = 256 << 20;
const SPARE: u64 = 4;

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    Good,
    /// It works, and there is something to know.
    Note,
    Lacks,
}

/// One thing that was inspected.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    pub what: &'static str,
    pub health: Health,
    /// What was found.
    pub says: String,
    /// What to do, when there is something to do.
    pub advice: Option<String>,
    /// The verbs that need it.
    pub verbs: &'static [&'static str],
}

impl Found {
    #[must_use]
    pub fn needed_for(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }
}

/// What a look came to: what was found, or what was found and what to do about it.
enum Seen {
    Good(String),
    Note(String, String),
    Lacks(String, String),
}

fn found(what: &'static str, verbs: &'static [&'static str], seen: Seen) -> Found {
    let (health, says, advice) = match seen {
        Seen::Good(says) => (Health::Good, says, None),
        Seen::Note(says, advice) => (Health::Note, says, Some(advice)),
        Seen::Lacks(says, advice) => (Health::Lacks, says, Some(advice)),
    };
    Found { what, health, says, advice, verbs }
}

/// Looks at everything. `base` is the project's folder.
#[must_use]
pub fn examine(base: &Path) -> Vec<Found> {
    vec![
        found("project", &["build", "lock", "new"], project(base)),
        found("rust", &["build"], rust(base)),
        found("mirror", &["build", "lock"], mirror(base)),
        found("cache", &["build", "lock"], cache()),
        found("output", &["build"], output(base)),
        found("keys", &["build", "sign"], keys(base)),
        found("clock", &["build", "lock"], clock(base)),
        found("go", &["build of profiles with Go modules"], go()),
        found("qemu", &["boot"], qemu(Model::Virt)),
        found("qemu for raspi4b", &["boot --raspi4b"], qemu(Model::Raspi4b)),
        found(
            "rpiboot",
            &["flashing"],
            tool(
                "rpiboot",
                "rpiboot",
                "it makes the CM4's eMMC or NVMe a disk of this machine; a USB adapter works \
                as well",
            ),
        ),
    ]
}

fn project(base: &Path) -> Seen {
    match base.join("profiles").is_dir() {
        true => Seen::Good(format!("{}", base.display())),
        false => Seen::Lacks(
            format!("there is no folder profiles/ in {}", base.display()),
            "run microdc in a checkout of its repository, or in a folder with profiles/ and overlays/".to_owned(),
        ),
    }
}

fn rust(base: &Path) -> Seen {
    let workspace = match crate::node_program::sources(base) {
        Ok(workspace) => workspace,
        Err(error) => return Seen::Lacks("the sources of the node's program are not here".into(), error.to_string()),
    };
    let wanted = toolchain(&workspace).unwrap_or_else(|| "stable".to_owned());
    let rustc = |arguments: &[&str]| {
        let output = Command::new("rustc").args(arguments).current_dir(&workspace).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(version) = rustc(&["--version"]) else {
        return Seen::Lacks(
            format!("no working rustc {wanted} is on PATH"),
            format!("install rustup (Debian: apt-get install rustup), then: rustup toolchain install {wanted}"),
        );
    };
    if !version.split(' ').any(|word| word == wanted) {
        let advice = format!(
            "install rustup, which installs what rust-toolchain.toml names: rustup toolchain install {wanted}"
        );
        return Seen::Lacks(format!("{version}, and {wanted} is pinned"), advice);
    }
    let has_target = rustc(&["--print", "sysroot"])
        .is_some_and(|sysroot| Path::new(&sysroot).join("lib/rustlib").join(TARGET).join("lib").is_dir());
    match has_target {
        true => Seen::Good(format!("{version}, with {TARGET}")),
        false if on_path("rustup").is_some() => Seen::Note(
            format!("{version}, without {TARGET}"),
            format!("the first build fetches it; for a build without network: rustup target add {TARGET}"),
        ),
        false => Seen::Lacks(
            format!("{version}, without {TARGET}"),
            format!("install rustup, then: rustup target add {TARGET}"),
        ),
    }
}

/// The version that `rust-toolchain.toml` pins.
fn toolchain(workspace: &Path) -> Option<String> {
    let text = std::fs::read_to_string(workspace.join("rust-toolchain.toml")).ok()?;
    let table: toml::Table = text.parse().ok()?;
    Some(table.get("toolchain")?.get("channel")?.as_str()?.to_owned())
}

fn mirror(base: &Path) -> Seen {
    let mirror = pipeline::settings::Settings::load(base)
        .map(|settings| settings.debian)
        .map_err(|error| error.to_string())
        .and_then(|told| {
            Mirror::find(&MirrorSettings::default(), &told, Path::new("/etc/apt")).map_err(|error| error.to_string())
        });
    match mirror {
        Ok(mirror) => Seen::Good(mirror.archive),
        Err(error) => Seen::Lacks("none is configured".to_owned(), error.replace('\n', "\n          ")),
    }
}

fn cache() -> Seen {
    let advice = "set MICRODC_CACHE to a folder on a disk with free space".to_owned();
    match Cache::default_root() {
        Ok(root) => room(&root, CACHE_ROOM, advice),
        Err(error) => Seen::Lacks(error.to_string(), advice),
    }
}

fn output(base: &Path) -> Seen {
    room(&base.join("out"), IMAGE_ROOM, "free some space, or name another place with -o".to_owned())
}

/// Whether a folder, or the nearest that exists above it, can be written to and has room.
fn room(folder: &Path, needed: u64, advice: String) -> Seen {
    let there = folder.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if let Err(error) = tempfile::tempfile_in(there) {
        return Seen::Lacks(format!("{} cannot be written: {error}", there.display()), advice);
    }
    match rustix::fs::statvfs(there) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let says = format!("{}, {} free", folder.display(), human_bytes(free));
            let wanted = format!("{says}; {} needed", human_bytes(needed));
            match free {
                _ if free < needed => Seen::Lacks(wanted, advice),
                _ if free < needed.saturating_mul(SPARE) => Seen::Note(wanted, advice),
                _ => Seen::Good(says),
            }
        }
        Err(error) => Seen::Note(format!("{}: {error}", folder.display()), advice),
    }
}

fn keys(base: &Path) -> Seen {
    let folder = base.join("keys");
    let make = "make a release key with `microdc keys new`".to_owned();
    for (name, kind) in [("release.key", "a release key"), ("development.key", "a development key")] {
        let path = folder.join(name);
        let Ok(metadata) = std::fs::metadata(&path) else { continue };
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Seen::Lacks(
                format!("{} can be read by others (mode {mode:04o})", path.display()),
                format!("chmod 600 {}", path.display()),
            );
        }
        if let Err(error) = crate::release_key::read_private(&path) {
            return Seen::Lacks(error.to_string(), make);
        }
        let says = format!("{}, {kind}", path.display());
        return if name == "release.key" {
            Seen::Good(says)
        } else {
            Seen::Note(says, format!("{make} before you deploy"))
        };
    }
    match folder.join("release.pub").exists() {
        true => Seen::Note(
            "release.pub, without its private key".to_owned(),
            "build with --unsigned and sign where the private key is, or the build makes a development key"
                .to_owned(),
        ),
        false => Seen::Note(
            "none yet".to_owned(),
            format!("the first build makes a development key; for real nodes {make}"),
        ),
    }
}

fn clock(base: &Path) -> Seen {
    let now = crate::clock::now();
    let locks = std::fs::read_dir(base.join("profiles")).into_iter().flatten().flatten().map(|entry| entry.path());
    let locks = locks.filter(|path| path.extension().is_some_and(|extension| extension == "lock"));
    let newest =
        locks.filter_map(|path| Lock::load(&path).ok().flatten()).map(|lock| lock.built()).max().unwrap_or(0);
    judge_clock(now, newest)
}

/// `newest` is the date of the newest index that a lock was made from: no clock that is right stands before it.
fn judge_clock(now: u64, newest: u64) -> Seen {
    let show = contract::calendar::show_time;
    if now < newest {
        return Seen::Lacks(
            format!("it says {}, but a lock here was made from an index of {}", show(now), show(newest)),
            "set the clock: signatures and certificates are checked against it".to_owned(),
        );
    }
    Seen::Good(show(now))
}

fn go() -> Seen {
    let output = Command::new("go").arg("version").output();
    match output.ok().filter(|output| output.status.success()) {
        Some(output) => Seen::Good(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        None => Seen::Note(
            "there is no `go` on PATH".to_owned(),
            "Debian: apt-get install golang-go; a newer one unpacks into any folder. Or pass a compiled program with \
                --supply NAME=FILE"
                .to_owned(),
        ),
    }
}

fn qemu(model: Model) -> Seen {
    match Qemu::find(model) {
        Ok(qemu) => Seen::Good(qemu.program().display().to_string()),
        Err(error) => Seen::Note("none suitable".to_owned(), error.to_string()),
    }
}

fn tool(name: &'static str, package: &str, otherwise: &str) -> Seen {
    match on_path(name) {
        Some(path) => Seen::Good(path.display().to_string()),
        None => Seen::Note("not on PATH".to_owned(), format!("Debian: apt-get install {package}; {otherwise}")),
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lacks(seen: &Seen) -> bool {
        matches!(seen, Seen::Lacks(..))
    }

    #[test]
    fn a_clock_before_the_newest_lock_is_wrong() {
        assert!(lacks(&judge_clock(1_000, 1_790_000_000)));
        assert!(!lacks(&judge_clock(1_790_000_001, 1_790_000_000)));
    }

    #[test]
    fn a_key_that_others_can_read_is_told_with_the_cure() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(keys(folder.path()), Seen::Note(..)));
        let (path, _) = crate::release_key::make(&folder.path().join("keys"), "release").unwrap();
        assert!(matches!(keys(folder.path()), Seen::Good(_)));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(keys(folder.path()), Seen::Lacks(_, advice) if advice.starts_with("chmod 600")));
    }

    #[test]
    fn a_disk_without_room_and_a_folder_that_cannot_be_written_are_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("not/yet/there");
        assert!(!lacks(&room(&below, 1, String::new())));
        assert!(lacks(&room(&below, u64::MAX, String::new())));
        assert!(lacks(&room(Path::new("/proc/1"), 1, String::new())));
    }

    #[test]
    fn a_folder_without_profiles_is_no_project() {
        assert!(lacks(&project(tempfile::tempdir().unwrap().path())));
    }
}
