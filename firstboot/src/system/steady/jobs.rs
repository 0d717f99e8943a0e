//! Commands of k3s that PID 1 runs among its processes: snapshots of the cluster's database, its restoration, and the draining of
//! the node before it stops. One at a time. What they write is in the service's log.

use super::super::events::{now, say};
use super::super::k3s::commands::{self, SERVICE};
use super::super::k3s::files::KUBECONFIG;
use super::job::{Job, Kind, complaint, outcome};
use super::turn::Loop;
use crate::config::store::{Access, write_atomic};
use crate::service::{Exit, Moment, State};
use contract::control::Reply;
use contract::health::Verdict;
use contract::names::{STATE_CORDONED, STATE_MOUNT};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest time for each of them. k3s gives up on a bucket after 5 minutes; a database is some 100 MiB.
const SNAPSHOT: Duration = Duration::from_secs(15 * 60);
const SNAPSHOTS: Duration = Duration::from_secs(6 * 60);
const RESET: Duration = Duration::from_secs(30 * 60);
const UNCORDON: Duration = Duration::from_secs(60);
/// Longer than kubectl itself waits for pods.
const DRAIN_ROOM: Duration = Duration::from_secs(10);
/// Time between two looks whether the node has to be uncordoned, and between two tries.
const UNCORDON_LOOK: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(60);
/// Time between two looks whether k3s is down.
const LOOK: Duration = Duration::from_millis(200);
/// What kubectl says when somebody else has cordoned the node before.
const ALREADY: &str = "already cordoned";

/// What an operator may ask for.
pub enum Command {
    Snapshot,
    Snapshots,
    Restore { snapshot: String, node: String },
    Reset { node: String },
}

impl Loop {
    /// Begins what an operator asks for. The answer comes when it is done.
    pub(super) fn begin_k3s(&mut self, client: u64, command: &Command, now: Moment) {
        let begun = self.k3s_command(command);
        match begun.and_then(|(kind, run)| self.begin_job(kind, run, Some(client), now)) {
            Ok(()) => self.control.watch(client),
            Err(why) => self.control.reply(client, &Reply::Refused(why), now),
        }
    }

    fn k3s_command(&self, command: &Command) -> Result<(Kind, Vec<String>), String> {
        if self.stop.is_some() {
            return Err("the node is stopping".to_owned());
        }
        let run = self.supervisor.command(SERVICE)?;
        let (node, kind, command) = match command {
            Command::Snapshot => return Ok((Kind::Snapshot, commands::snapshot(run)?)),
            Command::Snapshots => return Ok((Kind::Snapshots, commands::snapshots(run)?)),
            Command::Restore { snapshot, node } => {
                let bucket = self.node.intake.config.k3s.as_ref().and_then(|k3s| k3s.snapshots.as_ref()?.s3.as_ref());
                let here = Path::new(commands::SNAPSHOTS);
                (node, Kind::Restore, commands::restore(run, snapshot, here, bucket.is_some())?)
            }
            Command::Reset { node } => (node, Kind::Reset, commands::reset(run)?),
        };
        let name = self.node.intake.config.name.as_str();
        if node != name {
            return Err(format!(
                "this replaces the database of the whole cluster; to confirm it, give this node's name, {name}, in place of \
                 {node:?}"
            ));
        }
        if let Some(server) = self.node.intake.config.k3s.as_ref().and_then(|k3s| k3s.server.as_ref()) {
            return Err(format!(
                "this server joins the one at {} (k3s.server), and k3s resets a cluster only on a server that joins no other: do \
                 it there, or take k3s.server out of node.toml first",
                server.as_str()
            ));
        }
        Ok((kind, command))
    }

    fn begin_job(&mut self, kind: Kind, run: Vec<String>, client: Option<u64>, now: Moment) -> Result<(), String> {
        if let Some(job) = &self.job {
            return Err(format!("{job} is under way"));
        }
        let time = match kind {
            Kind::Snapshot => SNAPSHOT,
            Kind::Snapshots => SNAPSHOTS,
            Kind::Restore | Kind::Reset => RESET,
            Kind::Uncordon => UNCORDON,
            Kind::Drain => self.drain_time().unwrap_or_default() + DRAIN_ROOM,
        };
        let (_, seen) = self.supervisor.lines_since(SERVICE, u64::MAX);
        let mut job =
            Job { kind, run, client, seen, pid: None, exit: None, limit: now + time, late: false, look_at: now };
        if job.holds() {
            self.supervisor.hold(SERVICE, now)?;
        } else {
            job.pid = Some(self.supervisor.run_beside(SERVICE, &job.run)?);
        }
        if client.is_some() && kind != Kind::Snapshots {
            say(format_args!("an operator asked for {job}"));
        }
        self.job = Some(job);
        Ok(())
    }

    /// Goes on with the command that is under way.
    pub(super) fn step_job(&mut self, now: Moment) {
        let Some(job) = &mut self.job else { return };
        if let Some(exit) = job.exit {
            if let Some(job) = self.job.take() {
                self.end_job(&job, exit, now);
            }
            return;
        }
        match job.pid {
            Some(pid) if now >= job.limit && !job.late => {
                job.late = true;
                let _ = kill_process(pid, Signal::KILL);
            }
            Some(_) => {}
            None if self.supervisor.is_down(SERVICE) => match self.supervisor.run_beside(SERVICE, &job.run) {
                Ok(pid) => job.pid = Some(pid),
                Err(why) => self.give_up_job(&why, now),
            },
            None if now >= job.limit => self.give_up_job("k3s does not stop", now),
            None => job.look_at = now + LOOK,
        }
    }

