//! The images under test: one table says how each is built and which environment variable names another file. The program
//! `test-images` builds them all, or those that it is given by name.

use std::path::{Path, PathBuf};

/// An image under test.
#[derive(Clone, Copy, Debug)]
pub struct TestImage {
    /// The file is `out/NAME.img`.
    pub name: &'static str,
    /// Variable of the environment that names another file: then this one is neither built nor needed.
    pub variable: &'static str,
    /// Below the repository's top.
    pub profile: &'static str,
    /// The profile that it takes its packages from, so that they are the very ones of the image that gets flashed. Without
    /// one it has a lock of its own.
    pub packages_of: Option<&'static str>,
    pub lock: LockUse,
    /// What it holds in place of programs that cannot be fetched everywhere.
    pub stand_ins: &'static [&'static str],
    /// Whether only tests of the long tier use it.
    pub long: bool,
}

/// What becomes of a lock whose packages are gone from the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockUse {
    /// It is an error.
    Locked,
    /// They are resolved again, and the lock is updated.
    Refreshed,
}

/// An image of `qemu-tests/profiles`, or of `profiles`, with a lock of its own.
const fn image(name: &'static str, variable: &'static str, profile: &'static str) -> TestImage {
    TestImage { name, variable, profile, packages_of: None, lock: LockUse::Locked, stand_ins: &[], long: false }
}

/// Every image under test.
///
/// `router`, `minio` and `garage` are the images as they get flashed; all others but `router-slow` and `kea` have the probe.
pub static IMAGES: [TestImage; 17] = [
    TestImage { lock: LockUse::Refreshed, ..image("router", "MICRODC_TEST_IMAGE", "profiles/router.toml") },
    // A node that does nothing but claim its disks.
    TestImage {
        lock: LockUse::Refreshed,
        ..image("disks", "MICRODC_TEST_DISKS_IMAGE", "qemu-tests/profiles/disks.toml")
    },
    image("minio", "MICRODC_TEST_MINIO_IMAGE", "profiles/minio.toml"),
    TestImage {
        packages_of: Some("minio"),
        ..image("minio-probe", "MICRODC_TEST_MINIO_PROBE_IMAGE", "qemu-tests/profiles/minio-probe.toml")
    },
    TestImage {
        packages_of: Some("router"),
        ..image("router-probe", "MICRODC_TEST_PROBE_IMAGE", "qemu-tests/profiles/router-probe.toml")
    },
    // A node with an operator and a health check, and nothing else, for releases that fail.
    TestImage {
        packages_of: Some("router"),
        ..image("trials", "MICRODC_TEST_TRIALS_IMAGE", "qemu-tests/profiles/trials.toml")
    },
    // A node with an operator and much time for its trials, for the emulated BCM2711.
    TestImage {
        packages_of: Some("minio"),
        ..image("router-slow", "MICRODC_TEST_SLOW_IMAGE", "qemu-tests/profiles/router-slow.toml")
    },
    // Services that test the supervisor, without a role's own.
    TestImage {
        packages_of: Some("router"),
        ..image("services", "MICRODC_TEST_SERVICES_IMAGE", "qemu-tests/profiles/services.toml")
    },
    // Every part that no other image has.
    image("parts", "MICRODC_TEST_PARTS_IMAGE", "qemu-tests/profiles/parts.toml"),
    // A server with an address that it shares with others.
    image("vip", "MICRODC_TEST_VIP_IMAGE", "qemu-tests/profiles/vip.toml"),
    // Daemons that are awkward without maintainer scripts.
    TestImage { long: true, ..image("daemons", "MICRODC_TEST_DAEMONS_IMAGE", "qemu-tests/profiles/daemons.toml") },
    // With Garage compiled from its source, because upstream's program cannot be fetched everywhere.
    TestImage {
        stand_ins: &["garage"],
        long: true,
        ..image("garage", "MICRODC_TEST_GARAGE_IMAGE", "profiles/garage.toml")
    },
    // A server of DHCPv6.
    image("kea", "MICRODC_TEST_KEA_IMAGE", "qemu-tests/profiles/kea.toml"),
    // A container host with Debian's containerd and runc.
    image("containerd", "MICRODC_TEST_CONTAINERD_IMAGE", "qemu-tests/profiles/containerd.toml"),
    TestImage {
        stand_ins: &["k3s", "k3s-images"],
        ..image(
            "k3s-server-stand-in",
            "MICRODC_TEST_K3S_SERVER_IMAGE",
            "qemu-tests/profiles/k3s-server-stand-in.toml",
        )
    },
    TestImage {
        stand_ins: &["k3s"],
        ..image("k3s-agent-stand-in", "MICRODC_TEST_K3S_AGENT_IMAGE", "qemu-tests/profiles/k3s-agent-stand-in.toml")
    },
    TestImage {
        packages_of: Some("tinkerbell"),
        stand_ins: &["tinkerbell"],
        ..image(
            "tinkerbell-stand-in",
            "MICRODC_TEST_TINKERBELL_IMAGE",
            "qemu-tests/profiles/tinkerbell-stand-in.toml",
        )
    },
];

