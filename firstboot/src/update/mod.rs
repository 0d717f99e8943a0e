//! Updates. PID 1 reads no byte of a bundle: the work is done by [`install`], in a [`child`] without rights that has the
//! slots' partitions open.

mod child;
pub mod install;

pub use child::run;
