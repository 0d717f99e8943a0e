//! What confines a service: what it sees of the node and may change there ([`view`]), its device nodes ([`devices`]), and the
//! system calls that it may make ([`filter`], by the groups of [`calls`]).
//!
//! PID 1's own children are confined by [`children`].
//!
//! Everything is decided here, from the role, before a process is created; [`crate::sys::process`] applies it.

mod calls;
mod changes;
mod children;
mod devices;
mod filter;
mod ground;
mod guards;
mod host;
#[cfg(test)]
mod tests;
mod view;

pub use children::{CLAIM, of_claim, of_looker, of_reader};
pub use ground::Ground;
pub use host::{cell, command};

use crate::sys::process::Confinement;
use contract::role::Service;

/// The confinement of a service on this node, now.
///
/// # Errors
/// What cannot be made ready for it, in words.
pub fn confinement(service: &Service, ground: &Ground) -> Result<Confinement, String> {
    if service.sandbox.unconfined {
        return Ok(Confinement { changes: view::wished(service)?, ..Confinement::default() });
    }
    if service.sandbox.containers {
        let changes = host::changes(service, ground)?;
        let filters = filter::of_containers(service, ground.has_limits())
            .map_err(|error| format!("cannot make its filter: {error}"))?;
        return Ok(Confinement { changes, filters, keyring: true, containers: true, scoped: false });
    }
    let changes = view::changes(service, ground)?;
    let filters =
        filter::filters(service, ground.has_limits()).map_err(|error| format!("cannot make its filter: {error}"))?;
    Ok(Confinement { changes, filters, scoped: true, keyring: true, containers: false })
}
