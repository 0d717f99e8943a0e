//! Boot tests: the bytes that `microdc build` wrote, booted and broken in the emulated CM4. `run` runs them all.
//!
//! - [`figures`] what is measured
//! - [`disks`] nodes that claim disks · [`foreign`] disks that they must leave alone
//! - [`images`] where the images under test are · [`forge`] faulty releases made from them
//! - [`router`] node configs of routers, and what a router is expected to say
//! - [`agent`] asks the probe in a node · [`found`] what a stand-in found there
//! - [`site`] a node and an operator who comes by ssh · [`updates`] nodes that take updates
//! - [`server`] servers that a test plays itself · [`s3`] a client of S3
//! - [`probe`] the wire format of the test image's agent, and its client
//!
//! The tests are in `tests/`, one file for each thing that is claimed.

#[cfg(not(target_env = "musl"))]
pub mod agent;
#[cfg(not(target_env = "musl"))]
pub mod disks;
#[cfg(not(target_env = "musl"))]
pub mod figures;
#[cfg(not(target_env = "musl"))]
pub mod foreign;
#[cfg(not(target_env = "musl"))]
pub mod forge;
#[cfg(not(target_env = "musl"))]
pub mod found;
#[cfg(not(target_env = "musl"))]
pub mod images;
pub mod probe;
#[cfg(not(target_env = "musl"))]
pub mod router;
#[cfg(not(target_env = "musl"))]
pub mod s3;
#[cfg(not(target_env = "musl"))]
pub mod server;
#[cfg(not(target_env = "musl"))]
pub mod site;
#[cfg(not(target_env = "musl"))]
pub mod updates;
