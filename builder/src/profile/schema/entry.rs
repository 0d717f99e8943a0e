//! Named entries and tables of an array, each of which counts as a whole: artifacts, accounts, directories, templates.

use super::super::quantity::Mode;
use schemars::JsonSchema;
use serde::Deserialize;

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

/// A group that is not an account's own.
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
