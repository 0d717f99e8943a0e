//! Errors in a profile that are found only while building, reported with the profile's line.

use crate::profile::{Diagnostic, Place, Profile};

pub(super) fn mistake(profile: &Profile, place: &Place, message: &str) -> anyhow::Error {
    Diagnostic::new(&profile.sources, message, place, "here", None, None).into()
}

/// The same with what to do about it.
pub(super) fn mistake_with_help(profile: &Profile, place: &Place, message: &str, help: String) -> anyhow::Error {
    Diagnostic::new(&profile.sources, message, place, "here", None, Some(help)).into()
}
