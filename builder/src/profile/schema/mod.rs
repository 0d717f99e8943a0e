//! What may stand in a profile or a part of one, as it is written. Everything is optional here: [`super::merge`] says
//! what a whole profile must have.
//!
//! The doc comments of the fields are the reference that people read: they make `microdc schema profile` and
//! `profiles/REFERENCE.md`.

mod health;
mod service;

pub use health::{Disk as DiskHealth, Health, Http, Target};
pub use service::{Limits, Mount, Ready, Restart, Service};

use super::quantity::{Bytes, Milliseconds, Mode};
use super::spanned::Spanned;
use contract::role::{ProfileName, Role};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A table whose keys are names, each with its place in the file.
pub type Named<T> = BTreeMap<Spanned<String>, T>;

/// One file: a profile, or a part that profiles include.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfileFile {
    /// Format of this file: 1. May be left out.
    pub format: Option<u32>,
    /// What its nodes are for: one of the roles that come with microdc, or a name of your own.
    pub role: Option<Spanned<Role>>,
    /// For which profile's nodes the image is an update; without it, the profile's own. A node takes updates for its own
    /// role and profile alone.
    pub compatible: Option<Spanned<ProfileName>>,
    /// One line for people.
    pub summary: Option<Spanned<String>>,
    /// Version of the image; without it, made from the time of the newest input.
    pub version: Option<Spanned<String>>,
    /// A node that committed a higher one refuses this image.
    pub rollback_index: Option<Spanned<u64>>,
    /// Parts: a name in `parts/` beside the profile, or a path ending in `.toml`.
    #[serde(default)]
    pub include: Vec<Spanned<String>>,
    /// Folders laid over the root: a name in `overlays/`, or a path beginning with `.` or `/`.
    #[serde(default)]
    pub overlays: Vec<Spanned<String>>,
    /// A node.toml with which the templates are rendered at build time; beside the profile.
    pub example: Option<Spanned<String>>,
    /// Sizes on the disk.
    pub disk: Option<Disk>,
    /// The kernel, its modules and its options.
    pub kernel: Option<Kernel>,
    /// The boot firmware.
    pub firmware: Option<Firmware>,
    /// What is taken from packages, by their names.
    #[serde(default)]
    pub packages: Named<Package>,
    /// Files of the root that come from no package, by names of your choice.
    #[serde(default)]
    pub artifact: Named<Artifact>,
    /// Accounts, by their names.
    #[serde(default)]
    pub user: Named<User>,
    /// Groups that are no account's own, by their names.
    #[serde(default)]
    pub group: Named<Group>,
    /// Symbolic links: absolute path = what it points to.
    #[serde(default)]
    pub link: Named<String>,
    /// Directories made at boot, by their absolute paths.
    #[serde(default)]
    pub directory: Named<Directory>,
    /// Files rendered from the node config at boot.
    #[serde(default, rename = "template")]
    pub templates: Vec<Spanned<Template>>,
    /// Settings of the kernel by their names in sysctl's way; `*` in place of an interface stands for `all` and `default`.
    #[serde(default)]
    pub sysctl: Named<String>,
    /// Programs that firstboot runs, by names of your choice.
    #[serde(default)]
    pub service: Named<Service>,
    /// What must hold before a new image is kept, and is watched from then on.
    #[serde(default)]
    pub health: Vec<Spanned<Health>>,
    /// What a trial of a new image must show, and by when.
    pub update: Option<Update>,
}

/// Sizes on the disk.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Size of each root partition: it bounds all later updates.
    pub root: Option<Spanned<Bytes>>,
}

/// What a trial of a new image must show, and by when; times count from power-on.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Update {
    /// For so long the health gate must have passed without a break before the image is kept. Not said: 30 s.
    pub settle: Option<Spanned<Milliseconds>>,
    /// By then the network must have an address. Not said: 120 s.
    pub network: Option<Spanned<Milliseconds>>,
    /// By then every wanted service must be ready. Not said: 180 s.
    pub services: Option<Spanned<Milliseconds>>,
    /// By then the image must have been kept. Not said: 600 s.
    pub commit: Option<Spanned<Milliseconds>>,
}

