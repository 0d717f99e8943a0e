//! One check, by a short-lived child with few privileges, which reads whatever bytes come back. The child's exit status
//! is the result; its last line says why.

use super::confine;
use super::machine::{Exit, Moment};
use crate::sys::cgroup::Cgroup;
use crate::sys::process::{Program, Surroundings, kill_session, spawn};
use contract::names;
use contract::role::{Capability, Identity, Limits, Probe};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// What a looking child may take: memory in bytes, and processes.
const LIMITS: Limits = Limits { memory: Some(64 << 20), pids: Some(32), cpu_weight: None, open_files: Some(256) };
/// Bytes of its words that are read.
const WORDS: usize = 2048;
/// Characters of its last line that are kept.
const REASON: usize = 200;
/// How long a killed child may take to be gone.
const LINGER: Duration = Duration::from_secs(1);
/// The user that runs built-in probes: nobody.
const NOBODY: u32 = 65_534;

/// A look in progress.
#[derive(Debug)]
pub struct RunningProbe {
    pid: Pid,
    output: OwnedFd,
    deadline: Moment,
    limit: Duration,
    late: bool,
    cgroup: Option<Cgroup>,
}

impl RunningProbe {
    /// Begins a look by a program, as `identity` with these capabilities. `name` is for its cgroup below `cgroups`.
    ///
    /// # Errors
    /// Why the program cannot be started, in words.
    pub fn by_program(
        name: &str,
        run: &[String],
        (identity, capabilities): (&Identity, &[Capability]),
        cgroups: Option<&Path>,
        limit: Duration,
        now: Moment,
    ) -> Result<RunningProbe, String> {
        let cgroup = cgroups.and_then(|parent| Cgroup::create(parent, name).ok());
        let procs = cgroup.as_ref().and_then(|cgroup| {
            cgroup.limit(&LIMITS);
            cgroup.procs().ok()
        });
        let with_rights = confine::of_looker(capabilities)?;
        let confinement = match &with_rights {
            Some(confinement) => confinement,
            None => confine::of_reader()?,
        };
        let (output, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
            .map_err(|error| format!("cannot make a pipe: {error}"))?;
        let program = Program {
            run,
            environment: vec![("PATH".to_owned(), super::places::PATH.to_owned())],
            identity,
            capabilities,
            cgroup: procs,
            output: write.as_fd(),
            surroundings: Surroundings {
                open_files: LIMITS.open_files,
                confinement: Some(confinement),
                ..Surroundings::default()
            },
        };
        let pid = spawn(&program).map_err(|error| error.to_string())?;
        Ok(RunningProbe { pid, output, deadline: now + limit, limit, late: false, cgroup })
    }

    /// Begins a look by this program itself (`firstboot probe`), as nobody.
    ///
    /// # Errors
    /// As [`Look::by_program`].
    pub fn at(
        name: &str,
        probe: &Probe,
        cgroups: Option<&Path>,
        limit: Duration,
        now: Moment,
    ) -> Result<RunningProbe, String> {
        if let Probe::Program { run, identity, capabilities } = probe {
            return RunningProbe::by_program(name, run, (identity, capabilities), cgroups, limit, now);
        }
        let asked = serde_json::to_string(probe).map_err(|error| error.to_string())?;
        let run = [names::FIRSTBOOT.to_owned(), "probe".to_owned(), limit.as_millis().to_string(), asked];
        let identity = match probe {
            // The folder is root's, and so is the kubelet's key. Root without capabilities may reach these and little else.
            Probe::Storage { .. } | Probe::BootPartition | Probe::Kubernetes(_) => Identity::default(),
            _ => Identity { uid: NOBODY, gid: NOBODY, groups: Vec::new() },
        };
        // The child gives up by itself and says how far it came; the deadline here is for one that does not.
        RunningProbe::by_program(name, &run, (&identity, &[]), cgroups, limit + Duration::from_secs(1), now)
    }

    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// When [`Look::tick`] is needed.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        (!self.late).then_some(self.deadline)
    }

