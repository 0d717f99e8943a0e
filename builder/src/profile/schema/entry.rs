//! Named entries and tables of an array, each of which counts as a whole: artifacts, accounts, directories, templates.

use super::super::quantity::{Bytes, Mode};
use super::super::spanned::Spanned;
use contract::var::{VarKind, VarValue};
use schemars::JsonSchema;
use serde::Deserialize;

/// A file that comes from no package. Exactly one of `url`, `go` and `file` sets its source. `--supply NAME=FILE`
/// replaces it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Absolute path in the root file system.
    pub to: String,
    /// Permission bits. Default: 0755 for `url` and `go`, 0644 for `file`.
    pub mode: Option<Mode>,
    /// URL of an upstream release file.
    pub url: Option<String>,
    /// With `url`: the URL of a list of SHA-256 checksums, as written by sha256sum(1), that names the file.
    pub checksums: Option<String>,
    /// With `url`: the URL of a detached OpenPGP or minisign signature of the `checksums` list or, without one, of the
    /// file itself.
    pub signature: Option<String>,
    /// With `signature`: the file with the signer's public key, an OpenPGP certificate or a minisign key. Relative to
    /// the folder of this file.
    pub key: Option<String>,
    /// A Go module with its exact version: `example.org/program@v1.2.3`.
    pub go: Option<String>,
    /// With `go`: the main package, if it is not the module's root: `./cmd/program`.
    pub package: Option<String>,
    /// A local file, relative to the folder of this file.
    pub file: Option<String>,
}

/// A user account.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// User ID.
    pub id: u32,
    /// Primary group. Default: one with the same name and number.
    pub group: Option<String>,
    /// Supplementary groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Home directory. Default: `/nonexistent`.
    pub home: Option<String>,
    /// Login shell. Default: the account cannot log in.
    pub shell: Option<String>,
    /// Comment (the GECOS field).
    pub comment: Option<String>,
}

/// A group other than the primary group of a user.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Group ID.
    pub id: u32,
}

/// A directory created at boot.
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
    /// With `persistent`: the most that it may hold, such as `"200MiB"`. Writes beyond it fail.
    pub limit: Option<Spanned<Bytes>>,
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

/// A value that each node sets for itself: in `[vars]` of node.toml, or in `[vars.secret]` if it is a secret. Templates and
/// the environment of services use it as `{{ vars.NAME }}` or `{{ vars.secret.NAME }}`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Var {
    /// What it may be.
    #[serde(rename = "type")]
    pub kind: VarKind,
    /// Its value on nodes that do not set it. A secret has none.
    pub default: Option<VarValue>,
    /// Nodes need not set it although it has no default: ask `is defined`.
    #[serde(default)]
    pub optional: bool,
    /// What it is for, in a line.
    pub summary: Option<String>,
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
