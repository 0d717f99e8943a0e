//! Native files before they are in force: rendered into a scratch folder, and shown to the services' own programs, which say
//! whether they could use them ([`contract::role::Check`]).
//!
//! Each program runs as its service would: its user, its capabilities, its confinement. In place of `/run` it sees the scratch
//! folder, so that every file is where it will be, and nothing of the running node is.

use super::role::{completed, environments};
use super::templates::render_all;
use crate::service::{Ground, confinement, wanted};
use crate::sys::cgroup::Cgroup;
use crate::sys::process::{Change, Program, Surroundings, attribute, kill_session, spawn};
use contract::node::{NodeConfig, Refusal, Rendered};
use contract::role::{Check, Limits, Mount, RoleSpec, Sandbox, Service};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, waitpid};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest time that one program may take.
const LIMIT: Duration = Duration::from_secs(20);
/// Time between two looks at it, in which the watchdog is fed.
const BREATH: Duration = Duration::from_millis(500);
/// Bytes of its words that are read.
const WORDS: usize = 64 * 1024;
/// What it may take: memory in bytes, and processes.
const LIMITS: Limits = Limits { memory: Some(256 << 20), pids: Some(64), cpu_weight: None, open_files: None };
/// Where rendered files are.
const RUN: &str = "/run";

/// How a node tries a config.
pub struct Checker<'c> {
    pub role: &'c RoleSpec,
    /// The folder of the templates.
    pub templates: &'c Path,
    /// A folder of its own in memory, which is made and removed.
    pub scratch: PathBuf,
    /// The cgroup below which programs run.
    pub cgroups: Option<&'c Path>,
    /// Called while a program runs.
    pub feed: &'c dyn Fn(),
}

/// How a program ended.
enum Ended {
    Well,
    Badly,
    Late,
}

