//! A child process that does not outlive us.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};

/// Starts `command` with `handed` left open in it under their own numbers.
///
/// The child gets SIGKILL when the calling *thread* ends (prctl(2), `PR_SET_PDEATHSIG`), so the caller is the thread
/// that waits for it. In a group of its own, it does not get the terminal's Ctrl-C.
pub(crate) fn spawn(mut command: Command, handed: &[OwnedFd], own_group: bool) -> io::Result<Child> {
    let numbers: Vec<i32> = handed.iter().map(|fd| fd.as_raw_fd()).collect();
    let parent = std::process::id();
    if own_group {
        command.process_group(0);
    }
    let prepare = move || {
        // SAFETY: prctl, getppid and fcntl are async-signal-safe, and so is building an error from errno.
        unsafe {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(io::Error::last_os_error());
            }
            // The parent may have died between fork and prctl.
            if libc::getppid() as u32 != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            for &number in &numbers {
                if libc::fcntl(number, libc::F_SETFD, 0) != 0 {
                    return Err(io::Error::last_os_error());
                }
            }
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec and makes only async-signal-safe calls; it allocates nothing.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}
