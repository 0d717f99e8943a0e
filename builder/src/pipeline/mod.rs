//! Runs the stages of a build, one after the other: profile → keys → firstboot → packages → root → boot → image.

mod artifacts;
mod assemble;
mod boot;
mod inventory;
mod record;
mod shelves;
mod supply;

pub use supply::{Supply, SupplyError};

use crate::boot::files::KERNEL_OPTIONS;
use crate::cache::{Cache, Key, KeyBuilder};
use crate::image::{self, ImageSpec};
use crate::lock::Lock;
use crate::node_program;
use crate::profile::{self, Profile, load};
use crate::release_key::{self, ReleaseKeys};
use crate::report::{Reporter, Summary, human_bytes};
use crate::resolve::{self, LockMode, Request, Resolver, Wanted};
use crate::signing;
use crate::slot::SlotSpec;
use crate::source::keyring::Keyring;
use crate::source::local::Snapshot;
use crate::source::mirror::{Mirror, Told};
use crate::source::release::show_time;
use anyhow::{Context as _, Result, bail};
use artifacts::Locals;
use contract::hash::Digest;
use shelves::Shelves;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The artifact that every image has: PID 1. `--supply firstboot=FILE` replaces it.
pub const FIRSTBOOT: &str = "firstboot";

/// What to build, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name or path of a profile.
    pub profile: String,
    /// The image; `out/PROFILE.img` below `base` when none is named.
    pub output: Option<PathBuf>,
    pub locked: bool,
    pub offline: bool,
    pub mirror: Option<String>,
    pub security_mirror: Option<String>,
    pub accept_expired: Vec<String>,
    pub jobs: Option<usize>,
    pub key: Option<PathBuf>,
    pub trust: Vec<PathBuf>,
    /// Nobody signs here: the manifest is written out for a machine that has the private key.
    pub unsigned: bool,
    /// The public key of who will sign an unsigned image; `keys/release.pub` when none is named.
    pub public: Option<PathBuf>,
    pub supplies: Vec<Supply>,
    /// The folder that holds `profiles/`, `keys/` and `out/`.
    pub base: PathBuf,
    /// Set when the operator wants to stop.
    pub interrupted: Arc<AtomicBool>,
}

/// How long the initramfs waits for the system disk, in seconds.
const DISK_TIMEOUT_S: u64 = 20;

/// Builds one image.
///
/// # Errors
/// What failed, on what, and what to do next. Neither a half image nor a damaged cache is left behind.
pub fn build(options: &Options, reporter: &Reporter) -> Result<Summary> {
    let start = Instant::now();
    let jobs = options.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build().context("starting threads")?;
    pool.install(|| Build { options, reporter, start, jobs }.run())
}

struct Build<'o> {
    options: &'o Options,
    reporter: &'o Reporter,
    start: Instant,
    jobs: usize,
}

