//! The initramfs: firstboot as `/init`, its spec, and the modules it loads.
//!
//! The modules stay packed as Debian ships them (`.ko.xz`; the kernel unpacks them itself), and zstd packs the rest.

use super::modules::Module;
use crate::format::cpio::{Archive, What};
use crate::format::fat::FatFile;
use contract::initramfs::InitramfsSpec;
use contract::keys::PublicKey;
use contract::names::{INITRAMFS, INITRAMFS_BOOTSEL, INITRAMFS_SPEC};
use contract::role::Compatible;
use std::io::Write as _;

/// Where the modules stand, in no folders.
const MODULES: &str = "usr/lib/modules";
const ZSTD_LEVEL: i32 = 9;

/// What the initramfs is made of.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The bytes of firstboot, a static AArch64 program.
    pub firstboot: &'a [u8],
    /// The profile that it is built for.
    pub compatible: &'a Compatible,
    /// Size of each root partition of the image, in bytes.
    pub root_size: u64,
    /// The partition `bootsel` of the image, zeros behind it left out.
    pub bootsel: &'a [u8],
    /// In load order.
    pub modules: &'a [Module],
    pub keys: &'a [PublicKey],
    pub disk_timeout_s: u64,
}

/// An initramfs that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    #[error("reading the module {name}: {source}")]
    Module { name: String, source: std::io::Error },
    #[error("writing the initramfs spec: {0}")]
    Spec(#[from] serde_json::Error),
    #[error("packing the initramfs: {0}")]
    Pack(#[from] std::io::Error),
}

/// The initramfs as a file of the boot partition.
///
/// # Errors
/// When a module cannot be read.
pub fn make(inputs: &Inputs<'_>) -> Result<FatFile, InitramfsError> {
    let plain = archive(inputs)?;
    let mut packer = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
    // With no worker the bytes are others than with one or more: always have one.
    packer.multithread(1)?;
    packer.include_checksum(true)?;
    packer.set_pledged_src_size(Some(plain.len() as u64))?;
    packer.write_all(&plain)?;
    Ok(FatFile { path: INITRAMFS.to_owned(), bytes: packer.finish()?.into() })
}

/// The archive before it is packed.
///
/// # Errors
/// As [`make`].
pub fn archive(inputs: &Inputs<'_>) -> Result<Vec<u8>, InitramfsError> {
    let file_name = |module: &Module| module.path.rsplit('/').next().unwrap_or_default().to_owned();
    let spec = InitramfsSpec {
        role: inputs.compatible.role.clone(),
        profile: inputs.compatible.profile.clone(),
        root_size: inputs.root_size,
        modules: inputs.modules.iter().map(|module| format!("/{MODULES}/{}", file_name(module))).collect(),
        keys: inputs.keys.to_vec(),
        disk_timeout_s: inputs.disk_timeout_s,
    };
    let spec_path = INITRAMFS_SPEC.trim_start_matches('/');
    let mut archive = Archive::default();
    for folder in ["dev", "etc", "etc/microdc", "proc", "root", "run", "sys", "usr", "usr/lib", MODULES] {
        archive.add(folder, 0o755, What::Directory);
    }
    archive.add("dev/console", 0o600, What::CharDevice { major: 5, minor: 1 });
    // Where no console works, a program opens this for its standard streams before its first own instruction.
    archive.add("dev/null", 0o666, What::CharDevice { major: 1, minor: 3 });
    archive.add("init", 0o755, What::File(inputs.firstboot));
    archive.add(spec_path, 0o644, What::File(&serde_json::to_vec(&spec)?));
    archive.add(INITRAMFS_BOOTSEL.trim_start_matches('/'), 0o644, What::File(inputs.bootsel));
    for module in inputs.modules {
        let read = |source| InitramfsError::Module { name: module.name.clone(), source };
        let bytes = module.content.to_bytes().map_err(read)?;
        archive.add(&format!("{MODULES}/{}", file_name(module)), 0o644, What::File(&bytes));
    }
    Ok(archive.finish())
}
