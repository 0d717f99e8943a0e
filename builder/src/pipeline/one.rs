//! One image.

use super::artifacts::{self, Locals};
use super::root::{self, ForBoot, Root, check_interrupted};
use super::settings::Settings;
use super::{FIRSTBOOT, Options, assemble, boot, inventory, os_release, record, stage_key, version};
use crate::boot::files::KERNEL_OPTIONS;
use crate::cache::Cache;
use crate::flash;
use crate::image::{self, ImageSpec, ImageSummary};
use crate::lock::Lock;
use crate::node_program;
use crate::profile::Profile;
use crate::release_key::ReleaseKeys;
use crate::report::{Reporter, Summary, human_bytes, room};
use crate::resolve::LockMode;
use crate::signing;
use crate::slot::{SlotError, SlotSpec};
use crate::source::local::Snapshot;
use anyhow::{Context as _, Result, bail};
use contract::hash::Digest;
use contract::plain_name::PlainName;
use contract::tree::root_room;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// How long the initramfs waits for the system disk, in seconds.
const DISK_TIMEOUT_S: u64 = 20;

/// What concurrent builds share: one lock for each stage whose output others reuse from the cache.
#[derive(Default)]
pub(super) struct SharedStages {
    /// Compiling firstboot.
    compile: Mutex<()>,
    /// Bringing artifacts and packages.
    bring: Mutex<()>,
    /// Packing kernel, initramfs and licences.
    pack: Mutex<()>,
}

fn enter(gate: &Mutex<()>) -> MutexGuard<'_, ()> {
    gate.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When less than one part in so many of a root partition is left, the build says so.
const LEAST_ROOM: u64 = 4;

/// All that a build needs to know before its first stage.
pub(super) struct Build<'a> {
    pub options: &'a Options,
    pub settings: &'a Settings,
    pub profile: &'a Profile,
    pub path: &'a Path,
    /// The image.
    pub output: &'a Path,
    pub cache: &'a Cache,
    pub keys: &'a ReleaseKeys,
    pub builder: &'a record::Stamp,
    pub gates: &'a SharedStages,
    pub reporter: &'a Reporter,
}

