//! Variables: values that a profile declares and each node sets for itself, under `[vars]` of node.toml
//! ([`crate::node::Vars`]).

use serde::{Deserialize, Serialize};

/// The key of the table of secrets in `[vars]`.
pub const SECRET: &str = "secret";

/// What a variable may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum VarKind {
    String,
    Integer,
    Boolean,
    /// Of strings.
    List,
    /// A string that no one is shown.
    Secret,
}

impl VarKind {
    /// In words, with its article.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            VarKind::String => "a string",
            VarKind::Integer => "an integer",
            VarKind::Boolean => "true or false",
            VarKind::List => "a list of strings",
            VarKind::Secret => "a secret",
        }
    }
}

/// A variable. Without a default, and not optional, a node must set it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Var {
    pub kind: VarKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<VarValue>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

/// Whether a variable can have this name: a lower-case letter, then up to 31 lower-case letters, digits and `_`; not `secret`.
#[must_use]
pub fn is_var_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    (1..=32).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_')
        && name != SECRET
}

/// The value of a variable that is no secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged, expecting = "expected a string, an integer, true, false, or a list of strings")]
pub enum VarValue {
    Boolean(bool),
    Integer(i64),
    String(String),
    List(Vec<String>),
}

impl VarValue {
    /// The kind of variable that it is a value of.
    #[must_use]
    pub fn kind(&self) -> VarKind {
        match self {
            VarValue::Boolean(_) => VarKind::Boolean,
            VarValue::Integer(_) => VarKind::Integer,
            VarValue::String(_) => VarKind::String,
            VarValue::List(_) => VarKind::List,
        }
    }
}
