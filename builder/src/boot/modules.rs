//! Kernel modules and the order in which they must be loaded.
//!
//! Debian ships no `modules.dep`; what a module needs is in its own `.modinfo` (`depends=`, `softdep=pre:`). A softdep
//! is included when the kernel has a module of that name, or a crypto module with that alias (ext4 requests
//! `crypto-crc32c`, which is `crc32c_generic`), and is otherwise ignored, as modprobe does.

use crate::tree::{Content, Kind, Package};
use object::LittleEndian;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader as _, SectionHeader as _};
use rayon::prelude::*;
use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

/// Folders of the modules that drive devices.
const DEVICES: [&str; 2] = ["/kernel/drivers/", "/kernel/sound/"];

/// A module that cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    #[error("{package} contains no kernel modules under usr/lib/modules/{release}")]
    None { package: String, release: String },
    #[error("the kernel {release} has no module {name:?}{needed}{hint}")]
    Unknown { release: String, name: String, needed: String, hint: String },
    #[error("the kernel modules depend on each other in a cycle: {0}")]
    Circle(String),
    #[error("reading the module {name}: {source}")]
    Read { name: String, source: std::io::Error },
    #[error("the module {name} is not a usable ELF file: {why}")]
    Elf { name: String, why: String },
}

/// One module.
#[derive(Clone, Debug)]
pub struct Module {
    /// With `_` for `-`, as the kernel names it.
    pub name: String,
    /// Where the package has it, without leading slash.
    pub path: String,
    /// Its file, `.ko` or `.ko.xz`.
    pub content: Content,
    /// Files that it may ask for, below `/usr/lib/firmware`; `*` stands for what depends on the device.
    pub firmware: Vec<String>,
}

/// The modules of one kernel.
pub struct Modules<'p> {
    release: &'p str,
    files: BTreeMap<String, (&'p str, &'p Content)>,
    builtin: BTreeSet<String>,
    /// What the built-in ones say of themselves, as `name.key=value`, each with a zero byte behind it.
    builtin_info: Option<&'p Content>,
    /// What the modules read so far need.
    needs: RefCell<BTreeMap<String, Needs>>,
    /// Which modules answer to an alias; made when first needed, for it reads every module that it covers.
    aliases: OnceCell<BTreeMap<String, BTreeSet<String>>>,
}

/// What a module says it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub hard: Vec<String>,
    pub soft: Vec<String>,
    /// Other names that it answers to.
    pub aliases: Vec<String>,
    /// As [`Module::firmware`].
    pub firmware: Vec<String>,
}

