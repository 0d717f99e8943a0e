//! What happens if PID 1 panics, although no path to a panic is known: it reports it, and the machine restarts. Without
//! this, the kernel would halt the machine or leave it hanging.

use crate::console;
use crate::sys::reboot::{self, Action};
use std::time::Duration;

/// Time in which the message can be read on a screen.
const READABLE: Duration = Duration::from_secs(3);

/// For every thread of this process, from now on. In a child of PID 1 the message is all; PID 1 notices its end.
pub fn install() {
    let hook_is_for_pid_1 = std::process::id() == 1;
    std::panic::set_hook(Box::new(move |panic| {
        console::say(format_args!("BUG: {panic}"));
        if hook_is_for_pid_1 {
            std::thread::sleep(READABLE);
            rustix::fs::sync();
            reboot::now(Action::Reboot);
        }
    }));
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    /// Set in the process that is to panic as PID 1.
    const PANICS: &str = "MICRODC_TEST_PANICS";
    const NAME: &str = "guard::tests::a_panicking_pid_1_says_so_and_restarts_the_machine";

    /// In a process namespace of its own this test is PID 1, and what it asks of the kernel ends that namespace: a restart
    /// by SIGHUP, a power-off by SIGINT (pid_namespaces(7)).
    #[test]
    fn a_panicking_pid_1_says_so_and_restarts_the_machine() {
        if std::env::var_os(PANICS).is_some() {
            assert_eq!(std::process::id(), 1);
            super::install();
            panic!("the sky fell");
        }
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--pid", "--fork"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture"])
            .env(PANICS, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("microdc: BUG: ") && said.contains("microdc: the sky fell"), "{said}");
        assert_eq!(output.status.signal(), Some(libc::SIGHUP), "{said}");
    }
}
