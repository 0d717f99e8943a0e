//! The kernel's own file systems, and the console as standard input and output.

use crate::console;
use crate::sys::mount::{self, DATA_ONLY, Flags};
use anyhow::Context as _;
use std::ffi::CStr;
use std::fs::File;
use std::path::Path;

/// Kernel messages of this level and above reach the console: errors, among them dm-verity's "block is corrupted".
const CONSOLE_LEVEL: u32 = 4;
const PRINTK: &str = "/proc/sys/kernel/printk";

const MOUNTS: [(&str, &str, Flags, Option<&CStr>); 4] = [
    ("devtmpfs", "/dev", Flags::NOSUID, Some(c"mode=0755")),
    ("proc", "/proc", DATA_ONLY, None),
    ("sysfs", "/sys", DATA_ONLY, None),
    ("tmpfs", "/run", Flags::NODEV.union(Flags::NOSUID), Some(c"mode=0755")),
];

/// Mounts what everything after it needs.
///
/// # Errors
/// Which mount failed, or that there is no console.
pub fn set_up() -> anyhow::Result<()> {
    let [dev, others @ ..] = MOUNTS;
    set_up_one(dev)?;
    // The console comes first, so that all that follows can be seen to fail.
    take_console().context("taking /dev/console as standard input and output")?;
    others.into_iter().try_for_each(set_up_one)?;
    console::open_others(console::FIRST_TERMINAL);
    show_kernel_errors().with_context(|| format!("setting the console level in {PRINTK}"))
}

fn set_up_one((kind, target, flags, options): (&str, &str, Flags, Option<&CStr>)) -> anyhow::Result<()> {
    mount::mount(Path::new(kind), Path::new(target), kind, flags, options)
        .with_context(|| format!("mounting {kind} at {target}"))
}

fn take_console() -> std::io::Result<()> {
    let console = File::options().read(true).write(true).open("/dev/console")?;
    rustix::stdio::dup2_stdin(&console)?;
    rustix::stdio::dup2_stdout(&console)?;
    Ok(rustix::stdio::dup2_stderr(&console)?)
}

/// Raises the console level where the command line (`quiet`, `loglevel=`) has set it lower.
fn show_kernel_errors() -> std::io::Result<()> {
    match raised(&std::fs::read_to_string(PRINTK)?) {
        Some(level) => std::fs::write(PRINTK, level),
        None => Ok(()),
    }
}

/// The kernel's four numbers with the first one raised, when it has to be.
fn raised(levels: &str) -> Option<String> {
    let (current, rest) = levels.trim_end().split_once(char::is_whitespace)?;
    let current: u32 = current.parse().ok()?;
    (current < CONSOLE_LEVEL).then(|| format!("{CONSOLE_LEVEL}\t{}\n", rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::raised;

    #[test]
    fn a_quiet_console_is_raised_to_errors_and_a_chatty_one_left() {
        assert_eq!(raised("1\t4\t1\t7\n").as_deref(), Some("4\t4\t1\t7\n"));
        assert_eq!(raised("7\t4\t1\t7\n"), None);
        assert_eq!(raised("nonsense"), None);
    }
}
