//! Merges a profile with its parts.
//!
//! Lists add up, in the order of the includes, the file's own entries last. Single values and named entries (a service,
//! a user, a sysctl ...) stand for themselves: a file overrides what it includes, whole entry by whole entry; two
//! includes of one file that say different things about the same name contradict each other, which is an error unless
//! the file that includes them decides. A part that is included twice counts once, where it is first named: one that
//! overrides it comes before.
//!
//! Which key is of which kind is in [`super::schema`], and what the kinds do in [`super::field`].

use super::diagnostic::{Diagnostic, Place, Sources};
use super::field::{File, Keys as _, Merge};
use super::file::{Loaded, ProfileError};
use super::schema::{ProfileFile, ProfileKeys, ProfileLayer};
use contract::layout::{DEFAULT_ROOT_SIZE, ImageLayout};
use contract::role::{Compatible, NameError};
use std::collections::BTreeSet;
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// A whole profile: its parts merged, and everything there that an image needs. Its keys are [`ProfileKeys`].
#[derive(Clone, Debug)]
pub struct Profile {
    pub name: String,
    pub path: PathBuf,
    pub keys: ProfileKeys,
    /// For which nodes its images are.
    pub compatible: Compatible,
    pub layout: ImageLayout,
    pub sources: Sources,
    /// What works, and should be written otherwise.
    pub warnings: Vec<Diagnostic>,
}

impl Deref for Profile {
    type Target = ProfileKeys;

    fn deref(&self) -> &ProfileKeys {
        &self.keys
    }
}

impl Profile {
    /// A node that committed a higher one refuses its images.
    #[must_use]
    pub fn rollback_index(&self) -> u64 {
        self.rollback_index.as_ref().map_or(0, |index| index.value)
    }

    /// The file of a place as people who know the profile name it, whatever the folder that it is in: relative to the
    /// profile's own folder.
    #[must_use]
    pub fn shown(&self, place: &Place) -> String {
        let path = self.sources.path(place.file);
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let inside = path.strip_prefix(folder).ok().or(path.file_name().map(Path::new));
        inside.unwrap_or(path).display().to_string()
    }
}

/// Merges a file and all that it includes.
///
/// # Errors
/// Contradictions, values that cannot be read, and what is missing.
pub(super) fn merge(loaded: &Loaded, sources: Sources) -> Result<Profile, ProfileError> {
    let mut merge = Merge { sources: &sources, mistakes: Vec::new() };
    let layer = layer(loaded, &mut merge, &mut BTreeSet::new());
    let profile = finish(loaded, layer, &mut merge);
    let mistakes = merge.mistakes;
    match profile {
        Some(profile) if mistakes.is_empty() => Ok(Profile { sources, ..profile }),
        _ => Err(ProfileError::Mistakes(mistakes)),
    }
}

/// What a file and its includes say. `seen` are the files that have been counted.
fn layer(loaded: &Loaded, merge: &mut Merge<'_>, seen: &mut BTreeSet<PathBuf>) -> ProfileLayer {
    let mut whole = ProfileLayer::default();
    for include in &loaded.includes {
        let canonical = include.path.canonicalize().unwrap_or_else(|_| include.path.clone());
        if seen.insert(canonical) {
            let part = layer(include, merge, seen);
            ProfileFile::include(&mut whole, part, Some(&loaded.content), "", merge);
        }
    }
    let folder = loaded.path.parent().unwrap_or(Path::new("."));
    ProfileFile::over(&mut whole, &loaded.content, &File { id: loaded.file, folder }, merge);
    whole
}

/// A layer becomes a profile when everything is there.
fn finish(loaded: &Loaded, layer: ProfileLayer, merge: &mut Merge<'_>) -> Option<Profile> {
    let start = Place { file: loaded.file, span: 0..0 };
    let mut missing = Vec::new();
    let keys = ProfileFile::whole(layer, "", &mut missing);
    for what in missing {
        let message = format!("the profile has no `{what}`");
        let help = Some(format!("set `{what}` in it or in a part that it includes"));
        merge.mistakes.push(Diagnostic::new(merge.sources, message, &start, "in this profile", None, help));
    }
    let keys = keys?;
    let root_size = keys.disk.root.as_ref();
    let layout = ImageLayout::new(root_size.map_or(DEFAULT_ROOT_SIZE, |size| size.value.0)).map_err(|error| {
        let at = root_size.map_or(&start, |size| &size.place);
        merge.mistakes.push(Diagnostic::new(merge.sources, error.to_string(), at, "set here", None, None));
    });
    let stem = loaded.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("image");
    let profile = keys.compatible.as_ref().map_or_else(|| stem.parse(), |compatible| Ok(compatible.value.clone()));
    let profile = profile.map_err(|error: NameError| {
        let help = Some("rename the file, or set `compatible` in it".to_owned());
        let message = format!("the name of the file: {error}");
        merge.mistakes.push(Diagnostic::new(merge.sources, message, &start, "in this profile", None, help));
    });
    let compatible = Compatible { role: keys.role.value.clone(), profile: profile.ok()? };
    Some(Profile {
        compatible,
        name: stem.to_owned(),
        path: loaded.path.clone(),
        keys,
        layout: layout.ok()?,
        sources: Sources::default(),
        warnings: warnings(loaded),
    })
}

/// The warnings of a file and of all that it includes, each once.
fn warnings(loaded: &Loaded) -> Vec<Diagnostic> {
    let mut all: Vec<Diagnostic> = loaded.includes.iter().flat_map(warnings).collect();
    all.extend(loaded.warnings.iter().cloned());
    let mut seen = BTreeSet::new();
    all.retain(|warning| seen.insert((warning.path.clone(), warning.line, warning.column)));
    all
}
