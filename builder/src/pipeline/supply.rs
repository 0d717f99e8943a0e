//! Artifacts supplied by hand: `--supply NAME=FILE` stands in for any artifact of a profile, and for firstboot.

use super::FIRSTBOOT;
use crate::cache::Cache;
use crate::profile::Profile;
use crate::profile::diagnostic::did_you_mean;
use crate::source::local::{self, Snapshot};
use anyhow::{Context as _, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

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
    #[error("--supply {name}: no profile of this build has an artifact of that name; {help}")]
    Unknown { name: String, help: String },
    #[error("--supply {0}: the name is given twice")]
    Twice(String),
}

impl Supply {
    /// # Errors
    /// When the text is no `NAME=FILE`.
    pub fn parse(text: &str) -> Result<Supply, SupplyError> {
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => {
                Ok(Supply { name: name.to_owned(), file: PathBuf::from(file) })
            }
            _ => Err(SupplyError::Shape(text.to_owned())),
        }
    }
}

/// Checks that every name is one of an artifact of some profile, and given once.
pub(super) fn check<'p>(supplies: &[Supply], profiles: impl Iterator<Item = &'p Profile>) -> Result<(), SupplyError> {
    let mut known = BTreeSet::from([FIRSTBOOT]);
    known.extend(profiles.flat_map(|profile| profile.artifacts.keys().map(String::as_str)));
    let mut seen = BTreeSet::new();
    for Supply { name, .. } in supplies {
        if !known.contains(name.as_str()) {
            let all = known.iter().copied().collect::<Vec<_>>().join(", ");
            let help = did_you_mean(name, known.iter().copied()).unwrap_or_else(|| format!("known: {all}"));
            return Err(SupplyError::Unknown { name: name.clone(), help });
        }
        if !seen.insert(name) {
            return Err(SupplyError::Twice(name.clone()));
        }
    }
    Ok(())
}

/// What of the supplies concerns one profile, with a copy of each in the cache, by name.
pub(super) fn take(supplies: &[Supply], profile: &Profile, cache: &Cache) -> Result<BTreeMap<String, Snapshot>> {
    let concerns = |supply: &&Supply| supply.name == FIRSTBOOT || profile.artifacts.contains_key(&supply.name);
    let copy = |Supply { name, file }: &Supply| {
        let copy = local::snapshot(cache, file)
            .with_context(|| format!("taking the supplied {name}, {}", file.display()))?;
        Ok((name.clone(), copy))
    };
    supplies.iter().filter(concerns).map(copy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supply_has_a_name_and_a_file() {
        for text in ["", "k3s", "=file", "k3s="] {
            assert!(matches!(Supply::parse(text), Err(SupplyError::Shape(_))), "{text:?}");
        }
        let supply = Supply::parse("k3s=a=b").unwrap();
        assert_eq!((supply.name.as_str(), supply.file.to_str()), ("k3s", Some("a=b")));
    }

    #[test]
    fn a_name_that_no_profile_knows_is_told_with_what_there_is() {
        let supply = |name: &str| vec![Supply { name: name.to_owned(), file: "f".into() }];
        assert!(check(&supply("firstboot"), std::iter::empty()).is_ok());
        let text = check(&supply("firstbot"), std::iter::empty()).unwrap_err().to_string();
        assert!(text.contains("did you mean `firstboot`?"), "{text}");
        let text = check(&supply("zzz"), std::iter::empty()).unwrap_err().to_string();
        assert!(text.contains("known: firstboot"), "{text}");
        let twice = [supply("firstboot"), supply("firstboot")].concat();
        assert!(matches!(check(&twice, std::iter::empty()), Err(SupplyError::Twice(_))));
    }
}