impl<'p> Modules<'p> {
    /// # Errors
    /// When the package has no modules for this release, or its list of built-in ones cannot be read.
    pub fn find(package: &'p Package, release: &'p str) -> Result<Modules<'p>, ModuleError> {
        let mut files = BTreeMap::new();
        let mut builtin = BTreeSet::new();
        let mut builtin_info = None;
        for (path, entry) in &package.entries {
            let below = path.strip_prefix("usr/").unwrap_or(path).strip_prefix("lib/modules/");
            let Some(below) = below.and_then(|path| path.strip_prefix(release)?.strip_prefix('/')) else { continue };
            let Kind::File(content) = &entry.kind else { continue };
            if below == "modules.builtin" {
                let read = |source| ModuleError::Read { name: path.clone(), source };
                let list = content.to_bytes().map_err(read)?;
                builtin = String::from_utf8_lossy(&list).lines().filter_map(module_name).collect();
            } else if below == "modules.builtin.modinfo" {
                builtin_info = Some(content);
            } else if let Some(name) = module_name(below) {
                files.insert(name, (path.as_str(), content));
            }
        }
        if files.is_empty() {
            return Err(ModuleError::None { package: package.to_string(), release: release.to_owned() });
        }
        Ok(Modules { release, files, builtin, builtin_info, needs: RefCell::default(), aliases: OnceCell::new() })
    }

    /// The modules named and all that they need, in load order, each once. Built-in ones are left out.
    ///
    /// # Errors
    /// When a name is unknown or a module is damaged.
    pub fn in_order(&self, wanted: &[String]) -> Result<Vec<Module>, ModuleError> {
        let wanted: Vec<String> = wanted.iter().map(|name| kernel_name(name)).collect();
        self.read_ahead(wanted.iter().map(String::as_str).collect());
        let mut order = Vec::new();
        let mut done = BTreeSet::new();
        for name in &wanted {
            self.visit(name, &mut Vec::new(), &mut done, &mut order)?;
        }
        Ok(order)
    }

    /// Whether there is a module of this name, in a file of its own.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// What the built-in modules answer to.
    ///
    /// # Errors
    /// When the package's list of them cannot be read.
    pub fn builtin_aliases(&self) -> Result<BTreeSet<String>, ModuleError> {
        let Some(content) = self.builtin_info else { return Ok(BTreeSet::new()) };
        let name = "modules.builtin.modinfo".to_owned();
        let info = content.to_bytes().map_err(|source| ModuleError::Read { name, source })?;
        let alias = |entry: &[u8]| Some(String::from_utf8_lossy(entry).split_once(".alias=")?.1.to_owned());
        Ok(info.split(|&byte| byte == 0).filter_map(alias).collect())
    }

    /// What the modules of devices answer to, as pairs of module and alias. Reads every one of them.
    ///
    /// # Errors
    /// When one is damaged.
    pub fn device_aliases(&self) -> Result<Vec<(String, String)>, ModuleError> {
        let devices = self.files.iter().filter(|(_, (path, _))| DEVICES.iter().any(|folder| path.contains(folder)));
        let devices: Vec<_> = devices.collect();
        let read = |(name, (path, content)): &(&String, &(&str, &Content))| {
            let needs = read_needs(name, path, content)?;
            Ok(needs.aliases.into_iter().map(|alias| ((*name).clone(), alias)).collect::<Vec<_>>())
        };
        let read: Vec<Vec<_>> = devices.par_iter().map(read).collect::<Result<_, ModuleError>>()?;
        Ok(read.into_iter().flatten().collect())
    }

    /// Reads modules and what they need on every core, as far as they can be read: unpacking them is most of the work. What
    /// is wrong with one shows when it is its turn.
    fn read_ahead<'a>(&'a self, mut wave: BTreeSet<&'a str>) {
        while !wave.is_empty() {
            let known = self.needs.borrow();
            let unread = wave.iter().filter(|name| !known.contains_key(**name) && !self.builtin.contains(**name));
            let unread: Vec<_> = unread.filter_map(|name| self.files.get_key_value(*name)).collect();
            drop(known);
            let read = |(name, (path, content)): &(&String, &(&str, &Content))| {
                Some(((*name).clone(), read_needs(name, path, content).ok()?))
            };
            let read: Vec<(String, Needs)> = unread.par_iter().filter_map(read).collect();
            let next = read.iter().flat_map(|(_, needs)| needs.hard.iter().chain(&needs.soft));
            wave = next.filter_map(|name| self.files.get_key_value(name)).map(|(name, _)| name.as_str()).collect();
            self.needs.borrow_mut().extend(read);
        }
    }

    fn needs(&self, name: &str, path: &str, content: &Content) -> Result<Needs, ModuleError> {
        if let Some(needs) = self.needs.borrow().get(name) {
            return Ok(needs.clone());
        }
        read_needs(name, path, content)
    }

    fn visit(
        &self,
        name: &str,
        chain: &mut Vec<String>,
        done: &mut BTreeSet<String>,
        order: &mut Vec<Module>,
    ) -> Result<(), ModuleError> {
        if done.contains(name) || self.builtin.contains(name) {
            return Ok(());
        }
        if chain.iter().any(|above| above == name) {
            return Err(ModuleError::Circle(format!("{} → {name}", chain.join(" → "))));
        }
        let Some((path, content)) = self.files.get(name) else { return Err(self.unknown(name, chain)) };
        let needs = self.needs(name, path, content)?;
        chain.push(name.to_owned());
        for hard in &needs.hard {
            self.visit(hard, chain, done, order)?;
        }
        for soft in &needs.soft {
            for soft in self.answering(soft)? {
                // A softdep may point back at who needs this module; then it is already on its way.
                if !chain.contains(&soft) {
                    self.visit(&soft, chain, done, order)?;
                }
            }
        }
        chain.pop();
        if done.insert(name.to_owned()) {
            let (path, content) = ((*path).to_owned(), (*content).clone());
            order.push(Module { name: name.to_owned(), path, content, firmware: needs.firmware });
        }
        Ok(())
    }

    /// The modules that a softdep means: the one of that name, or all of that alias among the kernel's cryptography.
    fn answering(&self, name: &str) -> Result<Vec<String>, ModuleError> {
        if self.files.contains_key(name) {
            return Ok(vec![name.to_owned()]);
        }
        if !name.starts_with("crypto_") {
            return Ok(Vec::new());
        }
        let aliases = match self.aliases.get() {
            Some(aliases) => aliases,
            None => {
                let cryptography = self.files.iter().filter(|(_, (path, _))| path.contains("/crypto/"));
                self.read_ahead(cryptography.clone().map(|(module, _)| module.as_str()).collect());
                let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
                for (module, (path, content)) in cryptography {
                    for alias in self.needs(module, path, content)?.aliases {
                        found.entry(alias).or_default().insert(module.clone());
                    }
                }
                self.aliases.get_or_init(|| found)
            }
        };
        Ok(aliases.get(name).into_iter().flatten().cloned().collect())
    }

    fn unknown(&self, name: &str, chain: &[String]) -> ModuleError {
        let score = |known: &&String| strsim::jaro_winkler(known, name);
        let known = self.files.keys().chain(&self.builtin);
        let similar = known.max_by(|a, b| score(a).total_cmp(&score(b))).filter(|known| score(known) > 0.8);
        ModuleError::Unknown {
            release: self.release.to_owned(),
            name: name.to_owned(),
            needed: chain.last().map(|above| format!(", which {above} needs")).unwrap_or_default(),
            hint: similar.map(|known| format!("; did you mean {known:?}?")).unwrap_or_default(),
        }
    }
}

