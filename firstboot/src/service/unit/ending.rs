//! How the processes of a service end, and why they did.

use super::super::keeper::Keeper;
use super::super::machine::{Exit, Moment};
use super::super::places::Places;
use super::Unit;
use crate::sys::process::kill_session;
use contract::role::Kill;
use rustix::process::{Pid, Signal, kill_process};
use std::time::Duration;

/// Longest time from the kernel's count of a kill to the exit of a large process.
const KILL_TO_EXIT: Duration = Duration::from_secs(10);
/// SIGKILL.
const KILL: i32 = 9;

impl Unit {
    /// Whether processes of an earlier start are still there that may not be.
    #[must_use]
    pub fn has_remains(&self, places: &Places) -> bool {
        self.spec.kill == Kill::All && matches!(self.cgroup(places), Some(Ok(cgroup)) if cgroup.populated())
    }

    /// Asks what its program has left to end, each process once: containers first, and what holds them when they are gone.
    /// Returns whether anything is left.
    pub fn terminate_remains(&mut self, places: &Places) -> bool {
        let Some(Ok(cgroup)) = self.cgroup(places) else { return false };
        let holder = self.keeper.as_ref().map(Keeper::pid);
        let all: Vec<Pid> = cgroup.processes().into_iter().filter(|pid| Some(*pid) != holder).collect();
        let own = self.keeper.as_ref().map(Keeper::own_processes).unwrap_or_default();
        let containers: Vec<Pid> = all.iter().copied().filter(|pid| !own.contains(pid)).collect();
        for pid in if containers.is_empty() { &all } else { &containers } {
            if self.asked_to_end.insert(pid.as_raw_nonzero().get()) {
                let _ = kill_process(*pid, Signal::TERM);
            }
        }
        !all.is_empty()
    }

    /// Asks its process to end.
    pub fn terminate(&self) {
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Ends its processes at once: all of them, or its program alone where the rest outlives it and this is not the end of
    /// the node. `pid` is the one that was started, also when it is gone already.
    pub fn kill_all(&self, places: &Places, pid: Option<Pid>, at_the_end: bool) {
        if self.spec.kill == Kill::Main && !at_the_end {
            if let Some(pid) = self.pid {
                let _ = kill_process(pid, Signal::KILL);
            }
            return;
        }
        let killed = matches!(self.cgroup(places), Some(Ok(cgroup)) if cgroup.kill().is_ok());
        if !killed && let Some(pid) = pid {
            kill_session(pid);
        }
    }

    /// Whether processes of it were killed: out of memory since the last time it was asked.
    pub fn new_memory_kills(&mut self, places: &Places, now: Moment) -> bool {
        // A cgroup is made with the first start.
        let Some(Ok(cgroup)) = self.pid.and(self.cgroup(places)) else { return false };
        let before = std::mem::replace(&mut self.memory_kills, cgroup.memory_kills());
        let more = self.memory_kills > before;
        if more {
            self.killed_at = Some(now);
        }
        more
    }

    /// Why its first process is gone: being killed for lack of memory looks like any other, but was counted shortly before.
    pub fn cause(&mut self, exit: Exit, places: &Places, now: Moment) -> Exit {
        let killed = exit == Exit::Signal(KILL)
            && (self.new_memory_kills(places, now)
                || self.killed_at.is_some_and(|at| now.saturating_sub(at) < KILL_TO_EXIT));
        if killed { Exit::OutOfMemory } else { exit }
    }
}