impl TestImage {
    /// Where the image is, or will be.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.replaced().unwrap_or_else(|| root().join("out").join(format!("{}.img", self.name)))
    }

    /// The file that the environment names in its place.
    #[must_use]
    pub fn replaced(&self) -> Option<PathBuf> {
        std::env::var_os(self.variable).map(PathBuf::from)
    }
}

/// Top of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).unwrap_or(Path::new(".")).to_path_buf()
}

/// Cargo's folder of what is built: the one that the environment names, unless it names nothing.
#[must_use]
pub fn target() -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty());
    named.map_or_else(|| root().join("target"), PathBuf::from)
}

/// The image of this name.
fn built(name: &str) -> PathBuf {
    let image = IMAGES.iter().find(|image| image.name == name).unwrap_or_else(|| panic!("no test image {name}"));
    let path = image.path();
    assert!(
        path.is_file(),
        "{} is missing: `cargo run --release -p qemu-tests --bin test-images {name}` builds it, and qemu-tests/run all images \
         (the variable {} names another file)",
        path.display(),
        image.variable
    );
    path
}

/// The router image, as it gets flashed.
///
/// # Panics
/// When it is not there; a test cannot go on without.
#[must_use]
pub fn router() -> PathBuf {
    built("router")
}

/// The router image with the probe as one more service.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn router_with_probe() -> PathBuf {
    built("router-probe")
}

/// The image of a node with an operator, a health check and the probe, and nothing else.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn trials() -> PathBuf {
    built("trials")
}

/// The image of a node with an operator and much time for its trials, for the emulated BCM2711.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn router_slow() -> PathBuf {
    built("router-slow")
}

/// The image of services that test the supervisor, without a role's own.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn services() -> PathBuf {
    built("services")
}

/// The image of a node that does nothing but claim its disks, with the probe.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn disks() -> PathBuf {
    built("disks")
}

/// The Garage image, as it gets flashed.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn garage() -> PathBuf {
    built("garage")
}

/// The MinIO image, as it gets flashed.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn minio() -> PathBuf {
    built("minio")
}

/// The MinIO image with the probe as one more service.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn minio_with_probe() -> PathBuf {
    built("minio-probe")
}

/// The image with every part that no other has, with the probe.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn parts() -> PathBuf {
    built("parts")
}

/// The image of a server with an address that it shares with others, with the probe.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn vip() -> PathBuf {
    built("vip")
}

/// The image of daemons that are awkward without maintainer scripts, with the probe.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn daemons() -> PathBuf {
    built("daemons")
}

/// The image of a server of DHCPv6, Debian's Kea.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn kea() -> PathBuf {
    built("kea")
}

/// The image of a container host with Debian's containerd and runc, and the probe.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn containerd() -> PathBuf {
    built("containerd")
}

/// The k3s-server image with a stand-in for k3s, and the probe.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn k3s_server() -> PathBuf {
    built("k3s-server-stand-in")
}

/// The k3s-agent image with a stand-in for k3s, and the probe.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn k3s_agent() -> PathBuf {
    built("k3s-agent-stand-in")
}

/// The tinkerbell image with a stand-in for Tinkerbell, and the probe.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn tinkerbell() -> PathBuf {
    built("tinkerbell-stand-in")
}

/// The private key that signed the images under test: `keys/release.key`, else the development key.
///
/// # Panics
/// When neither is there or it cannot be read.
#[must_use]
pub fn signing_key() -> contract::keys::PrivateKey {
    let folder = root().join("keys");
    let path =
        ["release.key", "development.key"].map(|name| folder.join(name)).into_iter().find(|path| path.is_file());
    let path = path.unwrap_or_else(|| panic!("no private key in {}; the first build makes one", folder.display()));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    contract::keys::PrivateKey::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
