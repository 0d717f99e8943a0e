//! Claiming disks. Data that is not microdc's is never touched.
//!
//! - [`state`] the `state` partition of the system disk: made at the first boot, checked and mounted at every one ·
//!   [`bootsel`] the node config that the operator dropped there · [`choice`] which slot the EEPROM starts
//! - [`data`](mod@data) the rest of the system disk, or a disk of its own
//! - [`dry_run`] the same on files, for tests
//! - [`content`] what a partition holds · [`phase`] how far a claim has come · [`filesystem`] Debian's own mke2fs and e2fsck ·
//!   [`projects`] mounts that folders with limits can be on

pub mod bootsel;
pub mod choice;
pub mod content;
pub mod data;
#[cfg(any(test, feature = "testing"))]
pub mod dry_run;
mod filesystem;
mod phase;
mod projects;
mod state;

pub use bootsel::{leave as bootsel_leave, node_config as bootsel_node_config, overwrite as bootsel_overwrite};
pub use data::{data, refusal, run};
pub use state::state;
