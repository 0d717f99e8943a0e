//! Quantities as people write them: `10s`, `256MiB`, `0640`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A time span: a whole number and `ms`, `s`, `m` or `h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Milliseconds(pub u64);

/// A size: a whole number and `B`, `KiB`, `MiB` or `GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// Permission bits: octal digits in quotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(pub u32);

/// A share: a whole number up to 100 and `%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub u8);

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim()))
}

impl std::str::FromStr for Milliseconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Milliseconds, String> {
        let span = number_and_unit(text).and_then(|(number, unit)| {
            let scale = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" => 60 * 1000,
                "h" => 3600 * 1000,
                _ => return None,
            };
            number.checked_mul(scale)
        });
        span.map(Milliseconds)
            .ok_or_else(|| format!("{text:?} is not a valid time span; write it like \"500ms\", \"10s\" or \"5m\""))
    }
}

impl std::str::FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Bytes, String> {
        let size = number_and_unit(text).and_then(|(number, unit)| {
            let shift = match unit {
                "B" => 0,
                "KiB" => 10,
                "MiB" => 20,
                "GiB" => 30,
                _ => return None,
            };
            number.checked_mul(1 << shift)
        });
        size.map(Bytes).ok_or_else(|| format!("{text:?} is not a valid size; write it like \"64MiB\" or \"1GiB\""))
    }
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Mode, String> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o7777 && (3..=5).contains(&text.len()) => Ok(Mode(mode)),
            _ => Err(format!("{text:?} is not a valid mode; write it in octal, like \"0640\"")),
        }
    }
}

impl std::str::FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Percent, String> {
        match number_and_unit(text) {
            Some((number @ 0..=100, "%")) => Ok(Percent(number as u8)),
            _ => Err(format!("{text:?} is not a valid percentage; write it like \"10%\"")),
        }
    }
}

macro_rules! from_text {
    ($($kind:ty),*) => { $(
        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$kind, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )* };
}

from_text!(Milliseconds, Bytes, Mode, Percent);

macro_rules! shape {
    ($($kind:ty, $name:literal, $pattern:literal);*) => { $(
        impl JsonSchema for $kind {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "title": $name })
            }
        }

        impl Serialize for $kind {
            /// As people write it: what a JSON Schema gives as the default.
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )* };
}

shape! {
    Milliseconds, "time span", "^[0-9]+ *(ms|s|m|h) *$";
    Bytes, "size", "^[0-9]+ *(B|KiB|MiB|GiB) *$";
    Mode, "mode", "^[0-7]{3,5}$";
    Percent, "percentage", "^(100|[0-9]{1,2}) *% *$"
}

/// The number with the largest unit that leaves no rest.
fn with_unit(f: &mut fmt::Formatter<'_>, number: u64, units: &[(u64, &str)]) -> fmt::Result {
    let fits = units.iter().find(|(scale, _)| number != 0 && number.is_multiple_of(*scale));
    let (scale, unit) = fits.or(units.last()).copied().unwrap_or((1, ""));
    write!(f, "{}{unit}", number / scale)
}

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Minutes and hours are for those who write them: "120s" is what the documentation says.
        with_unit(f, self.0, &[(1000, "s"), (1, "ms")])
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        with_unit(f, self.0, &[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")])
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_as_people_write_them() {
        assert_eq!("500ms".parse(), Ok(Milliseconds(500)));
        assert_eq!("5m".parse(), Ok(Milliseconds(300_000)));
        assert_eq!("256MiB".parse(), Ok(Bytes(256 << 20)));
        assert_eq!("0640".parse(), Ok(Mode(0o640)));
        assert_eq!("10%".parse(), Ok(Percent(10)));
    }

    #[test]
    fn quantities_are_shown_as_they_are_read() {
        for text in ["500ms", "10s", "1s", "0ms"] {
            assert_eq!(text.parse::<Milliseconds>().unwrap().to_string(), text);
        }
        for text in ["256MiB", "1GiB", "3B", "1025B", "0B"] {
            assert_eq!(text.parse::<Bytes>().unwrap().to_string(), text);
        }
        assert_eq!(Mode(0o640).to_string(), "0640");
        assert_eq!(Percent(10).to_string(), "10%");
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "10", "s", "10 parsecs", "-1s", "99999999999999999999s"] {
            assert!(text.parse::<Milliseconds>().is_err(), "{text:?}");
        }
        for text in ["256MB", "1.5GiB", "18446744073709551615GiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text:?}");
        }
        for text in ["", "64", "0888", "17777", "rw-r--r--"] {
            assert!(text.parse::<Mode>().is_err(), "{text:?}");
        }
        for text in ["", "10", "101%", "-1%", "%"] {
            assert!(text.parse::<Percent>().is_err(), "{text:?}");
        }
    }
}
