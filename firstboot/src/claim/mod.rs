//! Taking disks into use. What is not ours is never touched.
//!
//! - [`state`] the `state` partition of the system disk: made at the first boot, checked and mounted at every one ·
//!   [`bootsel`] the node config that the operator dropped there · [`choice`] which slot the EEPROM starts ·
//!   [`slots`] the two slots
//! - [`data`](mod@data) the rest of the system disk, or a disk of its own
//! - [`rehearsal`] the same on files, for tests
//! - [`gpt`] the partition table · [`content`] what a partition holds · [`filesystem`] Debian's own mke2fs and e2fsck

pub mod bootsel;
pub mod choice;
pub mod content;
pub mod data;
mod filesystem;
pub mod gpt;
mod layout;
pub mod node;
pub mod rehearsal;
pub mod slots;
mod state;

pub use bootsel::{node_config as bootsel_node_config, overwrite as bootsel_overwrite};
pub use data::{data, run};
pub use state::state;
