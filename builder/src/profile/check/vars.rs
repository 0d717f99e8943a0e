//! Variables that a profile declares, and every place that uses one.

use super::super::diagnostic::Diagnostic;
use super::super::merge::Profile;
use contract::template::is_template;
use contract::var::{Var, VarKind, is_var_name};
use std::collections::BTreeMap;

/// The variables of a profile, as the node is told of them.
#[must_use]
pub fn declared(profile: &Profile) -> BTreeMap<String, Var> {
    let vars = profile.vars.iter().map(|(name, entry)| {
        let written = &entry.value;
        let var = Var { kind: written.kind, default: written.default.clone(), optional: written.optional };
        (name.clone(), var)
    });
    vars.collect()
}

/// What is wrong with the declarations themselves, and with what services use of them.
pub(super) fn vars(profile: &Profile) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    let mut wrong = |place, message: String, help: Option<&str>| {
        mistakes.push(Diagnostic::new(&profile.sources, message, place, "here", None, help.map(str::to_owned)));
    };
    for (name, entry) in &profile.vars {
        let var = &entry.value;
        if !is_var_name(name) {
            let help = "a lower-case letter, then up to 31 lower-case letters, digits and underscores; not `secret`";
            wrong(&entry.place, format!("{name:?} is not a valid name of a variable"), Some(help));
        }
        match &var.default {
            Some(_) if var.kind == VarKind::Secret => {
                let help = "an image is readable by everyone who has it; without a default each node must set it";
                wrong(&entry.place, format!("the secret {name} has a default"), Some(help));
            }
            Some(default) if default.kind() != var.kind => {
                let (is, has) = (var.kind.words(), default.kind().words());
                wrong(&entry.place, format!("the variable {name} is {is}, and its default is {has}"), None);
            }
            _ => (),
        }
    }
    let declared = declared(profile);
    for entry in profile.services.values() {
        let texts = entry.value.environment.iter().filter(|(_, text)| is_template(text));
        for (key, text) in texts {
            for misuse in super::super::node_toml::template::check(key, text, &declared) {
                let help = misuse.help.as_deref();
                wrong(&entry.place, format!("the variable {key} of the environment: {}", misuse.message), help);
            }
        }
    }
    mistakes
}
