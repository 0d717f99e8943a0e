//! Enums whose values are words: one table gives the type, its words in JSON and for people, and the list of all.

/// Declares an enum without fields, each value with its word. The word is what is in JSON, in labels of metrics and on
/// screens; `ALL` lists the values in order.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $value:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $value),* }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$value),*];

            /// As in JSON, metrics and sentences.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $($name::$value => $word),* }
            }
        }

        /// The word, padded as a text is.
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

pub(crate) use words;