impl Build<'_> {
    pub(super) fn run(&self) -> Result<Summary> {
        let start = Instant::now();
        let Build { options, profile, cache, keys, output, .. } = *self;
        let lock_path = self.path.with_extension("lock");
        let lock = Lock::load(&lock_path)?;
        let locals = Locals::find(&options.supplies, profile, cache)?;
        let program = Program::find(options, &locals)?;
        let key =
            |lock: Option<&Lock>| record::key(self.builder, profile, &locals, lock, keys, program.digest(), output);
        if let Some(lock) = &lock
            && let Some(summary) = record::unchanged(cache, key(Some(lock))?, output)
        {
            let seconds = start.elapsed().as_secs_f64();
            let (cached, made) = (vec!["image".to_owned()], Vec::new());
            return Ok(Summary { unchanged: true, seconds, stages: Vec::new(), cached, made, ..summary });
        }
        if options.locked && lock.is_none() {
            bail!(
                "there is no lock {}, and --locked does not create one: build once without --locked",
                lock_path.display()
            );
        }

        let inputs = root::Inputs {
            profile,
            lock: lock.as_ref(),
            mode: if options.locked { LockMode::Locked } else { LockMode::Reuse },
            locals: &locals,
            cache,
            from: &options.from,
            settings: self.settings,
            reporter: self.reporter,
        };
        let (mut root, boot, firstboot) = self.parts(&inputs, &program)?;
        self.inventory(&mut root, &boot, &firstboot, &locals)?;
        check_interrupted(&options.from)?;
        let version = self.version(&mut root, &boot, &locals)?;
        let image = self.image(self.slot(&root, version, &boot, &locals)?)?;

        // With --locked the file stays as it is: what it has too much did no harm, and what it lacks was an error before.
        if !options.locked {
            for change in lock.as_ref().map(|lock| lock.differences(&root.lock)).unwrap_or_default() {
                self.reporter.say(&format!("{:>10} {change}", "lock"));
            }
            root.lock.save(&lock_path)?;
        }
        let summary = self.summary(&root, image, &locals, start)?;
        let kept = lock.as_ref().filter(|_| options.locked).unwrap_or(&root.lock);
        record::put(cache, key(Some(kept))?, &summary, output)?;
        Ok(summary)
    }

    /// The root and the files of the boot partition. A compiler needs a processor and packages need the network: firstboot
    /// is compiled while they are fetched.
    fn parts<'p>(&self, inputs: &root::Inputs<'p>, program: &Program) -> Result<(Root<'p>, boot::Boot, Arc<[u8]>)> {
        let failed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let compiling = scope.spawn(|| self.firstboot(program, &failed));
            let bringing = enter(&self.gates.bring);
            let boot = |inputs: ForBoot<'_>| {
                let firstboot = compiling.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                Ok((self.boot(inputs, &firstboot)?, firstboot))
            };
            let made = root::make(inputs, || drop(bringing), boot);
            // No one waits for a compiler whose work is not needed any more.
            failed.store(made.is_err(), Ordering::Relaxed);
            let (root, (boot, firstboot)) = made?;
            Ok((root, boot, firstboot))
        })
    }

    /// The bytes of firstboot: supplied, from the cache, or compiled.
    fn firstboot(&self, program: &Program, failed: &AtomicBool) -> Result<Arc<[u8]>> {
        let (workspace, digest) = match program {
            Program::Supplied(snapshot) => return artifacts::static_program(snapshot),
            Program::Sources { workspace, digest } => (workspace, *digest),
        };
        let _compiling = enter(&self.gates.compile);
        let key = stage_key(FIRSTBOOT).with("sources", digest.0).finish();
        if let Some(bytes) = self.cache.get_bytes(FIRSTBOOT, key) {
            self.reporter.did(FIRSTBOOT, false);
            return Ok(bytes.into());
        }
        let stage = self.reporter.stage(FIRSTBOOT);
        let interrupted = &self.options.from.interrupted;
        let stop = || failed.load(Ordering::Relaxed) || interrupted.load(Ordering::Relaxed);
        let bytes = node_program::compile(workspace, &|line| stage.doing(line), &stop)?;
        self.cache.put_bytes(FIRSTBOOT, key, &bytes)?;
        self.reporter.did(FIRSTBOOT, true);
        stage.result(format!("compiled, {}", human_bytes(bytes.len() as u64)));
        Ok(bytes.into())
    }

    /// The files of the boot partition.
    fn boot(&self, inputs: ForBoot<'_>, firstboot: &Arc<[u8]>) -> Result<boot::Boot> {
        let _stage = self.reporter.stage("boot");
        let _packing = enter(&self.gates.pack);
        boot::files(&boot::Inputs {
            cache: self.cache,
            profile: self.profile,
            kernel: inputs.kernel,
            firmware: inputs.firmware,
            firstboot,
            modules: &inputs.modules.initramfs,
            trusted: &self.keys.trusted,
            disk_timeout_s: DISK_TIMEOUT_S,
            reporter: self.reporter,
        })
    }

    /// What the image is made of, as files of its root.
    fn inventory(
        &self,
        root: &mut Root<'_>,
        boot: &boot::Boot,
        firstboot: &Arc<[u8]>,
        locals: &Locals,
    ) -> Result<()> {
        let _stage = self.reporter.stage("inventory");
        let _packing = enter(&self.gates.pack);
        let mut artifacts = root.gathered.inventory();
        artifacts.push(inventory::firstboot(firstboot, locals.firstboot().is_some()));
        let inventory = inventory::Inputs {
            cache: self.cache,
            profile: &self.profile.name,
            lock: &root.lock,
            packages: &root.packages,
            boot: &boot.reasons,
            artifacts,
            crates: match locals.firstboot() {
                Some(_) => Vec::new(),
                None => inventory::crates(self.cache, &self.options.from.base)?,
            },
            reporter: self.reporter,
        };
        inventory::insert(&mut root.tree, inventory)
    }

    /// The version, which follows from all that goes in. It is noted in the finished tree.
    fn version(&self, root: &mut Root<'_>, boot: &boot::Boot, locals: &Locals) -> Result<PlainName> {
        let own = self.profile.version.as_ref();
        let slot = self.slot(root, PlainName::literal("none"), boot, locals)?;
        let version = version::of(&slot, self.profile.layout, own.map(|own| &own.value));
        let version = version.map_err(|error| match own {
            Some(own) => super::mistake::mistake(self.profile, &own.place, &error.to_string()),
            None => error.into(),
        })?;
        assemble::tell_version(&mut root.tree, &version)?;
        os_release::tell_version(&mut root.tree, &self.profile.name, &version)?;
        Ok(version)
    }

    fn slot<'s>(
        &'s self,
        root: &'s Root<'_>,
        version: PlainName,
        boot: &'s boot::Boot,
        locals: &Locals,
    ) -> Result<SlotSpec<'s>> {
        let own = self.profile.kernel.options.iter().map(|option| option.value.clone());
        Ok(SlotSpec {
            compatible: self.profile.compatible.clone(),
            version,
            built: root.lock.built(),
            rollback_index: self.profile.rollback_index(),
            kernel: boot.release.parse().context("the kernel's release")?,
            seed: image::seed(&self.profile.role.value),
            root: &root.tree,
            boot: &boot.files,
            kernel_options: KERNEL_OPTIONS.iter().map(|&option| option.to_owned()).chain(own).collect(),
            config: self.profile.firmware.config.iter().map(|line| line.value.clone()).collect(),
            supplied: locals.supplied().iter().map(|name| name.parse()).collect::<Result<_, _>>()?,
            key: &self.keys.signer,
        })
    }

    fn image(&self, slot: SlotSpec<'_>) -> Result<ImageSummary> {
        let stage = self.reporter.stage("image");
        let spec = ImageSpec { slot, layout: self.profile.layout, node_config: None };
        let interrupted = &self.options.from.interrupted;
        let image = image::write(&spec, self.output, &|step| {
            if interrupted.load(Ordering::Relaxed) {
                return Err(std::io::Error::other("interrupted"));
            }
            stage.doing(&match step {
                image::Progress::Root { done, total } => format!("{} of {}", human_bytes(done), human_bytes(total)),
                image::Progress::Digest { done, total } => {
                    format!("hashing, {} of {}", human_bytes(done), human_bytes(total))
                }
            });
            Ok(())
        })
        .map_err(|error| self.at_its_line(error))?;
        flash::write_bmap(self.output)?;
        self.warn_of_little_room(&image);
        self.reporter.did("image", true);
        Ok(image)
    }

    /// A root partition limits all updates of a node for as long as it lives: one that is nearly full at the start is worth a
    /// word while there are no nodes yet.
    fn warn_of_little_room(&self, image: &ImageSummary) {
        let partition = self.profile.layout.root_size();
        let left = root_room(partition, image.slot.manifest.root.length).unwrap_or(0);
        if left < partition / LEAST_ROOM {
            let double = (partition.saturating_mul(2) >> 20).min(64 << 10);
            self.reporter.say(&format!(
                "warning: {}; updates have to fit there for as long as a node is not flashed again: before you flash nodes, \
                 consider `[disk] root = \"{double}MiB\"`",
                room(left, partition)
            ));
        }
    }

    /// A root that is too small is shown where its size is set.
    fn at_its_line(&self, error: image::ImageError) -> anyhow::Error {
        match (&error, &self.profile.disk.root) {
            (image::ImageError::Slot { source, .. }, Some(size))
                if matches!(**source, SlotError::RootFull { .. }) =>
            {
                super::mistake::mistake(self.profile, &size.place, &source.to_string())
            }
            _ => error.into(),
        }
    }

    fn summary(&self, root: &Root<'_>, image: ImageSummary, locals: &Locals, start: Instant) -> Result<Summary> {
        let manifest = &image.slot.manifest;
        let signer = self.keys.signer.public().id();
        let to_sign = match self.keys.signer.is_elsewhere() {
            true => Some(signing::write_request(self.output, manifest)?),
            false => None,
        };
        let (cached, made) = self.reporter.work();
        Ok(Summary {
            image: self.output.to_owned(),
            profile: self.profile.name.clone(),
            role: self.profile.role.value.clone(),
            compatible: self.profile.compatible.profile.clone(),
            version: manifest.version.to_string(),
            image_digest: image.digest,
            image_size: image.length,
            image_data: image.on_disk,
            boot_size: manifest.boot.length,
            root_size: manifest.root.length,
            root_partition: self.profile.layout.root_size(),
            root_room: root_room(self.profile.layout.root_size(), manifest.root.length).unwrap_or(0),
            root_hash: manifest.root.root_hash,
            root_files: image.slot.root_files as u64,
            packages: root.lock.packages.len() as u64,
            kernel: manifest.kernel.to_string(),
            signed_by: match self.keys.development {
                true => format!("{signer} (development key)"),
                false => signer.to_string(),
            },
            to_sign,
            rollback_index: manifest.rollback_index,
            supplied: locals.supplied(),
            unchanged: false,
            seconds: start.elapsed().as_secs_f64(),
            stages: self.reporter.times(),
            cached,
            made,
        })
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
        let workspace = node_program::sources(&options.from.base)?;
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
