//! The artifacts of a build: the files of the root that come from no package, with what the lock pins of them.

use super::FIRSTBOOT;
use super::supply::{self, Supply};
use crate::cache::{Cache, KeyBuilder};
use crate::inventory;
use crate::lock::{Lock, LockedArtifact, LockedFrom};
use crate::profile::artifact::From;
use crate::profile::{Artifact, Located, Place, Profile};
use crate::source::local::{self, Snapshot};
use crate::tree::{Content, elf, origin};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One artifact, ready to be put into the root.
pub(super) struct Placed<'p> {
    pub name: &'p str,
    pub artifact: &'p Artifact,
    pub content: Content,
    /// Why it is here.
    pub origin: String,
    pub supplied: bool,
    /// Where the profile says so.
    pub place: &'p Place,
}

/// What of a build's artifacts lies on this machine: supplied ones, and those of kind `file`.
pub(super) struct Locals {
    supplied: BTreeMap<String, Snapshot>,
    files: BTreeMap<String, Snapshot>,
}

/// All artifacts of a build.
pub(super) struct Gathered<'p> {
    pub placed: Vec<Placed<'p>>,
    /// For the new lock.
    pub locked: BTreeMap<String, LockedArtifact>,
}

impl Locals {
    /// Copies them into the cache.
    pub(super) fn find(supplies: &[Supply], profile: &Profile, cache: &Cache) -> Result<Locals> {
        let supplied = supply::take(supplies, profile, cache)?;
        let mut files = BTreeMap::new();
        for (name, Located { value, place }) in &profile.artifacts {
            if let From::File(path) = &value.from
                && !supplied.contains_key(name)
            {
                let copy = local::snapshot(cache, path).map_err(|error| {
                    super::assemble::mistake(profile, place, &format!("the artifact {name}: {error}"))
                })?;
                files.insert(name.clone(), copy);
            }
        }
        Ok(Locals { supplied, files })
    }

    /// Names of what was handed over by hand.
    pub(super) fn supplied(&self) -> Vec<String> {
        self.supplied.keys().cloned().collect()
    }

    /// The supplied firstboot.
    pub(super) fn firstboot(&self) -> Option<&Snapshot> {
        self.supplied.get(FIRSTBOOT)
    }

    /// Adds them to the key of a build.
    pub(super) fn add_to(&self, key: &mut KeyBuilder) {
        for (label, snapshots) in [("supplied", &self.supplied), ("file", &self.files)] {
            for (name, snapshot) in snapshots {
                key.add(label, name);
                key.add("digest", snapshot.sha256.0);
            }
        }
    }
}

impl Gathered<'_> {
    /// What the image says of them.
    pub(super) fn inventory(&self) -> Vec<inventory::Artifact> {
        self.placed.iter().map(Placed::inventory).collect()
    }
}

impl Placed<'_> {
    fn inventory(&self) -> inventory::Artifact {
        let (kind, from, version) = match &self.artifact.from {
            From::Url { url, .. } => ("url", url.clone(), None),
            From::Go(program) => ("go", program.package.clone(), Some(program.version.clone())),
            From::File(path) => ("file", path.file_name().unwrap_or_default().to_string_lossy().into_owned(), None),
        };
        inventory::Artifact {
            name: self.name.to_owned(),
            kind: kind.to_owned(),
            from: Some(from),
            version,
            path: format!("/{}", self.artifact.to),
            size: self.content.len(),
            sha256: self.content.digest(),
            supplied: self.supplied,
        }
    }
}

/// Brings every artifact of the profile.
pub(super) fn gather<'p>(
    profile: &'p Profile,
    locals: &Locals,
    lock: Option<&Lock>,
    must: bool,
) -> Result<Gathered<'p>> {
    let mut gathered = Gathered { placed: Vec::new(), locked: BTreeMap::new() };
    for (name, Located { value: artifact, place }) in &profile.artifacts {
        let at = |error: anyhow::Error| {
            super::assemble::mistake(profile, place, &format!("the artifact {name}: {error:#}"))
        };
        let pinned = lock.and_then(|lock| lock.artifacts.get(name)).filter(|locked| is_of(locked, &artifact.from));
        let (content, why) = if let Some(supplied) = locals.supplied.get(name) {
            // What the lock says of it stays, for the next build without it.
            gathered.locked.extend(pinned.map(|pinned| (name.clone(), pinned.clone())));
            (supplied.content(), "supplied by hand".to_owned())
        } else if let Some(file) = locals.files.get(name) {
            let locked =
                LockedArtifact { name: name.clone(), from: LockedFrom::File, size: file.size, sha256: file.sha256 };
            if must && pinned != Some(&locked) {
                return Err(at(match pinned {
                    Some(_) => anyhow::anyhow!("the file is not the one that is locked; build once without --locked"),
                    None => anyhow::anyhow!("it is not in the lock; build once without --locked"),
                }));
            }
            gathered.locked.insert(name.clone(), locked);
            (file.content(), artifact.from.to_string())
        } else {
            return Err(at(anyhow::anyhow!("hand it over with --supply {name}=FILE")));
        };
        let content = content.map_err(|error| at(error.into()))?;
        elf::needs(&content).map_err(|why| at(anyhow::anyhow!(why)))?;
        let supplied = locals.supplied.contains_key(name);
        let origin = origin::of_artifact(name, &why);
        gathered.placed.push(Placed { name, artifact, content, origin, supplied, place });
    }
    Ok(gathered)
}

/// Whether what is locked is what the profile asks for.
fn is_of(locked: &LockedArtifact, from: &From) -> bool {
    match (&locked.from, from) {
        (LockedFrom::Url { url: locked }, From::Url { url, .. }) => locked == url,
        (LockedFrom::Go { program: locked, .. }, From::Go(program)) => locked == program,
        (LockedFrom::File, From::File(_)) => true,
        _ => false,
    }
}

/// The bytes of a supplied firstboot: one static program for the node's processor.
pub(super) fn static_program(snapshot: &Snapshot) -> Result<Arc<[u8]>> {
    let content = snapshot.content()?;
    let doing = || format!("the supplied {FIRSTBOOT} cannot run on a node");
    let needs = elf::needs(&content).map_err(anyhow::Error::msg).with_context(doing)?;
    match needs {
        None => bail!("{}: it is no program (ELF)", doing()),
        Some(needs) if needs.interpreter.is_some() || !needs.libraries.is_empty() => {
            bail!("{}: it is linked dynamically, and PID 1 must be static", doing())
        }
        Some(_) => Ok(content.to_bytes().with_context(|| format!("reading {}", snapshot.path.display()))?),
    }
}
