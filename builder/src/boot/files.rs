//! `config.txt` and `cmdline.txt`.

use super::kernel::DEVICE_TREE;
use contract::hash::Digest;
use contract::names::{INITRAMFS, KERNEL, OPT_ROOT};

/// The most the hardware counts to, in seconds.
pub const WATCHDOG_MAX: u32 = 15;

/// Kernel options of every image: the mini UART of the CM4, and the PL011 of the CM4 and of both of QEMU's machines;
/// back to the default slot ten seconds after a panic; the mailbox within PID 1's reach.
///
/// The PL011 is `ttyAMA0` on all of them. A `console=ttyAMA1` before it would take the console away from QEMU's `virt`:
/// the kernel sets up the first name that fits the driver, finds no such port, and registers none.
pub const KERNEL_OPTIONS: [&str; 5] =
    ["console=ttyS1,115200", "console=ttyAMA0,115200", "loglevel=4", "panic=10", "iomem=relaxed"];

/// The text of `config.txt`.
#[must_use]
pub fn config_txt() -> String {
    [
        "# The firmware reads lines of 98 characters at most.",
        "arm_64bit=1",
        &format!("kernel={KERNEL}"),
        &format!("initramfs {INITRAMFS} followkernel"),
        &format!("device_tree={DEVICE_TREE}"),
        "enable_uart=1",
        "# A kernel that hangs before PID 1 feeds the watchdog is reset.",
        &format!("kernel_watchdog_timeout={WATCHDOG_MAX}"),
    ]
    .map(|line| format!("{line}\n"))
    .concat()
}

/// The text of `cmdline.txt`: one line, which names the root.
#[must_use]
pub fn cmdline_txt(options: &[String], root_hash: Digest) -> String {
    let mut words = options.to_vec();
    words.push(format!("{OPT_ROOT}={root_hash}"));
    words.join(" ") + "\n"
}

/// The root hash that a kernel command line names, when it names exactly one.
#[must_use]
pub fn root_hash(cmdline: &str) -> Option<Digest> {
    let mut named = cmdline.split_whitespace().filter_map(|word| word.strip_prefix(OPT_ROOT)?.strip_prefix('='));
    let hash = named.next()?.parse().ok()?;
    named.next().is_none().then_some(hash)
}
