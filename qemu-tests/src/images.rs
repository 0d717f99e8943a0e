//! Where the images under test are.

use std::path::{Path, PathBuf};

/// Variable of the environment that names another router image.
pub const IMAGE: &str = "MICRODC_TEST_IMAGE";
/// Variable of the environment that names another router image with the probe in it.
pub const PROBE_IMAGE: &str = "MICRODC_TEST_PROBE_IMAGE";

/// Variable of the environment that names another image for the emulated BCM2711.
pub const SLOW_IMAGE: &str = "MICRODC_TEST_SLOW_IMAGE";

/// Variable of the environment that names another image of services that behave badly.
pub const SERVICES_IMAGE: &str = "MICRODC_TEST_SERVICES_IMAGE";
/// Variable of the environment that names another image of a node that only claims its disks.
pub const DISKS_IMAGE: &str = "MICRODC_TEST_DISKS_IMAGE";

/// Variable of the environment that names another MinIO image.
pub const MINIO_IMAGE: &str = "MICRODC_TEST_MINIO_IMAGE";
/// Variable of the environment that names another image with all parts.
pub const PARTS_IMAGE: &str = "MICRODC_TEST_PARTS_IMAGE";

/// Variable of the environment that names another image of a container host.
pub const CONTAINERD_IMAGE: &str = "MICRODC_TEST_CONTAINERD_IMAGE";

/// Variables of the environment that name other images with a stand-in for k3s or Tinkerbell.
pub const K3S_SERVER_IMAGE: &str = "MICRODC_TEST_K3S_SERVER_IMAGE";
pub const K3S_AGENT_IMAGE: &str = "MICRODC_TEST_K3S_AGENT_IMAGE";
pub const TINKERBELL_IMAGE: &str = "MICRODC_TEST_TINKERBELL_IMAGE";

/// Top of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).unwrap_or(Path::new(".")).to_path_buf()
}

fn image(variable: &str, name: &str) -> PathBuf {
    let path = std::env::var_os(variable).map_or_else(|| root().join("out").join(name), PathBuf::from);
    assert!(
        path.is_file(),
        "{} is missing; qemu-tests/run builds it and then runs the tests ({variable} names another one)",
        path.display()
    );
    path
}

/// The router image, as it gets flashed.
///
/// # Panics
/// When it is not there; a test cannot go on without.
#[must_use]
pub fn router() -> PathBuf {
    image(IMAGE, "router.img")
}

/// The router image with the probe as one more service.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn router_with_probe() -> PathBuf {
    image(PROBE_IMAGE, "router-probe.img")
}

/// The image of a node with an operator and much time for its trials, for the emulated BCM2711.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn router_slow() -> PathBuf {
    image(SLOW_IMAGE, "router-slow.img")
}

/// The image of services that test the supervisor, without a role's own.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn services() -> PathBuf {
    image(SERVICES_IMAGE, "services.img")
}

/// The image of a node that does nothing but claim its disks, with the probe.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn disks() -> PathBuf {
    image(DISKS_IMAGE, "disks.img")
}

/// The MinIO image, as it gets flashed.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn minio() -> PathBuf {
    image(MINIO_IMAGE, "minio.img")
}

/// The image with every part that no other has, with the probe.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn parts() -> PathBuf {
    image(PARTS_IMAGE, "parts.img")
}

/// The image of a container host with Debian's containerd and runc, and the probe.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn containerd() -> PathBuf {
    image(CONTAINERD_IMAGE, "containerd.img")
}

/// The k3s-server image with a stand-in for k3s, and the probe.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn k3s_server() -> PathBuf {
    image(K3S_SERVER_IMAGE, "k3s-server-stand-in.img")
}

/// The k3s-agent image with a stand-in for k3s, and the probe.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn k3s_agent() -> PathBuf {
    image(K3S_AGENT_IMAGE, "k3s-agent-stand-in.img")
}

/// The tinkerbell image with a stand-in for Tinkerbell, and the probe.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn tinkerbell() -> PathBuf {
    image(TINKERBELL_IMAGE, "tinkerbell-stand-in.img")
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
