//! `microdc schema`: JSON Schemas of the files that people write, for editors.

use crate::cli::output;
use crate::schema::{Kind, markdown};
use anyhow::Result;
use clap::Args;

/// Print the JSON Schema of a kind of file
///
/// With a schema, editors complete keys, describe them, and mark errors as you
/// type. For the TOML language server taplo (in the editor extension "Even Better
/// TOML"), write the schema to a file once and name it in the first line of the
/// profile:
///
///   #:schema ../profile.schema.json
///
/// The schemas are made from the types that read the files.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  microdc schema profile > profile.schema.json\n  microdc schema node > \
                  node.schema.json\n  microdc schema profile --markdown")]
pub(super) struct Schema {
    /// The kind of file
    #[arg(value_parser = kind, value_name = "profile|node|lock|manifest")]
    kind: Kind,
    /// Print a reference page in Markdown instead
    #[arg(long)]
    markdown: bool,
}

fn kind(text: &str) -> Result<Kind, String> {
    Kind::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
        let names = Kind::ALL.map(Kind::name).join(", ");
        format!("there are schemas for {names}")
    })
}

impl Schema {
    pub(super) fn run(self) -> Result<()> {
        let schema = self.kind.schema();
        if self.markdown {
            out!("{}", markdown(&schema))?;
        } else {
            output::json(&schema)?;
        }
        Ok(())
    }
}
