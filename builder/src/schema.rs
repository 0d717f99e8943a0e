//! JSON Schemas (2020-12) of the files that people write and read, made from the types that read them, and the
//! reference page that is made from a schema.

mod markdown;

use crate::lock;
use crate::profile::schema::ProfileFile;
use contract::manifest::Manifest;
use contract::node::NodeConfig;
use schemars::{Schema, schema_for};

pub use markdown::markdown;

/// What there is a schema of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Profile,
    Node,
    Lock,
    Manifest,
}

impl Kind {
    pub const ALL: [Kind; 4] = [Kind::Profile, Kind::Node, Kind::Lock, Kind::Manifest];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Profile => "profile",
            Kind::Node => "node",
            Kind::Lock => "lock",
            Kind::Manifest => "manifest",
        }
    }

    /// The schema, with a title that says which file it is of.
    #[must_use]
    pub fn schema(self) -> Schema {
        let (mut schema, title) = match self {
            Kind::Profile => (schema_for!(ProfileFile), "A profile of microdc, or a part of one"),
            Kind::Node => (schema_for!(NodeConfig), "node.toml: one node of microdc"),
            Kind::Lock => (lock::schema(), "The lock of a profile of microdc"),
            Kind::Manifest => (schema_for!(Manifest), "The manifest of a slot"),
        };
        schema.insert("title".to_owned(), title.into());
        schema
    }
}
