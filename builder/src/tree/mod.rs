//! The root file system in memory: what stands at each path, with content by reference.
//!
//! - [`base`] the skeleton · [`take`] files out of packages · [`elf`] the libraries they need · [`users`] accounts

pub mod base;
pub mod elf;
mod node;
mod package;
pub mod take;
pub mod users;

pub use node::{Content, Kind, Node, Owner, Tree, TreeError};
pub use package::{Entry, Package};
