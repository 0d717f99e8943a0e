//! Ordering of Debian versions: Debian policy 5.6.12, deb-version(7).

use std::cmp::Ordering;
use std::str::FromStr;

/// `[EPOCH:]UPSTREAM[-REVISION]`. Two that differ in text can be equal: `1.0` and `0:1.00-0` are.
#[derive(Clone, Debug)]
pub struct Version {
    epoch: u32,
    upstream: String,
    /// Empty when there is none, which orders as `0` does.
    revision: String,
}

/// A text that is not a version.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a Debian version: write [EPOCH:]UPSTREAM[-REVISION] with letters, digits and . + - ~")]
pub struct NotAVersion(String);

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Version, NotAVersion> {
        let wrong = || NotAVersion(text.to_owned());
        let all = |part: &str, more: &str| {
            !part.is_empty() && part.chars().all(|letter| letter.is_ascii_alphanumeric() || more.contains(letter))
        };
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => {
                (epoch.parse().map_err(|_| wrong())?, rest)
            }
            Some(_) => return Err(wrong()),
            None => (0, text),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        let revision_is_good = revision.is_empty() && !rest.ends_with('-') || all(revision, ".+~");
        if all(upstream, ".+-~:") && revision_is_good {
            Ok(Version { epoch, upstream: upstream.to_owned(), revision: revision.to_owned() })
        } else {
            Err(wrong())
        }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        self.epoch
            .cmp(&other.epoch)
            .then_with(|| order(&self.upstream, &other.upstream))
            .then_with(|| order(&self.revision, &other.revision))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Version) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

/// Compares stretches without digits and numbers by turns, from the left.
fn order(one: &str, other: &str) -> Ordering {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    while !one.is_empty() || !other.is_empty() {
        let words = order_of_words(stretch(&mut one, false), stretch(&mut other, false));
        let found = words.then_with(|| order_of_numbers(stretch(&mut one, true), stretch(&mut other, true)));
        if found.is_ne() {
            return found;
        }
    }
    Ordering::Equal
}

/// Takes the digits, or what precedes them, from the front.
fn stretch<'a>(text: &mut &'a [u8], digits: bool) -> &'a [u8] {
    let end = text.iter().position(|byte| byte.is_ascii_digit() != digits).unwrap_or(text.len());
    let (front, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    *text = rest;
    front
}

/// `~` comes before the end, the end before letters, and letters before all else.
fn order_of_words(one: &[u8], other: &[u8]) -> Ordering {
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => (0, 0),
        None => (1, 0),
        Some(byte) if byte.is_ascii_alphabetic() => (2, *byte),
        Some(byte) => (3, *byte),
    };
    let mut places = (0..one.len().max(other.len())).map(|at| weight(one.get(at)).cmp(&weight(other.get(at))));
    places.find(|found| found.is_ne()).unwrap_or(Ordering::Equal)
}

/// Numbers of any length; no digits are 0.
fn order_of_numbers(one: &[u8], other: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| digits.iter().skip_while(|digit| **digit == b'0').copied().collect::<Vec<u8>>();
    let (one, other) = (significant(one), significant(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(&other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    fn version(text: &str) -> Version {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn versions_order_as_the_policy_says() {
        // Debian policy 5.6.12 and deb-version(7).
        let ordered = [
            "~~",
            "~~a",
            "~",
            "0",
            "1.0~rc1-1",
            "1.0~rc1-1+b1",
            "1.0-1~bpo12+1",
            "1.0-1",
            "1.0-1+deb13u1",
            "1.0-1.1",
            "1.0-2",
            "1.0-10",
            "1.0a-1",
            "1.0+dfsg-1",
            "1.0.1-1",
            "1.10-1",
            "2:0.1",
            "10:0.1",
        ];
        for pair in ordered.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
        let long = "99999999999999999999";
        for (one, other) in [("1.0", "0:1.0-0"), ("1.001", "1.1"), ("1.0", "1.00"), (long, &format!("0{long}"))] {
            assert_eq!(version(one), version(other));
        }
    }

    #[test]
    fn what_is_not_a_version_is_refused() {
        for text in ["", ":1", "a:1", "1:", "1.0-", "-1", "1 0", "1_0", "1.0-1_2", "é", "99999999999:1", "1/2"] {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
    }

    /// Of the shape of versions.
    fn shaped() -> impl Strategy<Value = String> {
        ("([0-2]:)?", "[0-9][0-9a-b.+~]{0,6}", "(-[0-9a-b.+~]{1,4})?").prop_map(|(a, b, c)| format!("{a}{b}{c}"))
    }

    #[test]
    fn dpkg_orders_them_the_same() {
        let config = ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(one in shaped(), other in shaped())| {
            let dpkg = |relation| {
                let mut dpkg = Command::new("dpkg");
                dpkg.args(["--compare-versions", &one, relation, &other]).status().unwrap().success()
            };
            let ours = version(&one).cmp(&version(&other));
            prop_assert_eq!(ours.is_lt(), dpkg("lt"), "{} lt {}", &one, &other);
            prop_assert_eq!(ours.is_eq(), dpkg("eq"), "{} eq {}", &one, &other);
        });
    }

    proptest! {
        #[test]
        fn any_text_is_a_version_or_an_error(text in ".{0,40}") {
            if let Ok(version) = text.parse::<Version>() {
                prop_assert_eq!(version.cmp(&version), Ordering::Equal);
            }
        }

        #[test]
        fn the_order_is_total(one in shaped(), two in shaped(), three in shaped()) {
            let mut all = [version(&one), version(&two), version(&three)];
            prop_assert_eq!(all[0].cmp(&all[1]), all[1].cmp(&all[0]).reverse());
            all.sort();
            prop_assert!(all[0] <= all[1] && all[1] <= all[2] && all[0] <= all[2]);
        }
    }
}
