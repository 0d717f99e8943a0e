//! Loading kernel modules. Mirrors linux/module.h (`MODULE_INIT_*`).

use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::path::Path;

/// The kernel unpacks the file itself (`CONFIG_MODULE_DECOMPRESS`, Linux 5.17).
const MODULE_INIT_COMPRESSED_FILE: i32 = 4;

/// What became of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    Now,
    /// It was in the kernel already.
    Before,
    /// It says that this machine has nothing for it to do (`ENODEV`).
    NotNeeded,
}

/// Loads one module: `.ko`, or `.ko.xz` and other compressed ones as they are. What it depends on must be loaded.
///
/// # Errors
/// What the kernel says; `ENOENT` also stands for a symbol that an unloaded dependency would bring.
pub fn load(path: &Path) -> io::Result<Loaded> {
    let file = File::open(path)?;
    let plain = path.extension().is_some_and(|extension| extension == "ko");
    let flags = if plain { 0 } else { MODULE_INIT_COMPRESSED_FILE };
    match rustix::system::finit_module(&file, c"", flags) {
        Ok(()) => Ok(Loaded::Now),
        Err(Errno::EXIST) => Ok(Loaded::Before),
        Err(Errno::NODEV) => Ok(Loaded::NotNeeded),
        Err(error) => Err(error.into()),
    }
}
