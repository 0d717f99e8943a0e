//! Takes a bundle into the standby slot. The same code runs on the node, in tests and in benchmarks.
//!
//! - [`order`] what is wanted, and the files that the child of PID 1 finds open

pub mod order;

pub use order::Order;
