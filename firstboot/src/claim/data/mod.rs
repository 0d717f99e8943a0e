//! `data`: the rest of the system disk, or a whole disk of its own when the node boots from eMMC or an SD card, or names
//! another disk. A place is claimed if it is blank, already microdc's, or released by the operator (`wipe`); everything else
//! is reported and left alone.
//!
//! The work is done by a child process (`firstboot data`): untrusted bytes are read by it and by what it starts, and a disk
//! that never answers keeps the child waiting, not PID 1.
//!
//! - [`work`] what the child does: [`disks`] which disk · [`plan`] where on it ([`place`]) · [`verdict`] whether it may be taken:
//!   [`marker`], [`detect`], [`contract::blank`] · [`steps`] the claim itself
//! - [`make`] the steps, each of which the next boot can go on from · [`kind`] ext4, XFS, LVM

mod detect;
pub(super) mod disks;
pub(super) mod kind;
mod make;
mod marker;
mod place;
pub(super) mod plan;
pub(super) mod steps;
mod verdict;
mod work;

pub use verdict::refusal;
pub use work::run;

use super::filesystem::Tools;
use crate::console;
use crate::service::confine;
use crate::sys::process::{Program, Surroundings, kill_session, spawn};
use anyhow::{Context as _, bail, ensure};
use contract::initramfs::BootReport;
use contract::names::FIRSTBOOT;
use contract::node::{Disks, NodeConfig};
use contract::role::Identity;
use contract::storage::{Data, Disk};
use rustix::process::{WaitOptions, waitpid};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// Longest time for a claim: checking a large file system after a crash takes minutes. Then the node goes on without.
const LIMIT: Duration = Duration::from_secs(1800);
/// How often the console says that the claim still goes on.
const REMIND: Duration = Duration::from_secs(30);
/// Longest answer of the child, in bytes.
const ANSWER: u64 = 256 * 1024;

/// The child's task, as JSON on its standard input.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// Kernel name of the system disk.
    pub system: String,
    pub cluster: Option<String>,
    pub node: String,
    pub disks: Disks,
    /// Whether folders on it have limits.
    pub limits: bool,
}

/// What the child answers, as JSON on its standard output.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    disks: Vec<Disk>,
    data: Data,
}

/// Lists the disks; claims, checks and mounts `data` as the node config says, with `limits` where folders on it have any. To be
/// called by PID 1 while it has no other children, after `state`. Feeds the watchdog of `report` meanwhile.
pub fn data(report: &BootReport, config: &NodeConfig, limits: bool) -> (Vec<Disk>, Data) {
    let request = Request {
        system: report.disk.clone(),
        cluster: config.cluster.name.clone(),
        node: config.name.as_str().to_owned(),
        disks: config.disks.clone(),
        limits,
    };
    match ask(report, &request) {
        Ok(Answer { disks, data }) => (disks, data),
        Err(error) => (Vec::new(), Data::Refused { reason: format!("the claim failed: {error:#}") }),
    }
}

fn ask(report: &BootReport, request: &Request) -> anyhow::Result<Answer> {
    let tools = Tools { watchdog: report.watchdog.as_ref().map(|watchdog| watchdog.fd) };
    let answer =
        rustix::fs::memfd_create("claim", rustix::fs::MemfdFlags::CLOEXEC).context("making a memory file")?;
    let mut answer = File::from(answer);
    let task = rustix::fs::memfd_create("task", rustix::fs::MemfdFlags::CLOEXEC).context("making a memory file")?;
    let mut task = File::from(task);
    task.write_all(&serde_json::to_vec(request)?).and_then(|()| task.rewind()).context("writing down its task")?;
    let errors = std::io::stderr();
    let pid = spawn(&Program {
        run: &[FIRSTBOOT, "data"].map(str::to_owned),
        environment: Vec::new(),
        identity: &Identity::default(),
        capabilities: &confine::CLAIM,
        cgroup: None,
        output: answer.as_fd(),
        surroundings: Surroundings {
            files: &[(0, task.as_fd()), (2, errors.as_fd())],
            confinement: Some(confine::of_claim().map_err(anyhow::Error::msg)?),
            ..Surroundings::default()
        },
    })?;
    let started = Instant::now();
    let mut remind_at = REMIND;
    let status = loop {
        if let Some((_, status)) = waitpid(Some(pid), WaitOptions::NOHANG).context("waiting for it")? {
            break ExitStatus::from_raw(status.as_raw());
        }
        tools.feed();
        if started.elapsed() >= LIMIT {
            // It may be unable to die before its disk answers: it is not waited for.
            kill_session(pid);
            bail!("it has taken {} minutes: the disk does not answer as it should", LIMIT.as_secs() / 60);
        }
        if started.elapsed() >= remind_at {
            remind_at += REMIND;
            console::say(format_args!("still working on data, for {} s", started.elapsed().as_secs()));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    ensure!(status.success(), "it ended with {status}");
    answer.rewind()?;
    let mut bytes = Vec::new();
    answer.take(ANSWER).read_to_end(&mut bytes)?;
    serde_json::from_slice(&bytes).context("parsing its answer")
}

/// For [`crate::foreign`]: reads a marker.
#[cfg(any(test, feature = "testing"))]
pub fn parse_marker(bytes: &[u8]) {
    let _ = marker::Marker::parse(bytes);
}

/// For [`crate::foreign`]: reads what blkid said.
#[cfg(any(test, feature = "testing"))]
pub fn parse_probe(words: &str) {
    let _ = detect::names(words);
}

#[cfg(test)]
mod tests;
