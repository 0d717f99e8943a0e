//! Stage: file systems that live in memory, and the tree of control groups.

use super::events::Warnings;
use crate::service::prepare_cgroups;
use crate::sys::cgroup::{self, Cgroup};
use crate::sys::mount::{Flags, mount, share_root};
use std::ffi::CStr;
use std::path::{Path, PathBuf};

/// Kind, mount point, options.
const MOUNTS: [(&str, &str, Flags, &CStr); 7] = [
    ("devpts", "/dev/pts", Flags::NOSUID.union(Flags::NOEXEC), c"gid=5,mode=620,ptmxmode=666"),
    ("tmpfs", "/dev/shm", Flags::NOSUID.union(Flags::NODEV), c"mode=1777,size=25%"),
    ("tmpfs", "/tmp", Flags::NOSUID.union(Flags::NODEV), c"mode=1777,size=25%"),
    ("tmpfs", "/var/tmp", Flags::NOSUID.union(Flags::NODEV), c"mode=1777,size=10%"),
    ("tmpfs", "/var/log", Flags::NOSUID.union(Flags::NODEV), c"mode=755,size=5%"),
    (
        "cgroup2",
        cgroup::MOUNT,
        Flags::NOSUID.union(Flags::NODEV).union(Flags::NOEXEC),
        c"nsdelegate,memory_recursiveprot",
    ),
    // Programs and maps of the kernel's virtual machine that outlive who loaded them: Cilium keeps its own here.
    ("bpf", "/sys/fs/bpf", Flags::NOSUID.union(Flags::NODEV).union(Flags::NOEXEC), c"mode=700"),
];

/// Mounts, and moves PID 1 into its own cgroup `init`. Returns the folder of the services' cgroups, if there is one.
pub fn run(warnings: &mut Warnings) -> Option<PathBuf> {
    // The out-of-memory killer takes a service, never PID 1; services start with 0 again.
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", "-1000") {
        warnings.add(format_args!("PID 1 is not protected from the out-of-memory killer: {error}"));
    }
    for (kind, target, flags, options) in MOUNTS {
        // A read-only root has the mount points that its role uses.
        let optional = target.starts_with("/var/") && !Path::new(target).is_dir();
        if !optional && let Err(error) = mount(Path::new(kind), Path::new(target), kind, flags, Some(options)) {
            warnings.add(format_args!("cannot mount {kind} on {target}: {error}"));
        }
    }
    if let Err(error) = share_root() {
        warnings.add(format_args!("cannot make mounts below / shared: {error}"));
    }
    match cgroups(warnings) {
        Ok(folder) => Some(folder),
        Err(error) => {
            warnings.add(format_args!("services run without cgroups and limits: {error}"));
            None
        }
    }
}

fn cgroups(warnings: &mut Warnings) -> std::io::Result<PathBuf> {
    let root = Path::new(cgroup::MOUNT);
    // No process may live beside cgroups with controllers.
    Cgroup::create(root, "init")?.enter()?;
    let missing = Cgroup::enable_controllers(root);
    if !missing.is_empty() {
        warnings.add(format_args!("the kernel lacks the cgroup controllers {}", missing.join(", ")));
    }
    prepare_cgroups(root).map(|(folder, _)| folder)
}
