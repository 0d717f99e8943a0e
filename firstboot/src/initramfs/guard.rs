//! A thread that feeds the hardware watchdog while the initramfs works, and ends the boot if it takes too long.

use crate::console;
use crate::sys::reboot::{self, Action};
use crate::sys::watchdog::{self, Watchdog};
use contract::initramfs;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time between two feedings: well below the shortest time-out.
const INTERVAL: Duration = Duration::from_secs(1);

struct Shared {
    deadline: Instant,
    watchdog: Option<initramfs::Watchdog>,
}

/// The running guard. It ends with exec, which ends every thread but the first; the watchdog stays armed.
#[derive(Clone)]
pub struct Guard(Arc<Mutex<Shared>>);

impl Guard {
    /// Starts the guard. When `allowance` is over the machine is reset, unless PID 1 is another program by then.
    pub fn start(allowance: Duration) -> Guard {
        let guard = Guard(Arc::new(Mutex::new(Shared { deadline: Instant::now() + allowance, watchdog: None })));
        let watching = guard.clone();
        let started = std::thread::Builder::new().name("guard".to_owned()).spawn(move || watching.watch());
        if let Err(error) = started {
            console::say(format_args!(
                "warning: cannot start the guard thread ({error}): a hang will not be noticed"
            ));
        }
        guard
    }

    /// Gives the boot more time.
    pub fn extend(&self, by: Duration) {
        let mut shared = self.shared();
        shared.deadline = shared.deadline.checked_add(by).unwrap_or(shared.deadline);
    }

    /// Opens and arms the hardware watchdog, if it has come up and is not open yet.
    pub fn open_watchdog(&self) {
        let mut shared = self.shared();
        if shared.watchdog.is_some() {
            return;
        }
        match Watchdog::open() {
            Ok(opened) => {
                let (driver, timeout_s) = (opened.identity.clone(), opened.timeout_s);
                match opened.into_lasting_fd() {
                    Ok(fd) => shared.watchdog = Some(initramfs::Watchdog { fd, driver, timeout_s }),
                    Err(error) => console::say(format_args!("warning: the watchdog cannot be kept open: {error}")),
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => (),
            Err(error) => console::say(format_args!("warning: opening {}: {error}", watchdog::DEVICE)),
        }
    }

    /// The armed watchdog.
    pub fn watchdog(&self) -> Option<initramfs::Watchdog> {
        self.shared().watchdog.clone()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) {
        loop {
            let (deadline, watchdog) = {
                let shared = self.shared();
                (shared.deadline, shared.watchdog.clone())
            };
            if Instant::now() >= deadline {
                console::say("FAILED: the initramfs took too long; rebooting");
                reboot::now(Action::Reboot);
            }
            if let Some(watchdog) = watchdog
                && let Err(error) = watchdog::feed_number(watchdog.fd)
            {
                console::say(format_args!("warning: feeding the watchdog: {error}"));
            }
            std::thread::sleep(INTERVAL);
        }
    }
}
