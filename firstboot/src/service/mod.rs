//! The supervisor: services from the role spec, each in its own cgroup, as its own user, watched and started again.
//!
//! - [`machine`] the rules, without processes or clocks · [`unit`] one service with its process, output and sockets
//! - [`supervisor`] all of them: order, readiness, stop · [`log`] what they write · [`when`] whether they are wanted

mod log;
pub mod machine;
mod supervisor;
#[cfg(test)]
mod tests;
mod unit;
mod when;

pub use log::utc;
pub use machine::{Exit, Moment, Notice, State};
pub use supervisor::{Places, Report, Source, Status, Supervisor, Told, prepare_cgroups};
