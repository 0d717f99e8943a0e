//! Composes a profile of its parts.
//!
//! Lists add up, in the order of the includes, the file's own entries last. Single values and named entries (a service,
//! a user, a sysctl ...) stand for themselves: a file overrides what it includes, whole entry by whole entry; two
//! includes of one file that say different things about the same name contradict each other, which is an error unless
//! the file that includes them decides. A part that is included twice counts once, where it is first named: one that
//! overrides it comes before.

use super::artifact::Artifact;
use super::diagnostic::{Diagnostic, Place, Sources};
use super::load::{Loaded, ProfileError, place};
use super::quantity::{Bytes, Milliseconds};
use super::schema::{Directory, Group, Health, Named, Service, Template, User};
use super::spanned::Spanned;
use contract::layout::{DEFAULT_ROOT_SIZE, ImageLayout};
use contract::role::{Compatible, NameError, ProfileName, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A value and where it was written.
#[derive(Clone, Debug)]
pub struct Located<T> {
    pub value: T,
    pub place: Place,
}

/// Named entries with their places.
pub type Entries<T> = BTreeMap<String, Located<T>>;

/// What is taken from one package.
#[derive(Clone, Debug, Default)]
pub struct Take {
    pub patterns: Vec<Located<String>>,
    pub suite: Option<Located<String>>,
    pub component: Option<Located<String>>,
}

/// A whole profile: its parts merged, and everything there that an image needs.
#[derive(Clone, Debug)]
pub struct Profile {
    pub name: String,
    pub path: PathBuf,
    pub role: Role,
    /// For which nodes its images are.
    pub compatible: Compatible,
    pub summary: String,
    pub version: Option<String>,
    pub rollback_index: u64,
    pub layout: ImageLayout,
    pub example: Located<PathBuf>,
    /// Folders, in the order in which they are laid over the root.
    pub overlays: Vec<Located<PathBuf>>,
    pub kernel_package: Located<String>,
    pub initramfs_modules: Vec<Located<String>>,
    pub modules: Vec<Located<String>>,
    pub kernel_options: Vec<Located<String>>,
    /// What the kernel must have been built with.
    pub kernel_config: Vec<Located<String>>,
    pub firmware_package: Located<String>,
    pub firmware_suite: Option<Located<String>>,
    pub firmware_component: Option<Located<String>>,
    pub packages: BTreeMap<String, (Place, Take)>,
    pub artifacts: Entries<Artifact>,
    pub users: Entries<User>,
    pub groups: Entries<Group>,
    pub links: Entries<String>,
    pub directories: Entries<Directory>,
    pub templates: Vec<Located<Template>>,
    pub sysctls: Entries<String>,
    pub services: Entries<Service>,
    pub health: Vec<Located<Health>>,
    /// What a trial must show, and by when; what is not said here is the default.
    pub update: Update,
    pub sources: Sources,
    /// What works, and should be written otherwise.
    pub warnings: Vec<Diagnostic>,
}

impl Profile {
    /// The file of a place as people who know the profile name it, whatever the folder that it lies in: relative to the
    /// profile's own folder.
    #[must_use]
    pub fn shown(&self, place: &Place) -> String {
        let path = self.sources.path(place.file);
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let inside = path.strip_prefix(folder).ok().or(path.file_name().map(Path::new));
        inside.unwrap_or(path).display().to_string()
    }
}

/// The times of a trial.
#[derive(Clone, Debug, Default)]
pub struct Update {
    pub settle: Option<Located<Milliseconds>>,
    pub network: Option<Located<Milliseconds>>,
    pub services: Option<Located<Milliseconds>>,
    pub commit: Option<Located<Milliseconds>>,
}

#[derive(Default)]
struct Layer {
    role: Option<Located<Role>>,
    compatible: Option<Located<ProfileName>>,
    summary: Option<Located<String>>,
    version: Option<Located<String>>,
    rollback_index: Option<Located<u64>>,
    example: Option<Located<PathBuf>>,
    root_size: Option<Located<Bytes>>,
    overlays: Vec<Located<PathBuf>>,
    kernel_package: Option<Located<String>>,
    initramfs_modules: Vec<Located<String>>,
    modules: Vec<Located<String>>,
    kernel_options: Vec<Located<String>>,
    kernel_config: Vec<Located<String>>,
    firmware_package: Option<Located<String>>,
    firmware_suite: Option<Located<String>>,
    firmware_component: Option<Located<String>>,
    packages: BTreeMap<String, (Place, Take)>,
    artifacts: Entries<Artifact>,
    users: Entries<User>,
    groups: Entries<Group>,
    links: Entries<String>,
    directories: Entries<Directory>,
    templates: Vec<Located<Template>>,
    sysctls: Entries<String>,
    services: Entries<Service>,
    health: Vec<Located<Health>>,
    update: Update,
}

struct Merger<'s> {
    sources: &'s Sources,
    mistakes: Vec<Diagnostic>,
    seen: BTreeSet<PathBuf>,
}