/// The kernel and its modules.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The package, or the one that depends on it, such as `linux-image-arm64`.
    pub package: Option<Spanned<String>>,
    /// Modules that the initramfs loads, with what they depend on.
    #[serde(default)]
    pub initramfs: Vec<Spanned<String>>,
    /// Modules that the system loads, with what they depend on.
    #[serde(default)]
    pub modules: Vec<Spanned<String>>,
    /// Options added to the kernel's command line.
    #[serde(default)]
    pub options: Vec<Spanned<String>>,
    /// Options that the kernel must have been built with: `"CONFIG_VETH"` for built in or as a module, `"CONFIG_BPF=y"`
    /// for this value and no other.
    #[serde(default)]
    pub config: Vec<Spanned<String>>,
}

/// The boot firmware.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Firmware {
    /// The package with the boot firmware.
    pub package: Option<Spanned<String>>,
    /// Suite other than the default ones.
    pub suite: Option<Spanned<String>>,
    /// Component other than `main`.
    pub component: Option<Spanned<String>>,
}

/// What is taken from a package. Programs bring the libraries that they need by themselves.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Paths and patterns inside the package; a folder means everything below it.
    #[serde(default)]
    pub take: Vec<Spanned<String>>,
    /// Suite other than the default ones.
    pub suite: Option<String>,
    /// Component other than `main`.
    pub component: Option<String>,
}

/// A file of the root that comes from no package: exactly one of `url`, `go` and `file` says where it comes from. The
/// table's name is what `--supply` replaces.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Absolute path in the root.
    pub to: String,
    /// 0755 for `url` and `go`, 0644 for `file`, when nothing is said.
    pub mode: Option<Mode>,
    /// A release file of its upstream.
    pub url: Option<String>,
    /// With `url`: a list of SHA-256 sums, as sha256sum(1) writes them, that names the file of the URL.
    pub checksums: Option<String>,
    /// With `url`: the signature of the list of `checksums` or, without one, of the file itself: detached OpenPGP or
    /// minisign.
    pub signature: Option<String>,
    /// With `signature`: the file of the signer's public key, from the folder of the file that says this: an OpenPGP
    /// certificate or a minisign key.
    pub key: Option<String>,
    /// A Go module with its exact version: `example.org/program@v1.2.3`.
    pub go: Option<String>,
    /// With `go`: the main package, where it is not the module's root: `./cmd/program`.
    pub package: Option<String>,
    /// A file, from the folder of the file that says this.
    pub file: Option<String>,
}

/// An account.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Number of the account.
    pub id: u32,
    /// Primary group; without it, one of the same name and number.
    pub group: Option<String>,
    /// Supplementary groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Home directory; without it, `/nonexistent`.
    pub home: Option<String>,
    /// The program that a login gets; without it, nobody logs in.
    pub shell: Option<String>,
    /// A name for people.
    pub comment: Option<String>,
}

/// A group that is no account's own.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Number of the group.
    pub id: u32,
}

/// A directory made at boot.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// `user` or `user:group`.
    #[serde(default = "root")]
    pub owner: String,
    /// Permission bits in octal.
    #[serde(default = "mode_0755")]
    pub mode: Mode,
    /// Kept on `state` across reboots and updates.
    #[serde(default)]
    pub persistent: bool,
}

/// A file rendered from the node config at boot.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// File name in `usr/lib/microdc/templates/` of an overlay.
    pub from: String,
    /// Absolute path under `/run`.
    pub to: String,
    /// `user` or `user:group`.
    #[serde(default = "root")]
    pub owner: String,
    /// Permission bits in octal.
    #[serde(default = "mode_0644")]
    pub mode: Mode,
}

fn root() -> String {
    "root".to_owned()
}

fn mode_0755() -> Mode {
    Mode(0o755)
}

fn mode_0644() -> Mode {
    Mode(0o644)
}
