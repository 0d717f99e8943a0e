//! Making and checking ext4 with Debian's own e2fsprogs, which the image carries.

use crate::console;
use crate::sys::watchdog;
use anyhow::{Context as _, bail, ensure};
use std::io::Read as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Debian keeps both in /usr/sbin.
const MKE2FS: &str = "/usr/sbin/mke2fs";
const E2FSCK: &str = "/usr/sbin/e2fsck";
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    Clean,
    Repaired,
}

/// Runs tools while the hardware watchdog has to be fed.
#[derive(Clone, Copy, Debug)]
pub struct Tools {
    /// Descriptor of the watchdog, when there is one.
    pub watchdog: Option<i32>,
}

impl Tools {
    /// Makes an ext4 file system of `length` bytes on a partition, whatever stands there.
    ///
    /// # Errors
    /// What mke2fs says.
    pub fn make(self, partition: &str, length: u64, label: &str, uuid: &Uuid) -> anyhow::Result<()> {
        let uuid = uuid.to_string();
        let seed = format!("hash_seed={uuid},nodiscard");
        let blocks = (length / BLOCK).to_string();
        let arguments =
            ["-q", "-F", "-t", "ext4", "-b", "4096", "-L", label, "-U", &uuid, "-E", &seed, partition, &blocks];
        let (status, words) = self.run(Command::new(MKE2FS).args(arguments))?;
        ensure!(status.success(), "{MKE2FS} on {partition} ended with {status}: {words}");
        Ok(())
    }

    /// Checks an ext4 file system: what can be repaired without loss is; if that does not do, everything is that can be.
    ///
    /// # Errors
    /// When errors are left.
    pub fn check(self, partition: &str) -> anyhow::Result<Check> {
        let (status, words) = self.run(Command::new(E2FSCK).args(["-p", partition]))?;
        if let Some(check) = verdict(status) {
            return Ok(check);
        }
        console::say(format_args!("{partition} is damaged: {words}\nrepairing all of it (e2fsck -y)"));
        let (status, words) = self.run(Command::new(E2FSCK).args(["-y", partition]))?;
        verdict(status).with_context(|| format!("{E2FSCK} on {partition} ended with {status}: {words}"))
    }

    /// Runs a program to its end; returns what it said, shortened.
    fn run(self, command: &mut Command) -> anyhow::Result<(ExitStatus, String)> {
        let name = command.get_program().to_string_lossy().into_owned();
        // A file, not a pipe: a pipe that nobody empties stops the program.
        let log =
            rustix::fs::memfd_create("tool", rustix::fs::MemfdFlags::CLOEXEC).context("making a memory file")?;
        let mut log = std::fs::File::from(log);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin").stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log.try_clone()?);
        let mut child = command.spawn().with_context(|| format!("starting {name}"))?;
        let status = self.wait(&mut child, &name)?;
        std::io::Seek::rewind(&mut log)?;
        let mut words = Vec::new();
        (&log).take(MAX_WORDS).read_to_end(&mut words)?;
        Ok((status, String::from_utf8_lossy(&words).trim().to_owned()))
    }

    fn wait(self, child: &mut Child, name: &str) -> anyhow::Result<ExitStatus> {
        let started = Instant::now();
        loop {
            if let Some(status) = child.try_wait().with_context(|| format!("waiting for {name}"))? {
                return Ok(status);
            }
            if started.elapsed() > TIMEOUT {
                let _ = child.kill();
                let _ = child.wait();
                bail!("{name} took longer than {} s", TIMEOUT.as_secs());
            }
            if let Some(fd) = self.watchdog {
                let _ = watchdog::feed_number(fd);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
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
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn only_corrected_errors_pass() {
        let verdict = |code: i32| verdict(ExitStatus::from_raw(code << 8));
        assert_eq!(verdict(0), Some(Check::Clean));
        assert_eq!([1, 2, 3].map(verdict), [Some(Check::Repaired); 3]);
        assert_eq!([4, 5, 8, 12, 16, 32, 128].map(verdict), [None; 7]);
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
    }
}
