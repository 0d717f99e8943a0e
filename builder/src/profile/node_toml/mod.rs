//! What a profile says about node.toml, checked against the types that read node.toml: a path that no node.toml can
//! have is an error in the profile, found when the profile is read.
//!
//! - [`types`] what may stand where · [`path`] dotted paths, as `when` and health checks name them · [`template`] what
//!   templates use · [`vars`] what the profile declares

pub mod path;
pub mod template;
pub mod types;
pub mod vars;
