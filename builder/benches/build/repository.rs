//! A folder of packages that apt takes for a repository: what some packages and all that they depend on come to, as apt
//! itself resolves it, downloaded once.

use super::folder;
use anyhow::{Context as _, Result, bail};
use microdc::cache::digest_of;
use microdc::lock::LockedPackage;
use microdc::source::mirror::{Mirror, MirrorSettings};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

const SUITES: [&str; 3] = ["trixie", "trixie-updates", "trixie-security"];
const KEYS: [&str; 4] = ["trixie-automatic", "trixie-security-automatic", "trixie-stable", "bookworm-automatic"];

pub struct Repository {
    /// The packages, and their `Packages` file.
    pub packages: PathBuf,
}

impl Repository {
    /// Packages among `present` are not downloaded again; the firmware comes from there, for it is of another suite.
    pub fn make(work: &Path, names: &[&str], present: &[(LockedPackage, PathBuf)]) -> Result<Repository> {
        let apt = Apt::private(&work.join("apt"))?;
        let packages = work.join("packages");
        folder::fresh(&packages)?;
        let mut wanted = Vec::new();
        for (package, path) in present {
            let version = package.version.replace(':', "%3a");
            let name = format!("{}_{version}_{}.deb", package.name, package.architecture);
            if package.suite.starts_with("trixie") {
                fs::copy(path, apt.archives.join(name))?;
            } else {
                let path = fs::copy(path, packages.join(&name)).map(|_| packages.join(&name))?;
                wanted.push((package.name.clone(), path.display().to_string()));
            }
        }
        apt.run("update", &[])?;
        let ask =
            |name: &&str| wanted.iter().find(|(other, _)| other == name).map_or((*name).to_owned(), |w| w.1.clone());
        apt.run("install", &names.iter().map(ask).collect::<Vec<_>>())?;
        for entry in fs::read_dir(&apt.archives)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|suffix| suffix == "deb") {
                fs::rename(entry.path(), packages.join(entry.file_name()))?;
            }
        }
        index(&packages)?;
        Ok(Repository { packages })
    }

    /// How many packages there are, and their bytes.
    pub fn size(&self) -> Result<(usize, u64)> {
        let files = debs(&self.packages)?;
        let bytes = files.iter().map(|path| fs::metadata(path).map(|file| file.len())).sum::<Result<_, _>>()?;
        Ok((files.len(), bytes))
    }
}

/// apt for arm64, with nothing of this machine's own state.
struct Apt {
    folder: PathBuf,
    archives: PathBuf,
}

impl Apt {
    fn private(folder: &Path) -> Result<Apt> {
        folder::fresh(folder)?;
        let archives = folder.join("cache/archives");
        for path in [archives.join("partial"), folder.join("lists/partial")] {
            fs::create_dir_all(path)?;
        }
        fs::write(folder.join("status"), "")?;
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?.join("keys/debian");
        let keys = KEYS.map(|name| fs::read_to_string(keys.join(format!("{name}.asc"))));
        fs::write(folder.join("keys.asc"), keys.into_iter().collect::<Result<String, _>>()?)?;
        let mirror = Mirror::find(&MirrorSettings::default(), &MirrorSettings::default(), Path::new("/etc/apt"))?;
        let mut sources = String::new();
        for suite in SUITES {
            let (uri, keys) = (mirror.base(suite), folder.join("keys.asc"));
            let keys = keys.display();
            write!(sources, "Types: deb\nURIs: {uri}\nSuites: {suite}\nComponents: main\nSigned-By: {keys}\n\n")?;
        }
        fs::write(folder.join("archive.sources"), sources)?;
        Ok(Apt { folder: folder.to_owned(), archives })
    }

    fn run(&self, verb: &str, packages: &[String]) -> Result<()> {
        let mut command = Command::new("apt-get");
        let settings = [
            ("Dir::Etc::main", "/dev/null".into()),
            ("Dir::Etc::parts", "/dev/null".into()),
            ("Dir::Etc::sourcelist", self.folder.join("archive.sources")),
            ("Dir::Etc::sourceparts", "/dev/null".into()),
            ("Dir::State", self.folder.clone()),
            ("Dir::State::status", self.folder.join("status")),
            ("Dir::Cache", self.folder.join("cache")),
            ("APT::Architecture", "arm64".into()),
            ("APT::Architectures", "arm64".into()),
            ("APT::Sandbox::User", "root".into()),
        ];
        for (name, value) in settings {
            command.arg("-o").arg(format!("{name}={}", value.display()));
        }
        command.args(["-q", "--yes", "--no-install-recommends", "--download-only", verb]).args(packages);
        let output = command.output().context("starting apt-get")?;
        if !output.status.success() {
            bail!("apt-get {verb} failed:\n{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    }
}

/// Writes the `Packages` file: each package's own fields, and where it lies.
fn index(folder: &Path) -> Result<()> {
    let mut text = String::new();
    for path in debs(folder)? {
        let fields = Command::new("dpkg-deb").arg("--field").arg(&path).output().context("starting dpkg-deb")?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut file = File::open(&path)?;
        text.push_str(std::str::from_utf8(&fields.stdout).with_context(|| format!("the fields of {name}"))?);
        let size = file.metadata()?.len();
        write!(text, "Filename: ./{name}\nSize: {size}\nSHA256: {}\n\n", digest_of(&mut file)?)?;
    }
    fs::write(folder.join("Packages"), text)?;
    Ok(())
}

fn debs(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = entries.collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|suffix| suffix == "deb"));
    paths.sort();
    Ok(paths)
}
