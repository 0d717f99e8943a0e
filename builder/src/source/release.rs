//! A suite's `InRelease`: whether it is valid, and what it vouches for.

use std::collections::BTreeMap;

use contract::calendar::{parse_time, show_time};
use contract::hash::Digest;
use deb822_fast::Deb822;

use super::keyring::{CLOCK_SLACK, KeyError, Keyring};

/// How an `InRelease` is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("the index of {suite} ({url}) is not trusted: {source}")]
    Signature { suite: String, url: String, source: KeyError },
    #[error(
        "the index of {suite} ({url}) was valid until {until}, and it is {now}: the mirror is stale, or someone replays an old index; try another with --mirror, or check the clock\n\
         To use it anyway: --accept-expired {suite}"
    )]
    Expired { suite: String, url: String, until: String, now: String },
    #[error("the index of {suite} ({url}) is dated {date}, and it is {now}: check the clock of this machine")]
    Future { suite: String, url: String, date: String, now: String },
    #[error(
        "the index of {suite} ({url}) is of suite {found_suite:?} (codename {found_codename:?}): check the mirror"
    )]
    OtherSuite { suite: String, url: String, found_suite: String, found_codename: String },
    #[error("the index of {suite} ({url}) cannot be parsed: {what}; check the mirror")]
    Malformed { suite: String, url: String, what: String },
}

/// What a trusted `InRelease` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    pub suite: String,
    /// When it was made, in seconds since 1970.
    pub date: u64,
    pub valid_until: Option<u64>,
    /// Whether the mirror also keeps the files under their digests.
    pub by_hash: bool,
    /// Size and digest of each file, by its path below the suite's folder.
    pub files: BTreeMap<String, (u64, Digest)>,
}

/// What to hold an `InRelease` against.
#[derive(Clone, Copy, Debug)]
pub struct Expect<'a> {
    /// The suite or codename that was asked for.
    pub suite: &'a str,
    /// Where it was read, for messages.
    pub url: &'a str,
    /// In seconds since 1970.
    pub now: u64,
    /// Whether the operator takes an expired index of this suite.
    pub accept_expired: bool,
}

impl Release {
    /// Believes an `InRelease`, or says why not.
    ///
    /// # Errors
    /// When the signature, the suite or the time is not right, or it cannot be parsed.
    pub fn believe(message: &[u8], keyring: &Keyring, expect: Expect<'_>) -> Result<Release, ReleaseError> {
        let (suite, url) = (expect.suite.to_owned(), expect.url.to_owned());
        let message = std::str::from_utf8(message).map_err(|error| ReleaseError::Malformed {
            suite: suite.clone(),
            url: url.clone(),
            what: error.to_string(),
        })?;
        let text =
            keyring.verify(message, expect.now).map_err(|source| ReleaseError::Signature { suite, url, source })?;
        Release::understand(&text, expect)
    }

    /// Understands the text of an `InRelease` whose signature holds.
    ///
    /// # Errors
    /// When the suite or the time is not right, or it cannot be parsed.
    pub(crate) fn understand(text: &str, expect: Expect<'_>) -> Result<Release, ReleaseError> {
        let (suite, url) = (expect.suite.to_owned(), expect.url.to_owned());
        let malformed = |what: String| ReleaseError::Malformed { suite: suite.clone(), url: url.clone(), what };
        let document: Deb822 = text.parse().map_err(|error: deb822_fast::Error| malformed(error.to_string()))?;
        let mut paragraphs = document.iter();
        let (Some(fields), None) = (paragraphs.next(), paragraphs.next()) else {
            return Err(malformed("it must be one paragraph".to_owned()));
        };
        let field = |name| fields.get(name).map(str::trim).filter(|value| !value.is_empty());

        let (found_suite, found_codename) = (field("Suite").unwrap_or(""), field("Codename").unwrap_or(""));
        if suite != found_suite && suite != found_codename {
            let (found_suite, found_codename) = (found_suite.to_owned(), found_codename.to_owned());
            return Err(ReleaseError::OtherSuite { suite, url, found_suite, found_codename });
        }
        let time = |name: &'static str| {
            let parse = |value: &str| parse_time(value).ok_or_else(|| malformed(format!("{name}: {value:?}")));
            field(name).map(parse).transpose()
        };
        let date = time("Date")?.ok_or_else(|| malformed("it has no Date".to_owned()))?;
        let valid_until = time("Valid-Until")?;
        let now = show_time(expect.now);
        if date > expect.now + CLOCK_SLACK {
            return Err(ReleaseError::Future { suite, url, date: show_time(date), now });
        }
        if let Some(until) = valid_until.filter(|until| *until < expect.now && !expect.accept_expired) {
            return Err(ReleaseError::Expired { suite, url, until: show_time(until), now });
        }
        let by_hash = field("Acquire-By-Hash") == Some("yes");
        let list = field("SHA256").ok_or_else(|| malformed("it has no SHA256 list".to_owned()))?;
        let mut files = BTreeMap::new();
        for line in list.lines().filter(|line| !line.trim().is_empty()) {
            let (path, entry) = parse_file(line).ok_or_else(|| malformed(format!("SHA256: {line:?}")))?;
            files.insert(path.to_owned(), entry);
        }
        Ok(Release { suite, date, valid_until, by_hash, files })
    }
}

fn parse_file(line: &str) -> Option<(&str, (u64, Digest))> {
    let mut words = line.split_whitespace();
    let digest = words.next()?.parse().ok()?;
    let size = words.next()?.parse().ok()?;
    let path = words.next()?;
    words.next().is_none().then_some((path, (size, digest)))
}
