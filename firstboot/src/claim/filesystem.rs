//! Making and checking ext4 with Debian's own e2fsprogs, which the image carries.

use crate::console;
use crate::service::confine;
use crate::sys::process::{Program, Surroundings, kill_session, spawn};
use crate::sys::watchdog;
use anyhow::{Context as _, ensure};
use contract::role::Identity;
use rustix::process::WaitOptions;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Debian keeps both in /usr/sbin.
const MKE2FS: &str = "/usr/sbin/mke2fs";
const E2FSCK: &str = "/usr/sbin/e2fsck";
/// To whom devices belong: the tools open them as their owner, without any capability.
const ROOT: u32 = 0;
/// Longest time that one of them may take.
const TIMEOUT: Duration = Duration::from_secs(300);
const BLOCK: u64 = 4096;
/// Most of a tool's words that are repeated on the console, in bytes.
const MAX_WORDS: u64 = 2048;

/// Bits of e2fsck's exit status (e2fsck(8)): errors corrected, reboot advised (only for mounted file systems), errors
/// left.
const CORRECTED: i32 = 1;
const REBOOT: i32 = 2;

/// What a check came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    Clean,
    Repaired,
    /// Errors are left. What e2fsck said.
    Hopeless(String),
}

/// Runs tools while the hardware watchdog has to be fed.
#[derive(Clone, Copy, Debug)]
pub struct Tools {
    /// Descriptor of the watchdog, when there is one.
    pub watchdog: Option<i32>,
}

impl Tools {
    /// Makes an ext4 file system of `length` bytes on a partition, whatever is there.
    ///
    /// # Errors
    /// What mke2fs says.
    pub fn make(self, partition: &str, length: u64, label: &str, uuid: &Uuid) -> anyhow::Result<()> {
        let uuid = uuid.to_string();
        let seed = format!("hash_seed={uuid},nodiscard");
        let blocks = (length / BLOCK).to_string();
        let arguments =
            ["-q", "-F", "-t", "ext4", "-b", "4096", "-L", label, "-U", &uuid, "-E", &seed, partition, &blocks];
        let (status, words) = self.run_as(&command(MKE2FS, &arguments), ROOT)?;
        ensure!(status.success(), "{MKE2FS} on {partition} ended with {status}: {words}");
        Ok(())
    }

    /// Checks an ext4 file system: what can be repaired without loss is; if that does not do, everything is that can be.
    ///
    /// # Errors
    /// When e2fsck cannot do its work.
    pub fn check(self, partition: &str) -> anyhow::Result<Check> {
        let (status, words) = self.run_as(&command(E2FSCK, &["-p", partition]), ROOT)?;
        if let Some(check) = verdict(status) {
            return Ok(check);
        }
        console::say(format_args!("{partition} is damaged: {words}\nrepairing all of it (e2fsck -y)"));
        let (status, words) = self.run_as(&command(E2FSCK, &["-y", partition]), ROOT)?;
        let died = || format!("{E2FSCK} on {partition} ended with {status}: {words}");
        status.code().with_context(died)?;
        Ok(verdict(status).unwrap_or(Check::Hopeless(words)))
    }

    /// Tells the watchdog that work goes on.
    pub(super) fn feed(self) {
        if let Some(fd) = self.watchdog {
            let _ = watchdog::feed_number(fd);
        }
    }

    /// Runs a program to its end; returns what it said, shortened.
    pub(super) fn run(self, command: &mut Command) -> anyhow::Result<(ExitStatus, String)> {
        let name = command.get_program().to_string_lossy().into_owned();
        let said = Output::open()?;
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin").stdin(Stdio::null());
        command.stdout(said.0.try_clone()?).stderr(said.0.try_clone()?);
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let status = self.wait(&name, || child.try_wait());
        if status.is_err() {
            let _ = child.kill();
            let _ = child.wait();
        }
        Ok((status?, said.words()?))
    }

