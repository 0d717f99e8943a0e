//! What the end-to-end tests share: the built router image, projects and caches to build in, the program itself.

pub mod disk;
pub mod project;

use contract::hash::Digest;
use microdc::cache::Cache;
use microdc::lock::{Lock, LockedPackage};
use microdc::source::deb::{self, Effort};
use microdc::source::http::{Client, Patience, Wanted};
use microdc::source::mirror::{Mirror, MirrorSettings};
use microdc::source::progress::Quiet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, OnceLock};

/// The program under test.
pub const MICRODC: &str = env!("CARGO_BIN_EXE_microdc");

/// The checkout that these tests belong to.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The router as anyone builds it: in the checkout, with the machine's mirror and the usual cache.
pub struct Router {
    pub image: PathBuf,
    /// The program that the image holds, for `--supply`: no other build has to compile it.
    pub firstboot: PathBuf,
    /// The cache of the one who runs the tests: it has what this build needed, and what else the tests ask it for.
    pub cache: Cache,
    pub lock: Lock,
}

/// Builds the router once for the tests of this program. What the cache has already is not fetched or compiled again.
pub fn router() -> &'static Router {
    static ROUTER: OnceLock<Router> = OnceLock::new();
    ROUTER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("end-to-end");
        std::fs::create_dir_all(&folder).unwrap();
        // Test programs may run beside each other.
        let gate = std::fs::File::create(folder.join("gate")).unwrap();
        gate.lock().unwrap();
        let image = folder.join("router.img");
        let mut build = Command::new(MICRODC);
        build.args(["build", "router", "-o"]).arg(&image).current_dir(workspace());
        said(&build.output().unwrap(), 0);
        let firstboot = folder.join("firstboot");
        let found = disk::firstboot(&image);
        if std::fs::read(&firstboot).ok().as_ref() != Some(&found) {
            std::fs::write(&firstboot, found).unwrap();
        }
        let lock = Lock::load(&workspace().join("profiles/router.lock")).unwrap().unwrap();
        let cache = Cache::open(Cache::default_root().unwrap()).unwrap();
        Router { image, firstboot, cache, lock }
    })
}

impl Router {
    pub fn package(&self, name: &str) -> &LockedPackage {
        &self.lock.packages[name]
    }

    /// The package file in the cache. A cache that has a package unpacked, or an image made of it, is complete for a
    /// build without the file itself: then it is fetched again.
    pub fn blob(&self, package: &LockedPackage) -> PathBuf {
        if let Some(path) = self.cache.blob(package.sha256, package.size) {
            return path;
        }
        let mirror = machine_mirror();
        let url = format!("{}/{}", mirror.base(&package.suite), package.path);
        let client = Client::new(Patience::default(), Arc::default());
        client.blob(&self.cache, &Wanted { url, size: package.size, sha256: package.sha256 }, &Quiet).unwrap()
    }

    /// The folder of the package unpacked in the cache.
    pub fn unpacked(&self, package: &LockedPackage) -> PathBuf {
        if !deb::is_unpacked(&self.cache, package.sha256) {
            self.blob(package);
            deb::open(&self.cache, package, Effort::default()).unwrap();
        }
        project::unpacked(self.cache.root(), package.sha256)
    }
}

/// The mirror of the machine's own apt settings.
pub fn machine_mirror() -> Mirror {
    Mirror::find(&MirrorSettings::default(), &MirrorSettings::default(), Path::new("/etc/apt")).unwrap()
}

/// Where something of a package is in a cache.
pub fn in_cache(kind: &str, cache: &Path, digest: Digest, suffix: &str) -> PathBuf {
    let hex = digest.to_string();
    cache.join(kind).join(&hex[..2]).join(format!("{hex}{suffix}"))
}

/// Both outputs of a program that must have ended with `status`.
pub fn said(output: &Output, status: i32) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let text = format!("{out}{err}");
    assert_eq!(output.status.code(), Some(status), "{:?} said:\n{text}", output.status);
    text
}

/// Whether the tests may change user and mount.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// SHA-256 of a file, by another program.
pub fn sha256sum(path: &Path) -> String {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    said(&output, 0).split(' ').next().unwrap().to_owned()
}