impl Checker<'_> {
    /// Whether the role can do with a config: its templates can be rendered, and its services' programs accept the files.
    /// `text` is the file as it was given. Returns what could not be checked.
    ///
    /// # Errors
    /// What is wrong, with its place in `text`.
    pub fn accept(&self, config: &NodeConfig, text: &str) -> Result<Vec<String>, String> {
        let _ = std::fs::remove_dir_all(&self.scratch);
        let made = std::fs::create_dir_all(&self.scratch)
            .and_then(|()| std::fs::set_permissions(&self.scratch, std::fs::Permissions::from_mode(0o700)));
        let found = match made {
            Ok(()) => self.try_all(config, text),
            Err(error) => Err(format!("cannot make {}: {error}", self.scratch.display())),
        };
        let _ = std::fs::remove_dir_all(&self.scratch);
        found
    }

    fn try_all(&self, config: &NodeConfig, text: &str) -> Result<Vec<String>, String> {
        let config = &completed(self.role, config, text)?;
        let mut services = self.role.services.clone();
        // What cannot be made is told by now.
        let _ = environments(&mut services, config);
        let missing = render_all(&self.role.templates, self.templates, &self.scratch, config);
        if let Some(missing) = missing.into_iter().next() {
            return Err(missing.reason);
        }
        let settings = serde_json::to_value(config).unwrap_or_default();
        let asked = |service: &Service| service.when.as_ref().is_none_or(|path| wanted(&settings, path));
        let mut notes = Vec::new();
        let mut files = None;
        for (name, service) in services.iter().filter(|(_, service)| asked(service)) {
            let Some(check) = &service.check else { continue };
            (self.feed)();
            if files.is_none() {
                self.folders().map_err(|error| format!("cannot make {}: {error}", self.scratch.display()))?;
                files = Some(self.rendered());
            }
            let (ended, words) = match self.run(name, service, check) {
                Ok(found) => found,
                // The image's fault, and no reason to refuse a config.
                Err(error) => {
                    notes.push(format!("the files of the service {name} were not checked: {error}"));
                    continue;
                }
            };
            let said = check.mistake.as_deref().and_then(|mistake| words.lines().find(|line| line.contains(mistake)));
            let words = match (ended, said) {
                (Ended::Well, None) => continue,
                (Ended::Late, _) => format!("it did not end within {} s", LIMIT.as_secs()),
                (_, Some(line)) => line.to_owned(),
                (Ended::Badly, None) => words,
            };
            let files = files.as_deref().unwrap_or_default();
            return Err(Refusal::read(name, &check.run, &words, files, config).locate(text).to_string());
        }
        Ok(notes)
    }

    /// The directories that services find in `/run`.
    fn folders(&self) -> std::io::Result<()> {
        let inside = |path: &str| self.scratch.join(path.trim_start_matches('/'));
        std::fs::create_dir_all(inside(RUN))?;
        for directory in self.role.directories.iter().filter(|directory| directory.path.starts_with("/run/")) {
            let path = inside(&directory.path);
            std::fs::create_dir_all(&path)?;
            chown(&path, Some(directory.owner.uid), Some(directory.owner.gid))?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(directory.mode))?;
        }
        Ok(())
    }

    fn rendered(&self) -> Vec<Rendered> {
        let read = |to: &String| {
            let text = std::fs::read_to_string(self.scratch.join(to.trim_start_matches('/'))).ok()?;
            Some(Rendered { to: to.clone(), text })
        };
        self.role.templates.iter().filter_map(|template| read(&template.to)).collect()
    }

    fn run(&self, name: &str, service: &Service, check: &Check) -> Result<(Ended, String), String> {
        // It needs no mounts of its own, and makes no containers.
        let kept = |mount: &&Mount| matches!(mount, Mount::ReadOnly(_) | Mount::Hidden(_));
        let sandbox = Sandbox { containers: false, unconfined: false, ..service.sandbox.clone() };
        let service =
            Service { mounts: service.mounts.iter().filter(kept).cloned().collect(), sandbox, ..service.clone() };
        let mut confinement = confinement(&service, &Ground::of(self.role))?;
        let run = self.scratch.join(RUN.trim_start_matches('/'));
        let memory = attribute::NO_SETUID | attribute::NO_DEVICES | attribute::NO_PROGRAMS;
        let here =
            [Change::bind(&run.to_string_lossy(), RUN), Change::attributes(RUN, true, memory, attribute::READ_ONLY)];
        for change in here {
            confinement.changes.push(change.map_err(|error| error.to_string())?);
        }
        let cgroup = self.cgroups.and_then(|parent| Cgroup::create(parent, &format!("check-{name}")).ok());
        let procs = cgroup.as_ref().and_then(|cgroup| {
            cgroup.limit(&LIMITS);
            cgroup.procs().ok()
        });
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (read, write) = pipe_with(flags).map_err(|error| format!("cannot make a pipe: {error}"))?;
        // A program that writes more than a pipe holds waits until it is read.
        rustix::fs::fcntl_setfl(&write, rustix::fs::OFlags::empty())
            .map_err(|error| format!("cannot set up a pipe: {error}"))?;
        let mut environment = vec![("PATH".to_owned(), crate::service::PATH.to_owned())];
        environment.extend(service.environment.clone());
        let pid = spawn(&Program {
            run: &check.run,
            environment,
            identity: &service.identity,
            capabilities: &service.capabilities,
            cgroup: procs,
            output: write.as_fd(),
            surroundings: Surroundings { confinement: Some(&confinement), ..Surroundings::default() },
        })
        .map_err(|error| error.to_string())?;
        drop(write);
        let found = self.follow(pid, &read);
        // Whatever it started goes with it.
        if cgroup.as_ref().is_none_or(|cgroup| cgroup.kill().is_err()) {
            kill_session(pid);
        }
        Ok(found)
    }

    /// Reads what it says until it has ended, or is ended.
    fn follow(&self, pid: Pid, output: &OwnedFd) -> (Ended, String) {
        let begin = Instant::now();
        let mut words = Vec::new();
        let breath = Timespec::try_from(BREATH).ok();
        let status = loop {
            (self.feed)();
            let mut ready = [PollFd::new(output, PollFlags::IN)];
            let _ = poll(&mut ready, breath.as_ref());
            let open = take(output, &mut words);
            match waitpid(Some(pid), WaitOptions::NOHANG) {
                Ok(Some((_, status))) => break Some(status),
                Ok(None) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => break None,
            }
            if begin.elapsed() >= LIMIT {
                kill_session(pid);
                let _ = waitpid(Some(pid), WaitOptions::empty());
                return (Ended::Late, String::from_utf8_lossy(&words).into_owned());
            }
            if !open {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        take(output, &mut words);
        let well = status.is_some_and(|status| status.exit_status() == Some(0));
        (if well { Ended::Well } else { Ended::Badly }, String::from_utf8_lossy(&words).into_owned())
    }
}

/// Takes what there is to read. Returns whether more may come.
fn take(output: &OwnedFd, words: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4096];
    loop {
        match rustix::io::read(output, &mut buffer) {
            Ok(0) => return false,
            Ok(length) => {
                let room = WORDS.saturating_sub(words.len());
                words.extend(buffer.iter().take(length.min(room)));
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
