//! A profile: the TOML file that describes a role, composed of parts.
//!
//! [`schema`] is the table of its keys and [`field`] what their kinds mean; [`value`] and [`artifact`] read what is written.
//! `file` finds a file and what it includes, [`merge`] composes them, [`load`] does both. [`check`] turns the result into
//! the role spec that the node reads, and [`node_toml`] knows what a node.toml can have. [`diagnostic`] shows mistakes in
//! their line, [`renamed`] knows former names of keys, [`explain`] tells what a profile comes to.

pub mod artifact;
pub mod check;
pub mod diagnostic;
pub mod explain;
pub mod exposure;
pub mod field;
mod file;
pub mod load;
pub mod merge;
pub mod node_toml;
pub mod quantity;
pub mod renamed;
pub mod schema;
pub mod spanned;
pub mod value;

pub use artifact::Artifact;
pub use diagnostic::{Diagnostic, Place, Sources};
pub use load::load;
pub use merge::Profile;
pub use value::Located;
