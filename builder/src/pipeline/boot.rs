//! The files of the boot partition. What takes long, packing kernel and initramfs, is kept in the cache.

use crate::boot::devicetree::CLKREQ_MODES;
use crate::boot::drivers::Drivers;
use crate::boot::kconfig::{KernelConfig, WantedOption};
use crate::boot::kernel::Kernel;
use crate::boot::modules::{self, Module};
use crate::boot::{firmware, initramfs};
use crate::cache::{Cache, Key};
use crate::format::fat::FatFile;
use crate::image;
use crate::profile::check::limits;
use crate::profile::{Located, Profile};
use crate::report::Reporter;
use crate::tree::{Package, origin};
use anyhow::{Context as _, Result};
use contract::keys::PublicKey;
use contract::names::{CMDLINE_TXT, CONFIG_TXT, INITRAMFS, KERNEL};
use emulator::devicetree::Tree;
use std::collections::BTreeMap;

/// Modules of both halves, in load order.
pub(super) struct Modules {
    pub initramfs: Vec<Module>,
    pub system: Vec<Module>,
}

impl Modules {
    pub(super) fn order(profile: &Profile, kernel: &Package) -> Result<Modules> {
        let release = Kernel::find(kernel)?.release;
        let all = modules::Modules::find(kernel, &release)?;
        let in_order = |list: &[Located<String>]| {
            let names: Vec<String> = list.iter().map(|name| name.value.clone()).collect();
            all.in_order(&names).map_err(|error| {
                // Shown at the name that leads to it.
                let at = list.iter().find(|name| all.in_order(std::slice::from_ref(&name.value)).is_err());
                match at {
                    Some(name) => super::mistake::mistake(profile, &name.place, &error.to_string()),
                    None => error.into(),
                }
            })
        };
        let initramfs = in_order(&profile.kernel.initramfs)?;
        // Limits of folders have theirs.
        let of_limits = limits::first(profile).map(|place| Located { value: limits::MODULE.to_owned(), place });
        let wanted: Vec<_> = profile.kernel.modules.iter().cloned().chain(of_limits).collect();
        // What the initramfs has loaded need not be loaded again.
        let mut system = in_order(&wanted)?;
        system.retain(|module| initramfs.iter().all(|other| other.name != module.name));
        Ok(Modules { initramfs, system })
    }
}

/// Looks whether every device of the shipped device trees has its driver in the image. What the kernel's modules drive is
/// read once for each kernel and kept.
pub(super) fn drivers(profile: &Profile, package: &Package, modules: &Modules, cache: &Cache) -> Result<()> {
    let kernel = Kernel::find(package)?;
    let key = super::stage_key("drivers").with("image", kernel.digest()?.0).finish();
    let kept = cache.get_bytes("drivers", key).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let drivers: Drivers = match kept {
        Some(drivers) => drivers,
        None => {
            let drivers = Drivers::of(&modules::Modules::find(package, &kernel.release)?)?;
            cache.put_bytes("drivers", key, &serde_json::to_vec(&drivers)?)?;
            drivers
        }
    };
    let shipped = modules.initramfs.iter().chain(&modules.system).map(|module| module.name.as_str()).collect();
    let mut missing = Vec::new();
    for file in kernel.device_trees(None)? {
        let tree = Tree::parse(&file.bytes).with_context(|| file.path.clone())?;
        let lacks = drivers.missing(&tree.enabled(), &shipped);
        missing.extend(lacks.iter().map(|device| format!("\n  {}: {device}", file.path)));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let message = format!(
        "devices of the board would have no driver; add the modules to [kernel] modules, or include \"base\":{}",
        missing.concat()
    );
    Err(super::mistake::mistake(profile, &profile.kernel.package.place, &message))
}

/// Compares what the profile asks of the kernel with the config that it was built with.
pub(super) fn kernel_config(profile: &Profile, kernel: &Package) -> Result<()> {
    let Some(first) = profile.kernel.config.first() else { return Ok(()) };
    let kernel = Kernel::find(kernel)?;
    let at = |place, message: String| super::mistake::mistake(profile, place, &message);
    let config = KernelConfig::of(&kernel).map_err(|error| at(&first.place, error.to_string()))?;
    let mut lacks = Vec::new();
    for wanted in &profile.kernel.config {
        let option: WantedOption = wanted.value.parse().map_err(|message| at(&wanted.place, message))?;
        if let Some(found) = config.lacks(&option) {
            lacks.push((&wanted.place, format!("{option} is required, but it is {found}")));
        }
    }
    match lacks.as_slice() {
        [] => Ok(()),
        [(place, only)] => {
            Err(at(place, format!("the kernel {} was built with other options: {only}", kernel.release)))
        }
        [(place, _), ..] => {
            let lines: String = lacks.iter().map(|(_, line)| format!("\n  {line}")).collect();
            Err(at(place, format!("the kernel {} was built with other options:{lines}", kernel.release)))
        }
    }
}

pub(super) struct Inputs<'a> {
    pub cache: &'a Cache,
    pub profile: &'a Profile,
    pub kernel: &'a Package,
    pub firmware: &'a Package,
    pub firstboot: &'a [u8],
    pub modules: &'a [Module],
    pub trusted: &'a [PublicKey],
    pub disk_timeout_s: u64,
    pub reporter: &'a Reporter,
}

