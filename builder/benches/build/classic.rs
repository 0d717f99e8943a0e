//! The classic pipeline, `classic.sh`: mmdebstrap and the tools that people string together behind it.

use super::folder;
use super::measure::{self, Run};
use super::ours::Ours;
use super::repository::Repository;
use anyhow::{Result, bail};
use microdc::report::human_bytes;
use std::path::{Path, PathBuf};
use std::process::Command;

const TOOLS: [&str; 12] = [
    "apt-get",
    "mmdebstrap",
    "dpkg-deb",
    "mke2fs",
    "veritysetup",
    "mkfs.fat",
    "mcopy",
    "sgdisk",
    "cpio",
    "gzip",
    "zstd",
    "sha256sum",
];
const INSTALL: &str = "apt-get install mmdebstrap e2fsprogs cryptsetup-bin dosfstools mtools gdisk cpio zstd";
/// What the router profile takes from Debian, as one asks apt for it.
const PACKAGES: [&str; 9] = [
    "chrony",
    "dnsmasq-base",
    "e2fsprogs",
    "frr",
    "linux-image-arm64",
    "netbase",
    "nftables",
    "raspi-firmware",
    "wireguard-tools",
];

pub struct Classic {
    repository: Repository,
    firstboot: PathBuf,
    out: PathBuf,
}

impl Classic {
    /// Looks for the tools, and downloads the packages into a repository of our own.
    pub fn prepare(work: &Path, ours: &Ours) -> Result<Classic> {
        if !rustix::process::geteuid().is_root() {
            bail!("mmdebstrap keeps the owners of files, and needs root for that");
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> =
            std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]).collect();
        let missing = |tool: &&&str| !folders.iter().any(|folder| folder.join(tool).is_file());
        let missing: Vec<&str> = TOOLS.iter().filter(missing).copied().collect();
        if !missing.is_empty() {
            bail!("{} not found; {INSTALL}", missing.join(", "));
        }
        println!("downloading the packages of the classic pipeline");
        folder::fresh(work)?;
        let repository = Repository::make(&work.join("repository"), &PACKAGES, &ours.packages()?)?;
        Ok(Classic { repository, firstboot: ours.firstboot()?, out: work.join("out") })
    }

    pub fn run(&self) -> Result<Run> {
        folder::fresh(&self.out)?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/build/classic.sh");
        let mut command = Command::new("bash");
        command.arg(script).args([&self.repository.packages, &self.firstboot, &self.out]).args(PACKAGES);
        measure::run(&mut command, &self.out.with_extension("times"))
    }

    /// What the last run made, and what its steps took.
    pub fn describe(&self) -> Result<()> {
        let (count, bytes) = self.repository.size()?;
        println!(
            "classic: {count} packages, {} to unpack, for apt takes all that they depend on",
            human_bytes(bytes)
        );
        for line in std::fs::read_to_string(self.out.with_extension("times"))?.lines() {
            println!("  {line}");
        }
        Ok(())
    }
}
