//! A profile: the TOML file that describes a role, composed of parts.
//!
//! [`schema`] is what may be written, [`artifact`] what comes from no package, [`load`] reads a file and what it includes,
//! [`merge`] composes them, [`check`] turns the result into the role spec that the node reads, [`diagnostic`] shows mistakes
//! in their line, [`renamed`] knows former names of keys, [`node_toml`] what a node.toml can have.

pub mod artifact;
pub mod check;
pub mod diagnostic;
pub mod explain;
pub mod load;
pub mod merge;
pub mod node_toml;
pub mod quantity;
pub mod renamed;
pub mod schema;
pub mod spanned;

pub use artifact::Artifact;
pub use diagnostic::{Diagnostic, Place, Sources};
pub use load::load;
pub use merge::{Located, Profile};
