//! What a service sees of the node, as changes to a copy of PID 1's mounts, in an order in which none covers another by
//! accident: disks away, everything read-only, then a `/proc` of its own, its folders, the profile's wishes, and `/dev` last.

use super::changes::{Changes, MEMORY};
use super::devices;
use super::ground::{Ground, is_folder, within};
use crate::sys::process::{Change, attribute};
use contract::role::{Identity, Mount, Service};
use std::ffi::NulError;

const EVERYWHERE: u64 = attribute::READ_ONLY | attribute::NO_SETUID | attribute::NO_DEVICES;

/// Most bytes of the files that a service leaves in its `/tmp`.
const TMP: &str = "mode=1777,size=64m";
/// Folders of temporary files.
const TMP_FOLDERS: [&str; 2] = ["/tmp", "/var/tmp"];

/// Files of /proc that tell about the machine or reach it, and that root may read whatever its capabilities.
const PROC_HIDDEN: [&str; 12] = [
    "/proc/kcore",
    "/proc/kmsg",
    "/proc/kallsyms",
    "/proc/keys",
    "/proc/key-users",
    "/proc/timer_list",
    "/proc/slabinfo",
    "/proc/vmallocinfo",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/kpagecgroup",
    "/proc/sysrq-trigger",
];

/// Most changes for one service: their number travels in a byte.
const MOST: usize = 255;

/// What a service sees otherwise than PID 1.
///
/// # Errors
/// In words: a path with a zero byte, or more changes than can be made.
pub fn changes(service: &Service, ground: &Ground) -> Result<Vec<Change>, String> {
    made_by(|mounts, changes| view(service, ground, mounts, changes))
}

/// Changes that depend on what is mounted, which is given as the text of /proc/self/mountinfo.
///
/// # Errors
/// In words, as [`changes`].
pub(super) fn made_by(make: impl FnOnce(&str, &mut Changes) -> Result<(), NulError>) -> Result<Vec<Change>, String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")
        .map_err(|error| format!("cannot read /proc/self/mountinfo: {error}"))?;
    let mut changes = Changes::default();
    make(&mounts, &mut changes).map_err(|_| "a NUL byte in a path".to_owned())?;
    if changes.len() > MOST {
        return Err(format!("it needs {} changes to its mounts; the limit is {MOST}", changes.len()));
    }
    Ok(changes.into_inner())
}

/// What the profile says of folders and files, and nothing else.
///
/// # Errors
/// In words: a path with a zero byte.
pub fn wished(service: &Service) -> Result<Vec<Change>, String> {
    let mut changes = Changes::default();
    let mounts: Vec<&Mount> = service.mounts.iter().collect();
    wishes(&mounts, &service.identity, &mut changes).map_err(|_| "a NUL byte in a path".to_owned())?;
    Ok(changes.into_inner())
}

fn view(service: &Service, ground: &Ground, mounts: &str, changes: &mut Changes) -> Result<(), NulError> {
    let sandbox = &service.sandbox;
    out_of_sight(service, ground, mounts, changes)?;
    changes.add(Change::attributes("/", true, EVERYWHERE, 0)?);
    processes(sandbox.processes, changes)?;
    if sandbox.network_settings {
        writable("/proc/sys/net", MEMORY, changes)?;
    }
    if sandbox.system_files {
        writable("/sys", MEMORY, changes)?;
        changes.add(Change::attributes(crate::sys::cgroup::MOUNT, true, attribute::READ_ONLY, 0)?.or_not());
    }
    let folders = ground.folders_of(service);
    for tmp in TMP_FOLDERS.into_iter().filter(|tmp| is_folder(tmp)) {
        if !folders.iter().any(|own| within(own, tmp)) {
            changes.add(Change::mount("tmpfs", tmp, MEMORY, TMP)?);
        }
    }
    for folder in folders.iter().filter(|folder| is_folder(folder)) {
        writable(folder, MEMORY, changes)?;
    }
    // What is to be seen in its /dev comes after that, and its folders before it can no longer be changed.
    let (in_dev, elsewhere): (Vec<&Mount>, Vec<&Mount>) =
        service.mounts.iter().partition(|mount| place(mount).is_some_and(|place| within(place, "/dev")));
    wishes(&elsewhere, &service.identity, changes)?;
    let points: Vec<&str> = in_dev.iter().filter_map(|mount| place(mount)).collect();
    devices::put(&sandbox.devices, &points, changes)?;
    wishes(&in_dev, &service.identity, changes)
}