pub(super) struct Boot {
    pub release: String,
    pub files: Vec<FatFile>,
    /// Why each file of the boot partition is there, by name.
    pub reasons: BTreeMap<String, String>,
}

/// Firmware, device trees, kernel, initramfs: those that change least first.
pub(super) fn files(inputs: &Inputs<'_>) -> Result<Boot> {
    let kernel = Kernel::find(inputs.kernel)?;
    let config = inputs.profile.firmware.config.iter().map(|line| line.value.as_str());
    let mut files = firmware::files(inputs.firmware, config)?;
    let mut reasons = reasons(inputs);
    for file in &files {
        reasons.insert(file.path.clone(), origin::of_package(inputs.firmware, "firmware of every image"));
    }
    let device_trees = kernel.device_trees(clkreq(inputs.profile)?)?;
    for file in &device_trees {
        reasons.insert(file.path.clone(), origin::of_package(inputs.kernel, "a device tree of every image"));
    }
    files.extend(device_trees);
    let key = super::stage_key("kernel").with("image", kernel.digest()?.0).finish();
    let bootsel = image::bootsel(None)?;
    let (compatible, root_size) = (&inputs.profile.compatible, inputs.profile.layout.root_size());
    let initramfs = initramfs::Inputs {
        firstboot: inputs.firstboot,
        compatible,
        root_size,
        bootsel: &bootsel,
        modules: inputs.modules,
        keys: inputs.trusted,
        disk_timeout_s: inputs.disk_timeout_s,
    };
    let mut initramfs_key = super::stage_key("initramfs").with("firstboot", inputs.firstboot);
    initramfs_key.add("role", compatible.role.name());
    initramfs_key.add("profile", compatible.profile.as_str());
    initramfs_key.add("root size", root_size.to_le_bytes());
    initramfs_key.add("bootsel", &bootsel);
    initramfs_key.add("timeout", inputs.disk_timeout_s.to_le_bytes());
    for module in inputs.modules {
        initramfs_key.add("module", &module.path);
        initramfs_key.add("content", module.content.digest().0);
    }
    for key in inputs.trusted {
        initramfs_key.add("trusted", key.to_text());
    }
    let initramfs_key = initramfs_key.finish();
    let (packed, archive) = rayon::join(
        || kept(inputs, "kernel", key, KERNEL, || Ok(kernel.packed()?)),
        || kept(inputs, "initramfs", initramfs_key, INITRAMFS, || Ok(initramfs::make(&initramfs)?)),
    );
    files.push(packed?);
    files.push(archive?);
    Ok(Boot { release: kernel.release, files, reasons })
}

/// How PCIe is to treat CLKREQ#, when the profile says so.
fn clkreq(profile: &Profile) -> Result<Option<&str>> {
    let Some(mode) = &profile.firmware.pcie_clkreq else { return Ok(None) };
    if !CLKREQ_MODES.contains(&mode.value.as_str()) {
        let message = format!("{:?} is not a CLKREQ# mode; the modes are {}", mode.value, CLKREQ_MODES.join(", "));
        return Err(super::mistake::mistake(profile, &mode.place, &message));
    }
    Ok(Some(&mode.value))
}

/// Why the files that every boot partition has are there.
fn reasons(inputs: &Inputs<'_>) -> BTreeMap<String, String> {
    let modules: Vec<&str> = inputs.modules.iter().map(|module| module.name.as_str()).collect();
    let initramfs = format!("firstboot, and of {} the modules {}", inputs.kernel, modules.join(", "));
    [
        (KERNEL, origin::of_package(inputs.kernel, "the kernel, packed with gzip")),
        (INITRAMFS, origin::made(&initramfs)),
        (CONFIG_TXT, origin::made("the firmware's settings")),
        (CMDLINE_TXT, origin::made("the kernel's command line, with the root hash")),
    ]
    .map(|(name, origin)| (name.to_owned(), origin))
    .into()
}

fn kept(
    inputs: &Inputs<'_>,
    stage: &str,
    key: Key,
    name: &str,
    make: impl FnOnce() -> Result<FatFile>,
) -> Result<FatFile> {
    if let Some(bytes) = inputs.cache.get_bytes(stage, key) {
        inputs.reporter.did(stage, false);
        return Ok(FatFile { path: name.to_owned(), bytes: bytes.into() });
    }
    let file = make()?;
    inputs.cache.put_bytes(stage, key, &file.bytes)?;
    inputs.reporter.did(stage, true);
    Ok(file)
}
