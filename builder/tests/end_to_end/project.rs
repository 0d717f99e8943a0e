//! A project and a cache of their own, to build the router in.

use super::{MICRODC, in_cache, router, said, workspace};
use crate::folders::copy;
use contract::keys::{PrivateKey, PublicKey};
use microdc::lock::Lock;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with profiles, overlays, the shared image's firstboot and a key, and a cache beside it. The key is the same
/// in all.
pub struct Project {
    pub folder: PathBuf,
    pub cache: PathBuf,
}

/// What a cache has at the start, of what the router needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Warmth {
    /// The package files alone.
    Fetched,
    /// The package files of every profile.
    AllFetched,
    /// The packages unpacked as well, the kernel and the initramfs packed.
    Warm,
    Empty,
}

pub fn private_key() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32])
}

pub fn public_key() -> PublicKey {
    private_key().public()
}

impl Project {
    /// Makes `folder` and `cache` below `within`.
    pub fn new(within: &Path, warmth: Warmth) -> Project {
        Project::at(within.join("project"), within.join("cache"), warmth)
    }

    pub fn at(folder: PathBuf, cache: PathBuf, warmth: Warmth) -> Project {
        let project = Project { folder, cache };
        for name in ["profiles", "overlays"] {
            copy(&workspace().join(name), &project.folder.join(name));
        }
        let keys = project.folder.join("keys");
        std::fs::create_dir_all(&keys).unwrap();
        let private = keys.join("development.key");
        std::fs::write(&private, private_key().to_text()).unwrap();
        std::fs::set_permissions(&private, PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::write(keys.join("development.pub"), public_key().to_text()).unwrap();
        std::fs::copy(&router().firstboot, project.folder.join("firstboot")).unwrap();
        project.warm(warmth);
        project
    }

    fn warm(&self, warmth: Warmth) {
        std::fs::create_dir_all(&self.cache).unwrap();
        let router = router();
        if warmth == Warmth::Empty {
            return;
        }
        if warmth == Warmth::AllFetched {
            for package in self.locks().into_iter().flat_map(|lock| lock.packages.into_values()) {
                link(&router.blob(&package), &in_cache("sha256", &self.cache, package.sha256, ""));
            }
            return;
        }
        for package in router.lock.packages.values() {
            let from = router.blob(package);
            link(&from, &in_cache("sha256", &self.cache, package.sha256, ""));
            if warmth == Warmth::Warm {
                let [from, to] = [router.unpacked(package), unpacked(&self.cache, package.sha256)];
                for name in ["data.tar", "index"] {
                    link(&from.join(name), &to.join(name));
                }
            }
        }
        if warmth == Warmth::Warm {
            for stage in ["kernel", "initramfs", "drivers"] {
                for entry in std::fs::read_dir(router.cache.root().join("stage").join(stage)).into_iter().flatten() {
                    let from = entry.unwrap().path();
                    link(&from, &self.cache.join("stage").join(stage).join(from.file_name().unwrap()));
                }
            }
        }
    }

    /// The locks of all profiles.
    fn locks(&self) -> Vec<Lock> {
        let entries = std::fs::read_dir(self.folder.join("profiles")).unwrap().map(|entry| entry.unwrap().path());
        let locks = entries.filter(|path| path.extension().is_some_and(|extension| extension == "lock"));
        locks.map(|path| Lock::load(&path).unwrap().unwrap()).collect()
    }

    /// Takes a package out of the cache, and returns its path in the archive with its bytes.
    pub fn forget(&self, name: &str) -> (String, Vec<u8>) {
        let router = router();
        let package = router.package(name);
        let bytes = std::fs::read(router.blob(package)).unwrap();
        std::fs::remove_file(in_cache("sha256", &self.cache, package.sha256, "")).unwrap();
        let _ = std::fs::remove_dir_all(unpacked(&self.cache, package.sha256));
        (package.path.clone(), bytes)
    }

    /// `microdc` in this project, with this cache and nothing else of the environment.
    pub fn microdc(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(MICRODC);
        command.args(arguments);
        self.settle(&mut command);
        command
    }

    /// Gives any command this project's folder and environment.
    pub fn settle(&self, command: &mut Command) {
        let path = format!("/usr/sbin:/sbin:{}", std::env::var("PATH").unwrap_or_default());
        command.current_dir(&self.folder).env_clear().env("PATH", path).env("MICRODC_CACHE", &self.cache);
    }

    /// The arguments of a build with the firstboot of the shared image, and with a mirror that no one runs unless
    /// `further` names one.
    pub fn build_arguments(&self, further: &[&str]) -> Vec<String> {
        let mut all = vec!["build", "router", "--supply", "firstboot=firstboot"];
        if !further.contains(&"--mirror") {
            all.extend(["--mirror", NOWHERE]);
        }
        all.extend(further);
        all.into_iter().map(str::to_owned).collect()
    }

    /// `microdc build router` with further arguments.
    pub fn build(&self, further: &[&str]) -> Command {
        let arguments = self.build_arguments(further);
        self.microdc(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    pub fn image(&self) -> PathBuf {
        self.folder.join("out/router.img")
    }

    /// Builds, and returns the image's digest as the summary has it.
    pub fn built(&self, further: &[&str]) -> String {
        digest_in(&said(&self.build(&[further, &["--json"]].concat()).output().unwrap(), 0))
    }

    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let path = self.folder.join(path);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{} has no {from:?}", path.display());
        std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.folder.join(path)).unwrap()
    }

    pub fn write(&self, path: &str, text: &str) {
        std::fs::write(self.folder.join(path), text).unwrap();
    }
}

/// A mirror that no one runs: port 9 discards, where anything listens at all.
pub const NOWHERE: &str = "http://127.0.0.1:9/debian";

/// A summary in JSON, which may follow other lines.
fn summary_in(text: &str) -> serde_json::Value {
    let json = &text[text.find('{').unwrap_or_else(|| panic!("no summary: {text}"))..];
    serde_json::from_str(json).unwrap()
}

/// `image_digest` of a summary.
pub fn digest_in(text: &str) -> String {
    summary_in(text)["image_digest"].as_str().unwrap().to_owned()
}

/// The stages that a summary names under `made` or `cached`.
pub fn stages_in(text: &str, key: &str) -> BTreeSet<String> {
    let summary = summary_in(text);
    summary[key].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// `image_digest` of each summary of several in JSON, by profile.
pub fn digests_in(text: &str) -> BTreeMap<String, String> {
    let json = &text[text.find('[').unwrap_or_else(|| panic!("no summaries: {text}"))..];
    let summaries: Vec<serde_json::Value> = serde_json::from_str(json).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    summaries.iter().map(|summary| (text(&summary["profile"]), text(&summary["image_digest"]))).collect()
}

/// The folder of an unpacked package in a cache.
pub fn unpacked(cache: &Path, digest: contract::hash::Digest) -> PathBuf {
    in_cache("unpacked", cache, digest, &format!("-v{}", microdc::source::unpacked::FORMAT))
}

/// A second name, or a copy where another disk is in between.
fn link(from: &Path, to: &Path) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    // A copy onto a second name of the same file would empty both.
    if to.exists() {
        return;
    }
    if std::fs::hard_link(from, to).is_err() {
        std::fs::copy(from, to).unwrap_or_else(|error| panic!("{} → {}: {error}", from.display(), to.display()));
    }
}
