//! Artifacts handed over by hand.

use std::path::PathBuf;

/// What can be supplied.
pub const KNOWN: [&str; 1] = ["firstboot"];

/// `NAME=FILE`.
#[derive(Clone, Debug)]
pub struct Supply {
    pub name: String,
    pub file: PathBuf,
}

/// A `--supply` that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SupplyError {
    #[error("--supply {0:?}: write it as NAME=FILE")]
    Shape(String),
    #[error("--supply {0:?}: there is no artifact of that name; known: {known}", known = KNOWN.join(", "))]
    Unknown(String),
}

impl Supply {
    /// # Errors
    /// When the text is no `NAME=FILE` or the name is not known.
    pub fn parse(text: &str) -> Result<Supply, SupplyError> {
        let (name, file) = text.split_once('=').ok_or_else(|| SupplyError::Shape(text.to_owned()))?;
        if !KNOWN.contains(&name) {
            return Err(SupplyError::Unknown(name.to_owned()));
        }
        Ok(Supply { name: name.to_owned(), file: PathBuf::from(file) })
    }
}
