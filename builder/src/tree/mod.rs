//! The root file system in memory: the node at each path, with content by reference.
//!
//! - [`base`] the skeleton · [`take`] files out of packages · [`elf`] the libraries they need · [`users`] accounts ·
//!   [`certificates`] for programs that speak TLS · [`dead_ends`] what nothing can use
//! - [`origin`] why something is there · [`overlay`] the operator's own files, [`rules`] whom they belong to

pub mod base;
pub mod certificates;
pub mod dead_ends;
pub mod elf;
mod node;
pub mod origin;
pub mod overlay;
mod package;
pub mod rules;
pub mod take;
pub mod users;

pub use base::skeleton;
pub use elf::Libraries;
pub use node::{Content, Kind, Node, Owner, Tree, TreeError};
pub use package::{Entry, Package, SourcePackage};
pub use users::{Accounts, NO_LOGIN, User};