impl Build<'_> {
    fn run(&self) -> Result<Summary> {
        let options = self.options;
        let path = load::find(&options.profile, &options.base)?;
        let profile = profile::load(&path)?;
        for warning in &profile.warnings {
            self.reporter.say(&warning.to_string());
        }
        // The profile alone can be wrong in many ways: say so before anything is fetched.
        profile::check::role_spec(&profile, "", Vec::new()).map_err(profile::load::ProfileError::Mistakes)?;
        let cache = Cache::open(Cache::default_root()?)?;
        let keys = self.keys()?;
        let output = self.output(&profile)?;
        let lock_path = path.with_extension("lock");
        let lock = Lock::load(&lock_path)?;
        supply::check(&options.supplies, std::iter::once(&profile))?;
        let locals = Locals::find(&options.supplies, &profile, &cache)?;
        let program = Program::find(options, &locals)?;

        let builder = record::builder()?;
        let key =
            |lock: Option<&Lock>| record::key(&builder, &profile, &locals, lock, &keys, program.digest(), &output);
        if let Some(lock) = &lock
            && let Some(summary) = record::unchanged(&cache, key(Some(lock))?, &output)
        {
            return Ok(Summary {
                unchanged: true,
                seconds: self.start.elapsed().as_secs_f64(),
                stages: Vec::new(),
                ..summary
            });
        }

        let firstboot = self.firstboot(&cache, &program)?;
        let (summary, lock) = self.image(&profile, &cache, &locals, &keys, &firstboot, lock, &lock_path, &output)?;
        record::put(&cache, key(Some(&lock))?, &summary, &output)?;
        Ok(summary)
    }

    fn keys(&self) -> Result<ReleaseKeys> {
        let folder = self.options.base.join("keys");
        let options = self.options;
        if options.unsigned {
            return Ok(release_key::find_public(&folder, options.public.as_deref(), &options.trust)?);
        }
        let keys = release_key::find(&folder, options.key.as_deref(), &options.trust)?;
        if keys.made {
            self.reporter.say(&format!(
                "{:>10} made a development key, {}: fine for trying out; make a release key with `microdc keys new`",
                "keys",
                keys.path.display()
            ));
        }
        Ok(keys)
    }

    fn output(&self, profile: &Profile) -> Result<PathBuf> {
        let output = match &self.options.output {
            Some(output) => output.clone(),
            None => self.options.base.join("out").join(format!("{}.img", profile.name)),
        };
        let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).with_context(|| format!("making the folder {}", folder.display()))?;
        std::path::absolute(&output).with_context(|| format!("the path {}", output.display()))
    }

    /// The bytes of firstboot: supplied, from the cache, or compiled.
    fn firstboot(&self, cache: &Cache, program: &Program) -> Result<Arc<[u8]>> {
        let (workspace, digest) = match program {
            Program::Supplied(snapshot) => return artifacts::static_program(snapshot),
            Program::Sources { workspace, digest } => (workspace, *digest),
        };
        let key = stage_key("firstboot").with("sources", digest.0).finish();
        if let Some(bytes) = cache.get_bytes("firstboot", key) {
            return Ok(bytes.into());
        }
        let stage = self.reporter.stage("firstboot");
        let bytes = node_program::compile(workspace, &|line| stage.doing(line))?;
        cache.put_bytes("firstboot", key, &bytes)?;
        stage.result(format!("compiled, {}", human_bytes(bytes.len() as u64)));
        Ok(bytes.into())
    }

    #[expect(clippy::too_many_arguments, reason = "each is the result of a stage of its own")]
    fn image(
        &self,
        profile: &Profile,
        cache: &Cache,
        locals: &Locals,
        keys: &ReleaseKeys,
        firstboot: &Arc<[u8]>,
        lock: Option<Lock>,
        lock_path: &Path,
        output: &Path,
    ) -> Result<(Summary, Lock)> {
        let options = self.options;
        let stage = self.reporter.stage("packages");
        let request = request(profile);
        let resolving = resolve::Options {
            mode: if options.locked { LockMode::Locked } else { LockMode::Reuse },
            offline: options.offline,
            jobs: self.jobs,
            accept_expired: options.accept_expired.clone(),
            ..resolve::Options::usual()
        };
        if options.locked && lock.is_none() {
            bail!("there is no lock {}, and --locked makes none: build once without it", lock_path.display());
        }
        let gathered = artifacts::gather(profile, locals, lock.as_ref(), options.locked)?;
        let mirror = self.mirror()?;
        let keyring = Keyring::debian()?;
        let places = resolve::Places { cache, mirror: &mirror, keyring: &keyring, progress: &stage };
        let client = resolve::client(&resolving, options.interrupted.clone());
        let resolver = Resolver::new(&request, lock.as_ref(), &resolving, places, &client);
        resolver.prefetch()?;
        let mut shelves = Shelves::new(&resolver);
        let named = shelves.named(profile)?;
        let kernel = shelves.kernel(profile)?;
        boot::kernel_config(profile, &kernel)?;
        let firmware = shelves.package(&profile.firmware_package.value)?;
        stage.result(format!("{} named by the profile", named.len()));
        stage.end();
        self.check_interrupted()?;

        let stage = self.reporter.stage("root");
        let built = resolver.lock().built();
        let modules = boot::Modules::order(profile, &kernel)?;
        let version = profile.version.clone().unwrap_or_else(|| dated_version(built));
        let inputs = assemble::Inputs {
            profile,
            packages: &named,
            artifacts: &gathered.placed,
            modules: &modules.system,
            kernel: &kernel,
            version: &version,
        };
        let mut tree = assemble::assemble(&inputs, &mut &resolver)?;
        let new_lock = Lock { artifacts: gathered.locked.clone(), ..resolver.lock() };
        let count = new_lock.packages.len() as u64;
        stage.result(format!("{} entries from {count} packages", tree.nodes.len()));
        drop(stage);
        self.check_interrupted()?;

        let stage = self.reporter.stage("boot");
        let built_boot = boot::files(&boot::Inputs {
            cache,
            role: profile.role,
            kernel: &kernel,
            firmware: &firmware,
            firstboot,
            modules: &modules.initramfs,
            trusted: &keys.trusted,
            disk_timeout_s: DISK_TIMEOUT_S,
        })?;
        let mut artifacts = gathered.inventory();
        artifacts.push(inventory::firstboot(firstboot, locals.firstboot().is_some()));
        let inventory = inventory::Inputs {
            cache,
            profile: &profile.name,
            lock: &new_lock,
            packages: &shelves.all(&new_lock)?,
            boot: &built_boot.reasons,
            artifacts,
            crates: match locals.firstboot() {
                Some(_) => Vec::new(),
                None => inventory::crates(cache, &options.base)?,
            },
        };
        inventory::insert(&mut tree, inventory)?;
        drop(stage);
        self.check_interrupted()?;

        let stage = self.reporter.stage("image");
        let own = profile.kernel_options.iter().map(|option| option.value.clone());
        let spec = ImageSpec {
            slot: SlotSpec {
                role: profile.role,
                version: version.clone(),
                built,
                rollback_index: profile.rollback_index,
                kernel: built_boot.release.clone(),
                seed: image::seed(profile.role),
                root: &tree,
                boot: &built_boot.files,
                kernel_options: KERNEL_OPTIONS.iter().map(|&option| option.to_owned()).chain(own).collect(),
                supplied: locals.supplied(),
                key: &keys.signer,
            },
            layout: profile.layout,
            node_config: None,
        };
        let interrupted = &options.interrupted;
        let image = image::write(&spec, output, &|step| {
            if interrupted.load(Ordering::Relaxed) {
                return Err(std::io::Error::other("interrupted"));
            }
            stage.doing(&match step {
                image::Progress::Root { done, total } => {
                    format!("{} of {}", human_bytes(done), human_bytes(total))
                }
                image::Progress::Digest { done, total } => {
                    format!("hashing, {} of {}", human_bytes(done), human_bytes(total))
                }
            });
            Ok(())
        })?;
        drop(stage);

        for line in lock.as_ref().map(|lock| lock.changes(&new_lock)).unwrap_or_default() {
            self.reporter.say(&format!("{:>10} {line}", "lock"));
        }
        new_lock.save(lock_path)?;
        let manifest = &image.slot.manifest;
        let to_sign = match keys.signer.is_elsewhere() {
            true => Some(signing::write_request(output, manifest)?),
            false => None,
        };
        let summary = Summary {
            image: output.to_owned(),
            profile: profile.name.clone(),
            role: profile.role,
            version,
            image_digest: image.digest,
            image_size: image.length,
            image_data: image.on_disk,
            boot_size: manifest.boot.length,
            root_size: manifest.root.length,
            root_hash: manifest.root.root_hash,
            root_files: image.slot.root_files as u64,
            packages: count,
            kernel: manifest.kernel.clone(),
            signed_by: match keys.development {
                true => format!("{} (development key)", keys.signer.public().id()),
                false => keys.signer.public().id().to_string(),
            },
            to_sign,
            rollback_index: manifest.rollback_index,
            supplied: locals.supplied(),
            unchanged: false,
            seconds: self.start.elapsed().as_secs_f64(),
            stages: self.reporter.times(),
        };
        Ok((summary, new_lock))
    }

    fn mirror(&self) -> Result<Mirror> {
        let command_line =
            Told { mirror: self.options.mirror.clone(), security: self.options.security_mirror.clone() };
        let configured = configured_mirror(&self.options.base)?;
        Ok(Mirror::find(&command_line, &configured, Path::new("/etc/apt"))?)
    }

    fn check_interrupted(&self) -> Result<()> {
        if self.options.interrupted.load(Ordering::Relaxed) {
            bail!("interrupted; what was fetched stays in the cache");
        }
        Ok(())
    }
}

