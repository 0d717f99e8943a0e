//! The root file system in memory: what stands at each path, with content by reference.

mod node;

pub use node::{Content, Kind, Node, Owner, Tree, TreeError};
