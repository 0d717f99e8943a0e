//! Control groups, version 2 (Documentation/admin-guide/cgroup-v2.rst): plain files, no unsafe code.

use contract::role::Limits;
use rustix::process::Pid;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where cgroup2 is mounted.
pub const MOUNT: &str = "/sys/fs/cgroup";
/// Controllers that services may be limited by.
pub const CONTROLLERS: [&str; 5] = ["cpu", "memory", "pids", "io", "cpuset"];

/// The cgroup of a container engine's own processes, beside those of its containers. The name by which programs know the cgroup
/// of PID 1 (k3s 1.36, pkg/cgroups: `/` and `/init.scope` are not those of a container).
pub const INIT_SCOPE: &str = "init.scope";

/// One cgroup, by its folder.
#[derive(Clone, Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Makes the cgroup unless it exists.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub fn create(parent: &Path, name: &str) -> io::Result<Cgroup> {
        let path = parent.join(name);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Cgroup { path }),
        }
    }

    /// Removes the cgroup at `path` with those below it, if it is there. No process may be in any of them.
    ///
    /// # Errors
    /// What the kernel says: EBUSY when there is a process.
    pub fn remove(path: &Path) -> io::Result<()> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                Cgroup::remove(&entry.path())?;
            }
        }
        fs::remove_dir(path)
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Enables those of [`CONTROLLERS`] that the kernel has for the children of the cgroup at `path`. Returns the ones
    /// that it has not.
    pub fn enable_controllers(path: &Path) -> Vec<&'static str> {
        let control = path.join("cgroup.subtree_control");
        CONTROLLERS.into_iter().filter(|name| fs::write(&control, format!("+{name}")).is_err()).collect()
    }

    /// Moves the calling process into this cgroup.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), "0")
    }

    /// `cgroup.procs`, for a child that joins by itself.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn procs(&self) -> io::Result<OwnedFd> {
        fs::OpenOptions::new().write(true).open(self.path.join("cgroup.procs")).map(OwnedFd::from)
    }

    /// Sets memory (bytes), processes and weight. Returns what could not be set, in words.
    pub fn limit(&self, limits: &Limits) -> Vec<String> {
        let number = |value: Option<u64>| value.map_or_else(|| "max".to_owned(), |value| value.to_string());
        let wanted = [
            ("memory.max", limits.memory.is_some(), number(limits.memory)),
            ("pids.max", limits.pids.is_some(), number(limits.pids)),
            ("cpu.weight", limits.cpu_weight.is_some(), limits.cpu_weight.unwrap_or(100).to_string()),
        ];
        wanted
            .into_iter()
            .filter(|(_, given, _)| *given)
            .filter_map(|(file, _, value)| {
                let error = fs::write(self.path.join(file), &value).err()?;
                Some(format!("{file} = {value}: {error}"))
            })
            .collect()
    }

    /// Ends every process in it and below, at once (`cgroup.kill`, Linux 5.14).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn kill(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// How many of its processes the kernel has killed when memory ran out, its own limit's or the machine's.
    #[must_use]
    pub fn memory_kills(&self) -> u64 {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse().ok()).unwrap_or(0)
    }

    /// Sets one of its files.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set(&self, file: &str, value: &str) -> io::Result<()> {
        fs::write(self.path.join(file), value)
    }

    /// What the processes in it have as their path in `/proc/PID/cgroup`, behind `0::`.
    #[must_use]
    pub fn name(&self) -> String {
        let inside = self.path.strip_prefix(MOUNT).unwrap_or(&self.path);
        format!("/{}", inside.display())
    }

    /// The processes in it, and those in the cgroups below it.
    #[must_use]
    pub fn processes(&self) -> Vec<Pid> {
        fn gather(folder: &Path, found: &mut Vec<Pid>) {
            let own = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            found.extend(own.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)));
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    gather(&entry.path(), found);
                }
            }
        }
        let mut found = Vec::new();
        gather(&self.path, &mut found);
        found
    }

    /// Whether any process lives in it or below.
    #[must_use]
    pub fn populated(&self) -> bool {
        fs::read_to_string(self.path.join("cgroup.events"))
            .is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
    }
}
