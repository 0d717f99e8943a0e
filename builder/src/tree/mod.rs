//! The root file system in memory: what stands at each path, with content by reference.

mod node;
mod package;

pub use node::{Content, Kind, Node, Owner, Tree, TreeError};
pub use package::{Entry, Package};
