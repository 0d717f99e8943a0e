//! Our own pipeline: `microdc build router` in a folder and with a cache of its own.

use super::folder;
use super::measure::{self, Run};
use anyhow::{Context as _, Result};
use microdc::cache::Cache;
use microdc::lock::{Lock, LockedPackage};
use microdc::report::{Summary, human_bytes};
use std::path::{Path, PathBuf};
use std::process::Command;

pub struct Ours {
    /// Copies of `profiles/` and `overlays/`, and the image.
    base: PathBuf,
    /// Thrown away before each cold build.
    cache: PathBuf,
    /// Where packages and firstboot come from: the cache of everyday builds.
    downloads: Cache,
}

impl Ours {
    /// Copies profiles and overlays, and builds once, so that every package is downloaded and firstboot compiled.
    pub fn prepare(work: &Path) -> Result<Ours> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
        let base = work.join("base");
        folder::fresh(&base)?;
        for name in ["profiles", "overlays"] {
            folder::copy(&workspace.join(name), &base.join(name))?;
        }
        let downloads = Cache::open(Cache::default_root()?)?;
        let ours = Ours { base, cache: work.join("cache"), downloads };
        println!("downloading packages and compiling firstboot, where needed");
        ours.build(ours.downloads.root(), &["router"])?;
        ours.build(ours.downloads.root(), &ours.all()?.iter().map(String::as_str).collect::<Vec<_>>())?;
        Ok(ours)
    }

    /// A build that finds nothing but downloaded packages and a compiled firstboot.
    pub fn cold(&self) -> Result<Run> {
        self.forget()?;
        self.build(&self.cache, &["router", "--offline"])
    }

    /// The five roles in one build that finds no more. What no package brings is stood in for by firstboot, which is shorter
    /// than what it stands for.
    pub fn all_cold(&self) -> Result<Run> {
        self.forget()?;
        let all = self.all()?;
        self.build(&self.cache, &[&["--offline"], &all.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat())
    }

    fn all(&self) -> Result<Vec<String>> {
        let stand_in = self.firstboot()?;
        let supply = |name| ["--supply".to_owned(), format!("{name}={}", stand_in.display())];
        Ok([vec!["--all".to_owned()], ["k3s", "minio", "tinkerbell"].map(supply).concat()].concat())
    }

    /// Downloaded packages and a compiled firstboot stay, with the list of the crates in it.
    fn forget(&self) -> Result<()> {
        folder::fresh(&self.cache)?;
        for name in ["sha256", "stage/firstboot", "stage/licensed-crates"] {
            folder::link(&self.downloads.root().join(name), &self.cache.join(name))?;
        }
        folder::fresh(&self.base.join("out"))
    }

    /// The same build once more.
    pub fn unchanged(&self) -> Result<Run> {
        self.build(&self.cache, &["router", "--offline"])
    }

    /// A build after one file of an overlay changed.
    pub fn overlay_changed(&self, turn: usize) -> Result<Run> {
        let file = self.base.join("overlays/base/etc/motd");
        std::fs::write(&file, format!("turn {turn}\n")).with_context(|| format!("writing {}", file.display()))?;
        self.build(&self.cache, &["router", "--offline"])
    }

    /// The floor under every cold build: Debian's own tool decompresses the same packages on every core, the largest
    /// first, and drops the bytes.
    pub fn only_unpacking(&self) -> Result<Run> {
        let script = "printf '%s\\0' \"$@\" | xargs -0 -n 1 -P \"$(nproc)\" sh -c 'exec dpkg-deb --fsys-tarfile \"$0\" > /dev/null'";
        let mut packages = self.packages()?;
        packages.sort_by_key(|(package, _)| std::cmp::Reverse(package.size));
        let mut command = Command::new("sh");
        command.args(["-c", script, "unpack"]).args(packages.iter().map(|(_, path)| path));
        measure::run(&mut command, &self.base.join("unpacking"))
    }

    /// The packages of the image, and where they lie.
    pub fn packages(&self) -> Result<Vec<(LockedPackage, PathBuf)>> {
        let lock = Lock::load(&self.base.join("profiles/router.lock"))?.context("the first build wrote no lock")?;
        let path = |package: LockedPackage| (package.clone(), self.downloads.blob_path(package.sha256));
        Ok(lock.packages.into_values().map(path).collect())
    }

    /// The firstboot that was compiled last.
    pub fn firstboot(&self) -> Result<PathBuf> {
        let folder = self.downloads.root().join("stage/firstboot");
        let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?;
        let age = |path: &PathBuf| path.metadata().and_then(|file| file.modified()).ok();
        paths.into_iter().max_by_key(age).with_context(|| format!("no firstboot in {}", folder.display()))
    }

    /// What the last build made, and what its stages took.
    pub fn describe(&self) -> Result<()> {
        self.cold()?;
        let summary: Summary = serde_json::from_slice(&std::fs::read(self.report())?)?;
        let packages = self.packages()?;
        let bytes = packages.iter().map(|(package, _)| package.size).sum();
        println!("ours: {} packages, {} to unpack", packages.len(), human_bytes(bytes));
        println!("  root {:.1} MB, {} entries", summary.root_size as f64 / 1e6, summary.root_files);
        println!("  image {}, {} of data", human_bytes(summary.image_size), human_bytes(summary.image_data));
        let stages = summary.stages.iter().map(|stage| format!("{} {:.2} s", stage.stage, stage.seconds));
        println!("  a cold build's stages: {}", stages.collect::<Vec<_>>().join(", "));
        Ok(())
    }

    fn build(&self, cache: &Path, options: &[&str]) -> Result<Run> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_microdc"));
        command.args(["build", "--json"]).args(options);
        command.current_dir(&self.base).env("MICRODC_CACHE", cache);
        measure::run(&mut command, &self.report())
    }

    fn report(&self) -> PathBuf {
        self.base.join("summary.json")
    }
}
