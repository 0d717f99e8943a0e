//! The files of the boot partition. What takes long, packing kernel and initramfs, is kept in the cache.

use crate::boot::kernel::Kernel;
use crate::boot::modules::{self, Module};
use crate::boot::{firmware, initramfs};
use crate::cache::{Cache, Key};
use crate::format::fat::FatFile;
use crate::profile::Profile;
use crate::tree::Package;
use anyhow::Result;
use contract::keys::PublicKey;
use contract::role::Role;

/// Modules of both halves, in load order.
pub(super) struct Modules {
    pub initramfs: Vec<Module>,
    pub system: Vec<Module>,
}

impl Modules {
    pub(super) fn order(profile: &Profile, kernel: &Package) -> Result<Modules> {
        let release = Kernel::find(kernel)?.release;
        let all = modules::Modules::find(kernel, &release)?;
        let names = |list: &[crate::profile::Located<String>]| list.iter().map(|name| name.value.clone()).collect();
        let initramfs: Vec<String> = names(&profile.initramfs_modules);
        let system: Vec<String> = names(&profile.modules);
        let initramfs = all.in_order(&initramfs)?;
        // What the initramfs has loaded need not be loaded again.
        let mut system = all.in_order(&system)?;
        system.retain(|module| initramfs.iter().all(|other| other.name != module.name));
        Ok(Modules { initramfs, system })
    }
}

pub(super) struct Inputs<'a> {
    pub cache: &'a Cache,
    pub role: Role,
    pub kernel: &'a Package,
    pub firmware: &'a Package,
    pub firstboot: &'a [u8],
    pub modules: &'a [Module],
    pub trusted: &'a [PublicKey],
    pub disk_timeout_s: u64,
}

pub(super) struct Boot {
    pub release: String,
    pub files: Vec<FatFile>,
}

/// Firmware, device trees, kernel, initramfs: those that change least first.
pub(super) fn files(inputs: &Inputs<'_>) -> Result<Boot> {
    let kernel = Kernel::find(inputs.kernel)?;
    let mut files = firmware::files(inputs.firmware)?;
    files.extend(kernel.device_trees()?);
    let key = super::stage_key("kernel").with("image", kernel.digest()?.0).finish();
    let initramfs = initramfs::Inputs {
        firstboot: inputs.firstboot,
        role: inputs.role,
        modules: inputs.modules,
        keys: inputs.trusted,
        disk_timeout_s: inputs.disk_timeout_s,
    };
    let mut initramfs_key = super::stage_key("initramfs").with("firstboot", inputs.firstboot);
    initramfs_key.add("role", inputs.role.name());
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
        || kept(inputs.cache, "kernel", key, contract::names::KERNEL, || Ok(kernel.packed()?)),
        || {
            let name = contract::names::INITRAMFS;
            kept(inputs.cache, "initramfs", initramfs_key, name, || Ok(initramfs::make(&initramfs)?))
        },
    );
    files.push(packed?);
    files.push(archive?);
    Ok(Boot { release: kernel.release, files })
}

fn kept(cache: &Cache, stage: &str, key: Key, name: &str, make: impl FnOnce() -> Result<FatFile>) -> Result<FatFile> {
    if let Some(bytes) = cache.get_bytes(stage, key) {
        return Ok(FatFile { path: name.to_owned(), bytes: bytes.into() });
    }
    let file = make()?;
    cache.put_bytes(stage, key, &file.bytes)?;
    Ok(file)
}
