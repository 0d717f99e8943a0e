//! Stage: locks kernel features that are no longer needed, permanently where possible: no user-space helpers, no module
//! loading, no kexec. PID 1 has loaded its modules by then.

use super::events::Warnings;
use std::path::Path;

/// Below /proc/sys (Documentation/admin-guide/sysctl/kernel.rst). A line end alone means nothing.
const SETTINGS: [(&str, &str); 8] = [
    // What the kernel would run by itself: to load modules, for core dumps, at a power-off that it decides on.
    ("kernel/modprobe", "\n"),
    ("kernel/core_pattern", "\n"),
    ("kernel/poweroff_cmd", "\n"),
    // Should one of these be set again by whoever is root: such programs have no capability, and cannot get it back.
    ("kernel/usermodehelper/inheritable", "0 0"),
    ("kernel/usermodehelper/bset", "0 0"),
    ("kernel/kexec_load_disabled", "1"),
    ("kernel/unprivileged_bpf_disabled", "1"),
    // Until the next start. The last one: it ends the loading of modules.
    ("kernel/modules_disabled", "1"),
];

pub fn run(warnings: &mut Warnings) {
    for (name, value) in SETTINGS {
        let path = Path::new("/proc/sys").join(name);
        // A kernel without the door needs no lock.
        if path.exists()
            && let Err(error) = std::fs::write(&path, value)
        {
            warnings.add(format_args!("cannot lock {name}: {error}"));
        }
    }
}
