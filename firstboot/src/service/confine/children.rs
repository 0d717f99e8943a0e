//! What confines PID 1's own children: those that read bytes of a network or a disk. They are no services, run the node's own
//! programs, and have few rights to begin with.

use super::filter;
use crate::sys::process::Confinement;
use contract::role::Capability;
use std::sync::OnceLock;

/// The confinement of a child without capabilities that reads what others send or hold: a health check, the installer, the page
/// of routes, blkid. It has the system calls of a service without any exception, and reaches no other process.
///
/// # Errors
/// When its filter cannot be made, in words.
pub fn of_reader() -> Result<&'static Confinement, String> {
    static MADE: OnceLock<Result<Confinement, String>> = OnceLock::new();
    kept(&MADE, filter::of_reader)
}

/// As [`of_reader`], for a program that was given capabilities: it may also make the calls that these are for. `None` without any.
///
/// # Errors
/// As [`of_reader`].
pub fn of_looker(capabilities: &[Capability]) -> Result<Option<Confinement>, String> {
    if capabilities.is_empty() {
        return Ok(None);
    }
    let filters = filter::of_looker(capabilities).map_err(|error| format!("cannot make its filter: {error}"))?;
    Ok(Some(Confinement { filters, scoped: true, keyring: true, ..Confinement::default() }))
}

/// The confinement of the child that claims disks, and of the tools that it starts: it mounts, makes device nodes and becomes
/// other users, but has no namespaces, no programs in the kernel, no look into other processes, and no other kernel.
///
/// # Errors
/// As [`of_reader`].
pub fn of_claim() -> Result<&'static Confinement, String> {
    static MADE: OnceLock<Result<Confinement, String>> = OnceLock::new();
    kept(&MADE, filter::of_claim)
}

/// What the claim needs: reading, writing and mounting disks, a node in /dev for blkid's user, and becoming that user.
pub const CLAIM: [Capability; 9] = [
    Capability::SysAdmin,
    Capability::Mknod,
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fowner,
    Capability::Setuid,
    Capability::Setgid,
    Capability::Setpcap,
    Capability::Kill,
];

fn kept(
    place: &'static OnceLock<Result<Confinement, String>>,
    filters: impl FnOnce() -> Result<Vec<seccompiler::BpfProgram>, seccompiler::BackendError>,
) -> Result<&'static Confinement, String> {
    let make = || {
        let filters = filters().map_err(|error| format!("cannot make its filter: {error}"))?;
        Ok(Confinement { filters, scoped: true, keyring: true, ..Confinement::default() })
    };
    place.get_or_init(make).as_ref().map_err(Clone::clone)
}
