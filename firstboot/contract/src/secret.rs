//! Values of `node.toml` that no one is shown: keys, passwords, tokens.
//!
//! A [`Secret`] prints and serialises as [`HIDDEN`]. Two explicit calls lead to what it holds: [`Secret::expose`] for
//! code that needs the value, and [`revealed`] for what is serialised for those who need it (templates, a child's job).
//! Whoever adds a field that must not be shown gives it this type, and nothing else has to be thought of.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cell::Cell;
use std::fmt;

/// What is in place of a secret.
pub const HIDDEN: &str = "(kept secret)";

thread_local! {
    static REVEALED: Cell<bool> = const { Cell::new(false) };
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// What it holds. Not for messages, pages or logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// Runs `serialise`, within which secrets serialise as what they hold, on this thread. The result is for those who need
/// the secrets, and in files that only they can read.
pub fn revealed<T>(serialise: impl FnOnce() -> T) -> T {
    /// Hides again also when `serialise` panics.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            REVEALED.set(self.0);
        }
    }
    let _restore = Restore(REVEALED.replace(true));
    serialise()
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if REVEALED.get() { &self.0 } else { HIDDEN })
    }
}

impl<'de> Deserialize<'de> for Secret {
    /// A mistake is not answered with the value: messages reach the console.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a secret as a string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secret, E> {
                if text == HIDDEN {
                    return Err(E::custom(
                        "this is the placeholder shown for a secret, not the secret; give the value itself",
                    ));
                }
                Ok(Secret(text.to_owned()))
            }

            fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Secret, E> {
                Err(E::custom("a secret is a string in quotes, not a number"))
            }

            fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Secret, E> {
                Err(E::custom("a secret is a string in quotes, not a number"))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Serialize, Deserialize)]
    struct Config {
        token: Secret,
    }

    fn config() -> Config {
        toml::from_str("token = \"hunter2\"").unwrap()
    }

    #[test]
    fn a_secret_is_shown_only_where_that_is_asked_for() {
        let config = config();
        assert_eq!(config.token.expose(), "hunter2");
        let shown = [
            format!("{config:?}"),
            serde_json::to_string(&config).unwrap(),
            toml::to_string(&config).unwrap(),
            format!("{:?}", serde_json::to_value(&config).unwrap()),
        ];
        for text in shown {
            assert!(text.contains(HIDDEN) && !text.contains("hunter2"), "{text}");
        }
        assert_eq!(revealed(|| serde_json::to_string(&config).unwrap()), r#"{"token":"hunter2"}"#);
        assert!(!serde_json::to_string(&config).unwrap().contains("hunter2"), "hidden again");
    }

    #[test]
    fn a_panic_within_leaves_nothing_revealed() {
        let result = std::panic::catch_unwind(|| revealed(|| panic!("on purpose")));
        assert!(result.is_err());
        assert!(!serde_json::to_string(&config()).unwrap().contains("hunter2"));
    }

    #[test]
    fn a_mistake_with_a_secret_does_not_repeat_it() {
        for text in ["token = 4711", "token = [\"hunter2\"]", "token = \"(kept secret)\""] {
            let error = toml::from_str::<Config>(text).unwrap_err();
            assert!(!error.message().contains("4711") && !error.message().contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_secret_is_ever_in_what_is_shown(text in "[a-z0-9+/=]{6,60}") {
            let config = Config { token: Secret::new(text.clone()) };
            let shown = format!("{config:?}") + &serde_json::to_string(&config).unwrap();
            prop_assert!(!shown.contains(&text));
            let kept = revealed(|| toml::to_string(&config).unwrap());
            prop_assert_eq!(toml::from_str::<Config>(&kept).unwrap().token, config.token);
        }
    }
}