    /// Ends a look that takes too long; its exit comes as any other.
    pub fn tick(&mut self, now: Moment) {
        if !self.late && now >= self.deadline {
            self.late = true;
            self.kill();
        }
    }

    /// Why it counts as failed although its process is still there: one that waits for a disk cannot be killed.
    #[must_use]
    pub fn stuck(&self, now: Moment) -> Option<String> {
        let stuck = self.late && now >= self.deadline + LINGER;
        stuck.then(|| format!("no answer in {:.1} s, and its process cannot be killed", self.limit.as_secs_f64()))
    }

    fn kill(&self) {
        if self.cgroup.as_ref().is_none_or(|cgroup| cgroup.kill().is_err()) {
            kill_session(self.pid);
        }
    }

    /// Its process has ended: the answer. The rest of its processes goes with it.
    ///
    /// # Errors
    /// What is not as it should be, in words.
    pub fn ended(self, exit: Exit) -> Result<(), String> {
        self.kill();
        if self.late {
            return Err(format!("no answer in {:.1} s", self.limit.as_secs_f64()));
        }
        if exit == Exit::Status(0) {
            return Ok(());
        }
        let mut words = [0; WORDS];
        let length = rustix::io::read(&self.output, &mut words).unwrap_or(0);
        let words = String::from_utf8_lossy(words.get(..length).unwrap_or_default()).into_owned();
        let last = words.lines().rev().map(str::trim).find(|line| !line.is_empty());
        let clean = |line: &str| contract::text::line(line).chars().take(REASON).collect::<String>();
        Err(last.map_or_else(|| exit.to_string(), clean))
    }
}

impl Drop for RunningProbe {
    /// No one waits for the answer any more.
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_cannot_be_ended_counts_as_failed_all_the_same() {
        let run = ["/bin/sleep".to_owned(), "1000".to_owned()];
        let identity = Identity {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            groups: Vec::new(),
        };
        let second = Duration::from_secs(1);
        let mut look = RunningProbe::by_program("stuck", &run, (&identity, &[]), None, second, Moment::ZERO).unwrap();
        assert_eq!((look.deadline(), look.stuck(second * 10)), (Some(second), None), "its time is not over yet");
        look.tick(second);
        assert_eq!((look.deadline(), look.stuck(second)), (None, None), "it may still end");
        // No one waits for it here: to its parent it is as one that the kernel does not let go.
        let why = look.stuck(second + LINGER).unwrap();
        assert_eq!(why, "no answer in 1.0 s, and its process cannot be killed");
        let _ = rustix::process::waitpid(Some(look.pid()), rustix::process::WaitOptions::empty());
    }

    /// What a look by this script ends with, and what it says.
    fn looked(script: &str, capabilities: &[Capability]) -> Result<(), String> {
        let run = ["/bin/sh", "-c", script].map(str::to_owned);
        let nobody = Identity { uid: NOBODY, gid: NOBODY, groups: Vec::new() };
        let limit = Duration::from_secs(30);
        let look =
            RunningProbe::by_program("looked", &run, (&nobody, capabilities), None, limit, Moment::ZERO).unwrap();
        let (_, status) =
            rustix::process::waitpid(Some(look.pid()), rustix::process::WaitOptions::empty()).unwrap().unwrap();
        look.ended(Exit::Status(status.exit_status().unwrap_or(-1)))
    }

    #[test]
    fn a_program_that_looks_has_the_rights_it_was_given_and_no_others() {
        let effective = |wanted: &str| format!("test $(sed -n 's/^CapEff:\t//p' /proc/self/status) = {wanted}");
        assert_eq!(looked(&effective("0000000000000000"), &[]), Ok(()));
        let raw = [Capability::NetRaw];
        assert_eq!(looked(&effective("0000000000002000"), &raw), Ok(()));
        assert!(looked(&effective("0000000000000000"), &raw).is_err());
        // It is confined all the same.
        assert!(looked("unshare -U true", &raw).is_err());
    }
}
