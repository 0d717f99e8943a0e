//! What a profile says about node.toml: the `when` of services and health checks, the `config` of health checks, and the
//! templates of its overlays. A path that no node.toml can have would silently disable a service.

use super::super::diagnostic::{Diagnostic, Place};
use super::super::merge::Profile;
use super::super::node_toml::vars::undeclared;
use super::super::node_toml::{path, template};
use super::super::schema::{Health, Target, Template};
use super::super::spanned::Spanned;
use super::super::value::{Located, Mistake};
use super::declared;
use contract::names::TEMPLATES;
use std::path::{Component, Path, PathBuf};

/// The longest template that is looked into, in bytes.
const LARGEST_TEMPLATE: u64 = 1 << 20;

/// Everything that a profile says of node.toml and that no node.toml can have.
pub(super) fn node_toml(profile: &Profile) -> Vec<Diagnostic> {
    let mut mistakes = Vec::new();
    for entry in profile.services.values() {
        mistakes.extend(said(profile, &entry.place, entry.value.when.as_ref(), |path| when(profile, path)));
    }
    for Located { value, place } in &profile.health {
        mistakes.extend(said(profile, place, value.when.as_ref(), |path| when(profile, path)));
        let Health { tcp, route, neighbour, .. } = value;
        for target in [tcp, route, neighbour] {
            mistakes.extend(said(profile, place, target.as_ref(), |target| match target {
                Target::Is(_) => Ok(()),
                Target::Config { config } => path::values(config),
            }));
        }
    }
    for entry in &profile.templates {
        mistakes.extend(used(profile, entry));
    }
    mistakes
}

/// The path of a `when`: a variable must be declared.
fn when(profile: &Profile, path: &str) -> Result<(), Mistake> {
    path::when(path)?;
    let found = path.rsplit_once('.').and_then(|(below, key)| undeclared(&declared(profile), below, key));
    found.map_or(Ok(()), Err)
}

/// A value of an entry, shown in its own line.
fn said<T>(
    profile: &Profile,
    entry: &Place,
    value: Option<&Spanned<T>>,
    check: impl Fn(&T) -> Result<(), Mistake>,
) -> Option<Diagnostic> {
    let value = value?;
    let (message, help) = check(value.get_ref()).err()?;
    let place = Place { file: entry.file, span: value.span() };
    Some(Diagnostic::new(&profile.sources, message, &place, "here", None, help))
}

/// What a template uses, shown in the template's own line.
fn used(profile: &Profile, entry: &Located<Template>) -> Vec<Diagnostic> {
    // One that is in no overlay is missed when the root is there, which packages may have brought it into.
    let Some((path, source)) = find(profile, &entry.value.from) else { return Vec::new() };
    let misuses = template::check(&entry.value.from, &source, &declared(profile));
    let mut sources = profile.sources.clone();
    let file = sources.add(&path, &source);
    let shown = misuses.into_iter().map(|misuse| {
        let place = Place { file, span: misuse.span };
        let named = Some((&entry.place, "the template is named here"));
        Diagnostic::new(&sources, misuse.message, &place, "here", named, misuse.help)
    });
    shown.collect()
}

/// The file of a template. The last overlay that has it counts, as in the image.
fn find(profile: &Profile, from: &str) -> Option<(PathBuf, String)> {
    let plain = Path::new(from).components().all(|part| matches!(part, Component::Normal(_)));
    let inside = Path::new(TEMPLATES.trim_start_matches('/')).join(from);
    let mut paths = profile.overlays.iter().rev().map(|overlay| overlay.value.join(&inside));
    let path = paths.find(|path| plain && path.is_file())?;
    let length = std::fs::metadata(&path).ok()?.len();
    let source = (length <= LARGEST_TEMPLATE).then(|| std::fs::read_to_string(&path).ok())??;
    Some((path, source))
}

#[cfg(test)]
mod tests;
