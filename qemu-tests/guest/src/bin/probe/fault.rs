//! What a faulty release does wrong, by the option `probe.fault=FAULT` on its kernel command line. So a release is faulty
//! or sound with the same programs in it.
//!
//! | fault | what happens |
//! |---|---|
//! | `abort` | the agent aborts, as often as it is started |
//! | `red` | the act `well`, which the profile has as a health check, fails |
//! | `late` | what the act `touch` makes, it does not make |
//! | `stop` | PID 1 stands still |
//! | `break` | PID 1 goes on at an address where nothing is |
//! | `panic` | the kernel panics |
//! | `reset` | the machine is reset at once, as by loss of power |

use super::ptrace;
use std::fs;
use std::time::Duration;

/// The fault on the command line of this kernel.
pub fn wanted() -> Option<String> {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    line.split_whitespace().find_map(|word| word.strip_prefix("probe.fault=")).map(str::to_owned)
}

/// Does what the agent's share of the fault is.
pub fn begin() {
    let Some(fault) = wanted() else { return };
    println!("fault {fault}");
    // So that its line is read before the end.
    std::thread::sleep(Duration::from_millis(500));
    let done = match fault.as_str() {
        "abort" => std::process::abort(),
        "stop" => ptrace::stop(1),
        "break" => ptrace::derail(1),
        "panic" => fs::write("/proc/sysrq-trigger", "c"),
        "reset" => fs::write("/proc/sysrq-trigger", "b"),
        _ => return,
    };
    println!("fault {fault}: {done:?}");
}