/// A module's name as the kernel says it.
#[must_use]
pub fn kernel_name(name: &str) -> String {
    name.replace('-', "_")
}

/// The name of the module in a file of this path, if it is one.
fn module_name(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    let stem = file.strip_suffix(".ko").or_else(|| file.strip_suffix(".ko.xz"))?;
    Some(kernel_name(stem))
}

fn read_needs(name: &str, path: &str, content: &Content) -> Result<Needs, ModuleError> {
    let read = |source| ModuleError::Read { name: name.to_owned(), source };
    let bytes = content.to_bytes().map_err(read)?;
    let elf = match path.ends_with(".xz") {
        true => {
            let mut plain = Vec::new();
            let mut decoder = liblzma::read::XzDecoder::new(&bytes[..]);
            std::io::Read::read_to_end(&mut decoder, &mut plain).map_err(read)?;
            plain
        }
        false => bytes.to_vec(),
    };
    needs(&elf).map_err(|why| ModuleError::Elf { name: name.to_owned(), why })
}

/// What the `.modinfo` section of a module's ELF file says it needs.
///
/// # Errors
/// In words, when the file is damaged. A file without such a section needs nothing.
pub fn needs(elf: &[u8]) -> Result<Needs, String> {
    let say = |error: object::read::Error| error.to_string();
    // The structures of `object` want their alignment; a vector's start has it.
    let header = FileHeader64::<LittleEndian>::parse(elf).map_err(say)?;
    let sections = header.sections(LittleEndian, elf).map_err(say)?;
    let mut needs = Needs::default();
    let Some((_, section)) = sections.section_by_name(LittleEndian, b".modinfo") else { return Ok(needs) };
    let data = section.data(LittleEndian, elf).map_err(say)?;
    for field in data.split(|&byte| byte == 0) {
        let field = String::from_utf8_lossy(field);
        if let Some(list) = field.strip_prefix("depends=") {
            needs.hard.extend(list.split(',').filter(|name| !name.is_empty()).map(kernel_name));
        } else if let Some(alias) = field.strip_prefix("alias=") {
            needs.aliases.push(kernel_name(alias));
        } else if let Some(file) = field.strip_prefix("firmware=").filter(|file| !file.is_empty()) {
            needs.firmware.push(file.to_owned());
        } else if let Some(list) = field.strip_prefix("softdep=") {
            let mut before = false;
            for word in list.split_whitespace() {
                match word {
                    "pre:" => before = true,
                    "post:" => before = false,
                    name if before => needs.soft.push(kernel_name(name)),
                    _ => (),
                }
            }
        }
    }
    Ok(needs)
}
