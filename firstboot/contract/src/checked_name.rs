//! What types of names have in common: a name is a string in files, and is checked when it is read.

/// Implements reading, writing and showing for a name that is `Name(Cow<'static, str>)`. `$check` is given the text and returns
/// it when it is such a name, or else the error; `$schema` is what JSON Schema says of it.
macro_rules! checked_name {
    ($name:ident, $error:ty, $check:expr, $schema:tt) => {
        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<$name, $error> {
                let checked: Result<String, $error> = $check(text);
                checked.map(|text| $name(std::borrow::Cow::Owned(text)))
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<$name, $error> {
                text.to_owned().try_into()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.into_owned()
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        #[cfg(feature = "schema")]
        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}

pub(crate) use checked_name;
