//! `firstboot contain [PROGRAM [ARGUMENT ...]]`: the first process of a service that makes containers, PID 1 of its namespace.
//! It takes its place in the namespace's cgroups, starts the program, passes signals on, reaps what loses its parent, and
//! ends as the program ends; the kernel then ends what is left. Without a program it reaps until it is killed: the node's
//! PID 1 starts programs in the namespace, and what they start outlives them.

use crate::sys::cgroup::{self, Cgroup, INIT_SCOPE};
use crate::sys::signal::Awaited;
use anyhow::Context as _;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use std::path::Path;
use std::process::{Command, exit};

/// As a shell does when a signal ended a program.
const BY_SIGNAL: i32 = 128;

/// Signals that are passed on.
const PASSED: [Signal; 6] = [Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1, Signal::USR2, Signal::TERM];

/// Runs the program; does not return.
pub fn run(arguments: &[String]) {
    match start(arguments) {
        Ok(status) => exit(status),
        Err(error) => {
            eprintln!("contain: {error:#}");
            exit(2);
        }
    }
}

fn start(arguments: &[String]) -> anyhow::Result<i32> {
    let top = Path::new(cgroup::MOUNT);
    // No process may live beside cgroups with controllers.
    Cgroup::create(top, INIT_SCOPE)
        .and_then(|own| own.enter())
        .with_context(|| format!("cannot enter {}", top.join(INIT_SCOPE).display()))?;
    Cgroup::enable_controllers(top);
    let Some((program, rest)) = arguments.split_first() else { return reap() };
    let child = Command::new(program).args(rest).spawn().with_context(|| format!("cannot start {program}"))?;
    let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("it has no number")?;
    let signals =
        Awaited::block(&[PASSED.as_slice(), &[Signal::CHILD]].concat()).context("cannot listen for signals")?;
    loop {
        while let Some((pid, status)) = wait(WaitOptions::NOHANG).context("cannot wait for it")? {
            if pid == child && (status.exited() || status.signaled()) {
                let by_signal = status.terminating_signal().map(|signal| BY_SIGNAL + signal);
                return Ok(status.exit_status().or(by_signal).unwrap_or(BY_SIGNAL));
            }
        }
        if let Some(signal) = signals.next().filter(|&signal| signal != Signal::CHILD) {
            let _ = kill_process(child, signal);
        }
    }
}

/// Reaps what loses its parent. A signal has no effect on PID 1 of a namespace that does not handle it, other than the
/// kernel's end (pid_namespaces(7)).
fn reap() -> anyhow::Result<i32> {
    let signals = Awaited::block(&[Signal::CHILD]).context("cannot listen for signals")?;
    loop {
        // Without children wait fails.
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let _ = signals.next();
    }
}
