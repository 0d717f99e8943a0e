//! Pairs of images, made by the builder from packages of the archive: what a node has, and what it is to get.

use super::{folder, tool};
use anyhow::{Context as _, Result, bail};
use microdc::release_key;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The kernel before the locked one.
const OLD_KERNEL: &str = "linux-image-6.12.116+deb13-arm64";

/// The new image, and the old ones by what has changed since.
pub fn make(work: &Path, firstboot: Option<&Path>) -> Result<(PathBuf, Vec<(&'static str, PathBuf)>)> {
    let new = Project::new(work, "as-locked")?;
    release_key::make(&new.0.join("keys"), "development")?;
    println!("building four images; packages are downloaded where needed");
    let image = new.build(firstboot)?;

    let again = Project::new(work, "again")?;
    let package = Project::new(work, "old-package")?;
    let kernel = Project::new(work, "old-kernel")?;
    for project in [&again, &package, &kernel] {
        folder::copy(&new.0.join("keys"), &project.0.join("keys"))?;
    }
    // The suite of security updates still has the OpenSSH that a point release has replaced since.
    let wanted = "[packages.openssh-server]\n";
    package.edit("profiles/parts/ssh.toml", wanted, &format!("{wanted}suite = \"trixie-security\"\n"))?;
    kernel.edit("profiles/parts/base.toml", "\"linux-image-arm64\"", &format!("\"{OLD_KERNEL}\""))?;
    let pairs = vec![
        ("one changed package", package.build(firstboot)?),
        ("a new kernel", kernel.build(firstboot)?),
        ("rebuilt, nothing changed", again.build(firstboot)?),
    ];
    let bytes = fs::read(&image)?;
    for (name, old) in &pairs {
        if (fs::read(old)? == bytes) != name.starts_with("rebuilt") {
            bail!("the images of the pair {name:?} are not as its name says: the archive has moved on");
        }
    }
    Ok((image, pairs))
}

/// A folder with profiles, overlays and keys.
struct Project(PathBuf);

impl Project {
    fn new(work: &Path, name: &str) -> Result<Project> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
        let folder = work.join(name);
        for name in ["profiles", "overlays"] {
            folder::copy(&workspace.join(name), &folder.join(name))?;
        }
        Ok(Project(folder))
    }

    fn edit(&self, path: &str, from: &str, to: &str) -> Result<()> {
        let path = self.0.join(path);
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        if !text.contains(from) {
            bail!("{} has no {from:?}", path.display());
        }
        Ok(fs::write(&path, text.replacen(from, to, 1))?)
    }

    fn build(&self, firstboot: Option<&Path>) -> Result<PathBuf> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_microdc"));
        command.args(["build", "router"]).current_dir(&self.0);
        if let Some(path) = firstboot {
            command.arg("--supply").arg(format!("firstboot={}", path.display()));
        }
        tool::run(&mut command, "")?;
        Ok(self.0.join("out/router.img"))
    }
}
