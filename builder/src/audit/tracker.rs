//! The data of Debian's security tracker (`https://security-tracker.debian.org/tracker/data/json`): one object of source
//! packages, each an object of issues by name (`CVE-2026-1234`, `TEMP-...`), each with its state in every release. About
//! 70 MB: it is read as a stream, and of the packages that nobody asks for nothing is kept.

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};

/// The most that the data may have when it is unpacked, in bytes.
pub const LARGEST: u64 = 256 << 20;
/// The longest name of an issue.
const LONGEST_ID: usize = 40;

/// Data that is not the tracker's.
#[derive(Debug, thiserror::Error)]
pub enum TrackerError {
    #[error("the data cannot be read: {0}")]
    Read(io::Error),
    #[error("it is not the data of Debian's security tracker, or not all of it: {0}")]
    Form(serde_json::Error),
    #[error("the data is larger than {LARGEST} bytes, which the tracker's is not")]
    Large,
}

/// One issue of a source package.
#[derive(Clone, Debug, Deserialize)]
pub struct Issue {
    #[serde(default)]
    pub description: Option<String>,
    /// Number of the bug report.
    #[serde(default)]
    pub debianbug: Option<u64>,
    #[serde(default)]
    pub scope: Option<Scope>,
    /// By the release's code name.
    #[serde(default)]
    pub releases: BTreeMap<String, State>,
}

/// From where an issue can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    Remote,
    Local,
    #[serde(other)]
    Unknown,
}

/// How an issue stands in a release.
#[derive(Clone, Debug, Deserialize)]
pub struct State {
    pub status: Status,
    /// The versions of the package that the release's suites have, by suite.
    #[serde(default)]
    pub repositories: BTreeMap<String, String>,
    /// The first version without it; `0` where the release never had it.
    #[serde(default)]
    pub fixed_version: Option<String>,
    #[serde(default)]
    pub urgency: Option<String>,
    /// Why there is no security advisory.
    #[serde(default)]
    pub nodsa: Option<String>,
    /// `ignored`, `postponed`, or nothing more.
    #[serde(default)]
    pub nodsa_reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Resolved,
    Open,
    /// And whatever the tracker may come to say later.
    #[serde(other)]
    Undetermined,
}

/// Reads the data, plain or packed by gzip, and hands over each issue of the source packages that are wanted.
///
/// # Errors
/// When it cannot be read, is cut off, is too large, or has another form.
pub fn read(
    data: impl Read,
    wanted: &dyn Fn(&str) -> bool,
    found: &mut dyn FnMut(&str, &str, Issue),
) -> Result<(), TrackerError> {
    let mut data = io::BufReader::with_capacity(1 << 16, data);
    let packed = io::BufRead::fill_buf(&mut data).map_err(TrackerError::Read)?.starts_with(&[0x1f, 0x8b]);
    if packed { parse(GzDecoder::new(data), wanted, found) } else { parse(data, wanted, found) }
}

fn parse(
    data: impl Read,
    wanted: &dyn Fn(&str) -> bool,
    found: &mut dyn FnMut(&str, &str, Issue),
) -> Result<(), TrackerError> {
    let mut bounded = io::BufReader::with_capacity(1 << 16, data.take(LARGEST + 1));
    let mut parser = serde_json::Deserializer::from_reader(&mut bounded);
    let result = Packages { wanted, found }.deserialize(&mut parser).and_then(|()| parser.end());
    if bounded.get_ref().limit() == 0 {
        return Err(TrackerError::Large);
    }
    result.map_err(|error| if error.is_io() { TrackerError::Read(error.into()) } else { TrackerError::Form(error) })
}

/// The outer object.
struct Packages<'a> {
    wanted: &'a dyn Fn(&str) -> bool,
    found: &'a mut dyn FnMut(&str, &str, Issue),
}

