//! Boot tests: the bytes that `microdc build` wrote, booted and broken in the emulated CM4. `run` runs them all.
//!
//! - [`figures`] what is measured · [`memory`] what services need of it · [`benchmark`] what the benchmarks share
//! - [`disks`] nodes that claim disks · [`foreign`] disks that they must leave alone
//! - [`images`] where the images under test are · [`forge`] faulty releases made from them
//! - [`router`] node configs of routers, and what a router is expected to say
//! - [`vip`] servers that share an address, and their client
//! - [`agent`] asks the probe in a node · [`found`] what a stand-in found there
//! - [`attack`] what a service that fell could reach
//! - [`bundles`] bundles of those · [`site`] a node and an operator who comes by ssh · [`updates`] nodes that take updates
//! - [`server`] servers that a test plays itself · [`s3`] a client of S3
//! - `sources` the rules that the sources of the workspace keep
//! - [`probe`] the wire format of the probe in the node, and its client
//!
//! The tests are in `tests/`, one file for each thing that is claimed.

pub use guest::{probe, s3};

pub mod agent;
pub mod attack;
pub mod benchmark;
pub mod bundles;
pub mod disks;
pub mod figures;
pub mod foreign;
pub mod forge;
pub mod found;
pub mod images;
pub mod memory;
pub mod router;
pub mod server;
pub mod site;
#[cfg(test)]
mod sources;
pub mod updates;
pub mod vip;
