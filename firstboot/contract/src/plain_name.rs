//! What builds call things: versions, releases of kernels, artifacts.

use crate::checked_name::checked_name;
use serde::{Deserialize, Serialize};
use std::borrow::{Borrow, Cow};
use std::ops::Deref;

/// A name that can stand in a line, in a file's name and in an address as it is: 1 to [`PlainName::LONGEST`] ASCII letters,
/// digits and `.`, `-`, `_`, `+`, `~`; it begins with a letter or a digit, and two dots do not follow each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PlainName(Cow<'static, str>);

/// A text that cannot be such a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a valid name: use 1 to {longest} letters, digits, dots, hyphens, underscores, plus signs and tildes, \
     beginning with a letter or a digit and without two dots in a row", longest = PlainName::LONGEST
)]
pub struct PlainNameError(String);

impl PlainName {
    /// Most bytes of a name.
    pub const LONGEST: usize = 64;

    /// A name that is known when the program is compiled. Meant for constants: there a bad name does not compile.
    ///
    /// # Panics
    /// When it is not a valid name.
    #[must_use]
    pub const fn literal(name: &'static str) -> PlainName {
        assert!(is_plain_name(name.as_bytes()), "not a valid name");
        PlainName(Cow::Borrowed(name))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const fn is_plain_name(name: &[u8]) -> bool {
    let mut at = 0;
    while at < name.len() {
        let byte = name[at];
        if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'+' | b'~')) {
            return false;
        }
        if byte == b'.' && at > 0 && name[at - 1] == b'.' {
            return false;
        }
        at += 1;
    }
    !name.is_empty() && at <= PlainName::LONGEST && name[0].is_ascii_alphanumeric()
}

checked_name!(
    PlainName,
    PlainNameError,
    |text: String| if is_plain_name(text.as_bytes()) {
        Ok(text)
    } else {
        Err(PlainNameError(text.chars().take(PlainName::LONGEST + 1).collect()))
    },
    { "type": "string", "pattern": r"^[A-Za-z0-9](\.?[A-Za-z0-9_+~-])*\.?$", "maxLength": PlainName::LONGEST }
);

impl Deref for PlainName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for PlainName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<&str> for PlainName {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_releases_and_artifacts_have_plain_names() {
        for name in ["2026.11.19", "6.12.48+deb13-arm64", "1.36.0~rc1", "k3s", "9", "my_tool", &"x".repeat(64)] {
            assert_eq!(name.parse::<PlainName>().unwrap(), name);
        }
        for name in [
            "",
            ".",
            "..",
            "a..b",
            "../x",
            "a/b",
            "a\\b",
            "-x",
            ".x",
            "a b",
            "a\u{1b}[31m",
            "a\nb",
            "\u{e4}",
            "a\u{202e}",
            &"x".repeat(65),
        ] {
            let error = name.parse::<PlainName>().unwrap_err().to_string();
            assert!(error.contains("is not a valid name: use 1 to 64 "), "{error}");
            assert!(error.chars().all(crate::text::is_plain), "{error:?}");
            assert!(serde_json::from_value::<PlainName>(name.into()).is_err());
        }
    }

    proptest! {
        #[test]
        fn a_name_is_plain_text_and_one_part_of_a_path(text in "[a-zA-Z0-9._+~-]{0,70}|.{0,8}") {
            if let Ok(name) = text.parse::<PlainName>() {
                prop_assert_eq!(crate::text::line(&name), name.as_str());
                let parts: Vec<_> = std::path::Path::new(name.as_str()).components().collect();
                prop_assert!(matches!(parts.as_slice(), [std::path::Component::Normal(_)]), "{:?}", parts);
            }
        }
    }
}
