//! A suite's `InRelease`: whether to believe it, and what it vouches for.

use std::collections::BTreeMap;

use contract::hash::Digest;
use deb822_fast::Deb822;

use super::keyring::{CLOCK_SLACK, KeyError, Keyring};

/// How an `InRelease` is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("the index of {suite} ({url}) is not believed: {source}")]
    Signature { suite: String, url: String, source: KeyError },
    #[error(
        "the index of {suite} ({url}) was valid until {until}, and it is {now}: the mirror is stale, or somebody \
         replays an old index; try another with --mirror, or check the clock\n\
         To take it all the same, at your own judgement: --accept-expired {suite}"
    )]
    Expired { suite: String, url: String, until: String, now: String },
    #[error("the index of {suite} ({url}) is dated {date}, and it is {now}: check the clock of this machine")]
    Future { suite: String, url: String, date: String, now: String },
    #[error(
        "the index of {suite} ({url}) is of suite {found_suite:?} (codename {found_codename:?}): check the mirror"
    )]
    OtherSuite { suite: String, url: String, found_suite: String, found_codename: String },
    #[error("the index of {suite} ({url}) cannot be understood: {what}; check the mirror")]
    Malformed { suite: String, url: String, what: String },
}

/// What a believed `InRelease` says.
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
    /// When the signature, the suite or the time is not right, or it cannot be understood.
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
    /// When the suite or the time is not right, or it cannot be understood.
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

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// `Sat, 12 Sep 2026 07:55:41 UTC` in seconds since 1970. The archive writes UTC only.
#[must_use]
pub fn parse_time(text: &str) -> Option<u64> {
    let (_weekday, rest) = text.trim().split_once(", ")?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let &[day, month, year, clock, "UTC" | "GMT" | "+0000"] = words.as_slice() else { return None };
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let clock: Vec<u64> = clock.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[hour, minute, second] = clock.as_slice() else { return None };
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since 1970 of a date: years begin in March, so that a leap day is a year's last (H. Hinnant's algorithm).
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Seconds since 1970 as `2026-09-12 07:55:41 UTC`.
#[must_use]
pub fn show_time(seconds: u64) -> String {
    let (year, month, day) = date(seconds);
    format!("{year:04}-{month:02}-{day:02} {} UTC", clock(seconds))
}

/// Seconds since 1970 as HTTP writes them (RFC 9110, section 5.6.7): `Sat, 12 Sep 2026 07:55:41 GMT`.
#[must_use]
pub fn http_time(seconds: u64) -> String {
    const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let (year, month, day) = date(seconds);
    let weekday = WEEKDAYS[(seconds / 86_400 % 7) as usize];
    let month = MONTHS[(month - 1) as usize % 12];
    format!("{weekday}, {day:02} {month} {year:04} {} GMT", clock(seconds))
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60)
}

/// Year, month (from 1) and day of the month.
fn date(seconds: u64) -> (u64, u64, u64) {
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * m + 2) / 5 + 1;
    let (month, next) = if m < 10 { (m + 3, 0) } else { (m - 9, 1) };
    (year_of_era + era * 400 + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_agree_with_date() {
        // From `date -u -d @…`.
        for (text, seconds, shown) in [
            ("Sat, 12 Sep 2026 07:55:41 UTC", 1_789_199_741, "2026-09-12 07:55:41 UTC"),
            ("Thu, 01 Jan 1970 00:00:00 UTC", 0, "1970-01-01 00:00:00 UTC"),
            ("Tue, 29 Feb 2028 23:59:59 +0000", 1_835_481_599, "2028-02-29 23:59:59 UTC"),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(parse_time(text), Some(seconds), "{text}");
            assert_eq!(show_time(seconds), shown);
            assert_eq!(http_time(seconds), format!("{} GMT", &text[..25]));
        }
    }

    #[test]
    fn a_time_in_another_zone_or_shape_is_not_guessed_at() {
        for text in
            ["", "Sat, 12 Sep 2026 07:55:41 +0200", "12 Sep 2026 07:55:41 UTC", "Sat, 12 Sep 2026 24:00:00 UTC"]
        {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }
}
