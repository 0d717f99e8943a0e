//! The emulated CM4: does what the board's EEPROM does, then runs the slot's own kernel in QEMU.
//!
//! ```no_run
//! use std::time::Duration;
//! let lan = emulator::Network::new();
//! let node = emulator::Machine::new("out/router.img")
//!     .name("r1")
//!     .network(&lan)
//!     .node_config("name = \"r1\"\n")
//!     .start()?;
//! node.expect("r1 is up", Duration::from_secs(120))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`eeprom`] GPT, autoboot.txt, config.txt → what boots: a pure function of the disk
//! - [`devicetree`] what the firmware adds to the tree, and what QEMU's raspi4b lacks
//! - [`Machine`] what a node is made of → `plan` the same when it is certain → [`Node`] a node, over all its boots →
//!   `boot` one boot, one QEMU process
//! - [`Disk`] the private copy of the image · [`Nvme`] disks beside it · [`network`] a hub between nodes and tests
//! - `console` what was said, and waiting for it · `qemu` the program and its options · `qmp` its control channel ·
//!   `child` a process that does not outlive us · `watchdog` the firmware's · [`powercut`] what a disk may hold when
//!   the power goes
//!
//! Rules: the image file is never written. Every node has a deadline. No process outlives its node: not when a test
//! panics (the node is dropped) and not when the test is killed (the kernel ends QEMU). After each reset of the guest
//! the EEPROM's part is done again, from the disk as it then is.

mod boot;
mod child;
mod console;
pub mod devicetree;
pub mod eeprom;
#[cfg(test)]
mod fixture;
mod machine;
pub mod network;
mod node;
mod nvme;
mod plan;
pub mod powercut;
mod qemu;
mod qmp;
mod storage;
mod watchdog;

pub use console::{End, Reset, WaitError};
pub use machine::Machine;
pub use network::Network;
pub use node::Node;
pub use nvme::{Fault, Nvme};
pub use plan::StartError;
pub use qemu::{Model, QEMU_VARIABLE, Qemu, QemuError};
pub use storage::{Disk, DiskError};
