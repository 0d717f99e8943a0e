//! What holds a service that makes containers. It is root with nearly every capability, so what it must not reach is not
//! there: disks and other services' folders are not mounted in its namespace, its `/proc` shows its own processes, its
//! `/sys/fs/cgroup` begins at its own cgroup, and `/run` is its own. Devices and the kernel's settings are guarded by programs
//! of its cgroup ([`guards`]), which it cannot see.

use super::changes::{Changes, MEMORY};
use super::ground::{Ground, within};
use super::{guards, view};
use crate::config::templates::needs;
use crate::sys::bpf::{self, Hook};
use crate::sys::cgroup::{self, Cgroup};
use crate::sys::process::{Change, attribute};
use contract::names::{FIRSTBOOT, NETWORK_FOLDER, NOTIFY, RUN_HOSTNAME, RUN_HOSTS, RUN_MACHINE_ID};
use contract::role::{Ready, Service};
use std::ffi::NulError;
use std::fs;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

/// The first process of a service that makes containers: PID 1 of its namespace. Its program follows.
const INIT: [&str; 2] = [FIRSTBOOT, "contain"];

/// The node's `/run`, until the service's own one is made of it.
const ASIDE: &str = "/tmp/.run";

/// What is started for a service to run this program.
#[must_use]
pub fn command(service: &Service, run: &[String]) -> Vec<String> {
    let init = INIT.map(str::to_owned).into_iter().filter(|_| service.sandbox.containers);
    init.chain(run.iter().cloned()).collect()
}

/// What it sees otherwise than PID 1.
///
/// # Errors
/// In words.
pub fn changes(service: &Service, ground: &Ground) -> Result<Vec<Change>, String> {
    for folder in shared_folders(service) {
        fs::create_dir_all(folder).map_err(|error| format!("cannot make {folder}: {error}"))?;
    }
    view::made_by(|mounts, changes| make(service, ground, mounts, changes))
}

fn make(service: &Service, ground: &Ground, mounts: &str, changes: &mut Changes) -> Result<(), NulError> {
    view::detach_out_of_sight(service, ground, mounts, changes)?;
    // What lies below a mount is seen again when the mount is taken away, so nothing is left below.
    changes.add(Change::detach("/proc")?);
    changes.add(Change::mount("proc", "/proc", MEMORY, "")?);
    changes.add(Change::detach(cgroup::MOUNT)?);
    changes.add(Change::mount("cgroup2", cgroup::MOUNT, MEMORY, "")?);
    changes.add(Change::detach("/tmp")?.or_not());
    changes.add(Change::mount("tmpfs", "/tmp", attribute::NO_SETUID | attribute::NO_DEVICES, "mode=1777,size=25%")?);
    run(service, ground, changes)?;
    let mounts: Vec<_> = service.mounts.iter().collect();
    view::wishes(&mounts, &service.identity, changes)
}

/// A `/run` of its own, with its folders and what PID 1 writes for it.
fn run(service: &Service, ground: &Ground, changes: &mut Changes) -> Result<(), NulError> {
    changes.add(Change::folder(ASIDE)?);
    changes.add(Change::bind("/run", ASIDE)?);
    changes.add(Change::detach("/run")?);
    changes.add(Change::mount("tmpfs", "/run", attribute::NO_SETUID | attribute::NO_DEVICES, "mode=0755,size=25%")?);
    // PID 1 looks at who speaks in there.
    let notify = (service.ready == Some(Ready::Notify)).then_some(NOTIFY);
    let folders = shared_folders(service).chain([NETWORK_FOLDER]).chain(notify);
    for folder in folders.filter(|folder| Path::new(folder).is_dir()) {
        changes.place("/run", folder, false)?;
        changes.add(Change::bind(&aside(folder), folder)?);
    }
    changes.add(Change::attributes(NETWORK_FOLDER, true, attribute::READ_ONLY, 0)?.or_not());
    let shared = |file: &str| shared_folders(service).any(|folder| within(file, folder));
    let written = ground.templates().filter(|file| needs(service, file) && within(file, "/run") && !shared(file));
    let files = [RUN_HOSTNAME, RUN_HOSTS, RUN_MACHINE_ID].into_iter().chain(written);
    for file in files.filter(|file| fs::metadata(file).is_ok_and(|found| !found.is_dir())) {
        changes.place("/run", file, true)?;
        changes.add(Change::bind(&aside(file), file)?);
    }
    changes.add(Change::detach(ASIDE)?);
    Ok(())
}

/// Where a path below `/run` is meanwhile.
fn aside(path: &str) -> String {
    format!("{ASIDE}{}", path.strip_prefix("/run").unwrap_or(path))
}

