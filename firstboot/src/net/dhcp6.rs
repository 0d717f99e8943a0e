//! DHCP for IPv6 (RFC 8415): a task an interface keeps what its servers give in the shared [`Leases6`], an address where a router
//! says that they come from servers, a prefix where node.toml asks for one, or names alone. Putting it on interfaces is the
//! reconciling loop's.
//!
//! A lease stays in use until its time is over or another one has come, whatever becomes of its server or the link. It is not
//! released when the node is switched off: the same node is to have the same address again.
//!
//! - [`flow`] what a task does, [`task`] what it knows and says · [`leases`] what all of them have got · [`lease`] one lease, and what
//!   an answer makes of it · [`client`] a question and its answers, [`pace`] its times · [`socket`] its wire · [`message`] bytes

mod client;
mod flow;
mod lease;
mod leases;
pub mod message;
mod pace;
mod socket;
mod task;

pub use flow::keep;
pub use lease::{Held, Wanted};
#[cfg(test)]
pub use lease::{Lease, Names};
pub use leases::{Leases6, Order, own_id};
pub use task::Task;
