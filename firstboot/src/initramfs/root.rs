//! Mounts the verified root and switches to it: the initramfs is emptied, and PID 1 becomes the system half.
//!
//! This program stays: the root has an empty file in its place, at which the initramfs's own is shown. One copy of it is
//! enough on the disk, in an update, and in memory, where PID 1 is used all the time anyway.

use crate::sys::mount::{self, Flags};
use anyhow::{Context as _, bail, ensure};
use contract::initramfs::BootReport;
use contract::names::{BOOT_REPORT, FIRSTBOOT};
use std::convert::Infallible;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

const NEW_ROOT: &str = "/newroot";
/// This program in the initramfs.
const INIT: &str = "/init";
/// Mounts that move along.
const MOVED: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];
/// File system types of an initramfs (linux/magic.h): nothing else is ever emptied.
const RAMFS_MAGIC: u64 = 0x8584_58f6;
const TMPFS_MAGIC: u64 = 0x0102_1994;

/// Mounts the verified device and checks that the root can be started.
///
/// # Errors
/// When it does not mount, or lacks what is needed to go there. A block that does not match its hash has by then
/// restarted the machine, with the kernel's own message.
pub fn mount(device: &Path) -> anyhow::Result<()> {
    let flags = Flags::RDONLY | Flags::NOATIME | Flags::NODEV;
    mount::mount(device, Path::new(NEW_ROOT), "ext4", flags, None)
        .with_context(|| format!("mounting {} (ext4)", device.display()))?;
    for folder in MOVED {
        ensure!(inside(folder).is_ok_and(|found| found.is_dir()), "the root has no folder {folder}");
    }
    let program = inside(FIRSTBOOT).with_context(|| format!("finding {FIRSTBOOT} in the root"))?;
    ensure!(program.is_file() && program.permissions().mode() & 0o111 != 0, "{FIRSTBOOT} is not a file");
    Ok(())
}

fn inside(path: &str) -> std::io::Result<Metadata> {
    std::fs::symlink_metadata(format!("{NEW_ROOT}{path}"))
}

/// Leaves the report and becomes the system half. Returns only with an error.
///
/// # Errors
/// Which step failed.
pub fn switch(report: &BootReport) -> anyhow::Result<Infallible> {
    let path = Path::new(BOOT_REPORT);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    std::fs::write(path, serde_json::to_vec(report)?).with_context(|| format!("writing {BOOT_REPORT}"))?;

    for folder in MOVED {
        mount::move_to(Path::new(folder), Path::new(&format!("{NEW_ROOT}{folder}")))
            .with_context(|| format!("moving the mount {folder}"))?;
    }
    let magic = rustix::fs::statfs("/").context("inspecting the initramfs")?.f_type as u64;
    if magic != RAMFS_MAGIC && magic != TMPFS_MAGIC {
        bail!("the initramfs is not a memory file system (type {magic:#x}): it is not emptied");
    }
    let device = std::fs::symlink_metadata("/").context("inspecting the initramfs")?.dev();
    mount::show_read_only(Path::new(INIT), Path::new(&format!("{NEW_ROOT}{FIRSTBOOT}")))
        .with_context(|| format!("mounting {INIT} at {FIRSTBOOT}"))?;
    empty(Path::new("/"), device);
    mount::switch_root(Path::new(NEW_ROOT)).context("making it the root")?;
    let error = Command::new(FIRSTBOOT).arg("system").env_clear().env("PATH", "/usr/sbin:/usr/bin").exec();
    Err(error).with_context(|| format!("starting {FIRSTBOOT}"))
}

/// Frees the memory of the initramfs: removes everything on its own file system but this program. What cannot be removed
/// stays.
fn empty(folder: &Path, device: u64) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match std::fs::symlink_metadata(&path) {
            Ok(found) if found.dev() == device && found.is_dir() => {
                empty(&path, device);
                let _ = std::fs::remove_dir(&path);
            }
            Ok(found) if found.dev() == device && path != Path::new(INIT) => {
                let _ = std::fs::remove_file(&path);
            }
            _ => (),
        }
    }
}
