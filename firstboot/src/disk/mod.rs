//! Disks: what the claim, the initramfs and the installer share. Nothing here depends on them.
//!
//! - [`list`] the disks that the kernel shows · [`node`] device nodes of partitions · [`io`] reading and writing in order ·
//!   [`fixture`] tables for tests
//! - [`gpt`] the partition table · [`layout`] what the node adds to an image's table · [`table`] the table of a separate disk
//! - [`slots`] the two slots of the system disk · [`protect`] their write protection · [`verity`] a root of which every block
//!   is checked when it is read · [`trailer`] what a root partition says that it is

#[cfg(any(test, feature = "testing"))]
pub mod fixture;
pub mod gpt;
pub mod io;
pub mod layout;
pub mod list;
pub mod node;
pub mod protect;
pub mod slots;
pub mod table;
pub mod trailer;
pub mod verity;
