//! Paths below `[vars]` of node.toml: what stands there is what the profile declares.

use super::super::diagnostic::nearest;
use contract::var::{SECRET, Var, VarKind};
use std::collections::BTreeMap;

/// Why `vars.KEY`, or `vars.secret.KEY`, is nothing that a node has; `None` when it is declared.
#[must_use]
pub fn undeclared(declared: &BTreeMap<String, Var>, below: &str, key: &str) -> Option<(String, Option<String>)> {
    let secrets = match below {
        "vars" if key == SECRET => return None,
        "vars" => false,
        "vars.secret" => true,
        _ => return None,
    };
    let found = declared.get(key).map(|var| var.kind == VarKind::Secret);
    if found == Some(secrets) {
        return None;
    }
    let message = format!("the profile declares no {} `{key}`", if secrets { "secret" } else { "variable" });
    let help = match found {
        Some(true) => Some(format!("it is a secret: `vars.{SECRET}.{key}`")),
        Some(false) => Some(format!("it is not a secret: `vars.{key}`")),
        None => match nearest(key, declared.keys().map(String::as_str)) {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None => Some(format!("add [vars.{key}] with its `type` to the profile")),
        },
    };
    Some((message, help))
}
