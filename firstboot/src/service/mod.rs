//! The supervisor: services from the role spec, each in its own cgroup, as its own user, watched and restarted.
//!
//! - [`machine`] the rules, without processes or clocks · [`unit`] one service with its process, output and sockets
//! - [`supervisor`] all of them: order, readiness, stop · [`status`] what they say of themselves to others
//! - [`keeper`] what holds containers that outlive their engine · [`beside`] other programs among a service's processes
//! - [`places`] where they have their things · [`confine`] what keeps each from the rest of the node · [`log`] what they write,
//!   [`log_file`] in files
//! - [`timer`] when they are run by the clock · [`environment`] their variables ·
//!   [`running_probe`] a child that
//!   looks whether something is as it should be

mod beside;
pub mod confine;
pub mod environment;
mod keeper;
mod log;
mod log_file;
pub mod machine;
#[cfg(test)]
mod machine_tests;
mod places;
mod running_probe;
mod status;
mod supervisor;
#[cfg(test)]
mod tests;
mod timer;
mod unit;

pub use confine::{Ground, cell, command, confinement};
pub use contract::node::wanted;
pub use machine::{Exit, Moment, Notice, State};
pub use places::{PATH, Places};
pub use running_probe::RunningProbe;
pub use status::Status;
pub use supervisor::{LOOKS, Report, ServiceEvent, Source, Supervisor, prepare_cgroups};
