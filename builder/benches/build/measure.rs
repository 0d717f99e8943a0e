//! One run of a program: wall clock, processor time and peak memory, of it and of all that it started.

use anyhow::{Context as _, Result, bail};
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub struct Run {
    /// In seconds.
    pub wall: f64,
    /// User and system time of all its processes, in seconds.
    pub cpu: f64,
    /// Peak resident memory of its largest process, in bytes.
    pub peak: f64,
}

/// Runs a command to its end; its standard output goes to the file `output`.
///
/// # Errors
/// When it cannot be started, or fails.
pub fn run(command: &mut Command, output: &Path) -> Result<Run> {
    let shown = format!("{command:?}");
    let log = output.with_extension("log");
    let file = |path: &Path| File::create(path).with_context(|| format!("creating {}", path.display()));
    command.stdin(Stdio::null()).stdout(file(output)?).stderr(file(&log)?);
    let start = Instant::now();
    let child = command.spawn().with_context(|| format!("starting {shown}"))?;
    let pid = libc::pid_t::try_from(child.id()).context("a process id")?;
    let mut status = 0;
    // SAFETY: all zeros are a valid `rusage`.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `pid` is a child of ours that no one else waits for; both pointers are valid for the call.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) };
    let wall = start.elapsed().as_secs_f64();
    if waited != pid {
        return Err(std::io::Error::last_os_error()).context("waiting for it");
    }
    if !libc::WIFEXITED(status) || libc::WEXITSTATUS(status) != 0 {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        bail!("{shown} failed:\n{said}");
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Run { wall, cpu: seconds(usage.ru_utime) + seconds(usage.ru_stime), peak: usage.ru_maxrss as f64 * 1024.0 })
}

/// The machine's load averages over 1, 5 and 15 minutes.
#[must_use]
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
