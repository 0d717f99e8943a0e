//! The artifacts of a build: the files of the root that come from no package, with what the lock pins of them.

use super::FIRSTBOOT;
use super::settings::Settings;
use super::supply::{self, Supply};
use crate::cache::{Cache, KeyBuilder};
use crate::clock;
use crate::inventory;
use crate::lock::{Lock, LockedArtifact, LockedFrom};
use crate::profile::artifact::ArtifactSource;
use crate::profile::{Artifact, Located, Place, Profile};
use crate::report::{Reporter, human_bytes};
use crate::resolve::LockMode;
use crate::source::Progress as _;
use crate::source::go::{Compiled, GoSource, Pinned};
use crate::source::http::Client;
use crate::source::local::{self, Snapshot};
use crate::source::signer::Signer;
use crate::source::url::{Known, Signed, UrlSource};
use crate::tree::{Content, elf, origin};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// What of a build's artifacts is on this machine: supplied ones, and those of kind `file`.
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
            if let ArtifactSource::File(path) = &value.from
                && !supplied.contains_key(name)
            {
                let copy = local::snapshot(cache, path).map_err(|error| {
                    super::mistake::mistake(profile, place, &format!("the artifact {name}: {error}"))
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
            ArtifactSource::Url { url, .. } => ("url", url.clone(), None),
            ArtifactSource::Go(program) => ("go", program.package.clone(), Some(program.version.clone())),
            ArtifactSource::File(path) => {
                ("file", path.file_name().unwrap_or_default().to_string_lossy().into_owned(), None)
            }
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

/// What artifacts are brought from and with.
pub(super) struct Inputs<'p, 'a> {
    pub profile: &'p Profile,
    pub locals: &'a Locals,
    pub lock: Option<&'a Lock>,
    pub mode: LockMode,
    pub cache: &'a Cache,
    pub from: &'a super::Environment,
    pub settings: &'a Settings,
    pub client: &'a Client,
    pub reporter: &'a Reporter,
}

/// Brings every artifact of the profile.
pub(super) fn gather<'p>(inputs: &Inputs<'p, '_>) -> Result<Gathered<'p>> {
    let Inputs { profile, locals, lock, mode, .. } = *inputs;
    let mut gathered = Gathered { placed: Vec::new(), locked: BTreeMap::new() };
    let lock = lock.filter(|_| mode != LockMode::Update);
    for (name, Located { value: artifact, place }) in &profile.artifacts {
        let at = |error: anyhow::Error| {
            super::mistake::mistake(profile, place, &format!("the artifact {name}: {error:#}"))
        };
        let pinned = lock.and_then(|lock| lock.artifacts.get(name)).filter(|locked| is_of(locked, &artifact.from));
        let supplied = locals.supplied.get(name);
        let (content, why) = if let Some(supplied) = supplied {
            // What the lock says of it stays, for the next build without it.
            gathered.locked.extend(pinned.map(|pinned| (name.clone(), pinned.clone())));
            (supplied.content(), "supplied by hand".to_owned())
        } else {
            if mode == LockMode::Locked && pinned.is_none() {
                return Err(at(anyhow::anyhow!("it is not in the lock; build once without --locked to add it")));
            }
            let file = bring(inputs, name, &artifact.from, pinned).map_err(at)?;
            let content = local::content(&file.path, file.locked.size, file.locked.sha256);
            gathered.locked.insert(name.clone(), file.locked);
            (content, artifact.from.to_string())
        };
        let content = content.map_err(|error| at(error.into()))?;
        elf::needs(&content).map_err(|why| at(anyhow::anyhow!(why)))?;
        let origin = origin::of_artifact(name, &why);
        gathered.placed.push(Placed { name, artifact, content, origin, supplied: supplied.is_some(), place });
    }
    Ok(gathered)
}

/// An artifact in the cache, and what the lock says of it.
struct FetchedArtifact {
    path: PathBuf,
    locked: LockedArtifact,
}

/// Brings one artifact that was not handed over by hand.
fn bring(
    inputs: &Inputs<'_, '_>,
    name: &str,
    from: &ArtifactSource,
    pinned: Option<&LockedArtifact>,
) -> Result<FetchedArtifact> {
    let locked = |from, size, sha256| LockedArtifact { name: name.to_owned(), from, size, sha256 };
    match from {
        ArtifactSource::File(_) => {
            let file = inputs.locals.files.get(name).context("the file was not copied into the cache")?;
            let locked = locked(LockedFrom::File, file.size, file.sha256);
            if inputs.mode == LockMode::Locked && pinned != Some(&locked) {
                bail!("the file is not the one that is locked; build once without --locked");
            }
            Ok(FetchedArtifact { path: file.path.clone(), locked })
        }
        ArtifactSource::Url { url, checksums, signed } => {
            let stage = inputs.reporter.stage("artifact");
            let source = UrlSource {
                cache: inputs.cache,
                client: inputs.client,
                mirrors: &inputs.settings.mirrors,
                offline: inputs.from.offline,
                now: clock::now(),
                progress: &stage,
            };
            let signer = signed.as_ref().filter(|_| pinned.is_none()).map(|by| Signer::read(&by.key)).transpose()?;
            let signed = signed.iter().zip(&signer).next();
            let signed = signed.map(|(by, signer)| Signed { signature: &by.signature, signer });
            let known = match (pinned, checksums, signed) {
                (Some(pinned), ..) => Known::Locked(pinned.size, pinned.sha256),
                (None, Some(checksums), signed) => Known::Checksums(checksums, signed),
                (None, None, Some(signed)) => Known::Signed(signed),
                (None, None, None) => Known::Nothing,
            };
            let there = pinned.is_some_and(|pinned| inputs.cache.blob(pinned.sha256, pinned.size).is_some());
            let file = source.bring(url, known)?;
            if matches!(known, Known::Nothing) {
                stage.note(&format!(
                    "{name}: neither checksums nor a signature vouch for {url}; what was downloaded is locked: {}",
                    file.sha256
                ));
            }
            if !there {
                stage.result(format!("{name}, {}", human_bytes(file.size)));
            }
            inputs.reporter.did(&format!("artifact {name}"), !there);
            Ok(FetchedArtifact {
                path: file.path,
                locked: locked(LockedFrom::Url { url: url.clone() }, file.size, file.sha256),
            })
        }
        ArtifactSource::Go(program) => {
            let stage = inputs.reporter.stage("artifact");
            let made = AtomicBool::new(false);
            let source = GoSource {
                cache: inputs.cache,
                offline: inputs.from.offline,
                note: &|line| {
                    made.store(true, Ordering::Relaxed);
                    stage.doing(line);
                },
                cancelled: &|| inputs.from.interrupted.load(Ordering::Relaxed),
            };
            let pinned = pinned.and_then(|pinned| match &pinned.from {
                LockedFrom::Go { sum, go, .. } => Some(Pinned { sum, go, size: pinned.size, sha256: pinned.sha256 }),
                _ => None,
            });
            let compiled = source.bring(program, pinned.as_ref())?;
            let made = made.into_inner();
            if made {
                stage.result(format!("{name} compiled by {}, {}", compiled.go, human_bytes(compiled.file.size)));
            }
            inputs.reporter.did(&format!("artifact {name}"), made);
            let Compiled { file, module, sum, go } = compiled;
            let from = LockedFrom::Go { program: program.clone(), module, sum, go };
            Ok(FetchedArtifact { path: file.path, locked: locked(from, file.size, file.sha256) })
        }
    }
}

/// Whether what is locked is what the profile asks for.
fn is_of(locked: &LockedArtifact, from: &ArtifactSource) -> bool {
    match (&locked.from, from) {
        (LockedFrom::Url { url: locked }, ArtifactSource::Url { url, .. }) => locked == url,
        (LockedFrom::Go { program: locked, .. }, ArtifactSource::Go(program)) => locked == program,
        (LockedFrom::File, ArtifactSource::File(_)) => true,
        _ => false,
    }
}

/// The bytes of a supplied firstboot: one static program for the node's processor.
pub(super) fn static_program(snapshot: &Snapshot) -> Result<Arc<[u8]>> {
    let content = snapshot.content()?;
    let doing = || format!("the supplied {FIRSTBOOT} cannot run on a node");
    let needs = elf::needs(&content).map_err(anyhow::Error::msg).with_context(doing)?;
    match needs {
        None => bail!("{}: it is not a program (ELF)", doing()),
        Some(needs) if needs.interpreter.is_some() || !needs.libraries.is_empty() => {
            bail!("{}: it is linked dynamically, and PID 1 must be static", doing())
        }
        Some(_) => Ok(content.to_bytes().with_context(|| format!("reading {}", snapshot.path.display()))?),
    }
}
