//! What to write where a package does not have what a profile takes from it.

use crate::resolve::{Elsewhere, Resolver};
use crate::scripts;
use crate::tree::take::TakeError;
use contract::text;

/// Who has what is at a pattern, in place of the package of this name; whether others than the package itself are asked.
pub(super) type Finder<'f> = &'f (dyn Fn(&str, &str, bool) -> Option<Elsewhere> + Sync);

/// Asks the resolver.
pub(super) fn finder<'r>(resolver: &'r Resolver<'r>) -> impl Fn(&str, &str, bool) -> Option<Elsewhere> + Sync + 'r {
    |package, pattern, far| resolver.elsewhere(package, pattern, far)
}

/// What went wrong, and the lines that do what was meant, where that can be found out.
pub(super) fn explain(name: &str, error: &TakeError, find: Finder<'_>) -> (String, Option<String>) {
    let TakeError::Nothing { package, pattern, near } = error else { return (error.to_string(), None) };
    let nothing = format!("{package} has nothing at {pattern:?}");
    match find(name, pattern, near.is_none()) {
        Some(Elsewhere::Package { package: other, pattern: there }) => {
            let there = text::line(there.trim_start_matches('/'));
            let message = format!("{nothing}: the package {} has {there:?}", other.name);
            (message, Some(format!("write\n\n[packages.{}]\ntake = [{there:?}]", key(&other.name))))
        }
        Some(Elsewhere::Scripts { package: other, acts }) => {
            let whose = if other.name == name { "its".to_owned() } else { format!("{}'s", other.name) };
            if !acts.alternatives.is_empty() {
                let lines = scripts::alternative_lines(&other.name, &acts.alternatives.iter().collect::<Vec<_>>());
                let message = format!("{nothing}: in Debian, {whose} script makes it with update-alternatives");
                return (message, Some(format!("write\n\n{}", lines.trim_end())));
            }
            let message = format!("{nothing}: in Debian, {whose} script makes it");
            (message, Some(format!("write what you need of this\n\n{}", scripts::to_toml(&acts, &other).trim_end())))
        }
        None => {
            let known = format!("`microdc inspect --package {}` shows what its scripts would do", text::line(name));
            (error.to_string(), near.is_none().then_some(known))
        }
    }
}

fn key(name: &str) -> String {
    if name.contains(['.', '+']) { format!("{name:?}") } else { name.to_owned() }
}
