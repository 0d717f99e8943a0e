//! What holds the containers of a service that they outlive (`kill = "main"`): the first process of a namespace of its own,
//! which is there for as long as the node runs. The service's program is started beside it, again and again.

use super::confine::command;
use crate::sys::cgroup::{Cgroup, INIT_SCOPE};
use crate::sys::process::{Confinement, Program, Surroundings, spawn};
use contract::role::Service;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// The first process of the namespace.
pub struct Keeper {
    pid: Pid,
    process: OwnedFd,
    /// Where the program's own processes live, beside the cgroups of its containers.
    own: Cgroup,
    /// What still confines a program that is started in the namespace.
    confinement: Confinement,
}

impl Keeper {
    /// Starts it. `cell` is the cgroup that is the top of those that it sees, and `cgroup` its `cgroup.procs`.
    ///
    /// # Errors
    /// In words.
    pub fn start(
        service: &Service,
        cell: &Cgroup,
        cgroup: OwnedFd,
        confinement: Confinement,
        output: BorrowedFd<'_>,
    ) -> Result<Keeper, String> {
        // Programs may join it from the first moment.
        let own =
            Cgroup::create(cell.path(), INIT_SCOPE).map_err(|error| format!("cannot make its cgroup: {error}"))?;
        let program = Program {
            run: &command(service, &[]),
            environment: Vec::new(),
            identity: &service.identity,
            capabilities: &service.capabilities,
            cgroup: Some(cgroup),
            output,
            surroundings: Surroundings {
                new_privileges: service.new_privileges,
                confinement: Some(&confinement),
                ..Surroundings::default()
            },
        };
        let pid = spawn(&program).map_err(|error| error.to_string())?;
        let process =
            pidfd_open(pid, PidfdFlags::empty()).map_err(|error| format!("cannot hold its namespaces: {error}"))?;
        // Mounts, cgroups and processes are those of the namespaces already.
        let confinement = Confinement { changes: Vec::new(), containers: false, ..confinement };
        Ok(Keeper { pid, process, own, confinement })
    }

    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// A descriptor of its process, by which its namespaces are entered.
    #[must_use]
    pub fn process(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }

    #[must_use]
    pub fn confinement(&self) -> &Confinement {
        &self.confinement
    }

    /// Whether it has not ended: a descriptor of a process can be read when it has.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let mut ended = [PollFd::new(&self.process, PollFlags::IN)];
        matches!(rustix::event::poll(&mut ended, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
    }

    /// `cgroup.procs` of the cgroup that its program joins.
    ///
    /// # Errors
    /// In words.
    pub fn cgroup(&self) -> Result<OwnedFd, String> {
        self.own.procs().map_err(|error| format!("cannot open its cgroup: {error}"))
    }

    /// Its program's processes, without containers.
    #[must_use]
    pub fn own_processes(&self) -> Vec<Pid> {
        self.own.processes()
    }
}
