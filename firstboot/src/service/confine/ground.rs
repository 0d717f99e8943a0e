//! What exists on the node that a service may or may not see.

use crate::config::templates::needs;
use crate::sys::mount::unescaped;
use contract::control::SOCKET;
use contract::names::{DATA_MOUNT, NETWORK_JOB, STATE_MOUNT};
use contract::role::{Capability, Directory, RoleSpec, Service, Template};
use std::path::{Path, PathBuf};

/// Folders whose content is files of the boot partitions, wherever in them these are mounted.
const BOOT: &str = "/boot";

/// The role's directories and files, which its services share.
#[derive(Clone, Debug, Default)]
pub struct Ground {
    directories: Vec<Directory>,
    templates: Vec<Template>,
}

impl Ground {
    #[must_use]
    pub fn of(role: &RoleSpec) -> Ground {
        Ground { directories: role.directories.clone(), templates: role.templates.clone() }
    }

    /// Whether folders of the role have limits.
    #[must_use]
    pub fn has_limits(&self) -> bool {
        self.directories.iter().any(|directory| directory.limit_bytes.is_some())
    }

    /// The folders that a service may change: those that its profile names, and those of its user. Root's belong to no
    /// service in particular.
    #[must_use]
    pub fn folders_of(&self, service: &Service) -> Vec<String> {
        let uid = service.identity.uid;
        let named = service.sandbox.folders.iter();
        let owned = self.directories.iter().filter(|directory| uid != 0 && directory.owner.uid == uid);
        let mut folders: Vec<String> = named.chain(owned.map(|directory| &directory.path)).cloned().collect();
        // One that is in another follows it.
        folders.sort();
        folders.dedup();
        folders
    }

    /// The mounts that are out of its sight: file systems on disks but for the root, and directories that are kept for
    /// others. `mounts` is the text of /proc/self/mountinfo (proc_pid_mountinfo(5)).
    #[must_use]
    pub fn mounts_out_of_sight(&self, service: &Service, mounts: &str) -> Vec<String> {
        let folders = self.folders_of(service);
        let mut hidden: Vec<String> = mounts
            .lines()
            .filter_map(MountLine::parse)
            .filter(|mount| self.is_private(mount))
            .map(|mount| mount.point)
            .filter(|point| !folders.iter().any(|own| within(own, point) || within(point, own)))
            .collect();
        hidden.sort();
        // What is below another goes with it.
        hidden.dedup_by(|later, earlier| within(later, earlier));
        hidden
    }

    /// The files that PID 1 writes from templates.
    pub(super) fn templates(&self) -> impl Iterator<Item = &str> {
        self.templates.iter().map(|template| template.to.as_str())
    }

    fn is_private(&self, mount: &MountLine) -> bool {
        let point = mount.point.as_str();
        let kept = |directory: &Directory| directory.persistent && directory.path == point;
        (mount.on_disk && point != "/")
            || point == STATE_MOUNT
            || point == DATA_MOUNT
            || within(point, BOOT)
            || self.directories.iter().any(kept)
    }

    /// Files that are out of its sight although their permissions would let it read them: secrets of other services, for
    /// one that runs as root or reads what it likes, and PID 1's socket for all but operators.
    #[must_use]
    pub fn files_out_of_sight(&self, service: &Service) -> Vec<String> {
        let any = [Capability::DacOverride, Capability::DacReadSearch];
        let powerful = service.identity.uid == 0 || service.capabilities.iter().any(|own| any.contains(own));
        let folders = self.folders_of(service);
        let secret = |template: &&Template| {
            let to = template.to.as_str();
            powerful
                && template.mode & 0o004 == 0
                && !needs(service, to)
                && !folders.iter().any(|own| within(to, own))
        };
        let secrets = self.templates.iter().filter(secret).map(|template| template.to.clone());
        let socket = (!service.sandbox.operators).then(|| SOCKET.to_owned());
        let network = service.run.get(1).is_some_and(|part| part == "network");
        let job = (powerful && !network).then(|| NETWORK_JOB.to_owned());
        secrets.chain(socket).chain(job).collect()
    }
}

/// Whether a path is this folder or is in it.
pub(super) fn within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What matters of a line of /proc/self/mountinfo.
struct MountLine {
    point: String,
    on_disk: bool,
}

impl MountLine {
    fn parse(line: &str) -> Option<MountLine> {
        let (before, after) = line.split_once(" - ")?;
        let point = unescaped(before.split(' ').nth(4)?);
        let source = after.split(' ').nth(1)?;
        Some(MountLine { point, on_disk: source.starts_with("/dev/") })
    }
}

/// What is really there.
pub(super) fn is_folder(path: &str) -> bool {
    Path::new(path).is_dir()
}

/// The folder in which a path lies.
pub(super) fn parent(path: &str) -> PathBuf {
    Path::new(path).parent().unwrap_or(Path::new("/")).to_owned()
}