/// Its folders below `/run`, in which others find what it makes.
fn shared_folders(service: &Service) -> impl Iterator<Item = &str> {
    service.sandbox.folders.iter().map(String::as_str).filter(|folder| folder.starts_with("/run/"))
}

/// Makes the cgroup in which its processes live, `name` below the service's own `cgroup`, where the guards are.
///
/// # Errors
/// What the kernel says.
pub fn cell(service: &Service, cgroup: &Cgroup, name: &str) -> io::Result<Cgroup> {
    let folder = fs::File::open(cgroup.path())?;
    bpf::attach(folder.as_fd(), Hook::Device, &guards::devices(&rules(service)))?;
    bpf::attach(folder.as_fd(), Hook::Sysctl, &guards::settings())?;
    Cgroup::enable_controllers(cgroup.path());
    Cgroup::create(cgroup.path(), name)
}

/// Who may open it makes devices of the device mapper.
const MAPPER: &str = "/dev/mapper/control";

/// The usual devices and those that the profile names. With [`MAPPER`] come the volumes that are made with it, but none of
/// the node's own, such as the verified root.
fn rules(service: &Service) -> Vec<guards::Rule> {
    let named = service.sandbox.devices.iter().filter_map(|path| {
        let found = fs::metadata(path).ok()?;
        let kind = if found.file_type().is_block_device() { guards::Kind::Block } else { guards::Kind::Character };
        let (major, minor) = (libc::major(found.rdev() as libc::dev_t), libc::minor(found.rdev() as libc::dev_t));
        Some(guards::Rule { kind, major, minors: (minor, minor) })
    });
    let mapper = service.sandbox.devices.iter().any(|path| path == MAPPER);
    let major = fs::read_to_string("/proc/devices").ok().filter(|_| mapper).and_then(|text| mapper_major(&text));
    let volumes = major.map(|major| {
        let free = outside(own_mappings(Path::new("/sys/class/block")));
        free.into_iter().map(move |minors| guards::Rule { kind: guards::Kind::Block, major, minors })
    });
    guards::USUAL.into_iter().chain(named).chain(volumes.into_iter().flatten()).collect()
}

/// The major number of device mapper's block devices. `text` is /proc/devices, whose second half is about block devices.
fn mapper_major(text: &str) -> Option<u32> {
    let (_, block) = text.split_once("Block devices:")?;
    block.lines().find_map(|line| line.trim().strip_suffix(" device-mapper")?.parse().ok())
}

/// Minor numbers of the mappings that are no logical volumes, by their folders in `/sys/class/block`: these are the node's.
fn own_mappings(folder: &Path) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let own = entries.filter_map(|entry| {
        let minor = entry.file_name().to_str()?.strip_prefix("dm-")?.parse().ok()?;
        // dm(4) of LVM: the UUID of a logical volume begins so.
        let volume = fs::read_to_string(entry.path().join("dm/uuid")).is_ok_and(|uuid| uuid.starts_with("LVM-"));
        (!volume).then_some(minor)
    });
    own.collect()
}

/// What is left of all numbers without these, as ranges.
fn outside(mut used: Vec<u32>) -> Vec<(u32, u32)> {
    used.sort_unstable();
    let (mut ranges, mut first) = (Vec::new(), Some(0));
    for number in used {
        if let Some(first) = first.filter(|&first| first < number) {
            ranges.push((first, number - 1));
        }
        first = number.checked_add(1);
    }
    ranges.extend(first.map(|first| (first, u32::MAX)));
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_every_mapping_but_the_nodes_own() {
        let devices =
            "Character devices:\n  1 mem\n 10 misc\n\nBlock devices:\n  7 loop\n253 device-mapper\n259 blkext\n";
        assert_eq!(mapper_major(devices), Some(253));
        assert_eq!(mapper_major("Character devices:\n253 device-mapper\n\nBlock devices:\n  7 loop\n"), None);
        let sys = tempfile::tempdir().unwrap();
        for (name, uuid) in [("dm-0", "CRYPT-VERITY-abc-root\n"), ("dm-1", "LVM-Zk8q\n"), ("dm-2", "\n"), ("sda", "")]
        {
            fs::create_dir_all(sys.path().join(name).join("dm")).unwrap();
            fs::write(sys.path().join(name).join("dm/uuid"), uuid).unwrap();
        }
        let mut own = own_mappings(sys.path());
        own.sort_unstable();
        assert_eq!(own, [0, 2]);
        assert_eq!(outside(own), [(1, 1), (3, u32::MAX)]);
        assert_eq!(outside(vec![]), [(0, u32::MAX)]);
        assert_eq!(outside(vec![u32::MAX, 0, 0]), [(1, u32::MAX - 1)]);
    }
}