/// Where something is mounted.
fn place(mount: &Mount) -> Option<&str> {
    match mount {
        Mount::Temporary { path, .. } | Mount::Bind { to: path, .. } => Some(path),
        Mount::ReadOnly(_) | Mount::Hidden(_) => None,
    }
}

/// Makes a mount point that lies in memory, from `root` on.
fn point(mount: &Mount, root: &str, changes: &mut Changes) -> Result<(), NulError> {
    let Some(path) = place(mount) else { return Ok(()) };
    let shows_file =
        matches!(mount, Mount::Bind { from, .. } if std::fs::metadata(from).is_ok_and(|found| !found.is_dir()));
    changes.place(root, path, shows_file)
}

/// Takes away the mounts that it may not see.
pub(super) fn detach_out_of_sight(
    service: &Service,
    ground: &Ground,
    mounts: &str,
    changes: &mut Changes,
) -> Result<(), NulError> {
    for point in ground.mounts_out_of_sight(service, mounts) {
        // Nothing but its absence keeps it from being removed.
        changes.add(Change::detach(&point)?.or_not());
    }
    Ok(())
}

/// Takes away what it may not see.
fn out_of_sight(service: &Service, ground: &Ground, mounts: &str, changes: &mut Changes) -> Result<(), NulError> {
    detach_out_of_sight(service, ground, mounts, changes)?;
    for file in ground.files_out_of_sight(service).iter().filter(|file| std::path::Path::new(file).exists()) {
        changes.add(Change::bind("/dev/null", file)?);
    }
    Ok(())
}

/// A /proc of its own, which cannot be changed: without the processes of other users, unless they are asked for.
fn processes(others: bool, changes: &mut Changes) -> Result<(), NulError> {
    // `invisible` would not hide them from group 0.
    let options = if others { "hidepid=off" } else { "hidepid=ptraceable" };
    changes.add(Change::mount("proc", "/proc", MEMORY, options)?);
    for file in PROC_HIDDEN.into_iter().filter(|file| std::path::Path::new(file).exists()) {
        changes.add(Change::bind("/dev/null", file)?);
    }
    changes.add(Change::attributes("/proc", true, attribute::READ_ONLY, 0)?);
    Ok(())
}

/// What is at or below a path can be changed again.
fn writable(path: &str, set: u64, changes: &mut Changes) -> Result<(), NulError> {
    changes.add(Change::bind(path, path)?);
    changes.add(Change::attributes(path, true, set, attribute::READ_ONLY)?);
    Ok(())
}

/// What the profile says of folders and files besides.
pub(super) fn wishes(mounts: &[&Mount], identity: &Identity, changes: &mut Changes) -> Result<(), NulError> {
    for (at, mount) in mounts.iter().enumerate() {
        // Its own memory begins empty: what is mounted in there needs a place first.
        let before = mounts.iter().take(at).filter_map(|earlier| match earlier {
            Mount::Temporary { path, .. } => Some(path.as_str()),
            _ => None,
        });
        let roots = TMP_FOLDERS.into_iter().chain(["/dev/shm"]).chain(before);
        let inside = |root: &&str| place(mount).is_some_and(|place| place != *root && within(place, root));
        if let Some(root) = roots.filter(inside).max_by_key(|root| root.len()) {
            point(mount, root, changes)?;
        }
        match mount {
            Mount::Temporary { path, size_bytes } => {
                let (uid, gid) = (identity.uid, identity.gid);
                let options = format!("mode=0700,uid={uid},gid={gid},size={size_bytes}");
                changes.add(Change::mount("tmpfs", path, MEMORY, &options)?);
            }
            Mount::Bind { from, to, read_only } => {
                changes.add(Change::bind(from, to)?);
                let (set, clear) = if *read_only { (attribute::READ_ONLY, 0) } else { (0, attribute::READ_ONLY) };
                changes.add(Change::attributes(to, true, set, clear)?);
            }
            Mount::ReadOnly(path) => {
                changes.add(Change::bind(path, path)?);
                changes.add(Change::attributes(path, true, attribute::READ_ONLY, 0)?);
            }
            Mount::Hidden(path) => match std::fs::metadata(path) {
                Ok(found) if found.is_dir() => {
                    let flags = MEMORY | attribute::READ_ONLY;
                    changes.add(Change::mount("tmpfs", path, flags, "mode=0555,size=4096")?);
                }
                Ok(_) => {
                    changes.add(Change::bind("/dev/null", path)?);
                    changes.add(Change::attributes(path, false, attribute::READ_ONLY, attribute::NO_DEVICES)?);
                }
                // What is not there needs no hiding.
                Err(_) => {}
            },
        }
    }
    Ok(())
}