/// Where firstboot comes from.
enum Program {
    Supplied(Snapshot),
    Sources { workspace: PathBuf, digest: Digest },
}

impl Program {
    fn find(options: &Options, locals: &Locals) -> Result<Program> {
        if let Some(snapshot) = locals.firstboot() {
            return Ok(Program::Supplied(snapshot.clone()));
        }
        let workspace = node_program::sources(&options.base)?;
        let digest = node_program::fingerprint(&workspace)?;
        Ok(Program::Sources { workspace, digest })
    }

    fn digest(&self) -> Digest {
        match self {
            Program::Supplied(snapshot) => snapshot.sha256,
            Program::Sources { digest, .. } => *digest,
        }
    }
}

/// A key for a stage's output: it begins with the builder's own version.
fn stage_key(stage: &str) -> KeyBuilder {
    Key::of_stage(stage, 2).with("microdc", env!("CARGO_PKG_VERSION"))
}

fn request(profile: &Profile) -> Request {
    let mut wanted: Vec<Wanted> = profile
        .packages
        .iter()
        .map(|(name, (_, take))| Wanted {
            name: name.clone(),
            suite: take.suite.as_ref().map(|suite| suite.value.clone()),
            component: take.component.as_ref().map(|component| component.value.clone()),
        })
        .collect();
    wanted.push(Wanted::named(&profile.kernel_package.value));
    wanted.push(Wanted {
        name: profile.firmware_package.value.clone(),
        suite: profile.firmware_suite.clone(),
        component: profile.firmware_component.clone(),
    });
    Request::of(wanted)
}

/// `[debian] mirror` and `security` of `microdc.toml`, where there is one.
pub(crate) fn configured_mirror(base: &Path) -> Result<Told> {
    #[derive(Default, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        #[serde(default)]
        debian: Debian,
    }
    #[derive(Default, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Debian {
        mirror: Option<String>,
        security: Option<String>,
    }
    let path = base.join("microdc.toml");
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Told::default()),
        other => other.with_context(|| format!("reading {}", path.display()))?,
    };
    let mut sources = profile::Sources::default();
    let file = sources.add(&path, &text);
    let settings: Settings =
        toml::from_str(&text).map_err(|error| profile::Diagnostic::from_toml(&sources, file, &error))?;
    Ok(Told { mirror: settings.debian.mirror, security: settings.debian.security })
}

/// `2026.11.19` for the day of the newest input.
fn dated_version(built: u64) -> String {
    let time = show_time(built);
    time.split(' ').next().unwrap_or_default().replace('-', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_days() {
        assert_eq!(dated_version(0), "1970.01.01");
        assert_eq!(dated_version(951_782_400), "2000.02.29");
        assert_eq!(dated_version(1_795_046_400), "2026.11.19");
    }
}
