//! Shutdown: everything written and unmounted ([`flush`]), then the system call. Mirrors linux/reboot.h.
//!
//! None of it may hang for ever: a disk that does not answer is waited for so long and no longer, and the hardware watchdog
//! counts on while the kernel shuts down (`watchdog.stop_on_reboot=0`).

use super::{firmware, flush, watchdog};
use crate::console;
use rustix::system::RebootCommand;
use std::os::fd::RawFd;
use std::time::Duration;

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Reboot,
    PowerOff,
}

/// Ends the run cleanly. To be called by PID 1 when every other process has ended, with the descriptor of its watchdog. Does
/// not return; when the kernel refuses, says so and waits for the hardware watchdog, which no one feeds any more.
pub fn finish(action: Action, watchdog: Option<RawFd>) -> ! {
    flush::everything(|| {
        if let Some(fd) = watchdog {
            let _ = watchdog::feed_number(fd);
        }
    });
    // From here on the kernel has the watchdog's time.
    now(action)
}

/// Ends the run at once: no sync, no unmounting.
pub fn now(action: Action) -> ! {
    // For a power-off the kernel leaves its own order in the same place.
    if action == Action::Reboot
        && let Err(error) = firmware::forget_partition()
    {
        console::say(format_args!("the partition of the next boot is not cleared in PM_RSTS: {error}"));
    }
    let command = match action {
        Action::Reboot => RebootCommand::Restart,
        Action::PowerOff => RebootCommand::PowerOff,
    };
    let error = rustix::system::reboot(command);
    console::say(format_args!("the kernel refused to {action:?}: {error:?}; waiting for the hardware watchdog"));
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}
