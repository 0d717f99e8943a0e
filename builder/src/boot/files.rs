//! `config.txt` and `cmdline.txt`.

use super::kernel::{DEVICE_TREE, PI4_DEVICE_TREE};
use contract::hash::Digest;
use contract::names::{INITRAMFS, KERNEL, OPT_ROOT};

/// The most the hardware counts to, in seconds.
pub const WATCHDOG_MAX: u32 = 15;

/// Kernel options of every image: the PL011 of the CM4 and of both of QEMU's machines, and the mini UART of the CM4; back to
/// the default slot ten seconds after a panic; the mailbox within PID 1's reach; a watchdog that still counts while the
/// kernel shuts down.
///
/// The last console is `/dev/console` where it is there: on the board the mini UART, behind the pins where people plug in
/// (GPIO 14 and 15), as the Bluetooth chip has the PL011. The PL011 is `ttyAMA0` on all of them. A `console=ttyAMA1` before
/// it would take the console away from QEMU's `virt`: the kernel sets up the first name that fits the driver, finds no such
/// port, and registers none.
pub const KERNEL_OPTIONS: [&str; 6] = [
    "console=ttyAMA0,115200",
    "console=ttyS1,115200",
    "loglevel=4",
    "panic=10",
    "iomem=relaxed",
    "watchdog.stop_on_reboot=0",
];

/// The text of `config.txt`, with lines of the profile's own at its end.
#[must_use]
pub fn config_txt(own: &[String]) -> String {
    [
        "# The firmware reads lines of 98 characters at most.",
        "arm_64bit=1",
        &format!("kernel={KERNEL}"),
        &format!("initramfs {INITRAMFS} followkernel"),
        "enable_uart=1",
        "# A kernel that hangs before PID 1 feeds the watchdog is reset.",
        &format!("kernel_watchdog_timeout={WATCHDOG_MAX}"),
        "# A CM4 is a Pi 4 too: its own section comes last.",
        "[pi4]",
        &format!("device_tree={PI4_DEVICE_TREE}"),
        "[cm4]",
        &format!("device_tree={DEVICE_TREE}"),
        "[all]",
    ]
    .into_iter()
    .chain(own.iter().map(String::as_str))
    .map(|line| format!("{line}\n"))
    .collect()
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
