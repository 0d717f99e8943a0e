//! Mistakes that show only when a profile is built, in the profile's line.

use crate::profile::{Diagnostic, Place, Profile};

pub(super) fn mistake(profile: &Profile, place: &Place, message: &str) -> anyhow::Error {
    Diagnostic::new(&profile.sources, message, place, "here", None, None).into()
}