    /// As [`Tools::run`], as this user, without capabilities, confined, and in an empty environment. Where a caller is not a
    /// root, its own user does.
    pub(super) fn run_as(self, run: &[String], user: u32) -> anyhow::Result<(ExitStatus, String)> {
        let name = run.first().map_or("", String::as_str);
        let said = Output::open()?;
        let root = rustix::process::geteuid().is_root();
        let [uid, gid] = if root {
            [user, user]
        } else {
            [rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()]
        };
        let pid = spawn(&Program {
            run,
            environment: Vec::new(),
            identity: &Identity { uid, gid, groups: Vec::new() },
            capabilities: &[],
            cgroup: None,
            output: said.0.as_fd(),
            surroundings: Surroundings {
                confinement: Some(confine::of_reader().map_err(anyhow::Error::msg)?),
                ..Surroundings::default()
            },
        })?;
        let status = self.wait(name, || {
            let waited = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG)?;
            Ok(waited.map(|(_, status)| ExitStatus::from_raw(status.as_raw())))
        });
        if status.is_err() {
            kill_session(pid);
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
        }
        Ok((status?, said.words()?))
    }

    fn wait(
        self,
        name: &str,
        mut ended: impl FnMut() -> std::io::Result<Option<ExitStatus>>,
    ) -> anyhow::Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = ended().with_context(|| format!("waiting for {name}"))? {
                return Ok(status);
            }
            ensure!(started.elapsed() <= TIMEOUT, "{name} took longer than {} s", TIMEOUT.as_secs());
            self.feed();
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A program with its arguments.
fn command(program: &str, arguments: &[&str]) -> Vec<String> {
    [&[program], arguments].concat().into_iter().map(str::to_owned).collect()
}

/// What a program says: a file, as a pipe that no one empties stops the program.
struct Output(File);

impl Output {
    fn open() -> anyhow::Result<Output> {
        let file = rustix::fs::memfd_create("tool", rustix::fs::MemfdFlags::CLOEXEC);
        Ok(Output(file.context("making a memory file")?.into()))
    }

    fn words(mut self) -> anyhow::Result<String> {
        self.0.rewind()?;
        let mut words = Vec::new();
        self.0.take(MAX_WORDS).read_to_end(&mut words)?;
        Ok(String::from_utf8_lossy(&words).trim().to_owned())
    }
}

fn verdict(status: ExitStatus) -> Option<Check> {
    match status.code()? {
        0 => Some(Check::Clean),
        code if code & !(CORRECTED | REBOOT) == 0 => Some(Check::Repaired),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_corrected_errors_pass() {
        let verdict = |code: i32| verdict(ExitStatus::from_raw(code << 8));
        assert_eq!(verdict(0), Some(Check::Clean));
        assert_eq!([1, 2, 3].map(verdict), [const { Some(Check::Repaired) }; 3]);
        assert_eq!([4, 5, 8, 12, 16, 32, 128].map(verdict), [const { None }; 7]);
    }

    #[test]
    fn a_tool_that_is_killed_has_no_verdict() {
        assert_eq!(verdict(ExitStatus::from_raw(9)), None);
    }

    #[test]
    fn ext4_is_made_and_checked_and_damage_is_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fs");
        let file = std::fs::File::options().create_new(true).read(true).write(true).open(&path).unwrap();
        // Large enough for a second block group, which holds the first spare superblock.
        file.set_len(192 << 20).unwrap();
        let name = path.to_str().unwrap();
        let tools = Tools { watchdog: None };
        tools.make(name, (192 << 20) - 65536, "label", &Uuid::from_u128(7)).unwrap();
        assert_eq!(tools.check(name).unwrap(), Check::Clean);
        // The first superblock gone: e2fsck -p gives up, e2fsck -y takes a spare one.
        std::os::unix::fs::FileExt::write_all_at(&file, &[0; 1024], 1024).unwrap();
        assert_eq!(tools.check(name).unwrap(), Check::Repaired);
        assert_eq!(tools.check(name).unwrap(), Check::Clean);
        // All of it gone.
        std::os::unix::fs::FileExt::write_all_at(&file, &vec![0x5a; 192 << 20], 0).unwrap();
        assert!(matches!(tools.check(name).unwrap(), Check::Hopeless(words) if words.contains("superblock")));
    }
}