    fn give_up_job(&mut self, why: &str, now: Moment) {
        let Some(job) = self.job.take() else { return };
        self.supervisor.release(SERVICE);
        self.answer_job(&job, Err(why.to_owned()), now);
    }

    /// A process ended. Returns whether it was that command.
    pub(super) fn job_exited(&mut self, pid: Pid, exit: Exit) -> bool {
        let job = self.job.as_mut().filter(|job| job.pid == Some(pid));
        job.map(|job| job.exit = Some(exit)).is_some()
    }

    fn end_job(&mut self, job: &Job, exit: Exit, now: Moment) {
        let lines = self.supervisor.lines_now(SERVICE, job.seen);
        if job.holds() {
            self.supervisor.release(SERVICE);
        }
        let result = match exit {
            _ if job.late => Err("it did not end in time".to_owned()),
            Exit::Status(0) => outcome(job.kind, &lines),
            exit => Err(complaint(&lines).map_or_else(|| exit.to_string(), |line| format!("{exit}: {line}"))),
        };
        match job.kind {
            Kind::Drain => {
                if lines.iter().any(|line| line.contains(ALREADY)) && !self.was_cordoned_before() {
                    self.forget_cordon();
                }
                self.end_drain(now);
            }
            Kind::Uncordon if result.is_ok() => self.forget_cordon(),
            _ => {}
        }
        self.answer_job(job, result, now);
    }

    fn answer_job(&mut self, job: &Job, result: Result<Reply, String>, now: Moment) {
        let reply = match result {
            Ok(reply) => {
                if let Reply::Done(words) = &reply {
                    say(words);
                }
                reply
            }
            Err(why) => {
                let more = if job.holds() { "; k3s is started again" } else { "" };
                let words = format!("{job} failed: {why}{more}");
                say(&words);
                Reply::Refused(format!("{words}. `logs k3s` shows all of it"))
            }
        };
        if let Some(client) = job.client {
            self.control.reply(client, &reply, now);
        }
    }

    fn drain_time(&self) -> Option<Duration> {
        let seconds = self.node.intake.config.k3s.as_ref()?.drain?;
        Some(Duration::from_secs(seconds.into()))
    }

    /// Begins to drain the node before it stops, where node.toml asks for it and k3s is there. Gives the time by which that is
    /// over.
    pub(super) fn drain(&mut self, now: Moment) -> Option<Moment> {
        let time = self.drain_time()?;
        if !matches!(self.supervisor.state(SERVICE), Some(State::Ready { .. })) {
            say("the node is not drained: k3s is not ready");
            return None;
        }
        let node = self.node.intake.config.name.as_str().to_owned();
        let run = self.supervisor.command(SERVICE).and_then(|run| commands::drain(run, &node, time));
        let begun = run.and_then(|run| {
            if !Path::new(KUBECONFIG).exists() {
                return Err(format!("{KUBECONFIG} is not there"));
            }
            self.remember_cordon()?;
            self.begin_job(Kind::Drain, run, None, now)
        });
        match begun {
            Ok(()) => {
                say(format_args!("draining the node, for {} s at most", time.as_secs()));
                self.job.as_ref().map(|job| job.limit + LOOK)
            }
            Err(why) => {
                say(format_args!("the node is not drained: {why}"));
                None
            }
        }
    }

    /// Uncordons a node that was cordoned for its restart, when it is healthy again.
    pub(super) fn uncordon(&mut self, now: Moment) {
        if now < self.uncordon_at || self.stop.is_some() || self.job.is_some() {
            return;
        }
        self.uncordon_at = now + UNCORDON_LOOK;
        if !mark().exists() || self.health.report().verdict != Verdict::Passed {
            return;
        }
        self.uncordon_at = now + AGAIN;
        let node = self.node.intake.config.name.as_str().to_owned();
        let run = self.supervisor.command(SERVICE).and_then(|run| commands::uncordon(run, &node));
        if let Err(why) = run.and_then(|run| self.begin_job(Kind::Uncordon, run, None, now)) {
            say(format_args!("the node cannot be uncordoned: {why}"));
        }
    }

    fn remember_cordon(&mut self) -> Result<(), String> {
        let before: &[u8] = if mark().exists() { b"before" } else { b"" };
        write_atomic(&mark(), before, Access::root(0o600))
            .map_err(|error| format!("it cannot be kept on state that it was cordoned: {error}"))
    }

    /// Whether a restart before this one has cordoned it, and it was not uncordoned since.
    fn was_cordoned_before(&self) -> bool {
        std::fs::read(mark()).is_ok_and(|text| text == b"before")
    }

    fn forget_cordon(&mut self) {
        if let Err(error) = std::fs::remove_file(mark()) {
            self.node.warnings.add(format_args!("cannot remove {}: {error}", mark().display()));
        }
        self.uncordon_at = now();
    }
}

/// The file that is there while the node has to be uncordoned.
fn mark() -> PathBuf {
    Path::new(STATE_MOUNT).join(STATE_CORDONED)
}