pub(super) fn merge(loaded: &Loaded, sources: Sources) -> Result<Profile, ProfileError> {
    let mut merger = Merger { sources: &sources, mistakes: Vec::new(), seen: BTreeSet::new() };
    let layer = merger.layer(loaded);
    let profile = merger.finish(loaded, layer);
    let mistakes = merger.mistakes;
    match profile {
        Some(profile) if mistakes.is_empty() => Ok(Profile { sources, ..profile }),
        _ => Err(ProfileError::Mistakes(mistakes)),
    }
}

impl Merger<'_> {
    fn layer(&mut self, loaded: &Loaded) -> Layer {
        let mut layer = Layer::default();
        for include in &loaded.includes {
            let canonical = include.path.canonicalize().unwrap_or_else(|_| include.path.clone());
            if !self.seen.insert(canonical) {
                continue;
            }
            let part = self.layer(include);
            self.beside(&mut layer, part, loaded);
        }
        self.own(&mut layer, loaded);
        layer
    }

    /// Adds one include to those before it.
    fn beside(&mut self, into: &mut Layer, from: Layer, decider: &Loaded) {
        let own = &decider.content;
        let disk = own.disk.clone().unwrap_or_default();
        let kernel = own.kernel.clone().unwrap_or_default();
        let firmware = own.firmware.clone().unwrap_or_default();
        self.one("role", &mut into.role, from.role, own.role.is_some());
        self.one("compatible", &mut into.compatible, from.compatible, own.compatible.is_some());
        self.one("summary", &mut into.summary, from.summary, own.summary.is_some());
        self.one("version", &mut into.version, from.version, own.version.is_some());
        self.one("rollback_index", &mut into.rollback_index, from.rollback_index, own.rollback_index.is_some());
        self.one("example", &mut into.example, from.example, own.example.is_some());
        self.one("disk.root", &mut into.root_size, from.root_size, disk.root.is_some());
        self.one("kernel.package", &mut into.kernel_package, from.kernel_package, kernel.package.is_some());
        self.one("firmware.package", &mut into.firmware_package, from.firmware_package, firmware.package.is_some());
        let update = own.update.clone().unwrap_or_default();
        self.one("update.settle", &mut into.update.settle, from.update.settle, update.settle.is_some());
        self.one("update.network", &mut into.update.network, from.update.network, update.network.is_some());
        self.one("update.services", &mut into.update.services, from.update.services, update.services.is_some());
        self.one("update.commit", &mut into.update.commit, from.update.commit, update.commit.is_some());
        self.one("firmware.suite", &mut into.firmware_suite, from.firmware_suite, firmware.suite.is_some());
        let decided = firmware.component.is_some();
        self.one("firmware.component", &mut into.firmware_component, from.firmware_component, decided);
        into.overlays.extend(from.overlays);
        into.initramfs_modules.extend(from.initramfs_modules);
        into.modules.extend(from.modules);
        into.kernel_options.extend(from.kernel_options);
        into.kernel_config.extend(from.kernel_config);
        into.templates.extend(from.templates);
        into.health.extend(from.health);
        self.entries("artifact", &mut into.artifacts, from.artifacts, &own.artifact);
        self.entries("user", &mut into.users, from.users, &own.user);
        self.entries("group", &mut into.groups, from.groups, &own.group);
        self.entries("link", &mut into.links, from.links, &own.link);
        self.entries("directory", &mut into.directories, from.directories, &own.directory);
        self.entries("sysctl", &mut into.sysctls, from.sysctls, &own.sysctl);
        self.entries("service", &mut into.services, from.services, &own.service);
        for (name, (at, take)) in from.packages {
            let decided = own.packages.get(name.as_str());
            let what = format!("packages.{name}");
            let entry = into.packages.entry(name).or_insert_with(|| (at, Take::default()));
            entry.1.patterns.extend(take.patterns);
            self.one(
                &format!("{what}.suite"),
                &mut entry.1.suite,
                take.suite,
                decided.is_some_and(|p| p.suite.is_some()),
            );
            let decided = decided.is_some_and(|p| p.component.is_some());
            self.one(&format!("{what}.component"), &mut entry.1.component, take.component, decided);
        }
    }

    fn one<T: PartialEq>(
        &mut self,
        what: &str,
        into: &mut Option<Located<T>>,
        from: Option<Located<T>>,
        decided: bool,
    ) {
        match (&*into, from) {
            (Some(first), Some(second)) => {
                if first.value != second.value && !decided {
                    self.contradiction(what, &first.place, &second.place);
                }
            }
            (None, Some(second)) => *into = Some(second),
            (_, None) => (),
        }
    }

    fn entries<T: PartialEq, W>(&mut self, kind: &str, into: &mut Entries<T>, from: Entries<T>, own: &Named<W>) {
        for (name, second) in from {
            match into.get(&name) {
                None => {
                    into.insert(name, second);
                }
                Some(first) if first.value == second.value || own.contains_key(name.as_str()) => (),
                Some(first) => {
                    let first = first.place.clone();
                    self.contradiction(&format!("{kind}.{name}"), &first, &second.place);
                }
            }
        }
    }

    fn contradiction(&mut self, what: &str, first: &Place, second: &Place) {
        self.mistakes.push(Diagnostic::new(
            self.sources,
            format!("two included parts contradict each other about {what}"),
            second,
            "one says this",
            Some((first, "the other says this")),
            Some("decide by setting it in the profile that includes both".to_owned()),
        ));
    }

    /// Lays a file's own content over what it includes.
    fn own(&mut self, layer: &mut Layer, loaded: &Loaded) {
        let file = loaded.file;
        let content = &loaded.content;
        let folder = loaded.path.parent().unwrap_or(Path::new("."));
        fn over<T: Clone>(file: super::diagnostic::FileId, into: &mut Option<Located<T>>, own: &Option<Spanned<T>>) {
            if let Some(own) = own {
                *into = Some(Located { value: own.get_ref().clone(), place: place(file, own) });
            }
        }
        let list = |own: &[Spanned<String>]| {
            own.iter()
                .map(|item| Located { value: item.get_ref().clone(), place: place(file, item) })
                .collect::<Vec<_>>()
        };
        over(file, &mut layer.role, &content.role);
        over(file, &mut layer.compatible, &content.compatible);
        over(file, &mut layer.summary, &content.summary);
        over(file, &mut layer.version, &content.version);
        over(file, &mut layer.rollback_index, &content.rollback_index);
        if let Some(example) = &content.example {
            layer.example = Some(Located { value: folder.join(example.get_ref()), place: place(file, example) });
        }
        for overlay in &content.overlays {
            let at = place(file, overlay);
            match find_overlay(folder, overlay.get_ref()) {
                Ok(value) => layer.overlays.push(Located { value, place: at }),
                Err(message) => {
                    self.mistakes.push(Diagnostic::new(self.sources, message, &at, "named here", None, None));
                }
            }
        }
        if let Some(disk) = &content.disk {
            over(file, &mut layer.root_size, &disk.root);
        }
        if let Some(update) = &content.update {
            over(file, &mut layer.update.settle, &update.settle);
            over(file, &mut layer.update.network, &update.network);
            over(file, &mut layer.update.services, &update.services);
            over(file, &mut layer.update.commit, &update.commit);
        }
        if let Some(kernel) = &content.kernel {
            over(file, &mut layer.kernel_package, &kernel.package);
            layer.initramfs_modules.extend(list(&kernel.initramfs));
            layer.modules.extend(list(&kernel.modules));
            layer.kernel_options.extend(list(&kernel.options));
            layer.kernel_config.extend(list(&kernel.config));
        }
        if let Some(firmware) = &content.firmware {
            over(file, &mut layer.firmware_package, &firmware.package);
            over(file, &mut layer.firmware_suite, &firmware.suite);
            over(file, &mut layer.firmware_component, &firmware.component);
        }
        for (name, package) in &content.packages {
            let at = place(file, name);
            let entry = layer.packages.entry(name.get_ref().clone()).or_insert_with(|| (at.clone(), Take::default()));
            entry.1.patterns.extend(list(&package.take));
            let own = |value: &Option<String>| value.clone().map(|value| Located { value, place: at.clone() });
            entry.1.suite = own(&package.suite).or(entry.1.suite.take());
            entry.1.component = own(&package.component).or(entry.1.component.take());
        }
        for (name, written) in &content.artifact {
            let at = place(file, name);
            match Artifact::parse(name.get_ref(), written, folder) {
                Ok(value) => drop(layer.artifacts.insert(name.get_ref().clone(), Located { value, place: at })),
                Err((message, help)) => {
                    self.mistakes.push(Diagnostic::new(self.sources, message, &at, "here", None, help));
                }
            }
        }
        fn named<T: Clone>(file: super::diagnostic::FileId, into: &mut Entries<T>, own: &Named<T>) {
            for (name, value) in own {
                into.insert(name.get_ref().clone(), Located { value: value.clone(), place: place(file, name) });
            }
        }
        named(file, &mut layer.users, &content.user);
        named(file, &mut layer.groups, &content.group);
        named(file, &mut layer.links, &content.link);
        named(file, &mut layer.directories, &content.directory);
        named(file, &mut layer.sysctls, &content.sysctl);
        named(file, &mut layer.services, &content.service);
        let own = content.templates.iter();
        layer.templates.extend(own.map(|t| Located { value: t.get_ref().clone(), place: place(file, t) }));
        let own = content.health.iter();
        layer.health.extend(own.map(|h| Located { value: h.get_ref().clone(), place: place(file, h) }));
    }

    /// A layer becomes a profile when everything is there.
    fn finish(&mut self, loaded: &Loaded, layer: Layer) -> Option<Profile> {
        let start = Place { file: loaded.file, span: 0..0 };
        let mut need = |what: &str, missing: bool| {
            if missing {
                let message = format!("the profile has no `{what}`");
                let help = Some(format!("set `{what}` in it or in a part that it includes"));
                self.mistakes.push(Diagnostic::new(self.sources, message, &start, "in this profile", None, help));
            }
        };
        need("role", layer.role.is_none());
        need("summary", layer.summary.is_none());
        need("example", layer.example.is_none());
        need("kernel.package", layer.kernel_package.is_none());
        need("firmware.package", layer.firmware_package.is_none());
        let root_size = layer.root_size.as_ref().map_or(DEFAULT_ROOT_SIZE, |size| size.value.0);
        let layout = match ImageLayout::new(root_size) {
            Ok(layout) => Some(layout),
            Err(error) => {
                let at = layer.root_size.as_ref().map_or(&start, |size| &size.place);
                self.mistakes.push(Diagnostic::new(self.sources, error.to_string(), at, "set here", None, None));
                None
            }
        };
        let stem = loaded.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or("image");
        let profile = layer.compatible.map_or_else(|| stem.parse(), |compatible| Ok(compatible.value));
        let profile = profile.map_err(|error: NameError| {
            let help = Some("rename the file, or set `compatible` in it".to_owned());
            let message = format!("the name of the file: {error}");
            self.mistakes.push(Diagnostic::new(self.sources, message, &start, "in this profile", None, help));
        });
        let role = layer.role?.value;
        Some(Profile {
            compatible: Compatible { role: role.clone(), profile: profile.ok()? },
            name: stem.to_owned(),
            path: loaded.path.clone(),
            role,
            summary: layer.summary?.value,
            version: layer.version.map(|version| version.value),
            rollback_index: layer.rollback_index.map_or(0, |index| index.value),
            layout: layout?,
            example: layer.example?,
            overlays: layer.overlays,
            kernel_package: layer.kernel_package?,
            initramfs_modules: layer.initramfs_modules,
            modules: layer.modules,
            kernel_options: layer.kernel_options,
            kernel_config: layer.kernel_config,
            firmware_package: layer.firmware_package?,
            firmware_suite: layer.firmware_suite,
            firmware_component: layer.firmware_component,
            packages: layer.packages,
            artifacts: layer.artifacts,
            users: layer.users,
            groups: layer.groups,
            links: layer.links,
            directories: layer.directories,
            templates: layer.templates,
            sysctls: layer.sysctls,
            services: layer.services,
            health: layer.health,
            update: layer.update,
            sources: Sources::default(),
            warnings: warnings(loaded),
        })
    }
}

/// The warnings of a file and of all that it includes, each once.
fn warnings(loaded: &Loaded) -> Vec<Diagnostic> {
    let mut all: Vec<Diagnostic> = loaded.includes.iter().flat_map(warnings).collect();
    all.extend(loaded.warnings.iter().cloned());
    let mut seen = BTreeSet::new();
    all.retain(|warning| seen.insert((warning.path.clone(), warning.line, warning.column)));
    all
}

/// The folder of an overlay: a path beginning with `.` or `/`, or a name in the nearest `overlays/` above the file.
fn find_overlay(folder: &Path, overlay: &str) -> Result<PathBuf, String> {
    if overlay.starts_with(['.', '/']) {
        let path = folder.join(overlay);
        return if path.is_dir() { Ok(path) } else { Err(format!("there is no folder {}", path.display())) };
    }
    let absolute = folder.canonicalize().map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    for above in absolute.ancestors() {
        let path = above.join("overlays").join(overlay);
        if path.is_dir() {
            return Ok(path);
        }
    }
    Err(format!("there is no overlay {overlay:?}: no folder overlays/{overlay} here or above"))
}