impl<'de> DeserializeSeed<'de> for Packages<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Packages<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of source packages")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(source) = map.next_key::<String>()? {
            if (self.wanted)(&source) {
                map.next_value_seed(Issues { source: &source, found: &mut *self.found })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// The object of one source package.
struct Issues<'a> {
    source: &'a str,
    found: &'a mut dyn FnMut(&str, &str, Issue),
}

impl<'de> DeserializeSeed<'de> for Issues<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Issues<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of the issues of {}", self.source)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(id) = map.next_key::<String>()? {
            if !is_id(&id) {
                return Err(A::Error::custom(format!("{id:?} of {} is not the name of an issue", self.source)));
            }
            let issue = map.next_value()?;
            (self.found)(self.source, &id, issue);
        }
        Ok(())
    }
}

/// `CVE-2026-1234`, `TEMP-0290435-0B57B5`: what may be printed as it is.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.len() <= LONGEST_ID && text.contains('-') && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    const ONE: &str = r#"{"frr": {"CVE-2026-1": {"description": "x", "scope": "remote", "debianbug": 1, "releases":
        {"trixie": {"status": "open", "repositories": {"trixie": "10.3-3"}, "urgency": "not yet assigned"}}}},
        "other": {"any": [1, {"thing": null}]}}"#;

    fn ids(data: impl Read) -> Result<Vec<String>, TrackerError> {
        let mut ids = Vec::new();
        read(data, &|source| source == "frr", &mut |_, id, _| ids.push(id.to_owned()))?;
        Ok(ids)
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn packed_data_reads_as_plain_data_does_and_packages_nobody_asks_for_may_hold_anything() {
        assert_eq!(ids(ONE.as_bytes()).unwrap(), ["CVE-2026-1"]);
        assert_eq!(ids(&packed(ONE.as_bytes())[..]).unwrap(), ["CVE-2026-1"]);
    }

    #[test]
    fn data_that_ends_anywhere_before_its_end_is_an_error() {
        let packed = packed(ONE.as_bytes());
        for length in 0..ONE.len() {
            assert!(ids(&ONE.as_bytes()[..length]).is_err(), "the first {length} bytes");
        }
        for length in 1..packed.len() {
            assert!(ids(&packed[..length]).is_err(), "the first {length} packed bytes");
        }
        assert!(ids(format!("{ONE} {{}}").as_bytes()).is_err(), "what follows is not part of it");
    }

    #[test]
    fn values_of_other_types_are_named_by_line() {
        for (from, to) in [
            ("\"open\"", "7"),
            ("{\"trixie\": \"10.3-3\"}", "[]"),
            ("\"debianbug\": 1", "\"debianbug\": \"x\""),
            ("\"CVE-2026-1\"", "\"CVE\\u001b[31m-1\""),
            ("{\"frr\": {", "{\"frr\": [{"),
        ] {
            let text = ONE.replacen(from, to, 1);
            assert_ne!(text, ONE);
            let error = ids(text.as_bytes()).unwrap_err();
            let said = error.to_string();
            assert!(matches!(error, TrackerError::Form(_)) && said.contains(" line "), "{said}");
            assert!(!said.contains('\u{1b}'), "{said:?}");
        }
        assert!(ids(&b"<html><title>Sign in</title>"[..]).is_err());
        assert!(ids(&b"[]"[..]).is_err());
    }

    #[test]
    fn data_without_end_is_refused_in_bounded_time() {
        struct Endless(bool);
        impl Read for Endless {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                buffer.fill(b' ');
                if std::mem::take(&mut self.0) {
                    buffer[0] = b'{';
                }
                Ok(buffer.len())
            }
        }
        assert!(matches!(ids(Endless(true)), Err(TrackerError::Large)));
    }

    #[test]
    fn deep_nesting_is_an_error() {
        let deep = format!("{{\"other\": {}", "[".repeat(1_000_000));
        assert!(matches!(ids(deep.as_bytes()), Err(TrackerError::Form(_))));
    }
}
